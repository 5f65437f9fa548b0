"""SIGKILL at random moments of incremental runs, while an application goes on changing rows.

What must hold afterwards: the target has every row of the source as it is now, and nothing that
never stood there. Rows deleted in the source stay in the target: that is what the mode promises.
"""

from __future__ import annotations

import multiprocessing
import random
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.incremental.tables import MISSING, Change, LockedError, Row, Table
from tests.incremental.way import Way, address_of, whole
from tests.share import share

RUNS = share(200, 6)
CHANGES = 60
"""For each run, at most: however slow a machine is, there is as much to do."""
AT_ONCE = share(3_000, 500)
"""Rows of one instant."""
STEP = timedelta(milliseconds=20, microseconds=1)
"""The clock's, every third tick."""
LATE = 100
"""Ticks that a transaction may hold back: 0.7 seconds,"""
WRONG = 25 * STEP
"""and how far the clock may go back. The overlap covers both together."""
OVERLAP = "2s"
PATIENCE = 120.0
WAYS = ["pg18-pg18", "mariadb-mariadb", "mongo-mongo", "pg18-s3"]
MORE = [
    *("pg15-mysql", "mysql-mysql", "mysql-pg18", "mongo-pg18"),
    *("mysql-s3", "mongo-s3", "mariadb-s3"),
]

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.incremental.way"])


class Clock:
    """What the application takes the time from. It stands still for three ticks, and may go wrong.

    It passes the hour that Berlin has twice.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._wrong = timedelta()
        self.ticks = 0

    def now(self) -> datetime:
        """The next time; each one is at most as much earlier than the latest as it may go back."""
        self.ticks += 1
        if self._chance.random() < 0.05:
            self._wrong = WRONG * self._chance.random()
        return datetime(2023, 10, 29, 0, 59, 55, tzinfo=UTC) + self.ticks // 3 * STEP - self._wrong


class Application:
    """Changes rows from a thread of its own; some of its transactions commit late."""

    def __init__(self, table: Table, chance: random.Random) -> None:
        self.versions: set[tuple[int, str]] = set()
        self.table = table
        self._chance = chance
        self._clock = Clock(chance)
        self._late: list[tuple[Change, int]] = []
        self._last = 0
        self._left = threading.Semaphore(0)

    def go_on(self) -> None:
        """There is another run."""
        self._left.release(CHANGES)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Until the end of the block; then everything is committed."""
        stop, failed = threading.Event(), list[BaseException]()

        def work() -> None:
            try:
                while not stop.is_set():
                    if self._left.acquire(timeout=0.1):
                        self._change()
                        stop.wait(0.01)
            except BaseException as error:  # noqa: BLE001 - raised again below
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self._commit(2**62)
        assert not failed, failed

    def _change(self) -> None:
        self._commit(self._clock.ticks - LATE)
        change = self.table.begin("Europe/Berlin")
        began = self._clock.ticks
        try:
            self._work(change)
        except LockedError:
            return
        if self._chance.random() < 0.2 and len(self._late) < 5:
            self._late.append((change, began))
        else:
            commit(change)

    def _work(self, change: Change) -> None:
        luck = self._chance.random()
        if luck < 0.005:
            self._put(change, [self._new() for _ in range(AT_ONCE)])
        elif luck < 0.5:
            self._put(change, [self._new()])
        elif luck < 0.85:
            self._put(change, [self._chance.randrange(1, self._last + 2)])
        else:
            change.remove(self._chance.randrange(1, self._last + 2))

    def _new(self) -> int:
        self._last += 1
        return self._last

    def _put(self, change: Change, numbers: list[int]) -> None:
        at: Any = MISSING if self._chance.random() < 0.05 else self._clock.now()
        version = f"version {self._clock.ticks} {self._chance.random()}"
        self._last = max(self._last, *numbers)
        rows: list[Row] = [(number, at, version) for number in numbers]
        self.versions.update((number, version) for number in numbers)
        change.put(rows)

    def _commit(self, upto: int) -> None:
        for change, began in list(self._late):
            if began <= upto:
                commit(change)
                self._late.remove((change, began))


def commit(change: Change) -> None:
    """And ends it. One that had to wait for too long is gone."""
    with closing(change), suppress(LockedError):
        change.commit()


def killed_runs(way: Way, chance: random.Random, application: Application) -> tuple[int, int]:
    """Runs one after the other; how many were killed, and how many came to their end."""
    kills = ends = 0
    for number in range(RUNS):
        application.go_on()
        process = processes.Process(target=whole, args=(address_of(way), chance.random() < 0.5))
        process.start()
        # The first of them begins in a process that has to be warmed up.
        let = number > 0 and chance.random() < 0.6
        process.join(chance.uniform(0.2, 1.5) if let else PATIENCE)
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
        ends += process.exitcode == 0
    return kills, ends


@pytest.mark.share
@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    "way",
    [*WAYS, *(pytest.param(name, marks=pytest.mark.soak) for name in MORE)],
    indirect=True,
)
def test_incremental_runs_killed_at_random_moments(way: Way) -> None:
    chance = random.Random(7)
    table = way.table().make("moment")
    cursor = {"overlap": OVERLAP, "null_cursor": "include"}
    way.write(way.moving(cursor=cursor, batch_size=500, check={"percent": 50}))
    application = Application(table, random.Random(107))
    with application.working():
        kills, ends = killed_runs(way, chance, application)
    print(f"{RUNS} runs: {kills} killed, {ends} through")  # noqa: T201
    assert ends
    way.run()
    way.run(new=True)
    source, target = table.read(), way.there()
    assert {number: target.get(number) for number in source} == source
    assert set(target.items()) <= application.versions
    for rows in way.archived() if way.place else ():
        assert set(rows.items()) <= application.versions
