"""SIGKILL while rows are deleted that the source does not have.

What must hold afterwards: exactly those are gone, and the counts are true.
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import bson
import pytest

from dsp_airflow.state.deletions import Deletions
from tests.engine.anywhere import databases
from tests.engine.harness import Bench
from tests.faults.test_kill import Advances, processes
from tests.faults.work import few_at_once
from tests.servers import Database, MongoDatabase
from tests.share import share

ROWS = share(20_000, 600)
CHUNK = share(100, 10)
KILLS = share(30, 3)


def fill(source: Any, target: Any) -> None:
    """The target has three times as many rows as the source."""
    for database, step in ((source, 3), (target, 1)):
        numbers = range(0, ROWS, step)
        if isinstance(database, MongoDatabase):
            database.insert_raw("t", [bson.encode({"_id": n, "v": "v"}) for n in numbers])
        else:
            rows = ", ".join(f"({n}, 'v')" for n in numbers)
            database.execute(
                "CREATE TABLE t (id int PRIMARY KEY, v varchar(9))", f"INSERT INTO t VALUES {rows}"
            )


def ids(database: Any) -> set[int]:
    if isinstance(database, MongoDatabase):
        return {found["_id"] for found in database["t"].find({}, {"_id": 1})}
    return {n for (n,) in database.rows("SELECT id FROM t")}


@pytest.mark.parametrize("system", ["pg18", "mariadb", "mongo"])
def test_killed_at_random(system: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if system == "mongo":
        # What a dead worker has in hand is nobody else's until the server ends its transaction.
        request.getfixturevalue("hasty")
    with ExitStack() as stack:
        source, target = databases(request, stack, system, system)
        killed(Bench[Any](tmp_path, source, target), random.Random(system))


def killed(bench: Bench[Any], chance: random.Random) -> None:
    fill(bench.source, bench.target)
    table = "public.t" if isinstance(bench.source, Database) else "t"
    bench.write(bench.job(table=table, delete_missing={"limit": "70%"}))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    run.check("copy")
    wanted = ids(bench.target) - ids(bench.source)
    record = Deletions(bench.state, run.run.id, "copy", "of no interest")
    fallen, advances = 0, Advances(lambda: (fallen, record.deleted))
    while True:
        assert advances(), "it does not come to an end"
        process = processes.Process(
            target=few_at_once, args=(bench.folder, bench.source.uri, bench.target.uri, CHUNK)
        )
        process.start()
        if fallen < KILLS:
            goal = len(wanted) * (fallen + 1) // (KILLS + 2)
            while process.exitcode is None and record.deleted < goal:
                process.join(0.005)
            process.join(chance.uniform(0, 0.02))
            if process.exitcode is None:
                process.kill()
                process.join()
                fallen += 1
                continue
        while process.exitcode is None:
            assert advances(), "it hangs"
            process.join(0.2)
        if process.exitcode == 0:
            break
        time.sleep(0.2)
    assert fallen == KILLS
    found = bench.only()
    assert (found.rows_missing, found.rows_deleted) == (len(wanted), len(wanted))
    assert found.state == "succeeded"
    assert ids(bench.target) == ids(bench.source)
