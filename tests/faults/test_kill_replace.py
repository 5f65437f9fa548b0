"""SIGKILL at many moments of a job that replaces its target, while others read it.

What must hold at any time: the target is the old table or the new one, all of it; in the end it is
the new one, and nothing is left beside it.
"""

from __future__ import annotations

import multiprocessing

import pytest

from tests.faults.tables import fill, rows_of
from tests.faults.work import phase
from tests.mysql.pairs import Pair
from tests.mysql.test_values import named, pair
from tests.servers import Database, MongoDatabase
from tests.share import share

__all__ = ["pair"]

ROWS = 4000
OLD = 10
KILLS = share(60, 2)
LONGEST = 1.2
"""Seconds after which the last kill falls, of each step."""
PATIENCE = 120.0
OURS = {"t", "dsp_commits", "dsp_locks"}

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.faults.work"])


def swept(pair: Pair, name: str) -> list[str]:
    """A step, killed at one moment after the other until it is through; what stood there then."""
    seen: list[str] = []
    for kill in range(KILLS + 1):
        worker = processes.Process(
            target=phase, args=(pair.folder, pair.source.uri, pair.target.uri, name)
        )
        worker.start()
        worker.join(PATIENCE if kill == KILLS else LONGEST * (kill + 1) / KILLS)
        if worker.exitcode is None:
            assert kill < KILLS, f"{name} hangs"
            worker.kill()
            worker.join()
        seen.append(state_of(pair))
        if worker.exitcode == 0:
            return seen
    raise AssertionError(f"{name} does not come to an end")


def state_of(pair: Pair) -> str:
    return {OLD: "old", ROWS: "new"}[len(rows_of(pair.target))]


def tables(pair: Pair) -> set[str]:
    target = pair.target
    if isinstance(target, MongoDatabase):
        return set(target.database.list_collection_names())
    schema = "public" if isinstance(target, Database) else target.name
    found = target.rows(
        f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{schema}'"
    )
    return {str(row[0]) for row in found}


@pytest.mark.share
@pytest.mark.timeout(1800)
@named([("pg15", "pg15"), ("mariadb", "mariadb"), ("mongo", "mongo"), ("pg18", "mysql")])
def test_killed_at_many_moments_of_every_step(pair: Pair) -> None:
    fill(pair.source, ROWS)
    fill(pair.target, OLD)
    pair.write(pair.job(mode="replace", batch_size=500, check={"percent": 100}))
    pair.open().plan("copy")
    for name in ("copy", "check"):
        assert set(swept(pair, name)) == {"old"}
    seen = swept(pair, "swap")
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == "new"
    assert rows_of(pair.target) == rows_of(pair.source)
    assert tables(pair) <= OURS
    (job,) = pair.latest().summary().jobs
    assert (job.state, job.rows_checked, job.rows_written) == ("succeeded", ROWS, ROWS)
