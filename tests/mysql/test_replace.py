"""``mode: replace`` on MariaDB and MySQL: who sees what, what is kept, what is refused."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import MySQLdb
import pytest

from dsp_airflow.approval.gate import OpenGate
from dsp_airflow.engine import swap
from dsp_airflow.engine.errors import Refused, Transient
from dsp_airflow.engine.events import BatchDone, Quiet
from dsp_airflow.engine.stores.mysql.query import Connection
from dsp_airflow.state import swaps
from dsp_airflow.steps import TaskRun
from tests.engine.harness import store_at
from tests.faults.tables import fill
from tests.mysql.pairs import Pair
from tests.mysql.test_values import named, pair
from tests.servers import MySQLDatabase
from tests.share import share

__all__ = ["pair"]

ROWS = 3000
OLD, NEW = (300, "old", "old"), (ROWS, "name 1", "name 999")
LOOK = "SELECT COUNT(*), MIN(name), MAX(name) FROM t"
DEFINITION_CHANGED = 1412
FROM = [("mariadb", "mariadb"), ("pg18", "mysql"), ("mysql", "mysql")]

TARGET = (
    """CREATE TABLE t (id BIGINT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(100) COMMENT 'of it',
         amount DECIMAL(12,2) DEFAULT 7, at DATETIME(6), data VARBINARY(16),
         doubled DECIMAL(13,2) AS (amount * 2) STORED, note TEXT,
         CONSTRAINT positive CHECK (amount >= 0), UNIQUE once (name, id), FULLTEXT (note),
         KEY backwards (at, id)) ENGINE=InnoDB COMMENT 'what it''s for' ROW_FORMAT=COMPRESSED
         CHARACTER SET utf8mb4 AUTO_INCREMENT = 90001""",
    """INSERT INTO t (id, name) SELECT n, 'old' FROM (SELECT @n := @n + 1 AS n FROM
       information_schema.COLUMNS, (SELECT @n := 0) AS start LIMIT 300) AS numbers""",
    "CREATE VIEW v AS SELECT id FROM t",
)


def begun(pair: Pair, watch: Any = None, **job: Any) -> TaskRun:
    """Copied and checked, beside a target of old rows."""
    fill(pair.source, ROWS)
    pair.target.execute(*TARGET)
    pair.write(pair.job(mode="replace", batch_size=1000, check={"percent": 100}, **job))
    run = pair.open()
    run.watch = watch or Quiet()
    for step in (run.plan, run.copy, run.check):
        step("copy")
    return run


def state_of(target: MySQLDatabase) -> str:
    [seen] = target.rows(LOOK)
    return {OLD: "old", NEW: "new"}[seen]


def tables(target: MySQLDatabase) -> set[str]:
    return {str(row[0]) for row in target.rows("SHOW FULL TABLES WHERE Table_type = 'BASE TABLE'")}


def definition(target: MySQLDatabase) -> str:
    """But for the counter, and the name of a check, which a schema of MySQL has only once."""
    text = str(target.rows("SHOW CREATE TABLE t")[0][1])
    return re.sub(r" AUTO_INCREMENT=\d+|CONSTRAINT `\w+` CHECK", "", text)


@contextmanager
def reading(target: MySQLDatabase) -> Iterator[list[str]]:
    """Readers that look all the time, some by a snapshot from before; what they have seen."""
    seen: list[str] = []
    failed: list[BaseException] = []
    stop = threading.Event()

    def look(connection: Any) -> tuple[Any, ...] | None:
        with connection.cursor() as cursor:
            try:
                cursor.execute(LOOK)
                return tuple(cursor.fetchone())
            except MySQLdb.Error as error:
                if error.args[0] != DEFINITION_CHANGED:
                    raise
                return None

    def read(begin: str, pause: float) -> None:
        try:
            with target.connect() as connection:
                while not stop.is_set():
                    with connection.cursor() as cursor:
                        cursor.execute(begin)
                        stop.wait(pause)
                        rows = look(connection)
                        assert rows in (OLD, NEW, None)
                        assert rows is not None or pause
                        cursor.execute("COMMIT")
                    seen.append("denied" if rows is None else {OLD: "old", NEW: "new"}[rows])
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    snapshot = "START TRANSACTION WITH CONSISTENT SNAPSHOT"
    readers = [
        threading.Thread(target=read, args=args)
        for args in ((("START TRANSACTION"), 0), (snapshot, 0.05), (snapshot, 1.0), (snapshot, 3.0))
    ]
    for reader in readers:
        reader.start()
    try:
        yield seen
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    if failed:
        raise failed[0]


@named(FROM)
def test_readers_see_the_old_table_or_the_new_one_with_all_that_the_old_one_had(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = pair.target
    fill(pair.source, ROWS)
    target.execute(*TARGET)
    before = definition(target)
    lost: list[int] = []
    monkeypatch.setattr(OpenGate, "removing", lambda _gate, _plan, count: lost.append(count()))
    pair.write(pair.job(mode="replace", batch_size=200, check={"percent": 100}))
    with reading(target) as seen:
        (job,) = pair.run().jobs
        told = len(seen)
        while len(seen) < told + 10:
            threading.Event().wait(0.05)
    assert (job.state, job.rows_checked) == ("succeeded", ROWS)
    assert {"old", "new"} <= set(seen)
    # Right before the swap the gate is asked about the rows that go with the old table.
    assert lost == [OLD[0]]
    assert tables(target) == {"t", "dsp_commits"}
    assert definition(target) == before
    assert target.value("SELECT COUNT(*) FROM v") == ROWS
    assert target.value("SELECT COUNT(*) FROM dsp_commits") == 0
    target.execute("INSERT INTO t (name) VALUES ('next')")
    assert target.value("SELECT MAX(id) FROM t") >= 90001


class Snapshots:
    """Takes one before the first batch, one in the middle, and one when all rows are copied."""

    def __init__(self, target: MySQLDatabase) -> None:
        self.target = target
        self.taken: list[Any] = []
        self.take()

    def take(self) -> None:
        self.taken.append(self.target.connect())
        with self.taken[-1].cursor() as cursor:
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")

    def on(self, event: object) -> None:
        if isinstance(event, BatchDone) and event.phase == "copy" and event.number in (1, 3):
            self.take()


@named(FROM[:2])
def test_a_snapshot_from_before_the_table_was_filled_is_told_so(pair: Pair) -> None:
    """The rows that it knows of are none, or a few: the server does not show these."""
    snapshots = Snapshots(pair.target)
    run = begun(pair, snapshots)
    assert run.swap("copy").state == "succeeded"
    for number, connection in enumerate(snapshots.taken):
        with closing(connection), connection.cursor() as cursor:
            if number < 3 - 1:
                with pytest.raises(MySQLdb.Error, match=str(DEFINITION_CHANGED)):
                    cursor.execute(LOOK)
                continue
            with suppress(MySQLdb.OperationalError):
                cursor.execute(LOOK)
                assert tuple(cursor.fetchone()) == NEW
    assert len(snapshots.taken) == 3
    assert state_of(pair.target) == "new"


@named(FROM[:2])
def test_who_holds_the_target_and_what_depends_on_it_leave_it_as_it_was(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swap, "PAUSE", 0.1)
    run = begun(pair, timeouts={"lock": "1s"})
    target = pair.target
    with target.connect() as holder, holder.cursor() as cursor:
        cursor.execute("START TRANSACTION")
        cursor.execute(LOOK)
        with pytest.raises(Transient, match=r"SHOW PROCESSLIST shows whose.*Tried 3 times"):
            run.swap("copy")
        cursor.execute("COMMIT")
    for make, said, drop in (
        (
            "CREATE TABLE child (id BIGINT, CONSTRAINT mine FOREIGN KEY (id) REFERENCES t (id))",
            "mine",
            "DROP TABLE child",
        ),
        (
            "CREATE TRIGGER seen BEFORE INSERT ON t FOR EACH ROW SET NEW.note = 'x'",
            r"has triggers \(seen\)",
            "DROP TRIGGER seen",
        ),
        (
            "ALTER TABLE t ADD CONSTRAINT own FOREIGN KEY (id) REFERENCES parent (id)",
            r"has foreign keys \(own\)",
            "ALTER TABLE t DROP FOREIGN KEY own",
        ),
        ("ALTER TABLE t ALTER amount SET DEFAULT 8", "was altered since", "SELECT 1"),
    ):
        target.execute("CREATE TABLE IF NOT EXISTS parent AS SELECT id FROM t LIMIT 0")
        if "parent" in make:
            target.execute("DROP TABLE parent", "CREATE TABLE parent (id BIGINT PRIMARY KEY)")
            target.execute("INSERT INTO parent SELECT id FROM t")
        target.execute(make)
        with pytest.raises(Refused, match=said):
            run.swap("copy")
        assert state_of(target) == "old"
        if "altered" not in said:
            with pytest.raises(Refused, match=said):
                pair.open(new=True).plan("copy")
        target.execute(drop)


@named(FROM[:2])
def test_what_the_login_has_to_be_granted_is_told_and_is_enough(pair: Pair) -> None:
    fill(pair.source, ROWS)
    fill(pair.target, 300)
    target, schema, plain = pair.target, pair.target.name, pair.store
    login = f"w_{schema}"
    pair.store = lambda conn_id: (  # type: ignore[method-assign]
        plain(conn_id)
        if conn_id == "source"
        else store_at(conn_id, target.uri, user=login, password="secret_W1")
    )
    target.execute(
        f"CREATE USER {login} IDENTIFIED BY 'secret_W1'",
        f"GRANT CREATE TEMPORARY TABLES ON {schema}.* TO {login}",
        f"GRANT SELECT, INSERT, UPDATE ON {schema}.t TO {login}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON {schema}.dsp_commits TO {login}",
    )
    try:
        pair.write(pair.job(mode="replace", batch_size=1000))
        with pytest.raises(Refused) as refused:
            pair.open().plan("copy")
        told = re.findall(r"GRANT ([A-Z, ]+) ON (\S+) TO <login>", str(refused.value))
        assert told == [
            ("SELECT, INSERT, CREATE, ALTER, DROP, TRIGGER", f"{schema}.*"),
            ("PROCESS", "*.*"),
        ]
        before = target.rows(f"SHOW GRANTS FOR {login}")
        target.execute(*(f"GRANT {what} ON {where} TO {login}" for what, where in told))
        pair.run(new=True)
        assert target.value("SELECT COUNT(*) FROM t") == ROWS
        assert tables(target) == {"t", "dsp_commits"}
        # What is granted by the table's name is still so.
        assert set(before[2:]) <= set(target.rows(f"SHOW GRANTS FOR {login}"))
    finally:
        target.execute(f"DROP USER {login}")


CHANGES = re.compile(r"(?:CREATE|ALTER|RENAME|DROP|INSERT|DELETE|ANALYZE) ")
"""Statements that leave something."""


class Died(BaseException):
    """As a process does: nothing is tidied up."""


@contextmanager
def dying(target: MySQLDatabase, at: int) -> Iterator[None]:
    """The session of a swap ends before one of its statements, or after it (even numbers)."""
    plain = Connection.query
    count = 0

    def query(self: Connection, statement: Any) -> None:
        nonlocal count
        counted = b":swap */" in self.label and CHANGES.match(str(statement)) is not None
        count += counted
        falls = counted and count == -(-at // 2)
        if not falls or at % 2 == 0:
            plain(self, statement)
        if falls:
            target.execute(f"KILL {self.thread_id()}")
            raise Died

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "query", query)
        yield


def died(*_: object) -> None:
    raise Died


@named(FROM[:2])
@pytest.mark.parametrize("create", [False, True], ids=["there", "missing"])
def test_a_swap_that_dies_at_any_statement_leaves_the_old_table_or_the_new_one(
    pair: Pair, create: bool
) -> None:
    if create:
        fill(pair.source, ROWS)
        pair.write(pair.job(mode="replace", batch_size=1000))
        run = pair.open()
        for step in (run.plan, run.copy, run.check):
            step("copy")
    else:
        run = begun(pair)
    at, states = 1, []
    while True:
        try:
            with dying(pair.target, at):
                run.swap("copy")
        except Died:
            there = not create or "t" in tables(pair.target)
            states.append(state_of(pair.target) if there else "old")
        else:
            break
        at += share(1, 3)
    # None of them is neither, and there is no way back.
    assert states == sorted(states, reverse=True)
    assert at > 9
    assert state_of(pair.target) == "new"
    assert tables(pair.target) == {"t", "dsp_commits"}
    assert run.summary().jobs[0].state == "succeeded"


@named(FROM[:2])
def test_a_swap_that_nobody_could_record_is_known_again(pair: Pair) -> None:
    run = begun(pair)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(swaps, "record", died)
        with pytest.raises(Died):
            run.swap("copy")
    assert state_of(pair.target) == "new"
    pair.target.execute("INSERT INTO t (id) VALUES (0)")
    for step in (run.copy, run.check, run.swap):
        step("copy")
    assert tables(pair.target) == {"t", "dsp_commits"}
    assert pair.target.value("SELECT COUNT(*) FROM t") == ROWS + 1
    # What the next run finds of one that is over goes, and what is nobody's stays.
    new = pair.open(new=True)
    new.plan("copy")
    new.copy("copy")
    new.finish(Transient("gave up"))
    pair.target.execute("CREATE TABLE dsp_swap_of_mine (id INT)")
    pair.run(new=True)
    assert tables(pair.target) == {"t", "dsp_commits", "dsp_swap_of_mine"}
