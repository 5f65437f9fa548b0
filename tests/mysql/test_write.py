"""Batches into MySQL: what only its indexes, collations and values can do to them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import MySQLdb
import pytest

from dsp_airflow.engine.errors import BadValue, Collision, Mismatch, Refused, Transient
from dsp_airflow.engine.model import Digest, KeyRange, OnConflict, Origin, Projection, Written
from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.ports import Stream
from dsp_airflow.engine.stores.mysql import login, proof, relay, sequences, write
from dsp_airflow.engine.stores.mysql.query import Connection, execute, rows, texts
from tests.mysql.streams import ALL, Given, columns_of, projected, read, session
from tests.mysql.test_load import WIDE, compared, filled, make
from tests.servers import MySQLDatabase

MARKER = ("run 1", "job's %\\", 3)
ITEMS = columns_of(id="int", name="varchar(20)", size="double")
WHAT = projected("t", ITEMS)


def nothing() -> None:
    """A fence that holds."""


def put(
    connection: Connection,
    stream: Stream,
    *,
    what: Projection = WHAT,
    on_conflict: OnConflict = "update",
    direct: bool = False,
    marker: tuple[str, str, int] | None = None,
    within: KeyRange = ALL,
    digest: bool = True,
) -> Written:
    return write.write(
        connection,
        what,
        within,
        stream,
        wire=relay.OWN,
        on_conflict=on_conflict,
        ordered_alike=True,
        origin=Origin(Digest(0, 0, "md5") if digest else None),
        marker=marker,
        fence=nothing,
        direct=direct,
    )


def items(database: MySQLDatabase, *more: str, key: str = "id INT PRIMARY KEY") -> None:
    database.execute(
        f"CREATE TABLE t ({key}, name VARCHAR(20), size DOUBLE{''.join(', ' + m for m in more)}) "
        "CHARACTER SET utf8mb4"
    )


def counts(done: Written) -> tuple[int, ...]:
    return done.rows, done.inserted, done.updated, done.unchanged, done.ignored, done.unlike


@pytest.mark.parametrize("direct", [True, False])
def test_hostile_values_are_written_and_found_unchanged(my_db: MySQLDatabase, direct: bool) -> None:
    make(my_db)
    what = projected("t", WIDE)
    with session(my_db) as source, session(my_db) as target:
        filled(source)
        for expected in ("inserted", "unchanged"):
            done = put(target, read(source, what), what=replace(what, table="`u`"), direct=direct)
            assert getattr(done, expected) == done.rows > 10
        assert compared(target, "u") == compared(target, "t")


def test_each_difference_is_an_update(my_db: MySQLDatabase) -> None:
    make(my_db)
    what, there = projected("t", WIDE), projected("u", WIDE)
    changes = {
        "text": "CONCAT(UPPER(text), ' ')",
        "latin": "UPPER(latin)",
        "blob": "CONCAT(`blob`, X'00')",
        "bits": "bits + 1",
        "number": "number + 0.000001",
        "single": "single * (1 + 1e-7)",
        "double": "`double` * (1 + 2.3e-16)",
        "clock": "ADDTIME(clock, '00:00:00.000001')",
        "choice": "''",
        "some": "'x'",
        "tree": "'{\"a\\\\n\": [1.0, 1.5]}'",
        "place": "ST_GeomFromText('POINT(1 3)', 4326)",
        "day": "NULL",
    }
    with session(my_db) as source, session(my_db) as target:
        filled(source)
        put(target, read(source, what), what=there)
        for column, value in changes.items():
            execute(source, f"UPDATE t SET `{column}` = {value} WHERE id = 3")
            done = put(target, read(source, what), what=there)
            assert (column, done.updated, done.inserted) == (column, 1, 0)
            assert compared(target, "u") == compared(target, "t")


@pytest.mark.parametrize("on_conflict", ["update", "ignore"])
def test_new_changed_and_standing_rows(my_db: MySQLDatabase, on_conflict: OnConflict) -> None:
    items(my_db)
    my_db.execute("INSERT INTO t VALUES (2, 'b', 2), (3, 'c', 3), (4, 'other', 4), (50, 'far', 5)")
    within = KeyRange(None, ("10",))
    with session(my_db) as target:
        before = proof.digest(target, WHAT, KeyRange(("3",), ("10",)))
        done = put(
            target,
            Given(b"1\ta\t1\n2\tB\t2\n3\tc\t3\n"),
            within=within,
            on_conflict=on_conflict,
        )
        found = rows(target, "SELECT name FROM t ORDER BY id")
        standing = proof.digest(target, WHAT, within)
        execute(target, "DELETE FROM t")
        put(target, Given(b"1\ta\t1\n2\tB\t2\n3\tc\t3\n"))
        sent = proof.digest(target, WHAT, ALL)
    assert done.others == before
    assert standing == sent + done.others + (done.instead or Digest(0, 0, "md5"))
    if on_conflict == "update":
        assert counts(done) == (3, 1, 1, 1, 0, 0)
        assert found == [(b"a",), (b"B",), (b"c",), (b"other",), (b"far",)]
    else:
        assert counts(done) == (3, 1, 0, 0, 2, 1)
        assert found == [(b"a",), (b"b",), (b"c",), (b"other",), (b"far",)]


def test_error_names_the_key(my_db: MySQLDatabase) -> None:
    items(my_db)
    my_db.execute("INSERT INTO t VALUES (2, 'b', 2)")
    with session(my_db) as target, pytest.raises(BadValue, match=r"key \(2\) already"):
        put(target, Given(b"1\ta\t1\n2\tb\t2\n"), on_conflict="error")
    assert my_db.value("SELECT COUNT(*) FROM t") == 1


@pytest.mark.parametrize(
    ("on_conflict", "line"),
    [
        ("update", b"1\tx\t1\n"),
        ("ignore", b"1\tx\t1\n"),
        ("error", b"1\tx\t1\n"),
        ("update", b"2\ttaken\t1\n"),
    ],
)
def test_a_secondary_unique_index_takes_no_other_row(
    my_db: MySQLDatabase, on_conflict: OnConflict, line: bytes
) -> None:
    """The batch's value stands in a row that is not of the batch."""
    items(my_db, "UNIQUE KEY named (name)")
    my_db.execute("INSERT INTO t VALUES (2, 'b', 2), (7, 'taken', 7), (8, 'x', 8)")
    before = my_db.rows("SELECT * FROM t ORDER BY id")
    with session(my_db) as target, pytest.raises(BadValue, match="named"):
        put(target, Given(b"0\tnew\t0\n" + line), on_conflict=on_conflict)
    assert my_db.rows("SELECT * FROM t ORDER BY id") == before


def test_a_direct_load_that_meets_a_row_is_sent_again(my_db: MySQLDatabase) -> None:
    items(my_db, "UNIQUE KEY named (name)")
    with session(my_db) as target:
        with pytest.raises(Collision):
            put(target, Given(b"1\ta\t1\n2\ta\t2\n"), direct=True)
        with pytest.raises(BadValue, match="named"):
            put(target, Given(b"1\ta\t1\n2\ta\t2\n"), direct=False)
    assert my_db.value("SELECT COUNT(*) FROM t") == 0


NAMED = projected("t", columns_of(name="varchar(20)", size="double"))


@pytest.mark.parametrize("on_conflict", ["update", "ignore", "error"])
@pytest.mark.parametrize("other", [b"A", b"\xc3\xa4"])
def test_keys_that_the_target_takes_for_one(
    my_db: MySQLDatabase, on_conflict: OnConflict, other: bytes
) -> None:
    my_db.execute(
        "CREATE TABLE t (name VARCHAR(20) COLLATE utf8mb4_unicode_ci PRIMARY KEY, size DOUBLE)"
    )
    with session(my_db) as target:
        with pytest.raises(BadValue, match=r"'.' and '.' are one key"):
            put(
                target,
                Given(b"a\t1\n" + other + b"\t2\n"),
                what=NAMED,
                on_conflict=on_conflict,
            )
        execute(target, "INSERT INTO t VALUES ('a', 1)")
        told = f"'{other.decode()}' and 'a' are one key"
        with pytest.raises(BadValue, match=told):
            put(target, Given(other + b"\t2\n"), what=NAMED, on_conflict=on_conflict)
        assert texts(target, "SELECT * FROM t") == [("a", "1")]


def test_a_key_that_comes_twice(my_db: MySQLDatabase) -> None:
    my_db.execute("CREATE TABLE t (id INT, name VARCHAR(20), size DOUBLE)")
    with session(my_db) as target, pytest.raises(BadValue, match=r"key \(1\) came twice"):
        put(target, Given(b"1\ta\t1\n1\ta\t1\n"))


def test_a_repeated_batch_is_recognised(my_db: MySQLDatabase) -> None:
    items(my_db)
    with session(my_db) as target:
        assert write.prepare_markers(target, WHAT)
        assert write.prepare_markers(target, WHAT)
        first = put(target, Given(b"1\ta\t1\n"), marker=MARKER, direct=True)
        again = put(target, Given(ZeroDivisionError()), marker=MARKER)
        assert again == replace(first, recovered=True)
        write.forget_markers(target, WHAT, *MARKER[:2])
        assert not put(target, Given(b"1\ta\t1\n"), marker=MARKER).recovered


def test_the_same_batch_by_several_workers_is_written_once(my_db: MySQLDatabase) -> None:
    items(my_db)
    with session(my_db) as target:
        write.prepare_markers(target, WHAT)

    def work(_: int) -> Written:
        with session(my_db) as own:
            return put(own, Given(b"1\ta\t1\n2\tb\t2\n"), marker=MARKER, on_conflict="error")

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(work, range(4)))
    assert sorted(written.recovered for written in done) == [False, True, True, True]


@pytest.mark.parametrize("direct", [True, False])
def test_what_fails_writes_nothing(my_db: MySQLDatabase, direct: bool) -> None:
    items(my_db)
    lines = b"".join(b"%d\ta\t1\n" % n for n in range(5000))
    with session(my_db) as target:
        write.prepare_markers(target, WHAT)
        for stream, error in (
            (Given(lines, ZeroDivisionError()), ZeroDivisionError),
            (Given(lines, rows=5001), Mismatch),
            (Given(lines, b"5000\ta\tmuch\n"), BadValue),
        ):
            with pytest.raises(error):
                put(target, stream, marker=MARKER, direct=direct)
            assert my_db.value("SELECT COUNT(*) FROM t") == 0
            assert my_db.value("SELECT COUNT(*) FROM dsp_commits") == 0
        assert put(target, Given(lines), marker=MARKER, direct=direct).inserted == 5000


def test_the_fence_prevents_the_commit(my_db: MySQLDatabase) -> None:
    items(my_db)

    def fence() -> None:
        raise Transient("somebody else")

    with session(my_db) as target, pytest.raises(Transient, match="somebody else"):
        write.write(
            target,
            WHAT,
            ALL,
            Given(b"1\ta\t1\n"),
            wire=relay.OWN,
            on_conflict="update",
            ordered_alike=True,
            origin=Origin(),
            marker=None,
            fence=fence,
        )
    assert my_db.value("SELECT COUNT(*) FROM t") == 0


def test_a_trigger_that_keeps_rows_as_they_are(my_db: MySQLDatabase) -> None:
    items(my_db)
    my_db.execute(
        "INSERT INTO t VALUES (1, 'a', 1)",
        "CREATE TRIGGER keeping BEFORE UPDATE ON t FOR EACH ROW SET NEW.name = OLD.name",
    )
    with session(my_db) as target, pytest.raises(Mismatch, match="a trigger there"):
        put(target, Given(b"1\tb\t1\n"))


def test_without_a_key_only_an_empty_table_is_filled(my_db: MySQLDatabase) -> None:
    my_db.execute("CREATE TABLE t (id INT, name VARCHAR(20), size DOUBLE)")
    keyless = projected("t", ITEMS, width=0)
    with session(my_db) as target:
        assert put(target, Given(b"1\ta\t1\n1\ta\t1\n"), what=keyless).inserted == 2
        with pytest.raises(Refused, match="without a key"):
            put(target, Given(b"1\ta\t1\n"), what=keyless)


def test_wide_and_many_key_columns(my_db: MySQLDatabase) -> None:
    columns = columns_of(
        a="varchar(500)", b="varbinary(400)", c="bigint unsigned", d="date", e="char(3)", f="int"
    )
    my_db.execute(
        "CREATE TABLE t (a VARCHAR(500), b VARBINARY(400), c BIGINT UNSIGNED, d DATE, e CHAR(3), "
        "f INT, PRIMARY KEY (a, b, c, d, e)) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    )
    what = projected("t", columns, width=5)
    line = b"x" * 500 + b"\t" + b"00" * 400 + b"\t18446744073709551615\t2024-01-01\tabc\t"
    with session(my_db) as target:
        assert put(target, Given(line + b"1\n"), what=what).inserted == 1
        assert put(target, Given(line + b"1\n"), what=what).unchanged == 1
        assert put(target, Given(line + b"2\n"), what=what).updated == 1


@pytest.mark.parametrize("on_conflict", ["update", "ignore", "error"])
def test_a_row_that_comes_while_the_batch_is_merged(
    my_db: MySQLDatabase, on_conflict: OnConflict
) -> None:
    """An update waits for whoever holds the key; the others are sent again."""
    items(my_db)
    given = b"1\tours\t1\n2\tours\t2\n"
    with session(my_db) as other, session(my_db) as target, ThreadPoolExecutor(1) as pool:
        execute(other, "START TRANSACTION")
        execute(other, "INSERT INTO t VALUES (1, 'theirs', 0)")
        writing = pool.submit(put, target, Given(given), on_conflict=on_conflict)
        threading.Event().wait(0.5)
        assert not writing.done()
        execute(other, "COMMIT")
        if on_conflict == "update":
            assert counts(writing.result()) == (2, 1, 1, 0, 0, 0)
        else:
            with pytest.raises(Transient, match="meanwhile"):
                writing.result()
            assert texts(target, "SELECT name FROM t") == [("theirs",)]


def test_markers_that_may_not_be_made(my_db: MySQLDatabase) -> None:
    items(my_db)
    my_db.execute(
        "CREATE USER IF NOT EXISTS reader IDENTIFIED BY 'reader'",
        f"GRANT SELECT, INSERT ON `{my_db.name}`.t TO reader",
    )
    arguments = {**my_db.arguments, "user": "reader", "passwd": "reader"}
    connection = login.connect(arguments, SessionOptions(), "here")
    with closing(connection):
        assert not write.prepare_markers(connection, WHAT)


def test_a_table_is_created_once(my_db: MySQLDatabase) -> None:
    ddl = ["CREATE TABLE `t` (id INT PRIMARY KEY)"]

    def work(_: int) -> None:
        with session(my_db) as own:
            write.create(own, ddl, "`t`")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    assert my_db.value("SELECT COUNT(*) FROM t") == 0


def test_rows_that_match_a_filter(my_db: MySQLDatabase) -> None:
    with session(my_db) as target:
        what = replace(WHAT, where="`size` > 1 AND `name` = 'A'")
        given = Given(b"1\tA\t1\n2\tA\t2\n3\ta\t3\n4\tA\t\\N\n")
        assert write.matching(target, what, given, wire=relay.OWN) == [("2",)]


def test_auto_increment_needs_no_help(my_db: MySQLDatabase) -> None:
    items(my_db, key="id INT AUTO_INCREMENT PRIMARY KEY")
    with session(my_db) as target:
        put(target, Given(b"0\tzero\t0\n7\ta\t1\n"), direct=True)
        put(target, Given(b"9\tb\t1\n"))
        assert sequences.move(target, WHAT) == []
        execute(target, "INSERT INTO t (name) VALUES ('next')")
        assert rows(target, "SELECT id FROM t ORDER BY id") == [(b"0",), (b"7",), (b"9",), (b"10",)]


def test_a_sequence_is_moved(mariadb_db: MySQLDatabase) -> None:
    mariadb_db.execute("CREATE SEQUENCE s")
    items(mariadb_db, key="id INT DEFAULT NEXTVAL(s) PRIMARY KEY")
    what = replace(WHAT, table=f"`{mariadb_db.name}`.`t`")
    with session(mariadb_db) as target:
        put(target, Given(b"7\ta\t1\n"), what=what)
        assert sequences.move(target, what, dry=True) == []
        [told] = sequences.move(target, what)
        assert told.endswith("moved to 7")
        assert sequences.move(target, what) == []
        execute(target, "INSERT INTO t (name) VALUES ('next')")
        assert rows(target, "SELECT MAX(id) FROM t") == [(b"8",)]


def test_a_lost_session_writes_nothing(my_db: MySQLDatabase) -> None:
    items(my_db)
    with session(my_db) as target:
        (own,) = rows(target, "SELECT CONNECTION_ID()")[0]

        class Killing(Given):
            def __iter__(self):  # type: ignore[no-untyped-def]
                yield from super().__iter__()
                my_db.execute(f"KILL {(own or b'').decode()}")

        with pytest.raises(MySQLdb.Error):
            put(target, Killing(b"1\ta\t1\n"), direct=True)
    assert my_db.value("SELECT COUNT(*) FROM t") == 0
