"""The example that archives old runs of Airflow, on a metadata database of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsp_airflow.config.loading import load_task
from dsp_airflow.restoring import Wish, of_run
from dsp_airflow.steps import TaskRun
from tests.airflow_metadata import BELOW, EXAMPLE, contents, fill, migrate
from tests.s3.harness import Archives, Away
from tests.servers import Database
from tests.servers.s3 import S3Server, fresh_bucket
from tests.share import full, share

PAGE = Path(__file__).parents[2] / "docs" / "airflow-metadata.md"
RUNS = share(4000, 480)
OLD = """
  SELECT id FROM dag_run AS r WHERE state IN ('success', 'failed')
  AND end_date < now() - interval '90 days' AND run_after < (SELECT max(run_after) FROM dag_run AS o
    WHERE (o.dag_id, o.run_type) = (r.dag_id, r.run_type))
"""
OWN = {  # What tells of a table's row which run it hangs on.
    "hitl_detail_history": "JOIN task_instance_history h ON h.task_instance_id = t.ti_history_id "
    "JOIN dag_run r USING (dag_id, run_id)",
    **dict.fromkeys(
        ("task_instance_note", "task_reschedule", "hitl_detail"),
        "JOIN task_instance i ON i.id = t.ti_id JOIN dag_run r USING (dag_id, run_id)",
    ),
    **dict.fromkeys(
        ("dag_run_note", "dagrun_asset_event", "backfill_dag_run"),
        "JOIN dag_run r ON r.id = t.dag_run_id",
    ),
    "asset_partition_dag_run": "JOIN dag_run r ON r.id = t.created_dag_run_id",
    "deadline": "JOIN dag_run r ON r.id = t.dagrun_id",
    "dag_run": "JOIN dag_run r USING (id)",
}
BY_NAME = "JOIN dag_run r USING (dag_id, run_id)"


@pytest.fixture
def metadata(tmp_path: Path, pg15_db: Database, moto: S3Server) -> Iterator[Archives]:
    """The example's task, its connections and a full database; the task's login has what its page
    grants it.
    """
    place = fresh_bucket(moto)
    (grants,) = re.findall(r"```sql\n(CREATE ROLE archiver.*?)```", PAGE.read_text(), re.DOTALL)
    login = Away(
        pg15_db.uri.replace(pg15_db.uri.split("//")[1].split("@")[0], "archiver:choose%20one")
    )
    bench = Archives(tmp_path, login, pg15_db, place=place)
    text = EXAMPLE.read_text().replace("bucket: archive,", f"bucket: {place.name},")
    text = text.replace("airflow_db", "source").replace(
        "connection: archive_s3", "connection: archive"
    )
    bench.file.write_text(text)
    migrate(pg15_db, tmp_path)
    fill(pg15_db, RUNS)
    pg15_db.execute(
        *grants.replace("DATABASE airflow", f"DATABASE {pg15_db.name}").split(";\n")[:-1]
    )
    yield bench
    pg15_db.execute("DROP OWNED BY archiver", "DROP ROLE archiver")


def of_runs(database: Database, runs: str) -> dict[str, set[str]]:
    """Of every table the rows that hang on these runs, as texts."""
    return {
        table: {
            row
            for (row,) in database.rows(
                f"SELECT t::text FROM {table} t {OWN.get(table, BY_NAME)} WHERE r.id IN ({runs})"
            )
        }
        for table in BELOW
    }


def restored(bench: Archives, wish: Wish) -> TaskRun:
    task = of_run(bench.state, load_task(bench.file), None, "dag_run", wish, bench.store)
    run = bench.going_back(task)
    for job in run.task.jobs:
        run.plan(job.name)
        run.copy(job.name)
        run.check(job.name)
    run.finish()
    return run


def test_old_runs_go_with_all_that_hangs_on_them(metadata: Archives) -> None:
    database = metadata.target
    before = contents(database)
    assert set(before) == {job.name for job in load_task(metadata.file).jobs} == set(BELOW)
    old = of_runs(database, OLD)
    assert all(old.values())
    # Of this one a task instance is younger than all the others, which is no reason to keep it.
    [(one, run_id)] = database.rows(f"SELECT id, run_id FROM dag_run WHERE id IN ({OLD}) LIMIT 1")
    database.execute(f"UPDATE task_instance SET start_date = now() WHERE run_id = '{run_id}'")
    before, old = contents(database), of_runs(database, OLD)
    single = of_runs(database, str(one))

    run = metadata.open()
    for job in run.task.jobs:
        run.plan(job.name)
        run.copy(job.name)
        run.check(job.name)
    # What hangs on a run goes before it.
    run.purge("dag_run")
    assert {j.name: (j.rows_purged, j.rows_kept) for j in run.finish().jobs} == {
        name: (len(rows), 0) for name, rows in old.items()
    }
    assert contents(database) == {name: before[name] - old[name] for name in before}
    # As old, but the newest of their kind, still at work, or ended lately.
    stay = "SELECT run_id FROM dag_run WHERE run_after < now() - interval '91 days'"
    assert {row[0] for row in database.rows(stay)} == {
        *("scheduled__404", "manual__408", "backfill__416", "scheduled__410", "scheduled__425")
    }

    back = restored(metadata, Wish(where=f"id = {one}", connection="target", children=True))
    assert {job.name: job.rows_written for job in back.summary().jobs} == {
        name: len(rows) for name, rows in single.items()
    }
    assert contents(database) == {n: before[n] - old[n] | single[n] for n in before}
    if full():
        # All others come back as they were, beside the one that is there.
        restored(metadata, Wish(connection="target", on_conflict="ignore", children=True))
        assert contents(database) == before
