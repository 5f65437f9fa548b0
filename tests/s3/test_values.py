"""Every value comes back from every file format, and has one text with the source's."""

from __future__ import annotations

import contextlib
import random
import struct
from pathlib import Path

import pytest
from psycopg.types.numeric import Float4

from dsp_airflow.engine import canon
from dsp_airflow.engine.archive.forms import EXACT, type_from, type_text
from dsp_airflow.engine.errors import Mismatch, Refused
from dsp_airflow.engine.model import LogicalType
from dsp_airflow.engine.stores.postgres import dialect
from tests.conftest import NewDatabase
from tests.s3.values import FORMATS, MAX_ROW, Table, archived, ask, digest, snapshot, texts
from tests.servers import Database
from tests.share import share
from tests.unit.engine.nasty import CASES, ONLY_POSTGRES, STRINGS, typed

MOOD = "CREATE TYPE mood AS ENUM ('new', 'New', 'a b', 'a,b', 'N')"
KINDS = {"json": "json", "jsonb": "json", "interval": "duration"}


def only_postgres(native: str) -> LogicalType:
    if native.endswith("[]"):
        return typed("list", element=typed("int32"))
    return typed(KINDS[native])


COLUMNS: list[tuple[LogicalType, str, list[str]]] = [
    *((case.kind, case.native, [literal for _, literal, _ in case.values]) for case in CASES),
    *((only_postgres(native), native, list(values)) for native, values in ONLY_POSTGRES.items()),
    (
        typed("list", element=typed("date")),
        "date[]",
        ["'{2024-01-01,NULL}'", "'{infinity}'", "'{0044-03-15 BC,2024-01-01}'", "'{}'"],
    ),
    (
        typed("list", element=typed("decimal", precision=5, scale=2)),
        "numeric(5,2)[]",
        ["'{1.5,-0.01,NULL}'", "'{NaN}'", "'{}'"],
    ),
    (typed("list", element=typed("json")), "jsonb[]", ["ARRAY['{\"a\": [1]}'::jsonb, NULL]"]),
    (typed("list", element=typed("duration")), "interval[]", ["'{1 month,30 days}'"]),
    (typed("list", element=typed("time")), "time[]", ["'{24:00,00:00:01.5}'"]),
    (typed("list", element=typed("uuid")), "uuid[]", ["'{00000000-0000-0000-0000-000000000001}'"]),
    (typed("list", element=typed("bool")), "boolean[]", ["'{t,f,NULL}'"]),
    (typed("list", element=typed("float32")), "real[]", ["'{0.1,1e20,NaN,-0}'"]),
]
"""One table of them all, a column each, as deep as the longest."""
TABLE = Table(
    (
        ("id", typed("int32"), "integer"),
        *((f"c {n}", kind, native) for n, (kind, native, _) in enumerate(COLUMNS)),
    )
)


def fill(database: Database) -> None:
    depth = max(len(values) for _, _, values in COLUMNS)
    columns = ", ".join(f'"{name}" {native}' for name, _, native in TABLE.columns)
    rows = [
        ", ".join(
            [str(n), *((values[n] if n < len(values) else "NULL") for _, _, values in COLUMNS)]
        )
        for n in range(depth + 1)
    ]
    database.execute(
        MOOD, f"CREATE TABLE t ({columns})", *(f"INSERT INTO t VALUES ({row})" for row in rows)
    )


@pytest.mark.parametrize(("name", "compression"), FORMATS)
def test_one_table_of_everything(
    pg_db: Database, tmp_path: Path, name: str, compression: str
) -> None:
    fill(pg_db)
    with snapshot(pg_db) as session:
        file = archived(session, TABLE, tmp_path / "f", name, compression)
        expected = session.digest(TABLE.projection, None)
        columns = ", ".join(
            canon.postgres_text(f.expression, f.type, f.native) for f in TABLE.fields
        )
        source = pg_db.rows(f"SELECT {columns} FROM t ORDER BY t.id")
    found = texts(file, range(len(TABLE.columns)))
    for row, told in zip(found, source, strict=True):
        assert row == told
    assert digest(file) == expected
    python = [canon.python_row_text(row) for row in source]
    assert sorted(text for (text,) in ask(file, "{row}")) == sorted(python)


def test_a_table_that_holds_nothing_beyond(pg18_db: Database, tmp_path: Path) -> None:
    """Nor has the file a column for it."""
    import pyarrow.parquet as pq

    table = Table((("id", typed("int32"), "integer"), ("d", typed("date"), "date")))
    pg18_db.execute("CREATE TABLE t (id int, d date)", "INSERT INTO t VALUES (1, '2024-01-01')")
    with snapshot(pg18_db) as session:
        file = archived(session, table, tmp_path / "f", "parquet", "zstd")
        assert digest(file) == session.digest(table.projection, None)
    schema = pq.read_schema(file.path)
    assert schema.names == ["id", "d"]
    meta = schema.field("d").metadata
    assert (type_from(meta[b"dsp:type"].decode()), meta[b"dsp:native"]) == (typed("date"), b"date")


MOMENTS = (
    ["'0001-01-01 00:00+00'", "'9999-12-31 23:59:59.999999+00'", "NULL"],
    [
        *("'infinity'", "'-infinity'", "'0001-12-31 23:59:59.999999+00 BC'"),
        *("'10000-01-01 00:00+00'", "'4713-01-01 00:00+00 BC'", "'294276-12-31 23:59:59+00'"),
    ],
)
EDGES = {
    "numeric(5,2)": (["'-999.99'", "'999.99'", "NULL"], ["'NaN'"]),
    "date": (
        ["'0001-01-01'", "'9999-12-31'", "NULL"],
        [
            *("'infinity'", "'-infinity'", "'0001-12-31 BC'", "'10000-01-01'"),
            *("'4713-01-01 BC'", "'5874897-12-31'"),
        ],
    ),
    "time": (["'00:00'", "'23:59:59.999999'", "NULL"], ["'24:00'"]),
    "timestamp": MOMENTS,
    "timestamptz": MOMENTS,
}
"""By type: what its column holds, and what lies beyond."""
EDGE_KINDS = {"numeric(5,2)": typed("decimal", precision=5, scale=2)}


@pytest.mark.parametrize("native", EDGES)
def test_every_value_beyond_is_noticed(new_pg_db: NewDatabase, tmp_path: Path, native: str) -> None:
    """And has a column of its own then, which the last values that fit have not."""
    import pyarrow.parquet as pq

    database = new_pg_db()
    kind = EDGE_KINDS.get(native) or typed(native)
    table = Table((("id", typed("int32"), "integer"), ("v", kind, native)))
    within, beyond = EDGES[native]
    for literals in (within, *([value, *within] for value in beyond)):
        rows = ", ".join(f"({n}, {value}::{native})" for n, value in enumerate(literals))
        database.execute(
            "DROP TABLE IF EXISTS t",
            f"CREATE TABLE t (id int, v {native})",
            f"INSERT INTO t VALUES {rows}",
        )
        with snapshot(database) as session:
            file = archived(session, table, tmp_path / "f", "parquet", "zstd")
            assert digest(file) == session.digest(table.projection, None), literals
        assert (EXACT in pq.read_schema(file.path).names) == (literals is not within), literals


@pytest.mark.parametrize("kind", [kind for kind, _, _ in COLUMNS], ids=str)
def test_types_are_told_and_read(kind: LogicalType) -> None:
    assert type_from(type_text(kind)) == kind


@pytest.mark.parametrize("name", ["parquet", "csv", "jsonl"])
def test_an_empty_table(pg18_db: Database, tmp_path: Path, name: str) -> None:
    table = Table((("id", typed("int32"), "integer"), ("v", typed("string"), "text")))
    pg18_db.execute("CREATE TABLE t (id int, v text)")
    with snapshot(pg18_db) as session:
        file = archived(session, table, tmp_path / "f", name, "zstd")
    assert digest(file).rows == 0


@pytest.mark.parametrize("name", ["parquet", "csv", "jsonl"])
def test_rows_of_some_megabytes(pg18_db: Database, tmp_path: Path, name: str) -> None:
    table = Table(
        (
            ("id", typed("int32"), "integer"),
            ("v", typed("string"), "text"),
            ("b", typed("bytes"), "bytea"),
        )
    )
    pg18_db.execute(
        "CREATE TABLE t (id int, v text, b bytea)",
        "INSERT INTO t SELECT n, repeat('\"é' || chr(10), 1000000), "
        "decode(repeat('00ff', 2000000), 'hex') FROM generate_series(1, 3) n",
    )
    with snapshot(pg18_db) as session:
        file = archived(session, table, tmp_path / "f", name, "zstd")
        assert digest(file) == session.digest(table.projection, None)


def test_a_row_that_is_too_large(pg18_db: Database, tmp_path: Path) -> None:
    table = Table((("id", typed("int32"), "integer"), ("v", typed("string"), "text")))
    pg18_db.execute(
        "CREATE TABLE t (id int, v text)", f"INSERT INTO t VALUES (1, repeat('x', {MAX_ROW}))"
    )
    with snapshot(pg18_db) as session, pytest.raises(Refused, match="raise max_row_size"):
        archived(session, table, tmp_path / "f", "parquet", "zstd")


def floats(native: str, numbers: list[int]) -> list[float]:
    pattern = "<d" if native == "float8" else "<f"
    size = struct.calcsize(pattern)
    return [struct.unpack(pattern, n.to_bytes(size, "little"))[0] for n in numbers]


@pytest.mark.parametrize("native", ["float8", "float4"])
def test_random_floats(pg18_db: Database, tmp_path: Path, native: str) -> None:
    """Of any bits; as many of everyday size; and decimals midway between two floats."""
    width = 64 if native == "float8" else 32
    dice = random.Random(native)
    values = floats(native, [dice.getrandbits(width) for _ in range(share(200_000, 5_000))])
    if native == "float8":
        values += [round(dice.uniform(-1e6, 1e6), dice.randrange(8)) for _ in range(5_000)]
        values += [float(f"{n}e{e}") for n in range(1, 10) for e in range(-20, 40)]
        values += [2.0**n for n in range(-1074, 1024)]
    else:
        values += [2.0**n for n in range(-149, 128)]
    pg18_db.execute(f"CREATE TABLE t (id int, v {native})")
    statement = "COPY t FROM STDIN (FORMAT binary)"
    with pg18_db.connect() as connection, connection.cursor().copy(statement) as copy:
        copy.set_types(["int4", native])
        for n, value in enumerate(values):
            copy.write_row((n, Float4(value) if width == 32 else value))
    kind = typed("float64" if native == "float8" else "float32")
    table = Table((("id", typed("int32"), "integer"), ("v", kind, native)))
    with snapshot(pg18_db) as session:
        file = archived(session, table, tmp_path / "f", "parquet", "zstd")
        assert digest(file) == session.digest(table.projection, None)


def test_random_texts_and_bytes(pg18_db: Database, tmp_path: Path) -> None:
    dice = random.Random(1)
    pieces = [text for text, _, _ in STRINGS if len(text) < 100] + list(",;\"'\r\n\t\\{}[]:")
    values = [
        ("".join(dice.choices(pieces, k=dice.randrange(6))), dice.randbytes(dice.randrange(9)))
        for _ in range(3_000)
    ]
    pg18_db.execute("CREATE TABLE t (id int, v text, b bytea, l text[])")
    with pg18_db.connect() as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO t VALUES (%s, %s, %s, %s)",
            [(n, v, b, [v, None, v[::-1]]) for n, (v, b) in enumerate(values)],
        )
    table = Table(
        (
            ("id", typed("int32"), "integer"),
            ("v", typed("string"), "text"),
            ("b", typed("bytes"), "bytea"),
            ("l", typed("list", element=typed("string")), "text[]"),
        )
    )
    with snapshot(pg18_db) as session:
        for name in ("parquet", "csv", "jsonl"):
            file = archived(session, table, tmp_path / name, name, "zstd")
            assert digest(file) == session.digest(table.projection, None), name


@pytest.mark.parametrize(("name", "compression"), FORMATS)
def test_a_damaged_file_is_no_archive(
    pg18_db: Database, tmp_path: Path, name: str, compression: str
) -> None:
    """Whatever happens to it: a clear error, or rows that SHA-256 tells from those written."""
    table = Table((("id", typed("int32"), "integer"), ("v", typed("string"), "text")))
    pg18_db.execute(
        "CREATE TABLE t (id int, v text)",
        "INSERT INTO t SELECT n, md5(n::text) FROM generate_series(1, 300) n",
    )
    path = tmp_path / "f"
    with snapshot(pg18_db) as session:
        file = archived(session, table, path, name, compression)
    whole, right = path.read_bytes(), digest(file)
    dice = random.Random(name + compression)
    for _ in range(share(200, 25)):
        at = dice.randrange(len(whole))
        cut = whole[:at] if dice.random() < 0.3 else whole[:at] + b"\x00\x9f" + whole[at + 2 :]
        path.write_bytes(cut)
        # Whose SHA-256 is another is never read as far as this.
        with contextlib.suppress(Mismatch):
            assert 0 <= digest(file).rows <= right.rows + 1


@pytest.mark.parametrize("column", COLUMNS, ids=lambda c: f"{c[0]} as {c[1]}")
def test_canonical_texts_are_read_back(
    new_pg_db: NewDatabase, column: tuple[LogicalType, str, list[str]]
) -> None:
    """What a restore writes is the value again."""
    kind, native, values = column
    database = new_pg_db()
    database.execute(MOOD)
    canonical = canon.postgres_text("v", kind, native)
    for literal in values:
        (text,) = database.rows(f"SELECT {canonical} FROM (SELECT {literal}::{native} AS v) AS s")[
            0
        ]
        if text is None:
            continue
        own = dialect.text_literal(dialect.own_text(text, kind))
        (again, same) = database.rows(
            f"SELECT {canonical}, v::text = ({literal}::{native})::text "
            f"FROM (SELECT {own}::{native} AS v) AS s"
        )[0]
        assert again == text
        assert same
