"""Airflow's own metadata database on PostgreSQL, and runs of every age in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.servers import Database

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "airflow_runs.yaml"
BELOW = (
    *("dag_run", "dag_run_note", "dagrun_asset_event", "asset_partition_dag_run"),
    *("backfill_dag_run", "deadline", "task_state_store", "task_instance", "task_instance_note"),
    *("task_reschedule", "task_map", "xcom", "rendered_task_instance_fields", "hitl_detail"),
    *("task_instance_history", "hitl_detail_history"),
)
"""The tables of the example task."""


def migrate(database: Database, home: Path) -> None:
    """`airflow db migrate`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        capture_output=True,
        text=True,
        check=False,
        env={
            **kept,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database.sqlalchemy_url,
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr


def fill(database: Database, runs: int) -> None:
    """So many runs, one every six hours back from now, with all that Airflow keeps of them."""
    with database.connect() as connection:
        connection.execute(f"SET dsp.runs = {runs}".encode())
        connection.execute(Path(__file__).with_suffix(".sql").read_bytes())


def contents(database: Database) -> dict[str, set[str]]:
    """Every row of every table, as texts."""
    return {
        table: {row for (row,) in database.rows(f"SELECT t::text FROM {table} AS t")}
        for table in BELOW
    }
