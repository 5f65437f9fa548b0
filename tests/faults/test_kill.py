"""SIGKILL at random moments of copy, check and purge, while rows are being updated.

What must hold afterwards: every deleted row stands in the target exactly as it was when it
was deleted; no row is missing from both sides; none is doubled; every changed row was kept
and reported; the counts are true.
"""

from __future__ import annotations

import itertools
import multiprocessing
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.faults.tables import changing, fill, remember, rows_of
from tests.faults.work import phase
from tests.mysql.pairs import Pair
from tests.mysql.test_values import named, pair
from tests.share import share

__all__ = ["pair"]

ROWS = share(200_000, 15_000)
BATCH = ROWS // share(200, 30)
KILLS = share(50, 4)
SPREAD = 0.7
"""The last kill falls before so much of a phase is done, for then it may be through too soon."""
PATIENCE = 120.0
"""Seconds for which nothing may get on."""
SAME = [("pg15", "pg15"), ("pg18", "pg18"), ("mariadb", "mariadb"), ("mysql", "mysql")]
ACROSS = [("pg18", "mariadb"), ("pg18", "mysql"), ("mariadb", "pg18"), ("mysql", "pg18")]

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.faults.work"])


@contextmanager
def updating(pair: Pair, share_of_rows: float = 0.1) -> Iterator[None]:
    """Changes random rows, a few at a time, until a tenth of the table was changed."""
    stop, failed = threading.Event(), list[BaseException]()
    chance = random.Random(7)
    names = itertools.count()

    def work() -> None:
        left = int(ROWS * share_of_rows)
        try:
            with changing(pair.source) as session:
                while left > 0 and not stop.is_set():
                    ids = [chance.randint(1, ROWS) for _ in range(20)]
                    if session.rename(ids, f"changed {next(names)}"):
                        left -= len(ids)
                    stop.wait(0.02)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not failed


def share_done(pair: Any, name: str) -> float:
    job = pair.only()
    done = {
        "copy": job.batches_copied,
        "check": job.batches_checked,
        "purge": job.batches_purged,
    }
    return float(done.get(name, 0) / max(job.batches, 1))


class Advances:
    """Whether something has changed within ``PATIENCE``, however slow the machine is."""

    def __init__(self, seen: Callable[[], object]) -> None:
        self._look = seen
        self._seen: object = None
        self._give_up = 0.0

    def __call__(self) -> bool:
        now = self._look()
        if now != self._seen:
            self._seen, self._give_up = now, time.monotonic() + PATIENCE
        return time.monotonic() < self._give_up


def of_pair(pair: Pair, name: str) -> Any:
    """A process that works at a phase."""
    return processes.Process(
        target=phase, args=(pair.folder, pair.source.uri, pair.target.uri, name)
    )


def killed(
    pair: Any,
    name: str,
    chance: random.Random,
    kills: int,
    *,
    bury: Callable[[], object] = lambda: None,
    process_of: Callable[[Any, str], Any] = of_pair,
    share_done: Callable[[Any, str], float] = share_done,
) -> float:
    """Works at a phase until it is complete, killing it at random moments.

    The kills spread over the whole phase: each falls a moment after so much of it was done, and
    every fourth anywhere, before it has begun perhaps. Returns the share of it that was done when
    the last kill fell. ``bury`` does after every kill what time would do.
    """
    fallen, through = 0, 0.0
    # What nobody kills may have no run yet.
    advances = Advances(lambda: (fallen, share_done(pair, name) if kills else 0.0))
    while True:
        assert advances(), f"{name} does not come to an end"
        process = process_of(pair, name)
        began = time.monotonic()
        process.start()
        if fallen < kills:
            anywhere = fallen % 4 == 3
            done = 0 if anywhere else SPREAD * (fallen + chance.random()) / kills
            while process.exitcode is None and share_done(pair, name) < done:
                process.join(0.005)
            process.join(chance.uniform(0, 0.3 if anywhere else 0.03))
            if process.exitcode is None:
                process.kill()
                process.join()
                bury()
                fallen += 1
                through = share_done(pair, name)
                continue
        while process.exitcode is None:
            assert advances(), f"{name} hangs"
            process.join(0.2)
        if process.exitcode == 0:
            # On a busy machine the last ones may find that nothing is left to do.
            assert fallen >= (kills + 1) // 2, f"{name} was through after {fallen} kills"
            return through
        # An error is what a retry is for; it must not be a tight loop.
        time.sleep(max(0.0, 0.1 - (time.monotonic() - began)))


def verify(pair: Pair) -> None:
    source = {row[0]: row for row in rows_of(pair.source)}
    target = {row[0]: row for row in rows_of(pair.target)}
    deleted = rows_of(pair.source, "deleted")
    assert len(deleted) == len({row[0] for row in deleted}), "a row was deleted twice"
    for row in deleted:
        assert target.get(row[0]) == row, f"row {row[0]} was deleted and is not in the target"
    assert source.keys() | target.keys() == set(range(1, ROWS + 1)), "a row is lost"
    assert source.keys() | {row[0] for row in deleted} == set(range(1, ROWS + 1))
    job = pair.only()
    assert (job.rows_total, job.rows_written) == (ROWS, ROWS)
    assert job.rows_purged == len(deleted)
    assert job.rows_kept == len(source)
    assert job.rows_different == 0
    assert all(target[number] != row for number, row in source.items())
    found = pair.latest().runs.differences(pair.latest().run.id)
    reported = {int(d.difference.key[0]) for d in found if d.phase == "purge"}
    assert reported == source.keys(), "a changed row was kept without a report"


@pytest.mark.share
@pytest.mark.timeout(3600)
@named([*SAME, *ACROSS])
def test_killed_at_random_moments(pair: Pair) -> None:
    chance = random.Random(share(1, 2))
    fill(pair.source, ROWS)
    remember(pair.source)
    job = pair.job(
        check={"percent": 100}, purge="system", batch_size=BATCH, accept_triggers=["log_deleted"]
    )
    pair.write({**job, "workers": 2})
    killed(pair, "plan", chance, 0)
    with updating(pair):
        for name in ("copy", "check", "purge"):
            through = killed(pair, name, chance, KILLS)
            print(f"{name}: {KILLS} kills over {through:.0%} of the work")  # noqa: T201
    verify(pair)
