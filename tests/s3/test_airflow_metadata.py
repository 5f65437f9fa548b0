"""The example that archives old runs of Airflow, on a metadata database of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsp_airflow.config.loading import load_task
from dsp_airflow.restoring import Wish, of_run
from dsp_airflow.steps import open_run
from tests.airflow_metadata import BELOW, EXAMPLE, contents, fill, migrate
from tests.s3.harness import Archives
from tests.servers import Database
from tests.servers.s3 import S3Server, fresh_bucket
from tests.share import share

RUNS = share(4000, 480)
OLD = """
  SELECT id FROM dag_run AS r WHERE state IN ('success', 'failed')
  AND end_date < now() - interval '90 days' AND run_after < (SELECT max(run_after) FROM dag_run AS o
    WHERE (o.dag_id, o.run_type) = (r.dag_id, r.run_type))
"""


@pytest.fixture
def metadata(tmp_path: Path, pg15_db: Database, moto: S3Server) -> Archives:
    """The example's task, its connections and a full database."""
    place = fresh_bucket(moto)
    bench = Archives(tmp_path, pg15_db, None, place=place)
    text = EXAMPLE.read_text().replace("bucket: archive,", f"bucket: {place.name},")
    text = text.replace("airflow_db", "source").replace("connection: archive_s3", "connection: archive")
    bench.file.write_text(text)
    migrate(pg15_db, tmp_path)
    fill(pg15_db, RUNS)
    return bench


def test_old_runs_go_with_all_that_hangs_on_them(metadata: Archives) -> None:
    database = metadata.source
    before = contents(database)
    assert set(before) == {job.name for job in load_task(metadata.file).jobs} == set(BELOW)
    assert all(before.values())
    old = {row[0] for row in database.rows(OLD)}
    assert len(old) > 50
    summary = metadata.run()
    for job in summary.jobs:
        print(job.name, job.rows_total, job.rows_purged, job.rows_kept)
