"""SIGKILL while a run writes what it notes, and while that is undone.

What must hold afterwards: the target is what it was before the run, to the byte.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import bson
import pytest

from dsp_airflow.state.rollbacks import Rollbacks
from tests.engine.anywhere import databases
from tests.engine.harness import Bench
from tests.faults.test_kill import Advances, processes
from tests.faults.work import rolled_back, whole
from tests.servers import Database, MongoDatabase
from tests.share import share

ROWS = share(20_000, 900)
CHUNK = share(200, 20)
KILLS = share(20, 1)


def fill(database: Any, numbers: range, value: str) -> None:
    if isinstance(database, MongoDatabase):
        database.insert_raw("t", [bson.encode({"_id": n, "v": value}) for n in numbers])
        return
    rows = ", ".join(f"({n}, '{value}')" for n in numbers)
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(9))", f"INSERT INTO t VALUES {rows}"
    )


def rows(database: Any) -> list[Any]:
    if isinstance(database, MongoDatabase):
        return sorted((found["_id"], found["v"]) for found in database["t"].find())
    return sorted(database.rows("SELECT id, v FROM t"))


def to_the_end(start: Callable[[], Any], done: Callable[[], int], chance: random.Random) -> None:
    """Kills it so often, in the midst of what it does; then it has to come to its end."""
    fallen, advances = 0, Advances(lambda: (fallen, done()))
    while True:
        assert advances(), "it does not come to an end"
        process = start()
        process.start()
        goal = done() + chance.randrange(ROWS // (2 * KILLS))
        while process.exitcode is None and (fallen == KILLS or done() < goal):
            assert advances(), "it hangs"
            process.join(0.005)
        process.join(chance.uniform(0, 0.02))
        if process.exitcode is None:
            process.kill()
            process.join()
            fallen += 1
        elif process.exitcode == 0:
            return
        else:
            time.sleep(0.2)


@pytest.mark.parametrize("system", ["pg18", "mariadb", "mysql", "mongo"])
def test_killed_at_random(system: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if system == "mongo":
        # What a dead worker has in hand is nobody else's until the server ends its transaction.
        request.getfixturevalue("hasty")
    with ExitStack() as stack:
        source, target = databases(request, stack, system, system)
        fill(source, range(ROWS), "new")
        fill(target, range(0, 2 * ROWS, 3), "old")
        bench = Bench[Any](tmp_path, source, target)
        table = "public.t" if isinstance(source, Database) else "t"
        bench.write(bench.job(table=table, rollback=True, batch_size=CHUNK))
        before, chance = rows(target), random.Random(system)
        ends = (tmp_path, source.uri, target.uri)

        run = bench.open()

        def copied() -> int:
            return sum(job.rows_written for job in run.summary().jobs)

        to_the_end(lambda: processes.Process(target=whole, args=(*ends, False)), copied, chance)
        assert [value for _, value in rows(target)].count("new") == ROWS

        def undone() -> int:
            return 2 * ROWS - [value for _, value in rows(target)].count("new")

        again = (*ends, CHUNK)
        to_the_end(lambda: processes.Process(target=rolled_back, args=again), undone, chance)
        assert rows(target) == before
        (done,) = Rollbacks(bench.state).of_run(run.run.id)
        there = len(range(0, ROWS, 3))
        assert (done.removed, done.restored, done.kept) == (ROWS - there, there, 0)
