"""One step of ours, or another operator, as an Airflow worker would run it: in this process.

Started by ``measure.step``. Imports are done, those of Airflow's first look at a connection
included, before the clock, the CPU counter and the peak of memory are started.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg  # noqa: F401 - imported before measuring
from airflow.providers.common.sql.operators.generic_transfer import GenericTransfer
from airflow.providers.postgres.hooks import postgres as _hooks  # noqa: F401
from airflow.sdk import DAG

from bench import airflowtask
from dsp_airflow.connections import open_store
from dsp_airflow.engine.stores import postgres as _store  # noqa: F401
from dsp_airflow.operators.base import StepOperator, external_key
from dsp_airflow.operators.check import ConsistencyCheckOperator
from dsp_airflow.operators.definition import from_file
from dsp_airflow.operators.plan import PlanOperator
from dsp_airflow.operators.purge import PurgeSourceOperator
from dsp_airflow.operators.sync import TableSyncOperator
from dsp_airflow.state.database import open_state
from dsp_airflow.state.runs import Runs
from dsp_airflow.steps import latest_run

OPERATORS: Mapping[str, type[StepOperator]] = {
    "plan": PlanOperator,
    "copy": TableSyncOperator,
    "check": ConsistencyCheckOperator,
    "purge": PurgeSourceOperator,
}


def main(spec: Mapping[str, Any], result: int) -> None:
    act = _act(spec)
    # Outside of its task runner Airflow loads hundreds of its own modules for the first
    # connection; a running task does without. Nothing is connected here.
    open_store(spec["connection"])
    before = _memory("VmRSS")
    # Forgets the peak so far, that of the imports.
    Path("/proc/self/clear_refs").write_text("5")
    used, began = _cpu(), time.perf_counter()
    returned = act()
    seconds, cpu = time.perf_counter() - began, _cpu() - used
    found = {
        "seconds": seconds,
        "cpu": cpu,
        "peak": _memory("VmHWM") - before,
        "returned": returned,
    }
    with os.fdopen(result, "w") as out:
        json.dump(found, out)


def _act(spec: Mapping[str, Any]) -> Callable[[], Any]:
    """What is to be measured, ready to go."""
    step = spec["step"]
    if step == "generic":
        transfer = GenericTransfer(task_id="transfer", **spec["arguments"])
        return lambda: transfer.execute(_context(transfer, spec["dag"], "generic"))
    if step == "check_again":
        return lambda: _check_again(spec)
    if step == "airflow":
        folder = Path(os.environ["AIRFLOW_HOME"]) / "dags"
        return lambda: airflowtask.measured(spec["file"], spec["job"], folder)
    with DAG(spec["dag"], schedule=None):
        operator = OPERATORS[step](task_id=step, task_file=spec["file"], job=spec["job"])
    return lambda: operator.execute(_context(operator, spec["dag"], spec["run"]))


def _context(operator: object, dag: str, run: str) -> Any:
    """What a step asks of Airflow, of a first try without retries."""
    return {
        "dag_run": SimpleNamespace(dag_id=dag, run_id=run, start_date=None),
        "ti": SimpleNamespace(try_number=1, max_tries=0, xcom_push=lambda **_: None),
        "task": operator,
    }


def _check_again(spec: Mapping[str, Any]) -> dict[str, int]:
    """A check of all batches by hand, after a copy that took no digest."""
    with open_state() as database:
        run = Runs(database).find(external_key(spec["dag"], spec["run"]))
        if run is None:
            raise LookupError(spec["run"])
        work = latest_run(database, from_file(spec["file"]), open_store, run_id=run.id)
        found = work.check_again(spec["job"], 100.0)
    return {"rows_checked": found.rows_checked, "rows_different": found.rows_different}


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _memory(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), int(sys.argv[2]))
