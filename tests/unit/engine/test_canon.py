"""One definition of equal: PostgreSQL and Python render one text, and no two values share it."""

# Timestamps without a zone are a type of their own here.
# ruff: noqa: DTZ001

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dsp_airflow.engine import canon
from dsp_airflow.engine.model import Field, LogicalType
from tests.conftest import NewDatabase
from tests.servers import Database, PostgresServer, fresh_database
from tests.share import share
from tests.unit.engine.nasty import CASES, JSON, ONLY_POSTGRES, Case, typed

MOOD = "CREATE TYPE mood AS ENUM ('new', 'New', 'a b', 'a,b', 'N')"

SESSION = (
    "SET TimeZone = 'Asia/Kathmandu'; SET DateStyle = 'ISO'; SET extra_float_digits = 1;"
    "SET bytea_output = 'hex'; SET IntervalStyle = 'sql_standard'"
)
"""What the store fixes; but zone and interval style are odd: nothing may hang on them."""


@pytest.fixture(scope="module", params=["pg15", "pg18"])
def sql(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection]:
    server: PostgresServer = request.getfixturevalue(request.param)
    with fresh_database(server) as database, database.connect() as connection:
        database.execute(MOOD)
        connection.execute(SESSION)
        yield connection


@pytest.fixture(scope="module")
def new_sql(pg18: PostgresServer) -> Iterator[psycopg.Connection]:
    """Where the row hash ``fields`` exists."""
    with fresh_database(pg18) as database, database.connect() as connection:
        database.execute(MOOD)
        connection.execute(SESSION)
        yield connection


def run(connection: psycopg.Connection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode()).fetchall()


def rendered(connection: psycopg.Connection, case: Case, render: str) -> list[Any]:
    values = ", ".join(
        f"({n}, {literal}::{case.native})" for n, (_, literal, _) in enumerate(case.values)
    )
    return [
        v
        for (v,) in run(connection, f"SELECT {render} FROM (VALUES {values}) AS t(n, v) ORDER BY n")
    ]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_python_renders_the_table(case: Case) -> None:
    assert [canon.python_text(value, case.kind) for value, _, _ in case.values] == [
        text for _, _, text in case.values
    ]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_no_two_values_share_a_text(case: Case) -> None:
    texts = [text for _, _, text in case.values]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_postgres_renders_the_table(sql: psycopg.Connection, case: Case) -> None:
    found = rendered(sql, case, canon.postgres_text("v", case.kind, case.native))
    assert found == [text for _, _, text in case.values]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_null_is_null(sql: psycopg.Connection, case: Case) -> None:
    null = f"NULL::{case.native}"
    text = canon.postgres_text(null, case.kind, case.native)
    row = canon.postgres_row_text([Field("v", case.kind, case.native, null)])
    assert run(sql, f"SELECT {text}, {row}") == [(None, "N")]
    assert canon.python_text(None, case.kind) is None


@pytest.mark.parametrize("case", CASES, ids=str)
def test_record_hash_tells_values_apart(sql: psycopg.Connection, case: Case) -> None:
    identity = canon.postgres_identity("v", case.kind, case.native)
    hashes = rendered(sql, case, f"hash_record_extended(ROW({identity}), 0)")
    assert len(set(hashes)) == len(case.values)
    null = canon.postgres_identity(f"NULL::{case.native}", case.kind, case.native)
    assert run(sql, f"SELECT hash_record_extended(ROW({null}), 0)")[0][0] not in hashes


def field_hash(case: Case, expression: str = "v") -> str:
    return canon.postgres_row_hash_fields([Field("v", case.kind, case.native, expression)])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_field_hash_tells_values_apart(new_sql: psycopg.Connection, case: Case) -> None:
    hashes = rendered(new_sql, case, field_hash(case))
    assert len(set(hashes)) == len(case.values)
    null = run(new_sql, f"SELECT {field_hash(case, f'NULL::{case.native}')}")[0][0]
    assert null is not None
    assert null not in hashes


def test_a_row_of_as_many_columns_as_a_table_may_have(new_sql: psycopg.Connection) -> None:
    fields = [Field(f"c{n}", typed("int32"), "integer", f"c{n}") for n in range(1600)]
    columns = ", ".join(f"{n} AS c{n}" for n in range(1600))
    query = f"SELECT {canon.postgres_row_hash_fields(fields)} FROM (SELECT {columns}) AS t"
    assert run(new_sql, query) != run(new_sql, query.replace("1599 AS c", "-1 AS c"))


def test_the_record_hash_keeps_the_sign_of_the_hash_below(sql: psycopg.Connection) -> None:
    """numeric's hash does not: h and -h of two rows would meet."""
    outer = canon.postgres_row_hash_record([Field("v", typed("int32"), "integer", "v")])
    head, tail = outer.split("hash_record_extended(ROW((v)), 0)")
    pair = run(sql, f"SELECT {head}(5::int8){tail} = {head}(-5::int8){tail}")
    assert pair == [(False,)]
    assert run(sql, "SELECT hash_numeric_extended(5, 0) = hash_numeric_extended(-5, 0)") == [
        (True,)
    ]


def logical_of(native: str) -> LogicalType:
    if native.endswith("[]"):
        return typed("list", element=typed("int32"))
    return typed({"json": "json", "jsonb": "json", "interval": "duration"}[native])


@pytest.mark.parametrize("native", ONLY_POSTGRES)
def test_postgres_tells_apart_what_python_has_no_value_for(
    sql: psycopg.Connection, native: str
) -> None:
    kind = logical_of(native)
    case = Case(kind, native, tuple((None, literal, "") for literal in ONLY_POSTGRES[native]))
    texts = rendered(sql, case, canon.postgres_text("v", kind, native))
    assert len(set(texts)) == len(case.values)
    identity = canon.postgres_identity("v", kind, native)
    hashes = rendered(sql, case, f"hash_record_extended(ROW({identity}), 0)")
    assert len(set(hashes)) == len(case.values)
    if sql.info.server_version >= 180000:
        assert len(set(rendered(sql, case, field_hash(case)))) == len(case.values)


@pytest.mark.parametrize("value", ["-1 4294967295", "4 4294967301"])
def test_a_plain_bigint_in_a_record_hash_would_not_do(sql: psycopg.Connection, value: str) -> None:
    first, second = value.split()
    hashes = (f"hash_record_extended(ROW({n}::int8), 0)" for n in (first, second))
    assert run(sql, f"SELECT {' = '.join(hashes)}") == [(True,)]


def test_loose_collations_do_not_loosen_the_hash(pg15_db: Database) -> None:
    """On 15 only: the wheel of 18 is built without ICU, which such collations need."""
    identity = canon.postgres_identity("v", typed("string"), "text")
    pg15_db.execute(
        "CREATE COLLATION loose"
        " (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        "CREATE TABLE t (v text COLLATE loose)",
        "INSERT INTO t VALUES ('abc'), ('ABC')",
    )
    count = "SELECT count(DISTINCT hash_record_extended(ROW({}), 0)) FROM t"
    assert pg15_db.value(count.format("v")) == 1
    assert pg15_db.value(count.format(identity)) == 2


def test_unknown_type_has_no_identity() -> None:
    assert canon.postgres_identity("v", typed("objectid"), "text") is None


@pytest.mark.parametrize(("value", "literal", "text"), JSON)
def test_json_by_value(sql: psycopg.Connection, value: Any, literal: str, text: str) -> None:
    kind = typed("json")
    assert canon.python_text(value, kind) == text
    for native in ("json", "jsonb"):
        [(own,)] = run(sql, f"SELECT {canon.postgres_text(f'{literal}::{native}', kind, native)}")
        # PostgreSQL's own text is finer; read back it is the same value.
        assert canon.python_text(json.loads(own, parse_float=Decimal), kind) == text


def md5(text: str) -> bytes:
    return hashlib.md5(text.encode(), usedforsecurity=False).digest()


def fields_of(row: list[tuple[LogicalType, str]]) -> list[Field]:
    return [Field(f"c{n}", kind, native, f"c{n}") for n, (kind, native) in enumerate(row)]


def test_row_text_hash_and_digest(sql: psycopg.Connection) -> None:
    kinds = [(case.kind, case.native) for case in CASES]
    fields = fields_of(kinds)
    depth = max(len(case.values) for case in CASES)
    rows = []
    expected = []
    for n in range(depth + 1):
        picked = [
            case.values[n] if n < len(case.values) else (None, "NULL", None) for case in CASES
        ]
        rows.append(
            "(" + ", ".join(f"{p[1]}::{k[1]}" for p, k in zip(picked, kinds, strict=True)) + ")"
        )
        expected.append(canon.python_row_text(p[2] for p in picked))
    names = ", ".join(f.expression for f in fields)
    table = f"(VALUES {', '.join(rows)}) AS t({names})"
    columns = (
        canon.postgres_row_text(fields),
        canon.postgres_row_hash_md5(fields),
        canon.postgres_digest_md5(fields),
    )
    found = run(sql, f"SELECT {', '.join(columns)} FROM {table}")
    assert [text for text, _, _ in found] == expected
    for text, full, part in found:
        assert full == md5(text).hex()
        assert part == int.from_bytes(bytes.fromhex(full[:16]), "big", signed=True)


def test_python_hashes_are_those_of_the_row_text() -> None:
    texts = ["1", None, "é"]
    assert canon.python_row_text(texts) == "1:1N2:é"
    assert canon.python_row_hash_md5(texts) == md5("1:1N2:é").hex()
    assert canon.python_digest_md5(texts) == int.from_bytes(md5("1:1N2:é")[:8], "big", signed=True)


def test_rows_of_more_columns_than_a_function_takes(sql: psycopg.Connection) -> None:
    fields = fields_of([(typed("string"), "text"), (typed("int32"), "integer")] * 400)
    select = ", ".join(
        f"'é{n}'::text AS c{n}" if n % 2 == 0 else f"{n} AS c{n}" for n in range(800)
    )
    [(found,)] = run(sql, f"SELECT {canon.postgres_row_text(fields)} FROM (SELECT {select}) AS t")
    assert found == canon.python_row_text(f"é{n}" if n % 2 == 0 else str(n) for n in range(800))


def test_row_text_of_no_columns_and_expressions_with_operators(sql: psycopg.Connection) -> None:
    field = Field("v", typed("string"), "text", "'a' || 'b'")
    flag = Field("v", typed("bool"), "boolean", "true AND false")
    moment = Field("v", typed("timestamp"), "timestamp", "date '2024-01-01' + time '12:00'")
    row = canon.postgres_row_text([field, flag, moment])
    assert run(sql, f"SELECT {row}") == [("2:ab1:026:2024-01-01T12:00:00.000000",)]


def test_two_servers_agree(pg15_db: Database, pg18_db: Database) -> None:
    def everything(database: Database) -> list[list[Any]]:
        database.execute(MOOD)
        with database.connect() as connection:
            connection.execute(SESSION)
            return [
                rendered(connection, case, canon.postgres_text("v", case.kind, case.native))
                for case in CASES
            ]

    assert everything(pg15_db) == everything(pg18_db)


WRONG = [
    ("bool", 1, TypeError),
    ("int16", True, TypeError),
    ("int16", 32768, ValueError),
    ("uint8", -1, ValueError),
    ("decimal", 1.5, TypeError),
    ("float64", "1", TypeError),
    ("float32", 0.1, ValueError),
    ("string", b"a", TypeError),
    ("bytes", "a", TypeError),
    ("date", datetime(2024, 1, 1), TypeError),
    ("date", "0000-01-01", ValueError),
    ("date", "10000-01-01", ValueError),
    ("timestamp", datetime(2024, 1, 1, tzinfo=UTC), TypeError),
    ("timestamptz", datetime(2024, 1, 1), TypeError),
    ("time", time(1, tzinfo=UTC), TypeError),
    ("duration", 1, TypeError),
    ("uuid", "a", TypeError),
    ("json", {1: 2}, TypeError),
    ("json", float("nan"), ValueError),
    ("list", [1], TypeError),
    ("objectid", "a", TypeError),
]


@pytest.mark.parametrize(("name", "value", "error"), WRONG)
def test_values_of_another_type_are_refused(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        canon.python_text(value, typed(name))


@pytest.mark.parametrize("value", ["1.005", "100000", "Infinity"])
def test_decimals_that_do_not_fit_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        canon.python_text(Decimal(value), typed("decimal", precision=6, scale=2))


# Bulk: many generated values in one statement, Python's text beside PostgreSQL's.

BULK = settings(
    max_examples=share(60, 6),
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
STRATEGIES: dict[str, tuple[LogicalType, str, st.SearchStrategy[Any]]] = {
    "bigint": (typed("int64"), "int8", st.integers(-(2**63), 2**63 - 1)),
    "numeric": (
        typed("decimal"),
        "numeric",
        st.decimals(allow_nan=False, min_value=-(10**20), max_value=10**20),
    ),
    "text": (
        typed("string"),
        "text",
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    ),
    "bytea": (typed("bytes"), "bytea", st.binary()),
    "date": (typed("date"), "date", st.dates()),
    "time": (typed("time"), "time", st.times()),
    "timestamp": (typed("timestamp"), "timestamp", st.datetimes()),
    "timestamptz": (typed("timestamptz"), "timestamptz", st.datetimes(timezones=st.just(UTC))),
    "interval": (
        typed("duration"),
        "interval",
        st.timedeltas(timedelta(-(10**6)), timedelta(10**6)),
    ),
    "uuid": (typed("uuid"), "uuid", st.uuids()),
    "int8[]": (
        typed("list", element=typed("int64")),
        "int8[]",
        st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)),
    ),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_bulk(sql: psycopg.Connection, name: str) -> None:
    kind, native, strategy = STRATEGIES[name]

    @BULK
    @given(st.lists(strategy, min_size=1, max_size=200))
    def agree(values: list[Any]) -> None:
        text = canon.postgres_text("v", kind, native)
        query = (
            f"SELECT {text} FROM (VALUES "
            + ", ".join([f"(%s::{native})"] * len(values))
            + ") AS t(v)"
        )
        found = [v for (v,) in sql.execute(query.encode(), values).fetchall()]
        assert found == [canon.python_text(value, kind) for value in values]

    agree()


def powers_of_two(low: int, high: int) -> list[float]:
    return [2.0**n for n in range(low, high)]


def from_bits(pattern: str, numbers: list[int]) -> list[float]:
    size = struct.calcsize(pattern)
    return [struct.unpack(pattern, n.to_bytes(size, "big"))[0] for n in numbers]


def assert_floats(
    connection: psycopg.Connection, kind: LogicalType, native: str, values: list[float]
) -> None:
    # As bits, so that no decimal parser stands between.
    pattern = ">f" if native == "float4" else ">d"
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {native}s (n int, v {native})".encode()
        )
        cursor.execute(f"TRUNCATE {native}s".encode())
        with cursor.copy(f"COPY {native}s FROM STDIN (FORMAT binary)".encode()) as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0))
            for n, value in enumerate(values):
                bits = struct.pack(pattern, value)
                copy.write(struct.pack(">hii", 2, 4, n) + struct.pack(">i", len(bits)) + bits)
            copy.write(struct.pack(">h", -1))
        found = run(
            connection, f"SELECT {canon.postgres_text('v', kind, native)} FROM {native}s ORDER BY n"
        )
    assert [v for (v,) in found] == [canon.python_text(value, kind) for value in values]


@pytest.mark.parametrize("native", ["float8", "float4"])
def test_bulk_floats(sql: psycopg.Connection, native: str) -> None:
    kind = typed("float64" if native == "float8" else "float32")
    width, pattern = (64, ">d") if native == "float8" else (32, ">f")

    @BULK
    @given(st.lists(st.integers(0, 2**width - 1), min_size=200, max_size=200))
    def agree(bits: list[int]) -> None:
        assert_floats(sql, kind, native, from_bits(pattern, bits))

    agree()
    edges = powers_of_two(-1074, 1024) if native == "float8" else powers_of_two(-149, 128)
    assert_floats(sql, kind, native, edges)
    # Where Python and PostgreSQL choose differently: decimals halfway between two floats.
    assert_floats(
        sql,
        typed("float64"),
        "float8",
        [float(f"{n}e{e}") for n in range(1, 10) for e in range(15, 40)],
    )


def test_bulk_json(sql: psycopg.Connection) -> None:
    scalars = (
        st.none()
        | st.booleans()
        | st.integers(-(10**30), 10**30)
        | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
    )
    keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4)
    values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner))

    @BULK
    @given(st.lists(values, min_size=1, max_size=50))
    def agree(documents: list[Any]) -> None:
        query = (
            "SELECT v::text FROM (VALUES "
            + ", ".join(["(%s::jsonb)"] * len(documents))
            + ") AS t(v)"
        )
        given_as = [json.dumps(document) for document in documents]
        found = sql.execute(query.encode(), given_as).fetchall()
        back = [canon.python_text(json.loads(v), typed("json")) for (v,) in found]
        assert back == [
            canon.python_text(document, typed("json")) if document is not None else back[n]
            for n, document in enumerate(documents)
        ]

    agree()


def test_dates_of_every_year_and_day_kind(sql: psycopg.Connection) -> None:
    text = canon.postgres_text("v", typed("date"), "date")
    days = "SELECT date '0001-01-01' + n * 97 AS v FROM generate_series(0, 37000) AS n"
    query = f"SELECT v, {text} FROM ({days}) AS t"
    for value, found in run(sql, query):
        assert isinstance(value, date)
        assert found == canon.python_text(value, typed("date"))


def test_session_settings_that_do_not_matter(new_pg_db: NewDatabase) -> None:
    with new_pg_db().connect() as connection:
        connection.execute(SESSION)
        connection.execute(
            "SET TimeZone = 'America/St_Johns'; SET lc_time = 'C'; SET lc_numeric = 'C'"
        )
        text = canon.postgres_text(
            "'2024-07-01 00:00+00'::timestamptz", typed("timestamptz"), "timestamptz"
        )
        assert run(connection, f"SELECT {text}") == [("2024-07-01T00:00:00.000000Z",)]
