"""One definition of equal: MariaDB and MySQL render the texts that PostgreSQL and Python do."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from dsp_airflow.engine import canon
from dsp_airflow.engine.canon import mysql as ours
from dsp_airflow.engine.model import Field, LogicalType, Shape
from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.stores.mysql import catalog, dialect, login, names
from dsp_airflow.engine.stores.mysql.query import Connection, execute, rows, texts
from tests.mysql.nasty import CASES, JSON, LABELS, Case, labelled, quoted
from tests.servers import MySQLFamilyServer, fresh_mysql_database
from tests.share import share
from tests.unit.engine.nasty import typed


@pytest.fixture(scope="module", params=["mariadb", "mysql"])
def session(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A session of ours in a database of its own."""
    server: MySQLFamilyServer = request.getfixturevalue(request.param)
    with fresh_mysql_database(server) as database:
        connection = login.connect(database.arguments, SessionOptions(), "test")
        yield connection
        connection.close()


def made(session: Connection, case: Case) -> Shape:
    """A table ``t`` of the values, and of NULL at the end."""
    execute(session, "DROP TABLE IF EXISTS t")
    execute(session, f"CREATE TABLE t (n int PRIMARY KEY, v {case.native} NULL)")
    for n, (literal, _) in enumerate(case.values):
        execute(session, f"INSERT INTO t VALUES ({n}, {literal})")
    execute(session, f"INSERT INTO t VALUES ({len(case.values)}, NULL)")
    shape = catalog.describe(session, "t")
    assert shape is not None
    return shape


def field(shape: Shape, kind: LogicalType) -> Field:
    column = shape.columns[1]
    return Field("v", kind, column.native, dialect.plain(column), utf8=dialect.utf8(column))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_server_renders_the_table(session: Connection, case: Case) -> None:
    of = field(made(session, case), case.kind)
    text = canon.mysql_text(of.expression, of.type, of.native)
    row, hashed = ours.mysql_row_text([of]), canon.mysql_row_hash_md5([of])
    digest = canon.mysql_digest_md5([of])
    found = texts(session, f"SELECT {text}, {row}, {hashed}, {digest} FROM t ORDER BY n")
    for (own, *rest), (_, expected) in zip(found, (*case.values, ("", None)), strict=True):
        assert own == expected
        assert rest == [
            canon.python_row_text([expected]),
            canon.python_row_hash_md5([expected]),
            str(canon.python_digest_md5([expected])),
        ]


def test_a_row_of_every_type(session: Connection) -> None:
    """Fields stand one after the other, and one NULL leaves the others where they are."""
    execute(session, "DROP TABLE IF EXISTS t")
    columns = ", ".join(f"c{n} {case.native} NULL" for n, case in enumerate(CASES))
    execute(session, f"CREATE TABLE t (n int PRIMARY KEY, {columns}) ROW_FORMAT=DYNAMIC")
    literals = ", ".join(case.values[-1][0] for case in CASES)
    execute(session, f"INSERT INTO t VALUES (1, {literals})")
    execute(session, f"INSERT INTO t (n, c3) VALUES (2, {CASES[3].values[-1][0]})")
    shape = catalog.describe(session, "t")
    assert shape is not None
    fields = [
        Field(column.name, case.kind, column.native, dialect.plain(column))
        for column, case in zip(shape.columns[1:], CASES, strict=True)
    ]
    expected: list[list[str | None]] = [[case.values[-1][1] for case in CASES]]
    expected.append([text if n == 3 else None for n, text in enumerate(expected[0])])
    found = texts(session, f"SELECT {canon.mysql_row_hash_md5(fields)} FROM t ORDER BY n")
    assert [text for (text,) in found] == [canon.python_row_hash_md5(row) for row in expected]


def table_of_all(session: Connection) -> list[Field]:
    """A table ``t`` of every case's values, below each other; NULL where there are no more."""
    execute(session, "DROP TABLE IF EXISTS t")
    columns = ", ".join(f"c{n} {case.native} NULL" for n, case in enumerate(CASES))
    execute(session, f"CREATE TABLE t (n int PRIMARY KEY, {columns}) ROW_FORMAT=DYNAMIC")
    for row in range(max(len(case.values) for case in CASES) + 1):
        values = [c.values[row][0] if row < len(c.values) else "NULL" for c in CASES]
        execute(session, f"INSERT INTO t VALUES ({row}, {', '.join(values)})")
    shape = catalog.describe(session, "t")
    assert shape is not None
    return [
        Field(c.name, case.kind, c.native, dialect.plain(c), utf8=dialect.utf8(c))
        for c, case in zip(shape.columns[1:], CASES, strict=True)
    ]


def test_both_servers_have_one_hash_of_their_own(
    mariadb: MySQLFamilyServer, mysql: MySQLFamilyServer
) -> None:
    """It is equal for equal values, and for no others."""
    found = []
    for server in (mariadb, mysql):
        with fresh_mysql_database(server) as database:
            session = login.connect(database.arguments, SessionOptions(), "test")
            fields = table_of_all(session)
            each = ", ".join(canon.mysql_digest_sha1([field]) for field in fields)
            whole = canon.mysql_digest_sha1(fields)
            found.append(texts(session, f"SELECT {whole}, {each} FROM t ORDER BY n"))
            session.close()
    assert found[0] == found[1]
    for case, hashes in zip(CASES, list(zip(*found[0], strict=True))[1:], strict=True):
        told: list[str | None] = [text for _, text in case.values]
        told += [None] * (len(hashes) - len(told))
        assert len({*zip(told, hashes, strict=True)}) == len({*told}) == len({*hashes}), case


def test_a_wider_type_has_the_same_hash(session: Connection) -> None:
    """As the source's column and the target's may differ where nothing is lost."""
    moment = LogicalType("timestamp", digits=6)
    whole = LogicalType("int64")
    pairs = [
        (moment, "datetime(3)", "datetime(6)", "'2024-02-30 01:02:03.450'"),
        (moment, "datetime", "timestamp(6)", "'2024-02-29 01:02:03'"),
        (moment, "datetime", "datetime(6)", "'0000-00-00 00:00:00'"),
        (LogicalType("duration"), "time(2)", "time(6)", "'-838:59:58.25'"),
        (whole, "int(7) zerofill", "bigint", "42"),
        (whole, "year", "smallint", "2024"),
        (
            LogicalType("decimal", precision=9, scale=2),
            "decimal(9,2) zerofill",
            "decimal(9,2)",
            "3.1",
        ),
        (LogicalType("string"), "varchar(9) CHARACTER SET latin1", "text", "'\u00e4,\u00df'"),
        (LogicalType("bytes"), "varbinary(9)", "blob", "x'00ff2c'"),
    ]
    for kind, native, wider, value in pairs:
        execute(session, "DROP TABLE IF EXISTS t")
        execute(session, f"CREATE TABLE t (a {native} NULL, b {wider} NULL)")
        execute(session, f"INSERT INTO t VALUES ({value}, {value}), (NULL, NULL)")
        shape = catalog.describe(session, "t")
        assert shape is not None
        one, other = (
            canon.mysql_digest_sha1(
                [Field("v", kind, c.native, dialect.plain(c), utf8=dialect.utf8(c))]
            )
            for c in shape.columns
        )
        first, second = texts(session, f"SELECT {one}, {other} FROM t")
        assert first[0] == first[1]
        assert second[0] == second[1]
        assert first[0] != second[0]


def test_fields_of_the_own_hash_cannot_run_into_each_other(session: Connection) -> None:
    """Whatever stands in a text, and whichever field is NULL."""
    kinds = [typed("string"), typed("int32"), typed("bytes"), typed("string")]
    rows_ = [
        ("'a'", "1", "'x'", "'b'"),
        ("'a,1'", "NULL", "'x'", "'b'"),
        ("'a'", "NULL", "',1:x'", "'b'"),
        ("'N'", "1", "NULL", "'N'"),
        ("NULL", "1", "'N'", "NULL"),
        ("NULL", "1", "NULL", "'N'"),
        ("''", "NULL", "''", "''"),
        ("NULL", "NULL", "NULL", "NULL"),
    ]
    hashes = set()
    for values in rows_:
        fields = [
            Field("v", kind, "", f"CAST({v} AS BINARY)" if kind.name == "bytes" else v, utf8=utf8)
            for (v, kind), utf8 in zip(
                zip(values, kinds, strict=True), (True, False, False, False), strict=True
            )
        ]
        hashes.add(texts(session, f"SELECT {canon.mysql_digest_sha1(fields)}")[0][0])
    assert len(hashes) == len(rows_)


def test_json_is_what_the_server_prints(session: Connection) -> None:
    values = tuple((quoted(text), text) for text in JSON)
    test_the_server_renders_the_table(session, Case("json", typed("json"), values))


def floats(count: int) -> list[float]:
    """Doubles of every size, and short decimals, with a fixed seed."""
    chance = random.Random(7)
    found: list[float] = []
    while len(found) < count:
        (value,) = struct.unpack("<d", chance.randbytes(8))
        if math.isfinite(value):
            found.append(value)
        digits = chance.randrange(10 ** chance.randrange(1, 18))
        found.append(float(f"{digits}e{chance.randrange(-30, 20)}"))
    return found


def test_doubles_are_spelled_as_postgres_does(session: Connection) -> None:
    """But those whose fewest digits are a midpoint: a comparison by value settles them."""
    values = [v for v in floats(share(200_000, 2_000)) if v]
    execute(session, "CREATE TEMPORARY TABLE doubles (n int PRIMARY KEY, v double)")
    for start in range(0, len(values), 2_000):
        listed = (f"({start + n}, {v!r})" for n, v in enumerate(values[start : start + 2_000]))
        execute(session, f"INSERT INTO doubles VALUES {', '.join(listed)}")
    text = canon.mysql_text("v", typed("float64"), "double")
    found = texts(session, f"SELECT {text} FROM doubles ORDER BY n")
    execute(session, "DROP TEMPORARY TABLE doubles")
    assert [float(str(shown)) for (shown,) in found] == values
    expected = [canon.python_text(v, typed("float64")) for v in values]
    odd = [v for v, (a,), b in zip(values, found, expected, strict=True) if a != b]
    assert [v for v in odd if not 2**54 < abs(v) < 1e35] == []


def test_the_sign_of_zero(session: Connection, request: pytest.FixtureRequest) -> None:
    """MySQL keeps it; MariaDB keeps none, so that nothing may be sent there that has one."""
    execute(session, "DROP TABLE IF EXISTS t")
    execute(session, "CREATE TABLE t (n int PRIMARY KEY, v double, f float)")
    execute(session, "INSERT INTO t VALUES (1, '-0', '-0.0'), (2, 0, 0)")
    text = canon.mysql_text("v", typed("float64"), "double")
    single = canon.mysql_text("(f * 1e0)", typed("float64"), "float")
    found = texts(session, f"SELECT {text}, {single} FROM t ORDER BY n")
    kept = "0" if login.is_mariadb(session) else "-0"
    assert found == [(kept, kept), ("0", "0")]


KEYS: list[tuple[str, str, str]] = [
    # Type, literal, and what PostgreSQL prints of an equal value.
    ("varbinary(9)", "x'00ff'", "\\x00ff"),
    ("binary(2)", "x'61'", "\\x6100"),
    ("datetime(6)", "'2024-02-29 01:02:03.000400'", "2024-02-29 01:02:03.0004"),
    ("datetime(6)", "'2024-02-29 10:20:30'", "2024-02-29 10:20:30"),
    ("datetime", "'2024-02-20 00:00:00'", "2024-02-20 00:00:00"),
    ("timestamp(3)", "'2024-02-29 01:02:03.100'", "2024-02-29 01:02:03.1+00"),
    ("date", "'2024-02-29'", "2024-02-29"),
    ("bigint unsigned", "18446744073709551615", "18446744073709551615"),
    ("decimal(20,4)", "-1.5", "-1.5000"),
    ("double", "0.000012", "1.2e-05"),
    ("varchar(9) CHARACTER SET latin1", "'é '", "é "),
    ("char(9)", "'é'", "é"),
]


@pytest.mark.parametrize(("native", "literal", "text"), KEYS)
def test_keys_are_told_and_found(session: Connection, native: str, literal: str, text: str) -> None:
    """The text of a key is PostgreSQL's, and as a bound it finds its row again."""
    shape = made(session, Case(native, typed("string"), ((literal, text),)))
    key = dialect.key_column(shape.columns[1])
    told = dialect.key_text(key.column, key.native)
    assert texts(session, f"SELECT {told} FROM t WHERE n = 0") == [(text,)]
    bound = names.bound(text, key.native)
    assert rows(session, f"SELECT n FROM t WHERE {key.column} = {bound}") == [(b"0",)]


@pytest.mark.parametrize(
    ("native", "literal"),
    [
        (f"enum({labelled(LABELS)})", "'é😀'"),
        (f"set({labelled(LABELS)})", "'a,é😀'"),
        ("bit(64)", f"b'{'1' * 64}'"),
        ("year", "2024"),
        ("time(6)", "'-838:59:58.999999'"),
    ],
)
def test_other_keys_find_their_row(session: Connection, native: str, literal: str) -> None:
    shape = made(session, Case(native, typed("string"), ((literal, ""),)))
    key = dialect.key_column(shape.columns[1])
    ((told,),) = texts(session, f"SELECT {dialect.key_text(key.column, key.native)} FROM t LIMIT 1")
    bound = names.bound(str(told), key.native)
    assert rows(session, f"SELECT n FROM t WHERE {key.column} = {bound}") == [(b"0",)]


def test_a_text_that_outgrows_the_packet_has_no_hash(session: Connection) -> None:
    """CONCAT is NULL then, which is never taken for a value."""
    packet = int(str(texts(session, "SELECT @@max_allowed_packet")[0][0]))
    half: Any = f"REPEAT('x', {packet // 2 + 100})"
    fields = [Field(c, typed("string"), "longtext", half) for c in "ab"]
    for hashed in (canon.mysql_row_hash_md5, canon.mysql_digest_sha1):
        for utf8 in (False, True):
            told = [replace(field, utf8=utf8) for field in fields]
            assert rows(session, f"SELECT {hashed(told)}") == [(None,)]
