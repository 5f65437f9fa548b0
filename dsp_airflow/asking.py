"""What is found out about a run before anybody is asked to approve it. Writes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from dsp_airflow.advancing import bound_of, cursor_of
from dsp_airflow.approval.gate import batches_of
from dsp_airflow.approval.settings import enforced
from dsp_airflow.approval.subject import job_estimate
from dsp_airflow.config.definition import data_digest
from dsp_airflow.config.names import PURGE_SUFFIX
from dsp_airflow.config.tasks import Job, Task
from dsp_airflow.config.variables import UnresolvedVariableError
from dsp_airflow.drifting import drift_of
from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.engine.model import Plan
from dsp_airflow.paths import Given, WarmPath
from dsp_airflow.placing import placing
from dsp_airflow.run_variables import Interval
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.steps import TaskRun


def variables_now(run: TaskRun, when: Interval) -> dict[str, dict[str, Any]]:
    """Of each job, for a look: the run's own values are set when its execution starts."""
    now = run.database.now()
    try:
        return {job.name: run.variables_at(job, now, when) for job in run.task.jobs}
    except UnresolvedVariableError as error:
        raise ConfigError(str(error)) from error


def look(
    run: TaskRun, job: Job, variables: Mapping[str, Mapping[str, Any]], step: str = "estimate"
) -> tuple[Plan, int, dict[str, Any]]:
    """The plan that a job would have now, its rows, and what approvers are shown of it."""
    run.require_granted(job, step)
    path = run.path(job, step, variables)
    # Cutting a table into batches tells its bytes, and comparing keys what is missing: both take
    # time, and only approvers want to know.
    counted = enforced()
    with placing(run.run.file, job.name):
        given = Given(
            variables[job.name],
            data_digest(run.task),
            cursor_of(run.database, run.task.name, job, path.source),
            bound=bound_of(run.database, run.task.name, job, path.source),
        )
        drift = drift_of(run.database, run.task.name, job, path.source)
        with drift.explaining():
            plan, _ = path.plan(given, count=counted)
        plan = replace(plan, warnings=(*plan.warnings, *drift.require_taken()))
    rows = plan.rows if counted else path.rows(plan)
    removed = path.removed(plan) if counted and isinstance(path, WarmPath) else None
    return plan, rows, job_estimate(job, plan, path.source.system, rows, removed)


def look_at_purge(run: TaskRun, name: str, numbers: Collection[int] | None) -> dict[str, Any]:
    """What a purge by hand of an earlier run would delete."""
    job = next((one for one in run.task.jobs if one.name == name), None)
    plan = SqlLedger(run.database, run.run.id, name).plan()
    if job is None or plan is None:
        raise Refused(f"job {name} was never begun in run {run.run.id}, so nothing can be deleted")
    run.require_granted(job, "estimate")
    rows = sum(
        one.rows
        for one in run.runs.each_batch(run.run.id, name)
        if (numbers is None or one.number in numbers) and (one.purged_at is None or one.rows_kept)
    )
    path = run.path(job, "estimate")
    # What else the job does is no part of a purge.
    found = job_estimate(job, plan, path.source.system, rows)
    chosen = "all batches" if numbers is None else f"batches {', '.join(map(str, sorted(numbers)))}"
    return {
        **found,
        "subtypes": ["delete"],
        "run": run.run.id,
        "batches": batches_of(numbers),
        "deletes": (
            f"up to {rows:,} rows of {plan.source.label} ({chosen} of run {run.run.id}): each one "
            f"proved, under lock, to stand in {plan.target.label}"
        ),
        "bytes": plan.bytes if numbers is None else 0,
    }


def look_at_mark(run: TaskRun, name: str, numbers: Collection[int] | None) -> dict[str, Any]:
    """What would be recorded as removed by hand."""
    found = look_at_purge(run, name, numbers)
    plan = SqlLedger(run.database, run.run.id, name).plan()
    label = "" if plan is None else f" of {plan.source.label}"
    return {
        **found,
        "marks": True,
        "deletes": (
            f"nothing: up to {found['rows']:,} rows{label} are recorded as removed by hand, once "
            "each batch is seen to be gone from the source"
        ),
    }


def purge_task(task: Task) -> Task:
    """The task as a purge by hand of it is called."""
    return task.model_copy(
        update={
            "name": f"{task.name}{PURGE_SUFFIX}",
            "display_name": f"{task.title}: purge by hand",
        }
    )
