"""Airflow archives and purges its own old runs, starts again, goes on, and gets one back."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.requests import Requests
from dsp_airflow.demo.rest import AirflowApi
from dsp_airflow.demo.standalone import AirflowStandalone
from dsp_airflow.state.database import open_state, upgrade
from tests.airflow_metadata import EXAMPLE, contents, migrate
from tests.e2e.conftest import REPOSITORY, RUN_SECONDS
from tests.servers import Database, PostgresServer, fresh_database
from tests.servers.s3 import S3Server, fresh_bucket

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(3600)]
WHOLE_SECONDS = 2400.0
"""The example has sixty-six steps, one after the other."""

DAG = """\
from datetime import datetime

from airflow.sdk import DAG, task

with DAG("hourly", schedule=SCHEDULE, start_date=datetime(2020, 1, 1), catchup=True,
         max_active_runs=1, is_paused_upon_creation=False):

    @task
    def extract():
        return [{"part": 1}, {"part": 2}]

    @task
    def load(part):
        return {"loaded": part}

    load.expand(part=extract())
"""
# As the real run is, and each an hour older than the one before.
OLDER = """
CREATE TEMPORARY TABLE copies AS
  SELECT n, nextval('dag_run_id_seq')::int AS id,
         date_trunc('hour', now(), 'UTC') - n * interval '1 hour' AS at
  FROM generate_series(1, 3000) AS n;
INSERT INTO dag_run SELECT (jsonb_populate_record(r, jsonb_build_object(
    'id', c.id, 'run_id', 'scheduled__' || c.n, 'run_type', 'scheduled', 'logical_date', c.at,
    'data_interval_start', c.at, 'data_interval_end', c.at, 'run_after', c.at,
    'queued_at', c.at, 'start_date', c.at,
    'end_date', c.at + (r.end_date - r.start_date), 'created_at', c.at, 'updated_at', c.at))).*
  FROM dag_run AS r, copies AS c WHERE r.run_id = 'model';
INSERT INTO task_instance SELECT (jsonb_populate_record(t, jsonb_build_object(
    'id', gen_random_uuid(), 'run_id', 'scheduled__' || c.n, 'start_date', c.at,
    'end_date', c.at + (t.end_date - t.start_date)))).*
  FROM task_instance AS t, copies AS c WHERE t.run_id = 'model';
INSERT INTO xcom SELECT (jsonb_populate_record(x, jsonb_build_object(
    'dag_run_id', c.id, 'run_id', 'scheduled__' || c.n, 'timestamp', c.at))).*
  FROM xcom AS x, copies AS c WHERE x.run_id = 'model';
INSERT INTO rendered_task_instance_fields SELECT (jsonb_populate_record(f, jsonb_build_object(
    'run_id', 'scheduled__' || c.n))).*
  FROM rendered_task_instance_fields AS f, copies AS c WHERE f.run_id = 'model';
INSERT INTO task_map SELECT (jsonb_populate_record(m, jsonb_build_object(
    'run_id', 'scheduled__' || c.n))).*
  FROM task_map AS m, copies AS c WHERE m.run_id = 'model';
"""
# A day beyond the cutoff on both sides, as time goes on meanwhile.
OLD = "run_type = 'scheduled' AND end_date < now() - interval '91 days'"
YOUNG = "run_type = 'scheduled' AND end_date > now() - interval '89 days'"


def dsp(airflow: AirflowStandalone, *arguments: str) -> str:
    """The command, by the administrator who decides."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")}
    acts = {"AIRFLOW__DSP__CLI_USERS": f"{getpass.getuser()}=olga"}
    done = subprocess.run(
        [str(Path(sys.executable).parent / "dsp"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, **airflow.settings, **acts},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def ends(airflow: AirflowStandalone, api: AirflowApi, dag: str, run: str) -> None:
    state = api.wait_for_run(dag, run, WHOLE_SECONDS)
    logs = "\n".join(
        f"{t.task} {t.state}\n{airflow.task_log(dag, run, t.task)}"
        for t in api.task_instances(dag, run)
    )
    assert state == "success", logs


def runs(api: AirflowApi, **query: str) -> int:
    found = api.get("/dags/hourly/dagRuns", limit="1", **query)
    return int(found["total_entries"])


def of_runs(rows: set[str], runs: set[str]) -> set[str]:
    """Those rows, as texts, that name one of the runs."""
    return {row for row in rows if runs & set(re.findall(r"scheduled__[0-9]+", row))}


def newest(metadata: Database) -> int:
    """How many runs the scheduler made and Airflow brought to an end since."""
    return int(
        metadata.value(
            "SELECT count(*) FROM dag_run WHERE run_type = 'scheduled' AND state = 'success' "
            "AND run_id NOT LIKE 'scheduled\\_\\__' AND run_id !~ '^scheduled__[0-9]+$'"
        )
    )


def test_airflow_lives_on_without_its_old_runs(
    pg15: PostgresServer, moto: S3Server, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        metadata, state = (stack.enter_context(fresh_database(pg15)) for _ in range(2))
        migrate(metadata, tmp_path)
        upgrade(state.uri)
        place = fresh_bucket(moto)
        dags = tmp_path / "dags"
        (dags / "tasks").mkdir(parents=True)
        shutil.copy(REPOSITORY / "dags" / "dsp_tasks.py", dags)
        example = dags / "tasks" / EXAMPLE.name
        example.write_text(
            EXAMPLE.read_text().replace("bucket: archive,", f"bucket: {place.name},")
        )
        (dags / "hourly.py").write_text(DAG.replace("SCHEDULE", "None"))

        def standalone(**settings: str) -> tuple[AirflowStandalone, AirflowApi]:
            airflow = AirflowStandalone(
                tmp_path,
                dags=dags,
                plugins=REPOSITORY / "plugins",
                state_url=state.uri,
                metadata_url=metadata.uri,
                connections={"airflow_db": metadata.uri, "archive_s3": place.airflow_connection},
                settings={
                    "AIRFLOW__DSP__ENFORCE_GRANTS": "False",
                    # Of older runs Airflow would delete them itself with each run that it makes.
                    "AIRFLOW__CORE__NUM_DAG_RUNS_TO_RETAIN_RENDERED_FIELDS": "0",
                    **settings,
                },
            )
            stack.enter_context(airflow)
            api = airflow.wait_until_ready()
            stack.callback(api.close)
            return airflow, api

        # One run that is real, three thousand like it, and from then on one every hour.
        airflow, api = standalone()
        api.wait_for_dag("hourly", 120)
        api.trigger("hourly", "model")
        ends(airflow, api, "hourly", "model")
        with metadata.connect() as connection:
            connection.execute(OLDER.encode())
        (dags / "hourly.py").write_text(DAG.replace("SCHEDULE", '"@hourly"'))
        before = contents(metadata)
        old = metadata.value(f"SELECT count(*) FROM dag_run WHERE {OLD}")
        old_ids, young_ids = (
            {run for (run,) in metadata.rows(f"SELECT run_id FROM dag_run WHERE {which}")}
            for which in (OLD, YOUNG)
        )
        assert old > 800

        # Nothing is deleted before somebody has agreed to it.
        database = stack.enter_context(open_state(state.uri))
        Roles(database).add("administrators", "olga", "root")
        api.wait_for_dag("airflow_runs", 120)
        api.unpause("airflow_runs")
        api.trigger("airflow_runs", "first")
        requests = Requests(database)
        assert api.wait_for(lambda: requests.find("airflow_runs/first") is not None, RUN_SECONDS)
        request = requests.find("airflow_runs/first")
        assert request is not None
        assert metadata.value(f"SELECT count(*) FROM dag_run WHERE {OLD}") == old
        dsp(airflow, "approve", request.id)
        ends(airflow, api, "airflow_runs", "first")
        assert metadata.value(f"SELECT count(*) FROM dag_run WHERE {OLD}") == 0
        # What is younger has all that it had, whatever Airflow has added since.
        after = contents(metadata)
        for table, rows in before.items():
            assert not of_runs(after[table], old_ids), table
            assert of_runs(rows, young_ids) <= after[table], table
        assert len(of_runs(before["task_instance"], young_ids)) > 6000
        airflow.stop()

        # It starts on what is left; the scheduler goes on from the newest run, and nowhere else.
        airflow, api = standalone(AIRFLOW__DSP__ENFORCE_APPROVAL="False")
        assert runs(api) > len(young_ids)
        assert api.wait_for(lambda: newest(metadata) > 0, RUN_SECONDS)
        api.trigger("hourly", "after")
        ends(airflow, api, "hourly", "after")
        assert metadata.value(f"SELECT count(*) FROM dag_run WHERE {OLD}") == 0

        # One is wanted back.
        wanted = "scheduled__2500"
        dsp(
            airflow,
            "restore",
            str(example),
            "--run",
            "latest",
            "--job",
            "dag_run",
            "--children",
            "--where",
            f"run_id = '{wanted}'",
        )
        back = contents(metadata)
        for table, rows in before.items():
            mine = of_runs(rows, {wanted})
            assert mine <= back[table], table
        assert metadata.value(f"SELECT count(*) FROM dag_run WHERE {OLD}") == 1
        assert api.run_state("hourly", wanted) == "success"
        tasks = [t.task for t in api.task_instances("hourly", wanted)]
        assert sorted(tasks) == ["extract", "load", "load"]
        value = api.get(
            f"/dags/hourly/dagRuns/{wanted}/taskInstances/extract/xcomEntries/return_value"
        )["value"]
        assert value == [{"part": 1}, {"part": 2}]
