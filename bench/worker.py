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
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg  # noqa: F401 - imported before measuring
from airflow.providers.common.sql.operators.generic_transfer import GenericTransfer
from airflow.providers.postgres.hooks import postgres as _hooks  # noqa: F401
from airflow.sdk import DAG

from bench import airflowtask, ledger
from dsp_airflow.connections import open_store
from dsp_airflow.engine.stores import postgres as _store  # noqa: F401
from dsp_airflow.opening import latest_run
from dsp_airflow.operators.archive import S3ArchiveOperator
from dsp_airflow.operators.base import StepOperator, external_key
from dsp_airflow.operators.check import ConsistencyCheckOperator
from dsp_airflow.operators.definition import from_file
from dsp_airflow.operators.plan import PlanOperator
from dsp_airflow.operators.purge import PurgeSourceOperator
from dsp_airflow.operators.restore import RestoreOperator
from dsp_airflow.operators.sync import TableSyncOperator
from dsp_airflow.state.database import open_state
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.state.runs import Runs
from dsp_airflow.steps import TaskRun

OPERATORS: Mapping[str, type[StepOperator]] = {
    "plan": PlanOperator,
    "copy": TableSyncOperator,
    "archive": S3ArchiveOperator,
    "restore": RestoreOperator,
    "check": ConsistencyCheckOperator,
    "purge": PurgeSourceOperator,
}


def main(spec: Mapping[str, Any], result: int) -> None:
    if spec.get("s3"):
        _import_archives(spec["s3"])
    act = _act(spec)
    # Outside of its task runner Airflow loads hundreds of its own modules for the first
    # connection; a running task does without. Nothing is connected here.
    for name in spec["connections"]:
        open_store(name)
    before = _memory("VmRSS")
    # Forgets the peak so far, that of the imports.
    Path("/proc/self/clear_refs").write_text("5")
    used, began = _cpu(), time.perf_counter()
    returned = act()
    seconds, cpu = time.perf_counter() - began, _cpu() - used
    whole = _memory("VmHWM")
    found = {
        "seconds": seconds,
        "cpu": cpu,
        "peak": whole - before,
        "whole": whole,
        "returned": returned,
    }
    with os.fdopen(result, "w") as out:
        json.dump(found, out)


def _import_archives(connection: str) -> None:
    """What only archives need; the others are measured without."""
    import boto3  # noqa: F401, PLC0415

    from dsp_airflow.engine.archive import planning, steps  # noqa: F401, PLC0415

    open_store(connection)


def _act(spec: Mapping[str, Any]) -> Callable[[], Any]:
    """What is to be measured, ready to go."""
    step = spec["step"]
    if step == "generic":
        transfer = GenericTransfer(task_id="transfer", **spec["arguments"])
        return lambda: transfer.execute(_context(transfer, spec["dag"], "generic"))
    if step == "sql_to_s3":
        return _sql_to_s3(spec)
    if step == "archive_locally":
        return lambda: archive_locally(spec)
    if step == "write_ready":
        return _write_ready(spec)
    if step == "ledger":
        return ledger.act(spec)
    if step == "check_again":
        return lambda: _check_again(spec)
    if step == "airflow":
        folder = Path(os.environ["AIRFLOW_HOME"]) / "dags"
        return lambda: airflowtask.measured(spec["file"], spec["job"], folder)
    with DAG(spec["dag"], schedule=None):
        operator = OPERATORS[step](task_id=step, task_file=spec["file"], job=spec["job"])
    return lambda: operator.execute(_context(operator, spec["dag"], spec["run"]))


def _sql_to_s3(spec: Mapping[str, Any]) -> Callable[[], Any]:
    import pandas  # type: ignore[import-untyped]  # noqa: F401, ICN001, PLC0415
    from airflow.providers.amazon.aws.transfers.sql_to_s3 import (  # noqa: PLC0415
        SqlToS3Operator,
    )

    transfer = SqlToS3Operator(task_id="transfer", **spec["arguments"])
    return lambda: transfer.execute(_context(transfer, spec["dag"], "sql_to_s3"))


def _context(operator: object, dag: str, run: str) -> Any:
    """What a step asks of Airflow, of a first try without retries."""
    return {
        "dag_run": SimpleNamespace(dag_id=dag, run_id=run, start_date=None),
        "ti": SimpleNamespace(try_number=1, max_tries=0, xcom_push=lambda **_: None),
        "task": operator,
    }


def _check_again(spec: Mapping[str, Any]) -> dict[str, int]:
    """A check of all batches by hand, after a copy that took no digest."""
    with _run(spec) as work:
        found = work.check_again(spec["job"], 100.0)
    return {"rows_checked": found.rows_checked, "rows_different": found.rows_different}


@contextmanager
def _run(spec: Mapping[str, Any]) -> Iterator[TaskRun]:
    with open_state() as database:
        run = Runs(database).find(external_key(spec["dag"], spec["run"]))
        if run is None:
            raise LookupError(spec["run"])
        yield latest_run(database, from_file(spec["file"]), open_store, run_id=run.id)


def _write_ready(spec: Mapping[str, Any]) -> Callable[[], Any]:
    """All that an archive reads, in memory before it is measured; what it takes to encode it."""
    from dsp_airflow.engine.archive.formats import format_of  # noqa: PLC0415
    from dsp_airflow.engine.archive.manifest import forms_of  # noqa: PLC0415

    ready = []
    with _run(spec) as work:
        ledger = SqlLedger(work.database, work.run.id, spec["job"])
        plan = ledger.plan()
        if plan is None or plan.archive is None:
            raise LookupError(spec["job"])
        forms, archive = forms_of(plan), plan.archive
        database, _ = work.path(work.task.jobs[0], "copy").work(plan, ledger)
        with database.session() as source, source.snapshot():
            for record in ledger.records():
                read = source.arrow(
                    plan.source,
                    record.batch.within,
                    forms,
                    exact=False,
                    max_row_size=plan.max_row_size,
                )
                with closing(read):
                    ready.append((record.batch.number, list(read)))

    def write() -> dict[str, int]:
        rows = 0
        for number, batches in ready:
            with (Path(spec["folder"]) / f"{number}.{archive.format}").open("wb") as sink:
                form = format_of(archive.format)
                rows += form.write(sink, iter(batches), forms, archive.compression)[0]
        return {"rows_written": rows}

    return write


def archive_locally(spec: Mapping[str, Any]) -> dict[str, int]:
    """What the archive step reads and encodes, into local files instead of objects."""
    from dsp_airflow.engine.archive.formats import format_of  # noqa: PLC0415
    from dsp_airflow.engine.archive.manifest import forms_of  # noqa: PLC0415

    rows = 0
    with _run(spec) as work:
        path = work.path(work.task.jobs[0], "copy")
        ledger = SqlLedger(work.database, work.run.id, spec["job"])
        plan = ledger.plan()
        if plan is None or plan.archive is None:
            raise LookupError(spec["job"])
        forms, archive = forms_of(plan), plan.archive
        database, _ = path.work(plan, ledger)
        with database.session() as source:
            for record in ledger.records():
                within = record.batch.within
                file = Path(spec["folder"]) / f"{record.batch.number}.{archive.format}"
                with source.snapshot(), file.open("wb") as sink:
                    source.count(plan.source, within)
                    batches = source.arrow(
                        plan.source, within, forms, exact=False, max_row_size=plan.max_row_size
                    )
                    with closing(batches):
                        wrote = format_of(archive.format).write(
                            sink, batches, forms, archive.compression
                        )
                    rows += wrote[0]
    return {"rows_written": rows}


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _memory(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), int(sys.argv[2]))
