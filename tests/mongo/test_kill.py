"""SIGKILL at random moments of copy and purge, while documents are being updated.

What must hold afterwards: every document that was deleted stands in the target as it was when it
was deleted, none is missing from both sides, every changed one was kept, the counts are true.
"""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dsp_airflow.engine.stores.mongodb import names
from tests.mongo.harness import MongoBench
from tests.mongo.work import Address, phase
from tests.share import share

DOCUMENTS = share(30_000, 6_000)
BATCH = share(1_500, 500)
KILLS = share(10, 4)
PATIENCE = 180.0
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.mongo.work"])


@pytest.fixture
def hasty(bench: MongoBench) -> Iterator[None]:
    """The server ends the transactions of the dead after seconds, not after a minute."""
    admin = bench.source.client.admin
    admin.command({"setParameter": 1, "transactionLifetimeLimitSeconds": 3})
    yield
    admin.command({"setParameter": 1, "transactionLifetimeLimitSeconds": 60})


@contextmanager
def updating(bench: MongoBench) -> Iterator[None]:
    """Changes random documents, which may be gone, all the time."""
    stop = threading.Event()
    chance = random.Random(7)

    def work() -> None:
        while not stop.is_set():
            number = chance.randrange(DOCUMENTS)
            bench.source["t"].update_one({"_id": number}, {"$inc": {"version": 1}})
            stop.wait(0.01)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def killed(bench: MongoBench, name: str, chance: random.Random) -> int:
    """Works at a phase until it is complete, killing it at random moments; returns the kills."""
    give_up = time.monotonic() + PATIENCE
    kills, longest = 0, 0.3
    places = [Address(side.server.uri(), side.name) for side in (bench.source, bench.target)]
    while True:
        process = processes.Process(target=phase, args=(bench.folder, *places, name))
        process.start()
        process.join(chance.uniform(0.05, longest) if kills < KILLS else PATIENCE)
        if process.exitcode == 0:
            return kills
        assert time.monotonic() < give_up
        if process.exitcode is None:
            kills += 1
            longest += 0.2
            process.kill()
            process.join()
        # A lease of the dead stands for a while; the test shortens it.
        for side in (bench.source, bench.target):
            side[names.LOCKS].update_many(
                {}, [{"$set": {"until": {"$subtract": ["$until", 600_000]}}}]
            )


@pytest.mark.share
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("hasty")
def test_nothing_is_lost_or_doubled(bench: MongoBench) -> None:
    chance = random.Random(11)
    for first in range(0, DOCUMENTS, 10_000):
        bench.source["t"].insert_many(
            {"_id": n, "version": 0, "text": "x" * (n % 300)}
            for n in range(first, min(first + 10_000, DOCUMENTS))
        )
    bench.write(bench.job(batch_size=BATCH, purge="manual", check={"percent": 100}))
    run = bench.open()
    run.plan("copy")
    with updating(bench):
        assert killed(bench, "copy", chance)
        run.check("copy")
        assert killed(bench, "purge", chance)
    left = {one["_id"]: one for one in bench.source["t"].find()}
    there = {one["_id"]: one for one in bench.target["t"].find()}
    assert len(there) == DOCUMENTS
    # Whatever is left was changed after it had been copied.
    assert all(there[n] != one for n, one in left.items())
    # What was deleted is what was copied: nobody changed it in between.
    job = bench.only()
    assert (job.rows_purged, job.rows_kept) == (DOCUMENTS - len(left), len(left))
    assert job.rows_different == 0
    assert bench.target[names.LOCKS].count_documents({"_id.kind": "proving"}) == 0
