"""SIGKILL at random moments between MongoDB and tables or S3, while the source is being updated.

What must hold afterwards: whatever is gone from the source stands in the target as it was last;
none is missing from both sides; what has changed since it was copied was kept and reported; the
counts are true.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dsp_airflow.engine.stores.mongodb import names
from dsp_airflow.state.runs import Runs
from tests.faults.tables import LOCKED, fill, job_of, rows_of
from tests.faults.test_kill import killed, processes, share_done
from tests.mongo.cross import Cross
from tests.mysql.pairs import Pair
from tests.mysql.test_values import named, pair
from tests.s3.harness import Away
from tests.s3.work import phase, where_of
from tests.servers import MongoDatabase
from tests.servers.s3 import S3Server, fresh_bucket
from tests.share import share

__all__ = ["pair"]

ROWS = share(60_000, 1_500)
BATCH = ROWS // share(150, 30)
KILLS = share(25, 2)
WAYS = [("mongo", "pg18"), ("mongo", "mariadb"), ("mongo", "mysql"), ("pg18", "mongo")]


def bury(*databases: Any) -> None:
    """Ends the leases of who was killed, which would stand for a while."""
    for database in databases:
        if isinstance(database, MongoDatabase):
            database[names.LOCKS].update_many(
                {}, [{"$set": {"until": {"$subtract": ["$until", 600_000]}}}]
            )


Rename = Callable[[int, str], bool]


@contextmanager
def renaming(database: Any) -> Iterator[Rename]:
    """Gives one row another name, and tells whether it was there to be renamed."""
    if isinstance(database, MongoDatabase):
        table = database["t"]

        def in_documents(number: int, name: str) -> bool:
            done = table.update_one({"_id": number}, {"$set": {"name": name}})
            return done.matched_count == 1

        yield in_documents
        return
    with database.connect() as connection:

        def in_rows(number: int, name: str) -> bool:
            with suppress(*LOCKED):
                cursor = connection.execute("UPDATE t SET name = %s WHERE id = %s", (name, number))
                return bool(cursor.rowcount == 1)
            return False

        yield in_rows


@contextmanager
def updating(database: Any) -> Iterator[dict[int, str]]:
    """Changes random rows all the time, a tenth of them at most; the names they were given last."""
    given: dict[int, str] = {}
    stop, failed, chance = threading.Event(), list[BaseException](), random.Random(7)

    def work() -> None:
        try:
            with renaming(database) as rename:
                for n in range(ROWS // 10):
                    number = chance.randint(1, ROWS)
                    if rename(number, f"changed {n}"):
                        given[number] = f"changed {n}"
                    if stop.wait(0.01):
                        return
        except (psycopg.Error, OSError, RuntimeError) as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield given
    finally:
        stop.set()
        thread.join()
    assert not failed


@pytest.mark.share
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("hasty")
@named(WAYS)
def test_killed_at_random_moments(pair: Pair) -> None:
    chance = random.Random(3)
    fill(pair.source, ROWS)
    before = {row[0]: row for row in rows_of(pair.source)}
    pair.write(job_of(pair, batch_size=BATCH, check={"percent": 100}))
    run = pair.open()
    run.plan("copy")
    buried = partial(bury, pair.source, pair.target)
    with updating(pair.source) as given:
        killed(pair, "copy", chance, KILLS, bury=buried)
        pair.open().check("copy")
        killed(pair, "purge", chance, KILLS, bury=buried)

    def last(number: int) -> Any:
        row = before[number]
        return (row[0], given.get(number, row[1]), *row[2:])

    source = {row[0]: row for row in rows_of(pair.source)}
    target = {row[0]: row for row in rows_of(pair.target)}
    assert len(rows_of(pair.target)) == len(target) == ROWS
    for number in before:
        if number in source:
            assert source[number] == last(number) != target[number], "kept without a change"
        else:
            assert target[number] == last(number), "deleted, and not in the target as it was"
    job = pair.only()
    assert (job.rows_written, job.rows_different) == (ROWS, 0)
    assert (job.rows_purged, job.rows_kept) == (ROWS - len(source), len(source))
    latest = pair.latest()
    found = latest.runs.differences(latest.run.id)
    assert {int(d.difference.key[0]) for d in found if d.phase == "purge"} == source.keys()


def of_archive(jobs: Cross, name: str) -> Any:
    """A process that works at a phase of an S3 job, or at its way back."""
    return processes.Process(target=phase, args=(where_of(jobs), name))


def share_archived(jobs: Cross, name: str) -> float:
    if name != "restore":
        return share_done(jobs, name)
    latest = Runs(jobs.state).latest("task__restore")
    known = [] if latest is None else Runs(jobs.state).summary(latest.id).jobs
    return sum(job.batches_copied / max(job.batches, 1) for job in known)


@pytest.mark.share
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("hasty")
def test_archived_purged_and_restored(
    tmp_path: Path, mongo_db: MongoDatabase, moto: S3Server
) -> None:
    """Whole documents through S3 and back, each step killed."""
    jobs = Cross(tmp_path, mongo_db, Away(), place=fresh_bucket(moto))
    ways: Any = {"process_of": of_archive, "share_done": share_archived}
    chance, kills = random.Random(5), share(20, 1)
    fill(mongo_db, ROWS)
    before = mongo_db.raw("t")
    jobs.write(jobs.s3(batch_size=BATCH, purge="system", workers=2))
    run = jobs.open()
    run.plan("copy")
    killed(jobs, "copy", chance, kills, **ways)
    jobs.open().check("copy")
    killed(jobs, "purge", chance, kills, **ways)
    job = jobs.only()
    assert (job.rows_written, job.rows_purged, job.rows_kept) == (ROWS, ROWS, 0)
    assert mongo_db.raw("t") == []
    killed(jobs, "restore", chance, kills, **ways)
    assert mongo_db.raw("t") == before
    runs = Runs(jobs.state)
    latest = runs.latest("task__restore")
    assert latest is not None
    (job,) = runs.summary(latest.id).jobs
    assert (job.rows_written, job.rows_checked, job.rows_different) == (ROWS, ROWS, 0)
