"""Deadlocks that really happen, and locks that are not to be had, in copy and purge."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import MySQLdb
import pytest

from dsp_airflow.engine import work
from dsp_airflow.engine.errors import Transient
from dsp_airflow.engine.stores.mysql.purge import MySQLPurge
from dsp_airflow.engine.stores.mysql.query import execute
from dsp_airflow.steps import TaskRun
from dsp_airflow.undoing import undo_of
from tests.faults.tables import AnyDatabase, fill, rows_of
from tests.mysql.pairs import Pair
from tests.mysql.test_values import named, pair
from tests.servers import MySQLDatabase

__all__ = ["pair"]

ROWS = 100
BATCH = 50
EARLY = 10
HERE = [("pg18", "pg18"), ("mariadb", "mariadb"), ("mysql", "mysql")]
PATIENCE = 30.0
INSERT = "INSERT INTO t (id) VALUES ({})"
CHANGE = "UPDATE t SET amount = amount + 1 WHERE id = {}"
STEPS = {"copy": INSERT, "purge": CHANGE, "undo": CHANGE}
"""What meets the rows that the step locks one after the other."""


@dataclass
class Rival:
    """Sessions that each lock a late row of the first batch, then an early one: a deadlock.

    Each does so as soon as somebody waits for it, and then takes back what it did.
    """

    place: AnyDatabase
    statement: str
    rounds: int
    survived: int = 0
    """Deadlocks that the other one lost."""
    stop: threading.Event = field(default_factory=threading.Event)
    holds: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with ExitStack() as stack:
            # Those who come first hold the rows that are met first.
            holders = [self._holder(stack, EARLY + 1 + n) for n in range(self.rounds)]
            self.holds.set()
            for holder in holders:
                # InnoDB shows its locks anew only to who has not looked for a moment.
                while not self.stop.wait(0.2) and not self._awaited():
                    pass
                if self.stop.is_set():
                    return
                holder.execute(self.statement.format(EARLY))
                self.survived += 1
                holder.execute("ROLLBACK")

    def _holder(self, stack: ExitStack, row: int) -> Any:
        connection: Any = self.place.connect()
        stack.callback(connection.close)
        cursor = connection.cursor()
        cursor.execute("BEGIN")
        # Who has changed more rows survives.
        cursor.execute("INSERT INTO many SELECT * FROM numbers")
        cursor.execute(self.statement.format(row))
        return cursor

    def _awaited(self) -> bool:
        if isinstance(self.place, MySQLDatabase):
            look = (
                "SELECT COUNT(*) FROM information_schema.INNODB_TRX AS t "
                "JOIN information_schema.PROCESSLIST AS p ON p.ID = t.trx_mysql_thread_id "
                "WHERE t.trx_state = 'LOCK WAIT' AND p.DB = DATABASE()"
            )
        else:
            look = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND wait_event_type = 'Lock'"
            )
        return bool(self.place.value(look))


@contextmanager
def rival(pair: Pair, step: str, rounds: int) -> Iterator[Rival]:
    place = pair.source if step == "purge" else pair.target
    place.execute("CREATE TABLE many (n int)", "CREATE TABLE numbers (n int)")
    place.execute(*["INSERT INTO numbers VALUES " + ", ".join(f"({n})" for n in range(3000))])
    found = Rival(place, STEPS[step], rounds)
    thread = threading.Thread(target=found.run)
    thread.start()
    try:
        assert found.holds.wait(PATIENCE)
        yield found
    finally:
        found.stop.set()
        thread.join()


def ready(pair: Pair, step: str, **more: Any) -> TaskRun:
    """A run that has come to the step; the target's table is there."""
    fill(pair.source, ROWS)
    fill(pair.target, 0)
    ends = {"rollback": True} if step == "undo" else {"purge": "system"}
    pair.write(pair.job(check={"percent": 100}, batch_size=BATCH, **ends, **more))
    run = pair.open()
    run.plan("copy")
    if step != "copy":
        run.copy("copy")
        run.check("copy")
    if step == "undo":
        run.finish()
    return run


def deadlocks(place: AnyDatabase) -> int:
    """As many as the server has counted."""
    if not isinstance(place, MySQLDatabase):
        look = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    elif place.server.product == "MariaDB":
        look = (
            "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS "
            "WHERE VARIABLE_NAME = 'Innodb_deadlocks'"
        )
    else:
        look = "SELECT COUNT FROM information_schema.INNODB_METRICS WHERE NAME = 'lock_deadlocks'"
    return int(place.value(look))


def require_deadlocks(place: AnyDatabase, least: int) -> None:
    """So many at least; PostgreSQL counts them a moment later."""
    until = time.monotonic() + PATIENCE
    while deadlocks(place) < least and time.monotonic() < until:
        time.sleep(0.1)
    assert deadlocks(place) >= least


@named(HERE)
@pytest.mark.parametrize("step", ["copy", "purge"])
def test_a_batch_that_lost_a_deadlock_is_tried_again(pair: Pair, step: str) -> None:
    run = ready(pair, step)
    place, before = (pair.target if step == "copy" else pair.source), rows_of(pair.source)
    counted = deadlocks(place)
    with rival(pair, step, rounds=2) as other:
        getattr(run, step)("copy")
    assert other.survived == 2
    require_deadlocks(place, counted + 2)
    if step == "copy":
        run.check("copy")
        run.purge("copy")
    found = run.summary().jobs[0]
    assert (found.rows_written, found.rows_purged, found.rows_kept) == (ROWS, ROWS, 0)
    assert rows_of(pair.target) == before
    assert rows_of(pair.source) == []


@named(HERE)
def test_a_rollback_that_lost_a_deadlock_is_tried_again(pair: Pair) -> None:
    run = ready(pair, "undo")
    counted = deadlocks(pair.target)
    with rival(pair, "undo", rounds=2) as other:
        done = undo_of(run, "copy").do("somebody")
    assert other.survived == 2
    require_deadlocks(pair.target, counted + 2)
    assert (done.removed, done.kept) == (ROWS, 0)
    assert rows_of(pair.target) == []


@named(HERE[1:])
@pytest.mark.parametrize("step", ["copy", "purge"])
def test_a_batch_that_loses_every_time_is_given_up(
    pair: Pair, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what happened; the next try goes on from there."""
    monkeypatch.setattr(work, "PAUSE", 0.0)
    run = ready(pair, step)
    before = rows_of(pair.source)
    with (
        rival(pair, step, rounds=2 * work.ATTEMPTS) as other,
        pytest.raises(Transient, match=r"batch 1, tried 3 times: .*eadlock.*retry"),
    ):
        getattr(run, step)("copy")
    assert other.survived >= work.ATTEMPTS
    assert rows_of(pair.source) == before
    assert len(rows_of(pair.target)) == (0 if step == "copy" else ROWS)
    getattr(run, step)("copy")
    assert rows_of(pair.target) == before


@named(HERE)
@pytest.mark.parametrize("step", ["copy", "purge"])
def test_a_lock_that_comes_late_is_waited_for_again(pair: Pair, step: str) -> None:
    run = ready(pair, step, timeouts={"lock": "1s"})
    before = rows_of(pair.source)

    def tries() -> int:
        return run.runs.batches(run.run.id, "copy")[0].attempts

    with (pair.target if step == "copy" else pair.source).connect() as connection:
        cursor: Any = connection.cursor()
        cursor.execute("BEGIN")
        cursor.execute(STEPS[step].format(EARLY))
        second = tries() + 2
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(getattr(run, step), "copy")
            until = time.monotonic() + PATIENCE
            while tries() < second and time.monotonic() < until:
                time.sleep(0.05)
            cursor.execute("ROLLBACK")
            working.result()
    assert tries() >= second
    assert rows_of(pair.target) == before


@named(HERE[1:])
def test_a_cluster_that_undoes_a_purge_at_its_commit(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another node was first. What was about to be recorded is no proof of anything."""
    run = ready(pair, "purge")
    commit, lost = MySQLPurge.commit, list[int]()

    def undone(self: MySQLPurge) -> None:
        if not lost:
            lost.append(1)
            execute(self._connection, "ROLLBACK")
            raise MySQLdb.OperationalError(1213, "Deadlock found when trying to get lock")
        commit(self)

    monkeypatch.setattr(MySQLPurge, "commit", undone)
    found = run.purge("copy")
    assert lost
    assert (found.rows_purged, found.rows_kept) == (ROWS, 0)
    assert rows_of(pair.source) == []
