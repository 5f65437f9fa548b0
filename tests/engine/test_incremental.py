"""Incremental jobs: what moved is copied, whatever happens in between."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from dsp_airflow.engine.errors import ConfigError, DspError, Mismatch, Transient
from dsp_airflow.engine.stores.postgres import PostgresSession
from dsp_airflow.state.cursors import Cursors
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.state.records import JobSummary
from tests.engine.scenes import Db
from tests.share import share

TABLE = "CREATE TABLE t (id bigint PRIMARY KEY, at timestamptz, v text)"
START = "timestamptz '2026-03-29 00:59:59.999990+00'"


def filled(bench: Db, rows: int = 100, **job: Any) -> None:
    """A source whose cursor grows by a microsecond a row, and an incremental job on it."""
    bench.source.execute(
        TABLE,
        f"INSERT INTO t SELECT n, {START} + n * interval '1us', 'v' "
        f"FROM generate_series(1, {rows}) n",
    )
    configure(bench, **job)


def configure(bench: Db, **job: Any) -> None:
    cursor = {"column": "at", **job.pop("cursor", {})}
    settings = {"mode": "incremental", "cursor": cursor, "check": {"percent": 100}, **job}
    bench.write(bench.job(**settings))


def again(bench: Db) -> JobSummary:
    """One more run, through to its end."""
    (job,) = bench.run(new=True).jobs
    return job


def alike(bench: Db) -> bool:
    query = "SELECT t::text FROM t ORDER BY id"
    return bench.source.rows(query) == bench.target.rows(query)


def cursor_of(bench: Db) -> str | None:
    states = Cursors(bench.state).of_task("task")
    return states[0].value if states else None


def test_the_next_run_copies_what_moved(bench: Db) -> None:
    filled(bench)
    assert again(bench).rows_written == 100
    bench.source.execute(
        f"UPDATE t SET v = 'new', at = {START} + interval '1ms' WHERE id IN (3, 50)",
        f"INSERT INTO t VALUES (101, {START} + interval '2ms', 'new')",
    )
    job = again(bench)
    # The last row of the first run stands on the bound and is read again.
    assert (job.rows_total, job.rows_different) == (4, 0)
    assert alike(bench)
    assert again(bench).rows_total == 1


def test_a_cursor_moves_only_after_the_check(bench: Db) -> None:
    filled(bench)
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    assert cursor_of(bench) is None
    bench.target.execute("UPDATE t SET v = 'spoiled' WHERE id = 7")
    with pytest.raises(Mismatch):
        run.check("copy")
    assert cursor_of(bench) is None
    bench.target.execute("UPDATE t SET v = 'v' WHERE id = 7")
    run.check("copy")
    assert cursor_of(bench) == "2026-03-29 01:00:00.00009+00"


def test_a_check_of_half_a_copy_does_not_move_the_cursor(bench: Db) -> None:
    """Somebody marked the copy as done by hand: what it left behind must not be passed over."""
    filled(bench, batch_size=50)
    bench.target.execute(TABLE, "ALTER TABLE t ADD CHECK (id <= 50)")
    run = bench.open()
    run.plan("copy")
    with pytest.raises(DspError):
        run.copy("copy")
    run.check("copy")
    assert bench.target.value("SELECT count(*) FROM t") == 50
    assert cursor_of(bench) is None


def test_a_run_that_is_checked_again_does_not_move_the_cursor_back(bench: Db) -> None:
    filled(bench)
    again(bench)
    old = bench.latest()
    bench.source.execute(f"INSERT INTO t VALUES (101, {START} + interval '1s', 'v')")
    time.sleep(0.05)
    again(bench)
    stood = cursor_of(bench)
    old.check_again("copy")
    assert cursor_of(bench) == stood


def test_no_run_takes_back_where_somebody_put_the_cursor(bench: Db) -> None:
    """Neither one that is checked again nor one that is on its way: everything is copied anew."""
    filled(bench)
    again(bench)
    cursors, latest = Cursors(bench.state), bench.latest()
    (state,) = cursors.of_task("task")
    assert cursors.reset(state.key, "ann")
    latest.check_again("copy")
    assert cursor_of(bench) is None
    run = bench.open(new=True)
    run.plan("copy")
    cursors.set(state.key, "2020-01-01 00:00:00+00", "ann")
    run.copy("copy")
    run.check("copy")
    run.finish()
    assert cursor_of(bench) == "2020-01-01 00:00:00+00"
    assert again(bench).rows_total == 100
    assert cursor_of(bench) == state.value


def test_a_resumed_run_keeps_its_window(bench: Db) -> None:
    filled(bench)
    first = bench.open()
    window = first.plan("copy").window
    bench.source.execute(f"INSERT INTO t VALUES (101, {START} + interval '1s', 'v')")
    resumed = bench.open()
    assert resumed.run.id == first.run.id
    assert resumed.plan("copy").window == window
    bench.run()
    assert bench.target.value("SELECT count(*) FROM t") == 100
    again(bench)
    assert alike(bench)


def test_another_database_begins_anew(bench: Db) -> None:
    filled(bench)
    again(bench)
    (state,) = Cursors(bench.state).of_task("task")
    assert state.key.source.endswith("public.t")
    assert bench.source.name in state.key.source


@pytest.mark.parametrize(
    ("column", "overlap", "message"),
    [
        ("nothing", 0, "no column 'nothing'"),
        ("odd", 0, "cannot be a cursor"),
        ("at", 5, "must be a duration"),
        ("id", "5m", "must be a number"),
    ],
)
def test_cursors_that_do_not_fit(bench: Db, column: str, overlap: object, message: str) -> None:
    filled(bench)
    bench.source.execute("ALTER TABLE t ADD odd boolean")
    configure(bench, cursor={"column": column, "overlap": overlap})
    with pytest.raises(ConfigError, match=message):
        again(bench)


# History

RUNS = share(200, 25)
LATE = 40
"""Numbers of the cursor that a transaction may hold back; the overlap covers them."""


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, chance: random.Random) -> Iterator[None]:
    """Connections break now and then: before or after a write, and before it is recorded."""

    def breaking(owner: type, name: str) -> None:
        plain = getattr(owner, name)

        def maybe(self: Any, *args: Any, **more: Any) -> Any:
            luck = chance.random()
            if luck < 0.04:
                raise Transient("broke before")
            found = plain(self, *args, **more)
            if luck > 0.96:
                raise Transient("broke after")
            return found

        patch.setattr(owner, name, maybe)

    with monkeypatch.context() as patch:
        breaking(PostgresSession, "write")
        breaking(SqlLedger, "copied")
        breaking(SqlLedger, "checked")
        yield


class Application:
    """Inserts, updates and deletes; some transactions commit only some runs later."""

    def __init__(self, bench: Db, chance: random.Random) -> None:
        self._bench = bench
        self._chance = chance
        self._late: list[tuple[psycopg.Connection, int]] = []
        self._next = 0

    def work(self) -> None:
        """Some changes, each by a transaction of its own."""
        for _ in range(self._chance.randrange(6)):
            self._change(self._bench.source.connect())
        self.settle(self._latest() - LATE // 2)

    def _latest(self) -> int:
        return int(self._bench.source.value("SELECT last_value FROM moves"))

    def _change(self, connection: psycopg.Connection) -> None:
        connection.execute("BEGIN")
        connection.execute("SET LOCAL lock_timeout = '50ms'")
        kind = self._chance.choice(["insert", "insert", "update", "update", "delete"])
        row = self._chance.randrange(1, self._next + 2)
        value = "NULL" if self._chance.random() < 0.1 else "nextval('moves')"
        try:
            if kind == "insert":
                self._next += 1
                connection.execute(f"INSERT INTO t VALUES ({self._next}, {value}, 'new')")
            elif kind == "update":
                connection.execute(f"UPDATE t SET at = {value}, v = v || '.' WHERE id = {row}")
            else:
                connection.execute(f"DELETE FROM t WHERE id = {row}")
        except psycopg.errors.LockNotAvailable:
            connection.close()
            return
        if self._chance.random() < 0.2 and len(self._late) < 5:
            self._late.append((connection, self._latest()))
            return
        connection.execute("COMMIT")
        connection.close()

    def settle(self, upto: int) -> None:
        """Commits what was begun up to this number of the cursor."""
        for connection, began in list(self._late):
            if began <= upto or self._chance.random() < 0.3:
                connection.execute("COMMIT")
                connection.close()
                self._late.remove((connection, began))

    def end(self) -> None:
        self.settle(2**62)


@pytest.mark.share
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("seed", range(share(4, 1)))
def test_a_history(bench: Db, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Whatever the application did, the target ends with every row of the source as it is."""
    chance = random.Random(seed)
    bench.source.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, at bigint, v text)", "CREATE SEQUENCE moves"
    )
    cursor = {"overlap": LATE, "null_cursor": "include"}
    configure(bench, cursor=cursor, batch_size=7, check={"percent": 50})
    application = Application(bench, chance)
    for _ in range(RUNS):
        application.work()
        with failing(monkeypatch, chance):
            try:
                bench.run(new=chance.random() < 0.7)
            except Transient:
                continue
    application.end()
    again(bench)
    missing = set(bench.source.rows("SELECT * FROM t")) - set(bench.target.rows("SELECT * FROM t"))
    assert missing == set()


def test_without_changes_a_failure_is_only_an_error(bench: Db) -> None:
    """An error of any kind leaves the cursor where it was."""
    filled(bench)
    again(bench)
    stood = cursor_of(bench)
    bench.source.execute(f"INSERT INTO t VALUES (101, {START} + interval '1s', 'v')")
    bench.target.execute("ALTER TABLE t ADD CHECK (id < 101)")
    with pytest.raises(DspError):
        again(bench)
    assert cursor_of(bench) == stood


def test_a_cursor_of_a_domain_that_has_bounds(bench: Db) -> None:
    """The overlap may reach below what the domain takes."""
    bench.source.execute(
        "CREATE DOMAIN positive AS int CHECK (VALUE > 0)",
        "CREATE TABLE t (id int PRIMARY KEY, at positive)",
        "INSERT INTO t VALUES (1, 1), (2, 2)",
    )
    configure(bench, cursor={"overlap": 100})
    bench.run()
    bench.source.execute("INSERT INTO t VALUES (3, 3)")
    bench.run(new=True)
    assert bench.target.value("SELECT count(*) FROM t") == 3


def test_a_view_that_gained_rows_since_the_copy_raises_no_alarm(bench: Db) -> None:
    bench.source.execute(
        "CREATE TABLE rows (id int PRIMARY KEY, at date NOT NULL, v text)",
        "INSERT INTO rows SELECT n, '2026-01-04', 'v' FROM generate_series(1, 5) n",
        "CREATE VIEW t AS SELECT * FROM rows",
    )
    configure(bench, key=["id"])
    bench.run()
    bench.source.execute(
        "INSERT INTO rows SELECT n, '2026-01-05', 'v' FROM generate_series(11, 20) n"
    )
    run = bench.open(new=True)
    run.plan("copy")
    run.copy("copy")
    bench.source.execute(
        "INSERT INTO rows VALUES (10, '2026-01-05', 'of the same day')",
        "UPDATE rows SET v = 'late' WHERE id = 12",
    )
    assert run.check("copy").rows_different == 0
    bench.target.execute("UPDATE t SET v = 'spoiled' WHERE id = 13")
    with pytest.raises(Mismatch):
        run.check_again("copy")
