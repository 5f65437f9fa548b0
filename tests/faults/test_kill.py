"""SIGKILL at random moments of copy, check and purge, while rows are being updated.

What must hold afterwards: every deleted row stands in the target exactly as it was when it
was deleted; no row is missing from both sides; none is doubled; every changed row was kept
and reported; the counts are true.
"""

from __future__ import annotations

import multiprocessing
import random
import signal
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
BATCH = ROWS // 40
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


def killed(bench: Bench[Database], name: str, chance: random.Random, kills: int) -> int:
    """Works at a phase until it is complete, killing it at random moments; returns how often."""
    done, longest = 0, 0.3
    give_up = time.monotonic() + PATIENCE + kills * 3
    while True:
        assert time.monotonic() < give_up, f"{name} does not come to an end"
        process = processes.Process(
            target=phase, args=(bench.folder, bench.source.uri, bench.target.uri, name)
        )
        began = time.monotonic()
        process.start()
        if done < kills:
            process.join(chance.uniform(0.0, longest))
            if process.exitcode is None:
                assert process.pid is not None
                process.kill()
                process.join()
                assert process.exitcode == -signal.SIGKILL
                done += 1
                continue
        process.join(PATIENCE)
        assert process.exitcode is not None, f"{name} hangs"
        if process.exitcode == 0:
            return done
        # An error is what a retry is for; it must not be a tight loop.
        time.sleep(max(0.0, 0.1 - (time.monotonic() - began)))


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


@pytest.mark.timeout(3600)
def test_killed_at_random_moments(bench: Bench[Database]) -> None:
    chance = random.Random(share(1, 2))
    bench.source.execute(*SETUP)
    bench.write(
        bench.job(purge="system", batch_size=BATCH, workers=2, accept_triggers=["log_deleted"])
    )
    counts = {}
    with updating(bench):
        for name in ("plan", "copy", "check", "purge"):
            counts[name] = killed(bench, name, chance, KILLS)
    verify(bench)
    print(f"killed {counts}")  # noqa: T201
