"""``dsp check``: compares what a run copied, once more."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from dsp_airflow.cli.errors import raise_worst
from dsp_airflow.cli.granted import permit_for
from dsp_airflow.cli.report import Report, chosen, load, reporting
from dsp_airflow.cli.run import shown
from dsp_airflow.cli.stopping import Stopper
from dsp_airflow.cli.surroundings import log_to_stderr, opener
from dsp_airflow.engine.errors import ConfigError, DspError, Refused, Terminated

if TYPE_CHECKING:
    from dsp_airflow.config import Task
    from dsp_airflow.engine.ports import Watch
    from dsp_airflow.state.database import StateDatabase
    from dsp_airflow.steps import TaskRun


def check(
    file: Path, *, job: str | None, run_id: str | None, percent: float | None, as_json: bool
) -> None:
    """Checks every job that was asked for, whatever an earlier one came to."""
    report = Report("Check of run", as_json=as_json)
    with reporting(report), ExitStack() as stack:
        task = load(report, file)
        names = chosen(report, task, job)
        log_to_stderr()
        from dsp_airflow.state.database import open_state

        stopper = stack.enter_context(Stopper(report))
        database = stack.enter_context(open_state(create=True))
        watch = stack.enter_context(shown(task))
        work = existing(database, task, run_id, watch)
        report.run = work
        work.permit = permit_for(database, task, "look")
        stopper.attach(work)
        errors: list[BaseException] = []
        for name in names:
            try:
                planned(work, name)
                work.check_again(name, percent)
            except Terminated:
                raise
            except DspError as error:
                report.errors[name] = error
                errors.append(error)
        raise_worst(errors)


def existing(database: StateDatabase, task: Task, run_id: str | None, watch: Watch) -> TaskRun:
    """The run to work on again: the one that was named, or the task's latest."""
    from dsp_airflow.opening import latest_run

    work = latest_run(database, task, opener(), watch=watch, run_id=run_id)
    if work.run.task != task.name:
        raise ConfigError(
            f"run {work.run.id} is one of task {work.run.task}; the file holds task {task.name}"
        )
    return work


def planned(work: TaskRun, name: str) -> None:
    """Raises ``Refused`` for a job that the run never came to."""
    if name not in {job.name for job in work.summary().jobs}:
        raise Refused(f"job {name} was never begun in run {work.run.id}; start it with dsp run")
