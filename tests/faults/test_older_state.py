"""A state database that was restored from a backup older than the data: nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsp_airflow.engine.errors import Refused
from dsp_airflow.state import receipts
from dsp_airflow.state.backup import backup, restore_backup
from dsp_airflow.state.database import open_state, upgrade
from dsp_airflow.steps import TaskRun
from tests.conftest import NewDatabase
from tests.engine.harness import Bench
from tests.engine.scenes import ROWS, SMALL
from tests.s3.harness import Archives, archives
from tests.servers import Database
from tests.servers.s3 import S3Server, fresh_bucket

ALL = "SELECT id, v FROM t ORDER BY id"


def some_copied(jobs: Bench[Database] | Archives) -> TaskRun:
    """A run of three batches, of which one is copied when its worker dies."""
    run = jobs.open()
    run.plan("copy")

    def stop(event: object) -> None:
        if type(event).__name__ == "BatchDone":
            run.pace.stop("enough")

    run.watch = type("Stops", (), {"on": staticmethod(stop)})()
    with pytest.raises(Exception, match="enough"):
        run.copy("copy")
    assert run.summary().jobs[0].batches_copied == 1
    return run


def go_on(jobs: Bench[Database] | Archives, *, new: bool = False) -> TaskRun:
    run = jobs.open(new=new)
    for step in (run.plan, run.copy, run.check, run.purge):
        step("copy")
    run.finish()
    return run


def job(jobs: Bench[Database] | Archives) -> dict[str, object]:
    return jobs.job(purge="system", check={"percent": 100}, batch_size=10)


def test_of_a_warm_job(tmp_path: Path, new_pg_db: NewDatabase) -> None:
    """Backed up while it copied; then it was purged, rows came, and the state went back."""
    source, target, lost, found = (new_pg_db() for _ in range(4))
    jobs = Bench(tmp_path, source, target)
    jobs.state.close()
    source.execute(SMALL, ROWS.format(30))
    jobs.write(job(jobs))
    upgrade(lost.sqlalchemy_url)
    with open_state(lost.sqlalchemy_url) as jobs.state:
        begun = some_copied(jobs)
        backup(lost.sqlalchemy_url, tmp_path / "backup.jsonl")
        assert go_on(jobs).summary().jobs[0].rows_purged == 30
        source.execute(
            "INSERT INTO t SELECT n, false, 'late' FROM generate_series(25, 35) n WHERE n <> 26"
        )
    restore_backup(tmp_path / "backup.jsonl", found.sqlalchemy_url)
    with open_state(found.sqlalchemy_url) as jobs.state:
        # Of the old run two batches are unknown: they are copied as the source has them now.
        again = go_on(jobs)
        assert again.run.id == begun.run.id
        assert again.summary().jobs[0].rows_kept == 0
        assert source.rows(ALL) == [(n, "late") for n in range(31, 36)]
        go_on(jobs, new=True)
        assert receipts.verify(jobs.state) == []
    assert source.rows(ALL) == []
    late = {25, *range(27, 36)}
    assert target.rows(ALL) == [(n, "late" if n in late else f"v{n}") for n in range(1, 36)]


def test_of_an_archive(tmp_path: Path, pg18_db: Database, moto: S3Server) -> None:
    """Its objects may be all that is left of rows, so none of them is written again."""
    jobs = archives(tmp_path, pg18_db, fresh_bucket(moto))
    pg18_db.execute(SMALL, ROWS.format(30))
    jobs.write(job(jobs))
    some_copied(jobs)
    backup(f"sqlite:///{tmp_path}/state.db", tmp_path / "backup.jsonl")
    assert go_on(jobs).summary().jobs[0].rows_purged == 30
    before = jobs.objects()
    jobs.state.close()
    restore_backup(tmp_path / "backup.jsonl", f"sqlite:///{tmp_path}/found.db")
    with open_state(f"sqlite:///{tmp_path}/found.db") as jobs.state:
        with pytest.raises(Refused, match="was set back to an earlier moment"):
            go_on(jobs)
        assert jobs.objects() == before
        pg18_db.execute("INSERT INTO t VALUES (40, false, 'late')")
        assert go_on(jobs, new=True).summary().jobs[0].rows_purged == 1
    after = jobs.objects()
    assert {key: after[key] for key in before} == before
