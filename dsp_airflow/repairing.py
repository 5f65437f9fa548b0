"""Copying once more what a check found to differ, and nothing else."""

from __future__ import annotations

from typing import Any

from dsp_airflow.approval.subject import job_estimate
from dsp_airflow.config.archives import S3Job
from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.config.tasks import Job as AnyJob
from dsp_airflow.config.tasks import Task
from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.engine.events import Noted, tell
from dsp_airflow.state import repairs
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.state.progress import count_differences
from dsp_airflow.state.records import JobSummary
from dsp_airflow.steps import TaskRun


def repairable(work: TaskRun, name: str | None) -> tuple[str, ...]:
    """The jobs of which rows differ; ``Refused`` where there is none, or one cannot be repaired."""
    names = [job.name for job in work.task.jobs]
    if name is not None and name not in names:
        raise ConfigError(f"task {work.task.name} has no job {name!r}; it has {', '.join(names)}")
    found = {job.name: job.rows_different for job in work.summary().jobs}
    wanted = tuple(one for one in names if name in (None, one) and found.get(one))
    if not wanted:
        raise Refused(f"no check of run {work.run.id} has found a row to differ; nothing was done")
    for job in work.task.jobs:
        if job.name in wanted and (why := _irreparable(job)):
            raise Refused(f"job {job.name} cannot be repaired: {why}")
    return wanted


def _irreparable(job: AnyJob) -> str | None:
    """Why nothing can be written over what differs there."""
    if isinstance(job, S3Job):
        return (
            "an archive is what rows were, and is never written over. dsp archive verify tells "
            "which objects are not what was uploaded; as long as the source has the rows, a new "
            "run archives them as they are now"
        )
    if not isinstance(job, WarmJob):
        return "what it restores is written over by no repair; restore it anew"
    if job.mode == "replace":
        return "with mode: replace nothing is in the target's place yet; a new run builds it anew"
    if job.on_conflict != "update":
        return (
            f"on_conflict: {job.on_conflict} writes over no row that stands there; with "
            "on_conflict: update a new run does"
        )
    return None


def repair(work: TaskRun, name: str, by: str) -> JobSummary:
    """Copies the batches that differ, as the source has them now, and checks them again.

    Rows that only the target has stay, which is told, as the copy takes them for rows of others.
    What was checked and found right is not touched. Killed half-way, the run lacks those batches,
    which differ until they are checked again: the next repair goes on with them.
    """
    numbers = repairs.differing(work.database, work.run.id, name)
    if numbers:
        job = next(one for one in work.task.jobs if one.name == name)
        work.require_granted(job, "copy")
        extra = count_differences(work.database, work.run.id, name, "check", ("extra",))
        if extra:
            told = f"Job {name}: {extra:,} rows that only the target has stay there, and are taken"
            tell(work.watch, Noted(f"{told} for rows of others from now on"))
        repairs.reopen(work.database, work.run.id, name, numbers, by)
    work.copy(name)
    return work.check(name)


def look_at_repair(work: TaskRun, name: str) -> dict[str, Any]:
    """What approvers are shown of a repair."""
    job = next(one for one in work.task.jobs if one.name == name)
    plan = SqlLedger(work.database, work.run.id, name).plan()
    if plan is None:
        raise Refused(f"job {name} was never begun in run {work.run.id}")
    work.require_granted(job, "estimate")
    numbers = repairs.differing(work.database, work.run.id, name)
    rows = sum(
        one.rows for one in work.runs.each_batch(work.run.id, name) if one.number in set(numbers)
    )
    path = work.path(job, "estimate")
    return {
        **job_estimate(job, plan, path.source.system, rows),
        "subtypes": ["insert", "update"],
        "create": False,
        "repair": work.run.id,
        "bytes": 0,
    }


def repair_task(task: Task) -> Task:
    """The task as a repair of it is called."""
    return task.model_copy(update={"display_name": f"{task.title}: repair"})
