"""Rows out of MySQL and into it, by both ways in."""

from __future__ import annotations

import time
from contextlib import closing

import MySQLdb
import pytest

from dsp_airflow.engine.errors import BadValue, Mismatch, Refused
from dsp_airflow.engine.model import Projection
from dsp_airflow.engine.stores.mysql import insert, load, relay
from dsp_airflow.engine.stores.mysql.query import Connection, execute, one, rows
from dsp_airflow.engine.stores.mysql.transactions import transaction
from dsp_airflow.engine.stores.mysql.warned import Duplicate
from tests.mysql.streams import Given, columns_of, projected, read, session
from tests.servers import MySQLDatabase

WIDE = columns_of(
    id="int",
    text="text",
    latin="varchar(40)",
    blob="blob",
    bits="bit(10)",
    number="decimal(20,6)",
    single="float",
    double="double",
    large="bigint unsigned",
    day="date",
    clock="time(6)",
    moment="datetime(6)",
    stamp="timestamp(6)",
    year="year",
    choice="enum('a','it''s','')",
    some="set('x','y')",
    tree="json",
    place="geometry",
)
HOSTILE = [
    "''",
    "'\\\\N'",
    "'NULL'",
    "'a\\tb\\nc\\rd\\\\e\\'f\"g\\0h\\Zi\\bj'",
    "'\\\\'",
    "'\\\\\\\\t\\\\n'",
    "'\\t'",
    "'\\n'",
    "'\\r\\n'",
    "'\\'),(\\''",
    "'x\\\\\\'\\\\N\\''",
    "'\U0001f600 \u00df \u0130 I'",
    "X'0B0C'",
    "' blanks '",
    "NULL",
]


def make(database: MySQLDatabase) -> None:
    lines = ", ".join(
        f"`{c.name}` {c.native}"
        + (" CHARACTER SET latin1" if c.name == "latin" else "")
        + (" PRIMARY KEY" if c.name == "id" else " NULL")
        for c in WIDE
    )
    for table in ("t", "u"):
        database.execute(f"CREATE TABLE {table} ({lines}) CHARACTER SET utf8mb4")


def filled(connection: Connection) -> None:
    execute(connection, "INSERT INTO t (id) VALUES (-1)")
    for n, text in enumerate(HOSTILE):
        execute(
            connection,
            f"INSERT INTO t VALUES ({n}, {text}, '\u00e4\\t\\\\', {text}, b'1000000{n % 2}01', "
            f"-12345678901234.{n:06}, 16777216 / ({n} + 3), 1e300 / ({n} + 7), "
            f"18446744073709551615 - {n}, '2024-02-29', '-838:59:58.000001', "
            "'1000-01-01 00:00:00.000001', '1970-01-01 00:00:01.5', 2155, "
            "ELT(1 + MOD(" + str(n) + ", 3), 'a', 'it''s', ''), 'x,y', "
            '\'{"a\\\\n": [1, 1.5, "\\\\\\\\t\\\\u0000"]}\', '
            "ST_GeomFromText('POINT(1 2)', 4326))",
        )
    execute(
        connection,
        "INSERT INTO t (id, day, moment, clock, year, some, single) VALUES (90, '0000-00-00', "
        "'0000-00-00 00:00:00', '838:59:59', 0, '', 3.4028234663852886e38), "
        "(91, '2024-02-30', '9999-12-31 23:59:59.999999', '-00:00:00.000001', 1901, 'y', 1e-40)",
    )


def compared(connection: Connection, table: str) -> list[tuple[bytes | None, ...]]:
    """As the server renders them; a float32 to its last bit."""
    return rows(connection, f"SELECT *, single * 1e0, latin + 0 FROM {table} ORDER BY id")


@pytest.mark.parametrize("way", ["load", "insert", "insert text"])
def test_hostile_values_arrive_as_they_were(my_db: MySQLDatabase, way: str) -> None:
    make(my_db)
    wire = relay.TEXT if way == "insert text" else relay.OWN
    with session(my_db) as source, session(my_db) as target:
        filled(source)
        what = projected("t", WIDE)
        stream = read(source, what, wire)
        into = load.load if way == "load" else insert.insert
        count = into(target, "u", what.fields, stream, wire, "u")
        assert count == stream.rows == len(HOSTILE) + 3
        assert compared(target, "u") == compared(target, "t")


def test_buffers_hold_whole_rows(my_db: MySQLDatabase) -> None:
    columns = columns_of(id="int", text="longtext")
    my_db.execute("CREATE TABLE t (id INT PRIMARY KEY, text LONGTEXT)")
    with session(my_db) as source:
        execute(source, "INSERT INTO t VALUES " + ", ".join(f"({n}, 'row')" for n in range(9000)))
        execute(source, "INSERT INTO t VALUES (9001, REPEAT('x', 1000000)), (9002, NULL)")
        stream = read(source, projected("t", columns))
        buffers = list(stream)
        assert all(buffer.endswith(b"\n") for buffer in buffers)
        assert all(len(buffer) >= relay.CHUNK for buffer in buffers[:-1])
        assert stream.rows == 9002
        assert stream.size == sum(map(len, buffers))
        assert one(source, "SELECT 1") == ("1",)


def test_a_stream_left_in_the_middle_ends_the_connection(my_db: MySQLDatabase) -> None:
    columns = columns_of(id="int", text="longtext")
    my_db.execute("CREATE TABLE t (id INT PRIMARY KEY, text LONGTEXT)")
    with session(my_db) as source:
        execute(
            source,
            "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE "
            "i < 900) SELECT i, REPEAT('x', 10000) FROM n",
        )
        buffers = iter(read(source, projected("t", columns)))
        next(buffers)
        buffers.close()  # type: ignore[attr-defined]
        with pytest.raises(MySQLdb.Error):
            one(source, "SELECT 1")


def test_rows_that_are_too_large_are_refused(my_db: MySQLDatabase) -> None:
    columns = columns_of(id="int", blob="longblob")
    my_db.execute("CREATE TABLE t (id INT PRIMARY KEY, `blob` LONGBLOB)")
    with session(my_db) as source:
        packet = int(str(one(source, "SELECT @@max_allowed_packet")[0]))
        execute(source, f"INSERT INTO t VALUES (1, REPEAT('x', {packet // 2 - 1000}))")
        execute(source, f"UPDATE t SET `blob` = CONCAT(`blob`, REPEAT('y', {2000}))")
    with session(my_db) as source, pytest.raises(Refused, match="max_allowed_packet"):
        list(read(source, projected("t", columns), limit=1 << 30))
    my_db.execute("UPDATE t SET `blob` = REPEAT('x', 3000)")
    with session(my_db) as source, pytest.raises(Refused, match="max_row_size"):
        list(read(source, projected("t", columns), limit=5000))


SMALL = columns_of(id="int", number="decimal(5,2)", text="varchar(3)", stamp="timestamp")


def small(database: MySQLDatabase) -> None:
    database.execute(
        "CREATE TABLE u (id INT PRIMARY KEY, number DECIMAL(5,2) NOT NULL, text VARCHAR(3), "
        "stamp TIMESTAMP NOT NULL DEFAULT '2000-01-01 00:00:00') CHARACTER SET utf8mb4"
    )


def filling(target: Connection, what: Projection, stream: Given, wire: str) -> None:
    with transaction(target):
        load.fill(target, what.table, what.fields, stream, wire, what.label)


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize(
    "line",
    [
        b"1\t1.005\tabc\t2024-01-01 00:00:00\n",
        b"1\t1000\tabc\t2024-01-01 00:00:00\n",
        b"1\t1\tabcd\t2024-01-01 00:00:00\n",
        b"x\t1\tabc\t2024-01-01 00:00:00\n",
        b"1\t\\N\tabc\t2024-01-01 00:00:00\n",
        b"1\t1\tabc\t\\N\n",
        b"1\t1\tabc\tsoon\n",
        b"1\t1\t\xff\xfe\t2024-01-01 00:00:00\n",
    ],
)
def test_a_bent_value_is_refused(my_db: MySQLDatabase, line: bytes, local: bool) -> None:
    small(my_db)
    what = projected("u", SMALL)
    my_db.server.run(f"SET GLOBAL local_infile = {int(local)}")
    try:
        with session(my_db) as target:
            execute(target, "START TRANSACTION")
            with pytest.raises(
                (BadValue, MySQLdb.DataError, MySQLdb.IntegrityError, MySQLdb.OperationalError)
            ) as told:
                load.fill(target, "u", what.fields, Given(line), relay.OWN, "u")
            assert "abcd" not in str(told.value)
    finally:
        my_db.server.run("SET GLOBAL local_infile = 1")
    assert my_db.value("SELECT COUNT(*) FROM u") == 0


@pytest.mark.parametrize("local", [True, False])
def test_no_number_is_made_up(my_db: MySQLDatabase, local: bool) -> None:
    """A server gives a NULL of an AUTO_INCREMENT column the next number, and does not tell."""
    my_db.execute("CREATE TABLE u (n INT AUTO_INCREMENT UNIQUE, id INT PRIMARY KEY, `blob` BLOB)")
    what = projected("u", columns_of(id="int", n="int", blob="blob"))
    my_db.server.run(f"SET GLOBAL local_infile = {int(local)}")
    try:
        with session(my_db) as target:
            filling(target, what, Given(b"1\t0\t00\n2\t7\t\\N\n"), relay.OWN)
            with pytest.raises(BadValue, match="n"):
                filling(target, what, Given(b"3\t8\t00\n4\t\\N\t00\n"), relay.OWN)
    finally:
        my_db.server.run("SET GLOBAL local_infile = 1")
    assert my_db.rows("SELECT id, n FROM u ORDER BY id") == [(1, 0), (2, 7)]


@pytest.mark.parametrize("wire", [relay.OWN, relay.TEXT])
def test_a_key_that_comes_twice(my_db: MySQLDatabase, wire: str) -> None:
    small(my_db)
    what = projected("u", SMALL)
    line = b"7\t1\tabc\t2024-01-01 00:00:00\n"
    with session(my_db) as target, pytest.raises(Duplicate, match="PRIMARY"):
        filling(target, what, Given(line, line), wire)
    assert my_db.value("SELECT COUNT(*) FROM u") == 0


def test_rows_that_are_missing_are_noticed(my_db: MySQLDatabase) -> None:
    small(my_db)
    line = b"7\t1\tabc\t2024-01-01 00:00:00\n"
    with session(my_db) as target, pytest.raises(Mismatch, match="sent 2 rows"):
        filling(target, projected("u", SMALL), Given(line, rows=2), relay.OWN)


def test_a_source_that_fails_in_the_middle(my_db: MySQLDatabase) -> None:
    small(my_db)
    lines = [b"%d\t1\tabc\t2024-01-01 00:00:00\n" % n for n in range(1000)]
    with session(my_db) as target:
        execute(target, "START TRANSACTION")
        with pytest.raises(ZeroDivisionError):
            load.fill(
                target,
                "u",
                projected("u", SMALL).fields,
                Given(*lines, ZeroDivisionError(), *lines),
                relay.OWN,
                "u",
            )
        execute(target, "ROLLBACK")
        assert one(target, "SELECT COUNT(*) FROM u") == ("0",)


def test_a_load_that_ends_before_it_opens_its_file(my_db: MySQLDatabase) -> None:
    line = b"7\t1\tabc\t2024-01-01 00:00:00\n"
    begun = time.monotonic()
    with session(my_db) as target, pytest.raises(MySQLdb.ProgrammingError, match="nowhere"):
        load.load(target, "nowhere", projected("u", SMALL).fields, Given(line), relay.OWN, "u")
    assert time.monotonic() - begun < 5


def test_a_source_that_fails_before_its_first_row(my_db: MySQLDatabase) -> None:
    small(my_db)
    fields = projected("u", SMALL).fields
    with session(my_db) as target:
        with pytest.raises(ZeroDivisionError):
            load.load(target, "u", fields, Given(ZeroDivisionError()), relay.OWN, "u")
        assert one(target, "SELECT COUNT(*) FROM u") == ("0",)


def test_a_server_that_ends_the_session_while_it_loads(my_db: MySQLDatabase) -> None:
    small(my_db)
    with session(my_db) as target:
        (own,) = one(target, "SELECT CONNECTION_ID()")

        class Killing(Given):
            def __iter__(self):  # type: ignore[no-untyped-def]
                yield b"1\t1\tabc\t2024-01-01 00:00:00\n"
                my_db.execute(f"KILL {own}")
                time.sleep(0.2)
                for n in range(2, 500_000):
                    yield b"%d\t1\tabc\t2024-01-01 00:00:00\n" % n

        with pytest.raises(MySQLdb.Error):
            load.load(target, "u", projected("u", SMALL).fields, Killing(), relay.OWN, "u")
    assert my_db.value("SELECT COUNT(*) FROM u") == 0


def test_what_postgres_sends(my_db: MySQLDatabase) -> None:
    columns = columns_of(id="int", text="text", blob="blob", bits="bit(4)")
    my_db.execute("CREATE TABLE u (id INT PRIMARY KEY, text TEXT, `blob` BLOB, bits BIT(4))")
    fields = projected("u", columns).fields
    csv = (
        b'"1","ab\\"c\\\\N,\n\t\r\x0b\x0c","\\\\x00ff","0101"\n'
        b'"2","","\\\\x",\\N\n'
        b'"3",\\N,\\N,"1111"\n'
        b'"4","NULL",\\N,\\N\n'
    )
    copy = (
        b'1\tab"c\\\\N,\\n\\t\\r\\v\\f\t\\\\x00ff\t0101\n'
        b"2\t\t\\\\x\t\\N\n"
        b"3\t\\N\t\\N\t1111\n"
        b"4\tNULL\t\\N\t\\N\n"
    )
    with session(my_db) as target:
        load.fill(target, "u", fields, Given(csv, rows=4), relay.CSV, "u")
        loaded = rows(target, "SELECT * FROM u ORDER BY id")
        execute(target, "DELETE FROM u")
        load.fill(target, "u", fields, Given(copy), relay.TEXT, "u")
        assert rows(target, "SELECT * FROM u ORDER BY id") == loaded
    assert loaded == [
        (b"1", b'ab"c\\N,\n\t\r\x0b\x0c', b"\x00\xff", b"\x05"),
        (b"2", b"", b"", None),
        (b"3", None, None, b"\x0f"),
        (b"4", b"NULL", None, None),
    ]


def test_statements_of_many_sizes(my_db: MySQLDatabase) -> None:
    my_db.execute("CREATE TABLE u (id INT PRIMARY KEY, text LONGTEXT)")
    fields = projected("u", columns_of(id="int", text="longtext")).fields
    sizes = [0, 1, insert.LARGEST // 2, insert.LARGEST * 2, 10, insert.LARGEST, 5]
    lines = b"".join(b"%d\t%s\n" % (n, b"'" * size) for n, size in enumerate(sizes))
    with session(my_db) as target:
        assert insert.insert(target, "u", fields, Given(lines), relay.OWN, "u") == len(sizes)
        assert rows(target, "SELECT LENGTH(text) FROM u ORDER BY id") == [
            (b"%d" % size,) for size in sizes
        ]


@pytest.mark.parametrize("wire", [relay.OWN, relay.TEXT])
def test_a_long_text_of_nothing_but_escapes(my_db: MySQLDatabase, wire: str) -> None:
    r"""A server would take minutes to escape it; what looks like a long text's mark is none."""
    text = "\t\\\n" * 100_000 + "\\H00"
    my_db.execute("CREATE TABLE t (id int PRIMARY KEY, body longtext, more text)")
    with closing(my_db.connect()) as connection:
        statement = "INSERT INTO t VALUES (1, %s, %s), (2, %s, %s)"
        connection.cursor().execute(statement, (text, "\\H41", "\\H41", "x" * 5000))
    with session(my_db) as connection:
        what = projected("t", columns_of(id="int", body="longtext", more="text"))
        (first, second) = b"".join(read(connection, what, wire)).removesuffix(b"\n").split(b"\n")
    cells = [line.split(b"\t") for line in (first, second)]
    assert cells[0][1] == b"\\t\\\\\\n" * 100_000 + b"\\\\H00"
    assert [cells[0][2], cells[1][1], cells[1][2]] == [b"\\\\H41", b"\\\\H41", b"x" * 5000]


@pytest.mark.parametrize("way", ["load", "insert"])
def test_a_row_larger_than_the_target_takes_in_a_statement(my_db: MySQLDatabase, way: str) -> None:
    """It arrives whole or is refused: never as NULL, never cut."""
    columns = columns_of(id="int", text="longtext", blob="longblob")
    for table in ("t", "u"):
        my_db.execute(f"CREATE TABLE {table} (id INT PRIMARY KEY, text LONGTEXT, `blob` LONGBLOB)")
    what = projected("t", columns)
    limit = my_db.value("SELECT @@GLOBAL.max_allowed_packet")
    with session(my_db) as source:
        execute(source, "INSERT INTO t VALUES (1, REPEAT('x', 3000000), REPEAT('y', 3000000))")
        my_db.server.run("SET GLOBAL max_allowed_packet = 1048576")
        try:
            with session(my_db) as target:
                stream = read(source, what)
                if way == "load":
                    assert load.load(target, "u", what.fields, stream, relay.OWN, "u") == 1
                else:
                    with pytest.raises(Refused, match="max_allowed_packet"):
                        insert.insert(target, "u", what.fields, stream, relay.OWN, "u")
        finally:
            my_db.server.run(f"SET GLOBAL max_allowed_packet = {limit}")
    if way == "load":
        with session(my_db) as there:
            assert one(
                there, "SELECT COUNT(*) FROM t JOIN u ON t.text = u.text AND t.`blob` = u.`blob`"
            ) == ("1",)
