"""Columns of MySQL that stand there already and change some values without a word."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128, Int64
from bson.datetime_ms import DatetimeMS

from dsp_airflow.engine.errors import BadValue
from dsp_airflow.engine.keeps import changed, keeps_of
from dsp_airflow.engine.model import LogicalType
from tests.mongo.cross import Cross, document, field
from tests.servers import Database, MongoDatabase, MySQLDatabase

COLUMNS: list[tuple[str, str, list[Any], list[Any]]] = [
    # The column, the type that the job reads, values that it keeps, values that it would change.
    ("ENUM('a', 'b c', '7')", "string", ["a", "b c", "7"], ["A", "a ", "1", "2", "", "x"]),
    ("SET('a', 'b', 'c')", "string", ["", "a", "a,c"], ["b,a", "a,a", "A", "3", "a, b", ","]),
    ("BINARY(4)", "bytes", [b"\0\1\2\3"], [b"", b"a", b"a\0\0", b"a\0\0\0\0"]),
    ("DOUBLE(7,2)", "float64", [1.25, -0.5, 3, 99999.99], [0.125, 1.005, 1e-9, -2.349]),
    ("FLOAT(7,2)", "float64", [0.5, -1.25, 3], [0.125, 0.1, 16777.217]),
    ("FLOAT", "float64", [0.5, 16777216, -0.125], [0.1, 16777217, Decimal128("1.1")]),
    ("YEAR", "int32", [1901, 2155, 2024.0], [0, 1, 69, 70, 99, 1900, 2156]),
    ("CHAR(4)", "string", ["", "ab", " b"], ["a ", "   ", "abc "]),
    ("DECIMAL(5,2)", "decimal(5,2)", [Decimal128("1.50"), 2], [Decimal128("1.005"), 1000]),
    ("DATETIME(0)", "timestamp", [DatetimeMS(1000)], [DatetimeMS(1001), DatetimeMS(999)]),
    ("INT UNSIGNED", "int64", [0, Int64(2**32 - 1)], [-1, Int64(2**32)]),
    ("VARCHAR(3) CHARACTER SET latin1", "string", ["é€"], []),
]
REFUSED: list[tuple[str, str, Any]] = [
    ("VARCHAR(9) CHARACTER SET latin1", "string", "漢"),
    ("DOUBLE(7,2) UNSIGNED", "float64", -0.5),
    ("DOUBLE(7,2)", "float64", 1e7),
    ("TIMESTAMP NULL", "timestamptz", DatetimeMS(-1)),
    ("DATE", "date", DatetimeMS(-800_000 * 86_400_000)),
    ("DATETIME(3)", "timestamp", DatetimeMS(253_402_300_800_000)),
    ("TINYTEXT", "string", "x" * 256),
]
"""Values that a server refuses by itself."""


@pytest.fixture
def pair(tmp_path: Path, mongo_db: MongoDatabase, my_db: MySQLDatabase) -> Cross:
    return Cross(tmp_path, mongo_db, my_db)


def columns(**more: Any) -> list[dict[str, Any]]:
    found = [field("_id", "int32", "id")]
    return found + [field(f"c{n}", kind, **more) for n, (_, kind, _, _) in enumerate(COLUMNS)]


def made(pair: Cross) -> None:
    listed = ", ".join(f"c{n} {native} NULL" for n, (native, *_) in enumerate(COLUMNS))
    pair.target.execute(f"CREATE TABLE t (id INT PRIMARY KEY, {listed})")


def test_what_a_column_keeps_arrives_and_nothing_else(pair: Cross) -> None:
    made(pair)
    good = max(len(values) for _, _, values, _ in COLUMNS)
    for row in range(good):
        kept = {f"c{n}": v[row] for n, (_, _, v, _) in enumerate(COLUMNS) if row < len(v)}
        pair.source.insert_raw("t", [document(row, **kept)])
    lossy = [f"c{n}" for n in range(len(COLUMNS))]
    pair.moved(pair.warm(columns(), accept_loss=lossy), good)

    bad = [(n, value) for n, (_, _, _, values) in enumerate(COLUMNS) for value in values]
    pair.source.insert_raw("t", [document(100 + k, **{f"c{n}": v}) for k, (n, v) in enumerate(bad)])
    for k, (n, _) in enumerate(bad):
        pair.write(pair.warm(columns(), where={"_id": 100 + k}))
        run = pair.open(new=True)
        run.plan("copy")
        with pytest.raises(BadValue, match=rf"document .*{100 + k}.*field c{n} -> c{n}"):
            run.copy("copy")
    assert pair.target.value("SELECT COUNT(*) FROM t WHERE id >= 100") == 0

    # By policy each becomes NULL, is counted, and is what the check expects.
    pair.write(pair.warm(columns(on_loss="null"), where={"_id": {"$gte": 100}}))
    (job,) = pair.run(new=True).jobs
    assert (job.rows_written, job.rows_checked, job.rows_different) == (len(bad), len(bad), 0)
    counts = Counter(f"c{n}" for n, _ in bad)
    assert {c.column: c.values for c in job.losses if c.rule == "null"} == counts
    some = " OR ".join(f"c{n} IS NOT NULL" for n in range(len(COLUMNS)))
    assert pair.target.value("SELECT COUNT(*) FROM t WHERE id >= 100") == len(bad)
    assert pair.target.value(f"SELECT COUNT(*) FROM t WHERE id >= 100 AND ({some})") == 0


def test_the_nearest_that_a_column_keeps(pair: Cross) -> None:
    """A text loses the blanks that would be lost; what is too short has no nearest."""
    pair.target.execute("CREATE TABLE t (id INT PRIMARY KEY, c CHAR(3), b BINARY(2))")
    pair.source.insert_raw("t", [document(1, c="ab ", b=b"abc"), document(2, c="ab cd", b=b"ab")])
    given = [field("_id", "int32", "id"), field("c", "string", on_loss="clamp")]
    given.append(field("b", "bytes", on_loss="clamp"))
    pair.write(pair.warm(given))
    (job,) = pair.run().jobs
    assert (job.rows_checked, job.rows_different) == (2, 0)
    assert pair.target.rows("SELECT id, c, b FROM t ORDER BY id") == [
        (1, "ab", b"ab"),
        (2, "ab", b"ab"),
    ]
    pair.source.insert_raw("t", [document(3, c="x", b=b"a")])
    with pytest.raises(BadValue, match="other than 2 bytes"):
        pair.run(new=True)


def test_what_a_server_refuses_by_itself(pair: Cross) -> None:
    listed = ", ".join(f"c{n} {native}" for n, (native, _, _) in enumerate(REFUSED))
    pair.target.execute(f"CREATE TABLE t (id INT PRIMARY KEY, {listed})")
    given = [field("_id", "int32", "id")]
    given += [field(f"c{n}", kind) for n, (_, kind, _) in enumerate(REFUSED)]
    for n, (_, _, value) in enumerate(REFUSED):
        pair.source.insert_raw("t", [document(n, **{f"c{n}": value})])
        pair.write(pair.warm(given, where={"_id": n}))
        run = pair.open(new=True)
        run.plan("copy")
        with pytest.raises(BadValue):
            run.copy("copy")
    assert pair.target.value("SELECT COUNT(*) FROM t") == 0


def test_numbers_inside_of_json(
    tmp_path: Path, mongo_db: MongoDatabase, mysql_db: MySQLDatabase
) -> None:
    """MySQL makes doubles of them, and tells nobody."""
    pair = Cross(tmp_path, mongo_db, mysql_db)
    mysql_db.execute("CREATE TABLE t (id INT PRIMARY KEY, c JSON)")
    kept = [{"n": 0.1}, [Int64(2**63 - 1), 1.5], Decimal128("2.5"), "0.12345678901234567890"]
    for n, value in enumerate(kept):
        mongo_db.insert_raw("t", [document(n, c=value)])
    given = [field("_id", "int32", "id"), field("c", "json")]
    pair.moved(pair.warm(given, accept_loss=["c"]), len(kept))
    mongo_db.insert_raw("t", [document(9, c={"n": [Decimal128("0.12345678901234567890")]})])
    with pytest.raises(BadValue, match="digits that a double does not hold"):
        pair.run(new=True)
    assert mysql_db.value("SELECT COUNT(*) FROM t") == len(kept)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("00:00:00.000000", True),
        ("23:59:59.999000", True),
        ("12:00:00.000500", False),
        ("12:00:00", False),
        ("1:2", False),
        ("now", False),
        ("allballs", False),
        ("12:00:00.000000+02", False),
    ],
)
def test_times_are_written_one_way(
    tmp_path: Path, mongo_db: MongoDatabase, pg18_db: Database, value: str, *, kept: bool
) -> None:
    """PostgreSQL makes a time of many a text, of some another one each time."""
    pair = Cross(tmp_path, mongo_db, pg18_db)
    pg18_db.execute("CREATE TABLE t (id int PRIMARY KEY, c time(3))")
    mongo_db.insert_raw("t", [document(1, c=value)])
    pair.write(pair.warm([field("_id", "int32", "id"), field("c", "time")]))
    if kept:
        assert pair.run().jobs[0].rows_different == 0
        return
    with pytest.raises(BadValue, match="field c -> c"):
        pair.run()
    assert pg18_db.value("SELECT count(*) FROM t") == 0


JSON = LogicalType("json")
DOUBLE, SINGLE = LogicalType("float64"), LogicalType("float32")


@pytest.mark.parametrize(
    ("native", "kind", "text", "kept"),
    [
        ("double(20,2)", DOUBLE, "5.29", True),
        ("double(20,2)", DOUBLE, "1e300", True),
        ("double(20,2)", DOUBLE, "NaN", True),
        ("double(20,2)", DOUBLE, "1000000000000000.5", True),
        ("double(20,2)", DOUBLE, "0.001", False),
        ("float(7,2)", SINGLE, "0.1", True),
        ("float(7,2)", DOUBLE, "0.1", False),
        ("float(7,2)", DOUBLE, "0.10000000149011612", True),
        ("float(7,2)", SINGLE, "0.125", False),
        ("float", DOUBLE, "1e39", False),
        ("float", DOUBLE, "-0", True),
        ("binary(2)", LogicalType("bytes", length=2), "6100", True),
        ("varbinary(2)", LogicalType("bytes", length=2), "61", True),
        ("char(2)", LogicalType("string", length=2), "a ", False),
        ("character(2)", LogicalType("string", length=2), "a ", False),
        ("varchar(2)", LogicalType("string", length=2), "a ", True),
        ("json", JSON, '{"a": 0.1234567890123456, "b": "0.12345678901234567890"}', True),
        ("json", JSON, "[18446744073709551615, -9223372036854775808, 1e23]", True),
        ("json", JSON, "[0.12345678901234567890]", False),
        ("json", JSON, "18446744073709551617", False),
        ("json", JSON, "9" * 5000, False),
    ],
)
def test_what_is_kept(native: str, kind: LogicalType, text: str, *, kept: bool) -> None:
    keeps = keeps_of("mysql", native, kind)
    assert (keeps is None or not changed(text, kind, keeps)) == kept
