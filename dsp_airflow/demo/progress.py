"""Following a run of the example: its tasks as Airflow sees them, its rows as they are recorded."""

from __future__ import annotations

import time

from dsp_airflow.demo.errors import DemoError
from dsp_airflow.demo.rest import ENDED, AirflowApi, TaskInstance
from dsp_airflow.demo.screen import Tell
from dsp_airflow.demo.standalone import AirflowStandalone
from dsp_airflow.engine.errors import DspError
from dsp_airflow.state.records import JobSummary
from dsp_airflow.state.runs import Runs

POLL_SECONDS = 0.5
BAR_WIDTH = 24

_MARKS = {
    "success": "✓",
    "failed": "✗",
    "upstream_failed": "✗",
    "running": "▶",
    "deferred": "▶",
    "up_for_retry": "↻",
    "skipped": "-",
}


def follow(
    api: AirflowApi,
    runs: Runs,
    dag: str,
    run: str,
    tell: Tell,
    *,
    airflow: AirflowStandalone,
    seconds: float,
) -> str:
    """Tell how the run gets on until it has ended; return the state in which Airflow sees it.

    Raises DemoError after `seconds`, or when Airflow has ended by itself.
    """
    deadline = time.monotonic() + seconds
    while True:
        state = api.run_state(dag, run)
        tasks = api.task_instances(dag, run)
        retried = [_retry(t, airflow.task_log(dag, run, t.task)) for t in tasks if _waits(t)]
        tell("\n".join([_tasks(tasks), *retried, *_rows(runs, dag)]))
        if state in ENDED:
            return state
        if time.monotonic() > deadline:
            raise DemoError(f"the run of {dag} is still {state} after {seconds:g} s", _tasks(tasks))
        airflow.require_running()
        time.sleep(POLL_SECONDS)


def _tasks(tasks: list[TaskInstance]) -> str:
    return "  ".join(f"{_MARKS.get(t.state or '', '·')} {_label(t)}" for t in tasks) or "queued"


def _label(task: TaskInstance) -> str:
    """The step's name: with one job, the group says nothing more. Purges are a group of jobs."""
    group, _, name = task.task.rpartition(".")
    return group if group == "purge" else name


def _waits(task: TaskInstance) -> bool:
    return task.state == "up_for_retry"


def _retry(task: TaskInstance, log: str) -> str:
    errors = [line for line in log.splitlines() if line.startswith("error ")]
    return f"{_label(task)} will be tried again: {errors[-1] if errors else 'see its log'}"


def _rows(runs: Runs, task: str) -> list[str]:
    """Three bars for each job that is planned."""
    try:
        run = runs.latest(task)
        jobs = runs.summary(run.id).jobs if run else ()
    except DspError:
        # Progress is a courtesy: a state database that is busy for a moment must not end the run.
        return []
    return [line for job in jobs for line in _bars(job)]


def _bars(job: JobSummary) -> list[str]:
    total = job.batches
    if not total:
        return []
    return [
        _bar("copied", job.rows_written, job.rows_total, job.batches_copied, total),
        _bar("checked", job.rows_checked, None, job.batches_checked, total),
        _bar("purged", job.rows_purged, job.rows_total, job.batches_purged, total),
    ]


def _bar(what: str, rows: int, of: int | None, done: int, batches: int) -> str:
    filled = BAR_WIDTH * done // batches
    bar = "━" * filled + "╌" * (BAR_WIDTH - filled)
    wanted = f" of {of:,}" if of is not None else ""
    return f"{what:<8}{bar} {done}/{batches} batches, {rows:,}{wanted} rows"
