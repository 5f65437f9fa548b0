"""Drills of archived files: into a bucket of their own, which goes again whatever happens."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from dsp_airflow.approval.subject import job_estimate
from dsp_airflow.engine.errors import Mismatch, Refused
from dsp_airflow.naming import TABLE
from dsp_airflow.state import stops
from dsp_airflow.state.tables import JOBS
from tests.conftest import NewMongoDatabase
from tests.mongo.gridfs import objects_work as work
from tests.mongo.gridfs.buckets import CHUNK, Bucket, content
from tests.mongo.gridfs.objects import Objects
from tests.mongo.gridfs.test_object_faults import elsewhere
from tests.s3.drills import Drills
from tests.servers.s3 import S3Server, fresh_bucket
from tests.share import full


@pytest.fixture
def drills(tmp_path: Path, new_mongo_db: NewMongoDatabase, moto: S3Server) -> Drills:
    """Six files in three batches, archived and purged; beside the drills' is a bucket `fs`."""
    bench = Objects(tmp_path, new_mongo_db(), new_mongo_db(), place=fresh_bucket(moto))
    source = Bucket(bench.source)
    for own, size in (("a", 5), ("b", CHUNK), ("c", 0), ("d", 3 * CHUNK), ("e", 40 * CHUNK)):
        source.put(content(size, own), own, own=own)
    source.put(content(2 * CHUNK, "f"), "no order", own={"of": "f"})
    bench.moved(bench.s3(batch_size=2), 6)
    Bucket(bench.target).put(b"mine", "mine", own="mine")
    found = Drills(bench)
    found.write(table="fs", drill={"task": "task", "job": "copy", "percent": 100})
    return found


def left(bench: Any) -> list[str]:
    """Collections of drills, and what is kept beside them."""
    names = bench.target.database.list_collection_names()
    beside = [str(one["_id"]) for one in bench.target["dsp_commits"].find()]
    return sorted(name for name in names if "drill" in name) + beside


def test_files_are_restored_compared_and_dropped(drills: Drills) -> None:
    bench: Any = drills.jobs
    mine = Bucket(bench.target).raw()
    run = drills.begin()
    name = run.run.variables["tried"][TABLE]
    plan = run.plan("tried")
    [job] = run.task.jobs
    shown = job_estimate(job, plan, "s3", plan.rows)["statements"]
    there = f"{bench.target.name}.{name}"
    assert shown[-1].endswith(f"drop {there}.chunks and {there}.files")
    run.copy("tried")
    bucket = Bucket(bench.target, name)
    assert left(bench) == [f"{name}.chunks", f"{name}.files"]
    assert bucket.get("e") == content(40 * CHUNK, "e")
    # A byte of a file: what differs stays, for whoever looks for the reason.
    own = bucket.chunk("d", 1)
    wrong = {"$set": {"data": b"!" + own["data"][1:]}}
    bucket.chunks.update_one({"_id": own["_id"]}, wrong)
    with pytest.raises(Mismatch, match="1 rows differ"):
        run.check("tried")
    with pytest.raises(Refused, match=f"1 rows differ; {name} stays"):
        run.drop_drill("tried")
    run.finish(Mismatch("1 rows differ"))
    assert bucket.files.count_documents({}) == 6

    found = drills.run().jobs[0]
    assert (found.rows_written, found.rows_checked, found.rows_different) == (6, 6, 0)
    assert left(bench) == []
    # Of some batches only, and of an object that is not what was uploaded.
    drills.write(table="fs", drill={"task": "task", "job": "copy", "percent": 10})
    assert drills.run().jobs[0].rows_written == 2
    bench.alter("e", b"other")
    drills.write(table="fs", drill={"task": "task", "job": "copy", "percent": 100})
    with pytest.raises(Mismatch, match="-e has 5 bytes, and had 40,960"):
        drills.run()
    assert Bucket(bench.target).raw() == mine


@pytest.mark.share
@pytest.mark.timeout(900)
def test_killed_at_any_step(drills: Drills) -> None:
    """Also between the two collections that are dropped: the next drill finds what is left."""
    bench: Any = drills.jobs
    mine = Bucket(bench.target).raw()
    assert elsewhere(bench, work.drill, 0) == 0
    steps = int((bench.folder / "steps").read_text())
    assert left(bench) == []
    for n, at in enumerate((steps, *(range(1, steps) if full() else (steps // 2,)))):
        assert elsewhere(bench, work.drill, at) == -9
        if n == 0:
            # Of the bucket that it was about to drop the chunks are gone already.
            [name] = left(bench)
            assert name.endswith(".files")
        with bench.state.write() as connection:
            silent = bench.state.now() - stops.SILENT - timedelta(seconds=1)
            connection.execute(update(JOBS).values(seen_at=silent))
    assert left(bench) != []
    drills.run()
    assert left(bench) == []
    assert Bucket(bench.target).raw() == mine
