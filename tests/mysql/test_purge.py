"""Purge transactions beside others that change the same rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import MySQLdb
import pytest

from dsp_airflow.engine.compare import digest_of
from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.model import Digest, KeyRange
from dsp_airflow.engine.stores.mysql import proof, tables
from dsp_airflow.engine.stores.mysql.purge import MySQLPurge, outcome
from dsp_airflow.engine.stores.mysql.query import Connection, execute, one, texts
from tests.mysql.conftest import Connect
from tests.mysql.tables import projection

ALL = KeyRange(None, ("100",))


@pytest.fixture(autouse=True)
def table(connection: Connection) -> None:
    execute(connection, "CREATE TABLE t (id INT PRIMARY KEY, v INT)")
    execute(connection, "INSERT INTO t VALUES (10, 1), (20, 2), (30, 3), (200, 4)")


@contextmanager
def purging(connection: Connection) -> Iterator[MySQLPurge]:
    work = MySQLPurge(connection)
    try:
        yield work
    finally:
        work.close()


def ids(connection: Connection) -> list[str | None]:
    return [row[0] for row in texts(connection, "SELECT id FROM t ORDER BY id")]


@contextmanager
def between(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> Iterator[None]:
    """Does something after the rows were locked and before they are deleted, once."""
    plain, todo = MySQLPurge._delete, [act]

    def delete(self: MySQLPurge, what: object, matching: str) -> int:
        while todo:
            todo.pop()()
        return plain(self, what, matching)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(MySQLPurge, "_delete", delete)
        yield


def test_what_is_taken_is_digested_and_final_after_the_commit(
    connect: Connect, connection: Connection
) -> None:
    session = connect()
    what = projection(session, "t", "id")
    expected = proof.digest(session, what, ALL)
    with purging(session) as work:
        assert work.take(what, ALL) == expected
        assert ids(connection) == ["10", "20", "30", "200"]
        token = work.token()
        assert outcome(connection, token) == "running"
        work.commit()
    assert ids(connection) == ["200"]
    assert outcome(connection, token) == "unknown"
    assert one(session, "SELECT @@autocommit")[0] == "1"


def test_whoever_asks_is_told_between_the_locks_and_the_deletion(
    connect: Connect, connection: Connection
) -> None:
    session, other = connect(), connect()
    execute(other, "SET innodb_lock_wait_timeout = 1")
    what = projection(session, "t", "id")
    told: list[Digest] = []

    def locked(taken: Digest) -> None:
        told.append(taken)
        with pytest.raises(MySQLdb.OperationalError, match="Lock wait timeout"):
            execute(other, "UPDATE t SET v = v + 1 WHERE id = 10")
        assert one(session, "SELECT COUNT(*) FROM t")[0] == "4"

    with purging(session) as work:
        assert [work.take(what, ALL, locked)] == told
        assert one(session, "SELECT COUNT(*) FROM t")[0] == "1"
    assert len(ids(connection)) == 4


def test_leaving_without_a_commit_changes_nothing(connect: Connect, connection: Connection) -> None:
    session = connect()
    what = projection(session, "t", "id")
    with purging(session) as work:
        assert work.take(what, ALL)
    assert len(ids(connection)) == 4
    with purging(session) as work:
        work.take(what, ALL)
        work.undo()
        (row,) = work.take_keys(what, [("20",)])
        assert row.at == ("20",)
        work.commit()
    assert ids(connection) == ["10", "30", "200"]
    lost = connect()
    work = MySQLPurge(lost)
    work.take(what, ALL)
    token = work.token()
    lost.close()
    until = time.monotonic() + 10
    while outcome(connection, token) == "running" and time.monotonic() < until:
        time.sleep(0.02)
    assert outcome(connection, token) == "unknown"
    assert ids(connection) == ["10", "30", "200"]


def test_a_row_that_appears_is_not_deleted(
    connect: Connect, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = connect()
    what = projection(session, "t", "id")

    def appear() -> None:
        execute(connection, "INSERT INTO t VALUES (15, 9)")

    with purging(session) as work, between(monkeypatch, appear):
        assert work.take(what, ALL) is None
        work.undo()
        assert len(ids(connection)) == 5
        assert len(work.take_keys(what, [("10",), ("20",)])) == 2
        work.commit()
    assert ids(connection) == ["15", "30", "200"]


def test_a_row_that_appears_under_a_key_is_hashed_too(
    connect: Connect, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = connect()
    what = projection(session, "t", "id")

    def appear() -> None:
        execute(connection, "INSERT INTO t VALUES (15, 9)")

    with purging(session) as work, between(monkeypatch, appear):
        rows = work.take_keys(what, [("10",), ("15",)])
        assert [row.at for row in rows] == [("10",), ("15",)]
        work.commit()
    assert ids(connection) == ["20", "30", "200"]


def test_what_is_locked_does_not_change(
    connect: Connect, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, hasty = connect(), connect(lock=1)
    what = projection(session, "t", "id", where="v < 4")

    def change() -> None:
        for statement in ("UPDATE t SET v = 9 WHERE id = 20", "DELETE FROM t WHERE id = 20"):
            with pytest.raises(MySQLdb.OperationalError):
                execute(hasty, statement)

    with purging(session) as work, between(monkeypatch, change):
        taken = work.take(what, ALL)
        assert taken is not None
        assert taken.rows == 3


def test_a_change_that_is_waited_for_is_seen(connect: Connect, connection: Connection) -> None:
    session = connect()
    what = projection(session, "t", "id", where="v < 4")
    execute(connection, "START TRANSACTION")
    execute(connection, "UPDATE t SET v = 0 WHERE id = 10")
    execute(connection, "UPDATE t SET v = 9 WHERE id = 20")
    later = threading.Timer(1, execute, (connection, "COMMIT"))
    later.start()
    with purging(session) as work:
        taken = work.take(what, ALL)
        later.join()
        assert taken is not None
        assert taken.rows == 2
        work.undo()
        rows = work.take_keys(what, [("10",), ("20",), ("30",)])
        assert digest_of(rows) == taken
        work.commit()
    assert ids(connection) == ["20", "200"]


def test_a_deadlock_undoes_all_and_nothing_is_committed_by_itself(
    connect: Connect, connection: Connection
) -> None:
    session, hasty = connect(), connect()
    what = projection(session, "t", "id")
    # The other one has changed more rows, so that the server ends ours.
    execute(hasty, "CREATE TABLE many (id INT PRIMARY KEY)")
    values = ", ".join(f"({n})" for n in range(2000))
    execute(hasty, "START TRANSACTION")
    execute(hasty, f"INSERT INTO many VALUES {values}")
    execute(hasty, "UPDATE t SET v = 7 WHERE id = 30")
    with purging(session) as work:
        assert len(work.take_keys(what, [("10",)])) == 1
        waiting = threading.Timer(0.5, execute, (hasty, "UPDATE t SET v = 7 WHERE id = 10"))
        waiting.start()
        assert work.take(what, ALL) is None
        waiting.join()
        execute(hasty, "ROLLBACK")
        # Without START TRANSACTION it would be final at once.
        execute(session, "DELETE FROM t WHERE id = 20")
    assert ids(connection) == ["10", "20", "30", "200"]


def test_a_table_that_brings_nothing_back_is_left_alone(
    connect: Connect, connection: Connection
) -> None:
    session = connect()
    what = projection(session, "t", "id")
    execute(connection, "ALTER TABLE t ENGINE = MyISAM")
    with purging(session) as work:
        with pytest.raises(Refused, match="no rows that can be locked"):
            work.take(what, ALL)
        work.undo()
        with pytest.raises(Refused, match="no rows that can be locked"):
            work.take_keys(what, [("10",)])
    assert len(ids(connection)) == 4


def test_a_fingerprint_commits_nothing(connect: Connect, connection: Connection) -> None:
    session = connect()
    what = projection(session, "t", "id")
    before = tables.fingerprint(session, "t")
    with purging(session) as work:
        work.take(what, ALL)
        assert tables.fingerprint(session, "`t`") == before
    assert len(ids(connection)) == 4
