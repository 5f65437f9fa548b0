"""Sudden death, large rows and other workers during a restore."""

from __future__ import annotations

import multiprocessing
import random
from pathlib import Path

import pytest

from dsp_airflow.state.runs import Runs
from tests.s3.harness import Archives, archives
from tests.s3.test_faults import killed
from tests.s3.test_memory import LIMIT, ROWS, long_texts, random_bytes
from tests.s3.test_path import filled, ids
from tests.s3.work import restore_measured, where_of
from tests.servers import Database
from tests.servers.s3 import S3Server, fresh_bucket
from tests.share import full, share

processes = multiprocessing.get_context("spawn")


@pytest.mark.share
@pytest.mark.timeout(3600)
def test_killed_at_random_moments(plain: Archives) -> None:
    """Every row comes back once, and what was written before a kill is not written again."""
    one = plain
    rows, chance = 4_000, random.Random(6)
    filled(one, rows=rows, batch_size=100, workers=2)
    one.source.execute("CREATE TABLE before AS TABLE t")
    one.run()
    assert ids(one) == []
    one.source.execute(
        "CREATE TABLE written (id bigint PRIMARY KEY)",
        "CREATE FUNCTION log_written() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN INSERT INTO written VALUES (NEW.id); RETURN NULL; END'",
        "CREATE TRIGGER log_written AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION log_written()",
    )
    killed(one, "restore", chance, share(30, 2))
    assert one.source.value("SELECT count(*) FROM (TABLE t EXCEPT TABLE before) x") == 0
    assert len(ids(one)) == rows == one.source.value("SELECT count(*) FROM written")
    runs = Runs(one.state)
    run = runs.latest("task__restore")
    assert run is not None
    (job,) = runs.summary(run.id).jobs
    assert (job.rows_written, job.rows_checked, job.rows_different) == (rows, rows, 0)
    assert one.source.value("SELECT count(*) FROM dsp_commits") == 0


@pytest.mark.share
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["parquet", "csv", "jsonl"] if full() else ["parquet"])
def test_large_rows(tmp_path: Path, pg18_db: Database, rclone: S3Server, name: str) -> None:
    """Rows of 1 MB come back in bounded memory, too."""
    jobs = archives(tmp_path, pg18_db, fresh_bucket(rclone))
    fill = long_texts if name == "csv" else random_bytes
    fill(pg18_db)
    jobs.write(jobs.job(purge="system", target={"format": name}, batch_size=150))
    jobs.run()
    assert ids(jobs) == []
    process = processes.Process(target=restore_measured, args=(where_of(jobs),))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert len(ids(jobs)) == ROWS
    peak = int((jobs.folder / "peak").read_text())
    print(f"{name}, {fill.__name__}: {peak / 1024:.0f} MiB")  # noqa: T201
    assert peak < LIMIT
