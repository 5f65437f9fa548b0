"""Makes a DAG of every task file in the folder `tasks` beside this file."""

from __future__ import annotations

from pathlib import Path

from dsp_airflow.dag_factory import dags_in

# Airflow takes the DAGs that it finds under any name of this module.
TASKS = dags_in(Path(__file__).parent / "tasks")
globals().update({f"dag {name}": dag for name, dag in TASKS.items()})
