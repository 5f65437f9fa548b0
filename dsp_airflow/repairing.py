"""Copying once more what a check found to differ, and nothing else."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from dsp_airflow.approval.subject import job_estimate
from dsp_airflow.config.archives import S3Job
from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.config.names import REPAIR_SUFFIX
from dsp_airflow.config.tasks import Job, Task
from dsp_airflow.engine.errors import ConfigError, Mismatch, Refused
from dsp_airflow.engine.events import Noted, tell
from dsp_airflow.engine.model import Plan
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.state.progress import count_differences
from dsp_airflow.state.records import JobSummary
from dsp_airflow.state.repairs import Repairs
from dsp_airflow.steps import TaskRun

_SHOWN = 20
"""Numbers of batches that approvers are shown."""


def irreparable(job: Job) -> str | None:
    """Why no copy of the job writes over what differs; ``None`` where one does."""
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


def repairable(work: TaskRun, name: str | None) -> tuple[str, ...]:
    """The jobs of which rows differ, or of which a repair was killed.

    ``Refused`` where there is none, or one cannot be repaired.
    """
    names = [job.name for job in work.task.jobs]
    if name is not None and name not in names:
        raise ConfigError(f"task {work.task.name} has no job {name!r}; it has {', '.join(names)}")
    repairs = Repairs(work.database)
    wanted = tuple(
        one for one in names if name in (None, one) and repairs.waiting(work.run.id, one)
    )
    if not wanted:
        raise Refused(f"no check of run {work.run.id} has found a row to differ; nothing was done")
    for job in work.task.jobs:
        if job.name in wanted and (why := irreparable(job)):
            raise Refused(f"job {job.name} cannot be repaired: {why}")
    return wanted


def repair(work: TaskRun, name: str, by: str) -> JobSummary:
    """Copies the batches that differ, as the source has them now, and checks them again.

    Rows that only the target has stay, which is told, as the copy takes them for rows of others.
    What was checked and found right is not touched. Killed half-way it goes on when it is asked
    for again; until then the run lacks those batches, and so is not purged.
    """
    repairs, run = Repairs(work.database), work.run.id
    numbers = repairs.waiting(run, name)
    if numbers:
        job = _job(work, name)
        plan = _planned(work, name)
        work.require_granted(job, "copy")
        work.gate.repairing(plan, run, _rows(work, name, numbers))
        extra = count_differences(work.database, run, name, "check", ("extra",))
        if extra:
            told = f"Job {name}: {extra:,} rows that only the target has stay there, and are taken"
            tell(work.watch, Noted(f"{told} for rows of others from now on"))
        repairs.begin(run, name, by)
    work.copy(name)
    try:
        # A job that has no check of its own was checked by hand.
        found = work.check(name) if work.is_checked(name) else work.check_again(name)
    except Mismatch:
        repairs.end(run, name, by)
        raise
    repairs.end(run, name, by)
    return found


def look_at_repair(work: TaskRun, name: str) -> dict[str, Any]:
    """What approvers are shown of a repair."""
    job, plan = _job(work, name), _planned(work, name)
    work.require_granted(job, "estimate")
    numbers = Repairs(work.database).waiting(work.run.id, name)
    system = work.path(job, "estimate").source.system
    # What else the job does is no part of it.
    copies = job.model_copy(update={"purge": "none"})
    found = job_estimate(copies, plan, system, _rows(work, name, numbers))
    some = ", ".join(map(str, numbers[:_SHOWN])) + (", ..." if numbers[_SHOWN:] else "")
    return {
        **found,
        "subtypes": ["insert", "update"],
        "create": False,
        "repair": work.run.id,
        "statements": [
            f"-- of {len(numbers):,} batches only: {some}\n{found['statements'][-1]}",
        ],
        "bytes": 0,
    }


def repair_task(task: Task) -> Task:
    """The task as a repair of it is called."""
    return task.model_copy(
        update={"name": f"{task.name}{REPAIR_SUFFIX}", "display_name": f"{task.title}: repair"}
    )


def _job(work: TaskRun, name: str) -> Job:
    return next(one for one in work.task.jobs if one.name == name)


def _planned(work: TaskRun, name: str) -> Plan:
    plan = SqlLedger(work.database, work.run.id, name).plan()
    if plan is None:
        raise Refused(f"job {name} was never begun in run {work.run.id}")
    return plan


def _rows(work: TaskRun, name: str, numbers: Collection[int]) -> int:
    wanted = set(numbers)
    return sum(one.rows for one in work.runs.each_batch(work.run.id, name) if one.number in wanted)
