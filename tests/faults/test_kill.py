"""SIGKILL at random moments of copy, check and purge, while rows are being updated.

What must hold afterwards: every deleted row stands in the target exactly as it was when it
was deleted; no row is missing from both sides; none is doubled; every changed row was kept
and reported; the counts are true.
"""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from tests.engine.harness import Bench
from tests.faults.work import phase
from tests.servers import Database
from tests.share import share

ROWS = share(200_000, 40_000)
BATCH = ROWS // share(200, 40)
KILLS = share(50, 5)
PATIENCE = 120.0

SETUP = [
    """CREATE TABLE t (id bigint PRIMARY KEY, name text, amount numeric(12,2), at timestamptz,
       data bytea)""",
    f"""INSERT INTO t SELECT n, 'name ' || n, n / 7.0, timestamptz '2020-01-01' + n * interval '1s',
        decode(md5(n::text), 'hex') FROM generate_series(1, {ROWS}) n""",
    "CREATE TABLE deleted (LIKE t)",
    """CREATE FUNCTION log_deleted() RETURNS trigger LANGUAGE plpgsql AS
       'BEGIN INSERT INTO deleted SELECT OLD.*; RETURN OLD; END'""",
    """CREATE TRIGGER log_deleted BEFORE DELETE ON t FOR EACH ROW
       EXECUTE FUNCTION log_deleted()""",
]
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.faults.work"])


@contextmanager
def updating(bench: Bench[Database], share_of_rows: float = 0.1) -> Iterator[None]:
    """Changes random rows, a few at a time, until a tenth of the table was changed."""
    stop = threading.Event()
    chance = random.Random(7)

    def work() -> None:
        left = int(ROWS * share_of_rows)
        with bench.source.connect() as connection:
            while left > 0 and not stop.is_set():
                ids = [chance.randint(1, ROWS) for _ in range(20)]
                try:
                    connection.execute(
                        "UPDATE t SET name = 'changed ' || clock_timestamp() WHERE id = ANY (%s)",
                        (ids,),
                    )
                except psycopg.errors.DeadlockDetected:
                    # A purge and this lock rows in their own orders; the loser tries others.
                    continue
                left -= len(ids)
                stop.wait(0.02)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def killed(bench: Bench[Database], name: str, chance: random.Random, kills: int) -> float:
    """Works at a phase until it is complete, killing it at random moments.

    The time given grows or shrinks so that the kills spread over the whole phase. Returns
    the share of it that was done when the last kill fell.
    """
    fallen, longest, through = 0, 0.3, 0.0
    give_up = time.monotonic() + PATIENCE + kills * 3
    while True:
        assert time.monotonic() < give_up, f"{name} does not come to an end"
        process = processes.Process(
            target=phase, args=(bench.folder, bench.source.uri, bench.target.uri, name)
        )
        began = time.monotonic()
        process.start()
        if fallen < kills:
            process.join(chance.uniform(0.05, longest))
            if process.exitcode is None:
                process.kill()
                process.join()
                fallen += 1
                through = share_done(bench, name)
                longest *= 1.15 if through < 0.75 * fallen / kills else 0.8
                longest = min(max(longest, 0.1), 3.0)
                continue
        process.join(PATIENCE)
        assert process.exitcode is not None, f"{name} hangs"
        if process.exitcode == 0:
            assert fallen == kills, f"{name} was through after {fallen} kills"
            return through
        # An error is what a retry is for; it must not be a tight loop.
        time.sleep(max(0.0, 0.1 - (time.monotonic() - began)))


def share_done(bench: Bench[Database], name: str) -> float:
    job = bench.only()
    done = {
        "copy": job.batches_copied,
        "check": job.batches_checked,
        "purge": job.batches_purged,
    }
    return done.get(name, 0) / max(job.batches, 1)


def verify(bench: Bench[Database]) -> None:
    source = dict(bench.source.rows("SELECT id, t::text FROM t"))
    target = dict(bench.target.rows("SELECT id, t::text FROM t"))
    deleted = bench.source.rows("SELECT id, d::text FROM deleted d")
    assert len(deleted) == len(dict(deleted)), "a row was deleted twice"
    for number, row in deleted:
        assert target.get(number) == row, f"row {number} was deleted and is not in the target"
    assert source.keys() | target.keys() == set(range(1, ROWS + 1)), "a row is lost"
    assert source.keys() | dict(deleted).keys() == set(range(1, ROWS + 1))
    job = bench.only()
    assert (job.rows_total, job.rows_written) == (ROWS, ROWS)
    assert job.rows_purged == len(deleted)
    assert job.rows_kept == len(source)
    assert job.rows_different == 0
    assert all(target[number] != row for number, row in source.items())
    found = bench.latest().runs.differences(bench.latest().run.id)
    reported = {int(d.difference.key[0]) for d in found if d.phase == "purge"}
    assert reported == source.keys(), "a changed row was kept without a report"


@pytest.mark.share
@pytest.mark.timeout(3600)
def test_killed_at_random_moments(bench: Bench[Database]) -> None:
    chance = random.Random(share(1, 2))
    bench.source.execute(*SETUP)
    bench.write(
        bench.job(purge="system", batch_size=BATCH, workers=2, accept_triggers=["log_deleted"])
    )
    killed(bench, "plan", chance, 0)
    with updating(bench):
        for name in ("copy", "check", "purge"):
            through = killed(bench, name, chance, KILLS)
            print(f"{name}: {KILLS} kills over {through:.0%} of the work")  # noqa: T201
    verify(bench)
