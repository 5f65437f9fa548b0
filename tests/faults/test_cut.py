"""Connections that break in the middle of anything, and servers that crash, retried until done."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dsp_airflow.engine import rollback
from dsp_airflow.engine.errors import Transient
from dsp_airflow.engine.events import BatchStarted, Quiet
from dsp_airflow.engine.notes import Undoing
from dsp_airflow.engine.ports import Store
from dsp_airflow.engine.stores.mongodb.notes import MongoUndoing
from dsp_airflow.engine.stores.mysql.notes import MySqlUndoing
from dsp_airflow.engine.stores.postgres.notes import PostgresUndoing
from dsp_airflow.opening import latest_run
from dsp_airflow.state.rollbacks import Rollback
from dsp_airflow.steps import TaskRun
from dsp_airflow.undoing import undo_of
from tests.engine.harness import Bench, store_at
from tests.faults.proxy import CuttingProxy
from tests.faults.tables import fill, job_of, rows_of
from tests.mysql.pairs import Pair
from tests.mysql.test_values import pair
from tests.s3.harness import Archives
from tests.servers import (
    MariaDBServer,
    MongoDatabase,
    MySQLDatabase,
    MySQLFamilyServer,
    MySQLServer,
    fresh_mysql_database,
)
from tests.servers.s3 import S3Server, fresh_bucket
from tests.share import share

__all__ = ["pair"]

ROWS = share(20_000, 6_000)
BATCH = ROWS // 10
MOST = 20 * ROWS
"""Bytes after which a connection is cut at the latest."""
CUTS = share(60, 8)
STEPS = ("plan", "copy", "check", "purge")
SAME = [
    *(("pg15", "pg15"), ("pg18", "pg18"), ("mariadb", "mariadb"), ("mysql", "mysql")),
    ("mongo", "mongo"),
]
CROSS = {
    "source": [("mariadb", "pg18"), ("mysql", "pg18"), ("mongo", "pg18")],
    "target": [("pg18", "mariadb"), ("pg18", "mongo")],
}
UNDOING: dict[str, type[Undoing]] = {
    "postgresql": PostgresUndoing,
    "mysql": MySqlUndoing,
    "mongo": MongoUndoing,
}
COMMIT = re.compile(rb"COMMIT\0*$|commitTransaction\0")


def soak(way: tuple[str, str]) -> tuple[pytest.MarkDecorator, ...]:
    """Between MongoDB and tables at length only: both ends are tried between two MongoDB."""
    return (pytest.mark.soak,) if way[0] != way[1] and "mongo" in way else ()


sides = pytest.mark.parametrize(
    ("pair", "side"),
    [
        pytest.param(way, side, id=f"{side}-{'-'.join(way)}", marks=soak(way))
        for side, ways in CROSS.items()
        for way in [*SAME, *ways]
    ],
    indirect=["pair"],
)


def through(
    pair: Bench[Any], side: str, proxy: CuttingProxy, run: TaskRun | None = None
) -> TaskRun:
    """A run whose connections to one side lead through the proxy."""
    plain = pair.store

    def store(conn_id: str) -> Store:
        if conn_id != side:
            return plain(conn_id)
        uri = getattr(pair, side).uri
        # Encrypted, the proxy would not know from the bytes where it cuts.
        open_ways = {"mysql": {"ssl_mode": "DISABLED"}, "postgresql": {"sslmode": "disable"}}
        open_way = open_ways.get(uri.partition(":")[0], {})
        cut = store_at(conn_id, uri, port=proxy.port, **open_way)
        # The same identity: a proxy in between is no other database.
        cut.identity = plain(conn_id).identity
        there: Store = cut
        return there

    run = run or pair.open()
    run.open_store = store
    return run


def proxied(pair: Bench[Any], side: str) -> CuttingProxy:
    server = getattr(pair, side).server
    return CuttingProxy("127.0.0.1", server.port)


@pytest.mark.share
@sides
def test_cut_connections(pair: Pair, side: str) -> None:
    chance = random.Random(5)
    fill(pair.source, ROWS)
    before = rows_of(pair.source)
    pair.write(job_of(pair, batch_size=BATCH, check={"percent": 50}))
    with proxied(pair, side) as proxy:
        run = through(pair, side, proxy)
        for n, name in enumerate(STEPS):
            persist(run, name, proxy, chance, CUTS * (1 + n) / 4)
        assert proxy.cuts > 0
    found = latest_run(pair.state, run.task, pair.store).summary().jobs[0]
    assert (found.rows_written, found.rows_purged, found.rows_kept) == (ROWS, ROWS, 0)
    assert rows_of(pair.source) == []
    assert rows_of(pair.target) == before
    assert not loading()


def persist(
    run: TaskRun, name: str, proxy: CuttingProxy, chance: random.Random, cuts: float
) -> None:
    """Tries a step until it is through, cutting connections until there were so many cuts."""
    proxy.most = cuts
    for _ in range(200):
        proxy.budget = chance.randint(2_000, MOST)
        try:
            getattr(run, name)("copy")
        except Transient:
            continue
        return
    pytest.fail(f"{name} never came through")


@pytest.mark.share
def test_an_archive_whose_source_is_cut(
    tmp_path: Path, my_db: MySQLDatabase, moto: S3Server
) -> None:
    chance = random.Random(6)
    fill(my_db, ROWS)
    jobs = Archives(tmp_path, my_db, my_db, place=fresh_bucket(moto))
    jobs.write(jobs.job(table="t", purge="system", batch_size=BATCH, check={"percent": 50}))
    with proxied(jobs, "source") as proxy:
        run = through(jobs, "source", proxy)
        for n, name in enumerate(STEPS):
            persist(run, name, proxy, chance, CUTS * (1 + n) / 8)
        assert proxy.cuts > 0
    found = run.summary().jobs[0]
    assert (found.rows_written, found.rows_purged, found.rows_kept) == (ROWS, ROWS, 0)
    assert rows_of(my_db) == []
    assert jobs.manifest()["rows"] == ROWS


def loading() -> list[str]:
    """Threads that still wait for a server to take rows."""
    return [thread.name for thread in threading.enumerate() if thread.name == "dsp-load"]


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(way, id="-".join(way), marks=soak(way))
        for way in (
            *(*SAME[1:], ("pg18", "mysql"), ("mariadb", "pg18")),
            *(("mongo", "pg18"), ("pg18", "mongo")),
        )
    ],
    indirect=True,
)
@pytest.mark.parametrize("passed_on", [False, True], ids=["before", "after"])
def test_cut_at_the_commit(pair: Pair, passed_on: bool) -> None:
    """Of a copy's batch, then of a purge's: it is counted once, whether or not it came through."""
    fill(pair.source, 100)
    fill(pair.target, 0)
    before = rows_of(pair.source)
    pair.write(job_of(pair, batch_size=50, check={"percent": 100}))
    pair.open().plan("copy")
    cut_at_commit(pair, "target", "copy", passed_on=passed_on)
    soon(lambda: len(rows_of(pair.target)) == (50 if passed_on else 0))
    run = pair.open()
    assert run.copy("copy").rows_written == 100
    run.check("copy")
    cut_at_commit(pair, "source", "purge", passed_on=passed_on)
    soon(lambda: len(rows_of(pair.source)) == (50 if passed_on else 100))
    found = run.purge("copy")
    assert (found.rows_purged, found.rows_kept, found.rows_different) == (100, 0, 0)
    assert rows_of(pair.source) == []
    assert rows_of(pair.target) == before


@pytest.mark.parametrize("pair", SAME[1:], ids="-".join, indirect=True)
def test_a_rollback_that_is_cut(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a commit that does not come through, at one that does, and anywhere."""
    fill(pair.source, 900)
    fill(pair.target, 300)
    if isinstance(pair.target, MongoDatabase):
        pair.target["t"].update_many({}, {"$set": {"name": "old"}})
    else:
        pair.target.execute("UPDATE t SET name = 'old'")
    before = rows_of(pair.target)
    pair.write(pair.job(rollback=True, batch_size=300))
    pair.run()
    monkeypatch.setattr(rollback, "CHUNK", 100)
    with proxied(pair, "target") as proxy:

        def undo() -> Rollback:
            return undo_of(through(pair, "target", proxy, pair.latest()), "copy").do("somebody")

        def commit(work: Undoing) -> None:
            left[0] -= 1
            if left[0] == 0:
                proxy.word = COMMIT
            plain(work)

        undoing: type[Undoing] = next(
            kind for name, kind in UNDOING.items() if pair.target.uri.startswith(name)
        )
        plain, left = undoing.commit, [0]
        monkeypatch.setattr(undoing, "commit", commit)
        for passed_on, standing in ((False, 800), (True, 600)):
            # Of the second transaction.
            left[0], proxy.word, proxy.passed_on = 2, None, passed_on
            proxy.times = 2 if isinstance(pair.target, MongoDatabase) else 1
            with pytest.raises(Transient):
                undo()
            soon(partial(stands, pair, standing))
        assert proxy.times == 0
        proxy.most, cuts = proxy.cuts + 8, proxy.cuts
        done, proxy.budget = None, 0
        while done is None:
            proxy.budget += 3_000
            with suppress(Transient):
                done = undo()
        assert proxy.cuts > cuts
    assert rows_of(pair.target) == before
    assert (done.removed, done.restored, done.kept) == (600, 300, 0)


def stands(pair: Pair, rows: int) -> bool:
    return len(rows_of(pair.target)) == rows


def cut_at_commit(pair: Pair, side: str, step: str, *, passed_on: bool) -> None:
    """The first batch of a step loses its connection at the commit."""
    with proxied(pair, side) as proxy:

        class AtTheBatch:
            def on(self, event: object) -> None:
                if isinstance(event, BatchStarted):
                    proxy.word, proxy.passed_on = COMMIT, passed_on

        # The driver of MongoDB tries a commit twice.
        tries = proxy.times = 2 if isinstance(getattr(pair, side), MongoDatabase) else 1
        run = through(pair, side, proxy)
        run.watch = AtTheBatch()
        with pytest.raises(Transient):
            getattr(run, step)("copy")
        assert proxy.cuts == tries


def soon(true: Callable[[], bool]) -> None:
    """A server may take a moment to do what it was told last."""
    until = time.monotonic() + 10
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("kind", [MariaDBServer, MySQLServer], ids=["mariadb", "mysql"])
def test_a_server_that_crashes_and_comes_back(
    kind: type[MySQLFamilyServer], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """In the middle of every step, source and target at once."""
    if kind is MySQLServer:
        request.getfixturevalue("mysql_installed")
    with ExitStack() as stack:
        server = stack.enter_context(kind())
        bases = [stack.enter_context(fresh_mysql_database(server)) for _ in range(2)]
        pair = Pair(tmp_path, *bases)
        fill(pair.source, ROWS)
        before = rows_of(pair.source)
        pair.write(pair.job(purge="system", batch_size=BATCH, check={"percent": 100}))
        run = pair.open()
        run.plan("copy")
        for name in STEPS[1:]:
            crash = Crash(server, after=4)
            run.watch = crash
            with pytest.raises(Transient):
                getattr(run, name)("copy")
            crash.timer.join()
            server.restart()
            run.watch = Quiet()
            getattr(run, name)("copy")
        found = run.summary().jobs[0]
        assert (found.rows_written, found.rows_purged, found.rows_kept) == (ROWS, ROWS, 0)
        assert rows_of(pair.source) == []
        assert rows_of(pair.target) == before


class Crash:
    """Kills a server a moment after so many batches have begun."""

    def __init__(self, server: MySQLFamilyServer, after: int) -> None:
        self.timer = threading.Timer(0.003, server.kill)
        self._left = after

    def on(self, event: object) -> None:
        if isinstance(event, BatchStarted):
            self._left -= 1
            if self._left == 0:
                self.timer.start()
