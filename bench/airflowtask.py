"""What Airflow adds to a task, as far as ``dag.test()`` shows: in one process."""

from __future__ import annotations

import logging
import resource
import time
import warnings
from pathlib import Path
from typing import Any

DAGS = '''
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG
from dsp_airflow.operators.check import ConsistencyCheckOperator
from dsp_airflow.operators.plan import PlanOperator
from dsp_airflow.operators.sync import TableSyncOperator

def nothing():
    """Does nothing."""

with DAG("bench_empty", schedule=None):
    first, second, third = (
        PythonOperator(task_id=f"empty_{{n}}", python_callable=nothing) for n in range(3)
    )
    first >> second >> third

with DAG("bench_ours", schedule=None):
    those = {{"task_file": {file!r}, "job": {job!r}}}
    (
        PlanOperator(task_id="plan", **those)
        >> TableSyncOperator(task_id="copy", **those)
        >> ConsistencyCheckOperator(task_id="check", **those)
    )
'''
TASKS = 3


def measured(file: str, job: str, folder: Path) -> dict[str, Any]:
    """Wall and CPU seconds of one task: of ours, and of an empty one."""
    # Airflow reads where its database is when it is imported.
    from airflow.dag_processing.dagbag import DagBag  # noqa: PLC0415

    folder.mkdir(exist_ok=True)
    (folder / "bench_dags.py").write_text(DAGS.format(file=file, job=job))
    logging.disable(logging.INFO)
    with warnings.catch_warnings():
        # Those of Airflow and of what it is made of.
        warnings.simplefilter("ignore")
        bag = DagBag(folder)
        if bag.import_errors:
            raise RuntimeError(str(bag.import_errors))
        # The first run of a process loads hundreds of modules.
        bag.dags["bench_empty"].test()
        return {name: _run(bag.dags[f"bench_{name}"]) for name in ("empty", "ours")}


def _run(dag: Any) -> tuple[float, float]:
    began, used = time.perf_counter(), _cpu()
    run = dag.test()
    if str(run.state) != "success":
        raise RuntimeError(f"{dag.dag_id}: {run.state}")
    return (time.perf_counter() - began) / TASKS, (_cpu() - used) / TASKS


def _cpu() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)
