"""Which run there is to work on."""

from __future__ import annotations

from pathlib import Path

from dsp_airflow.config.definition import data_digest, normalise
from dsp_airflow.config.tasks import Task
from dsp_airflow.endpoints import OpenStore
from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.engine.events import Quiet
from dsp_airflow.engine.ports import Watch
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.records import Run
from dsp_airflow.state.rollbacks import Rollbacks
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.switches import Switches
from dsp_airflow.steps import TaskRun


def open_run(
    database: StateDatabase,
    task: Task,
    file: Path,
    open_store: OpenStore,
    *,
    watch: Watch | None = None,
    external_key: str | None = None,
    triggered_by: str | None = None,
    new: bool = False,
) -> TaskRun:
    """The run to work on: Airflow's by its key; else the latest unfinished one, or a new one.

    Raises ``Refused`` when the unfinished run copied something by another definition; one
    that copied nothing is left behind. ``SwitchedOff`` where a new one would begin of a task
    that is switched off.
    """
    runs = Runs(database)
    digest = data_digest(task)
    run: Run | None = None
    if external_key is not None:
        run = runs.find(external_key)
    elif not new:
        run = runs.latest_unfinished(task.name)
        if run is not None and Rollbacks(database).undone(run.id):
            run = None
        if run is not None and run.definition_digest != digest:
            begun = any(job.batches_copied for job in runs.summary(run.id).jobs)
            run = run if begun else None
        if run is not None and run.definition_digest != digest:
            raise Refused(
                f"run {run.id} of task {task.name} is unfinished and began with another "
                "definition; start afresh with --new, or take back the edit"
            )
    if run is None:
        Switches(database).require_enabled(task.name)
        run = runs.start(
            task.name,
            str(file),
            normalise(task),
            digest,
            external_key=external_key,
            triggered_by=triggered_by,
        )
    return TaskRun(database, task, run, open_store, watch or Quiet())


def latest_run(
    database: StateDatabase,
    task: Task,
    open_store: OpenStore,
    *,
    watch: Watch | None = None,
    run_id: str | None = None,
) -> TaskRun:
    """An existing run, for a check or a purge by hand: the latest, or the one named."""
    runs = Runs(database)
    run = runs.get(run_id) if run_id else runs.latest(task.name)
    if run is None:
        raise ConfigError(f"task {task.name} has no run yet; start one with dsp run")
    return TaskRun(database, task, run, open_store, watch or Quiet())
