"""Makes a DAG of every task file in the folder `tasks` beside this file."""

from __future__ import annotations

from pathlib import Path

from dsp_airflow.dag_factory import dags_in

# Each DAG registers itself with Airflow as it is built.
DAGS = dags_in(Path(__file__).parent / "tasks")
