"""Archives that are tried: restored to a table of the drill's own, compared, and dropped."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from dsp_airflow.config.loading import load_task
from dsp_airflow.engine.archive.manifest import CHECKSUM
from dsp_airflow.engine.archive.witness import Altered
from dsp_airflow.engine.batches import parse_batches
from dsp_airflow.engine.errors import DspError, Mismatch, Refused
from dsp_airflow.naming import BATCHES, RUN, TABLE
from dsp_airflow.opening import open_run
from dsp_airflow.undoing import undo_of
from tests.conftest import NewDatabase
from tests.s3.drills import Drills
from tests.s3.harness import archives
from tests.s3.test_path import damage, filled
from tests.servers.s3 import S3Server, fresh_bucket

STAND = "SELECT relname FROM pg_class WHERE relname LIKE '%dsp_drill%' AND relkind = 'r'"


@pytest.fixture
def drills(tmp_path: Path, new_pg_db: NewDatabase, moto: S3Server) -> Drills:
    """A hundred rows in four batches, archived and purged, and a database to try that in."""
    found = Drills(archives(tmp_path, new_pg_db(), fresh_bucket(moto)))
    filled(found.jobs)
    found.jobs.run()
    found.jobs.target = new_pg_db()
    found.write()
    return found


def _tables(database: Any) -> list[str]:
    return [name for (name,) in database.rows(STAND)]


def test_an_archive_is_restored_compared_and_dropped(drills: Drills) -> None:
    run = drills.begin()
    tried = run.run.variables["tried"]
    assert tried[RUN] == drills.jobs.latest().run.id
    assert len(parse_batches(tried[BATCHES]) or ()) == 2
    assert run.plan("tried").create
    run.copy("tried")
    [name] = _tables(drills.jobs.target)
    assert f"public.{name}" == tried[TABLE]
    with pytest.raises(Refused, match="0 of 2 batches are checked, and 0 rows differ; public"):
        run.drop_drill("tried")
    found = run.check("tried")
    assert (found.batches, found.batches_checked, found.rows_different) == (2, 2, 0)
    assert found.rows_checked == found.rows_written > 0
    run.drop_drill("tried")
    assert _tables(drills.jobs.target) == []
    # A retry, and whoever was killed before he could say that it is done.
    run.drop_drill("tried")
    assert run.is_tried("tried")
    assert run.finish().state == "succeeded"
    [known] = drills.jobs.latest().runs.jobs(run.run.id)
    assert known.source_table.endswith(f"run={tried[RUN]}/_manifest.json")


def test_each_archive_in_turn(drills: Drills) -> None:
    """What was never tried, then what was tried longest ago; a drill that failed does not count."""
    for _ in range(2):
        drills.jobs.source.execute(
            "INSERT INTO t (id, name) SELECT n, 'x' FROM generate_series(1, 40) n"
        )
        drills.jobs.run(new=True)
    archived = {run.id for run in drills.jobs.latest().runs.recent("task")}
    tried = []
    for _ in range(5):
        run = drills.run().run
        tried.append(drills.jobs.latest().runs.get(run).variables["tried"][RUN])
    assert set(tried[:3]) == archived
    assert tried[3:] == tried[:2]


def test_what_differs_stays_until_the_next_drill(drills: Drills) -> None:
    run = drills.begin()
    run.plan("tried")
    run.copy("tried")
    [name] = _tables(drills.jobs.target)
    drills.jobs.target.execute(f"UPDATE {name} SET name = 'other' WHERE id % 10 = 3")
    with pytest.raises(Mismatch, match="rows differ between source and target"):
        run.check("tried")
    with pytest.raises(Refused, match=rf"rows differ; public.{name} stays"):
        run.drop_drill("tried")
    assert not run.is_tried("tried")
    run.finish(Mismatch("rows differ"))
    assert _tables(drills.jobs.target) == [name]
    drills.jobs.target.execute("CREATE TABLE tried_dsp_drill_of_mine (id bigint)")
    drills.run()
    assert _tables(drills.jobs.target) == ["tried_dsp_drill_of_mine"]


def test_an_archive_that_is_not_as_it_was(drills: Drills) -> None:
    damage(drills.jobs, "byte")
    drills.write(drill={"task": "task", "job": "copy", "percent": 100})
    with pytest.raises(Altered, match="batch=2"):
        drills.run()
    # The manifest, with a checksum that fits.
    (name,) = [key for key in drills.jobs.objects() if key.endswith("_manifest.json")]
    told = drills.jobs.manifest()
    told["rows"] += 1
    told.pop(CHECKSUM)
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    told[CHECKSUM] = hashlib.sha256(text.encode()).hexdigest()
    assert drills.jobs.place is not None
    client, bucket = drills.jobs.place.client, drills.jobs.place.name
    client.put_object(Bucket=bucket, Key=name, Body=json.dumps(told).encode())
    with pytest.raises(Mismatch):
        drills.run()
    client.delete_object(Bucket=bucket, Key=name)
    with pytest.raises(DspError, match=r"_manifest\.json is not there"):
        drills.run()
    assert name not in drills.jobs.objects()


def test_the_same_is_drawn_whenever_it_is_asked(drills: Drills) -> None:
    """What was estimated and approved is what is done, whatever was archived meanwhile."""
    from dsp_airflow.asking import variables_now
    from dsp_airflow.run_variables import Interval

    task = load_task(drills.file)
    run = open_run(drills.jobs.state, task, drills.file, drills.jobs.store, new=True)
    before = variables_now(run, Interval())
    drills.jobs.source.execute("INSERT INTO t (id) SELECT generate_series(1, 40)")
    drills.jobs.run(new=True)
    run.begin()
    assert run.run.variables["tried"] == before["tried"]


def test_nothing_to_try(drills: Drills) -> None:
    drills.write(drill={"task": "tasks", "job": "copy"})
    with pytest.raises(Refused, match="nothing to try: no run of task tasks that the state"):
        drills.begin()
    drills.write(drill={"task": "task", "job": "copies"})
    with pytest.raises(Refused, match="has archived rows by a job copies"):
        drills.begin()
    # What was rolled back has no objects any more, and is no archive that is not as it was.
    drills.jobs.write(drills.jobs.job(target={"prefix": "c/d"}), name="undone")
    drills.jobs.source.execute("INSERT INTO t (id) SELECT generate_series(1, 9)")
    drills.jobs.run()
    drills.write(drill={"task": "undone", "job": "copy"})
    assert drills.run().jobs[0].rows_checked > 0
    undo_of(drills.jobs.latest(), "copy").do("ann")
    with pytest.raises(Refused, match="nothing to try: no run of task undone"):
        drills.begin()
