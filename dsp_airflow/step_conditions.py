"""Before a purge beside jobs that go by steps: none may lose rows that it has not taken."""

from __future__ import annotations

from dataclasses import dataclass

from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.config.tasks import Job
from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.model import Plan
from dsp_airflow.engine.ports import Dialect
from dsp_airflow.engine.step import Step
from dsp_airflow.engine.stepping import steps_of
from dsp_airflow.purge_conditions import PurgeConditions
from dsp_airflow.state.ledger import SqlLedger


@dataclass(frozen=True, slots=True)
class StepConditions:
    """Nothing is locked or deleted yet."""

    purge: PurgeConditions

    def behind(self, job: Job, plan: Plan) -> str:
        """Why this purge has to wait for another job of the task; empty when it has not to.

        ``Refused`` where waiting would not help.
        """
        if isinstance(job, RestoreJob) or (plan.step is not None and plan.step.waits):
            return ""
        source = self.purge.open_store(job.source.connection)
        for other in self.purge.task.jobs:
            if isinstance(other, RestoreJob) or other.step is None or other.name == job.name:
                continue
            with source.session() as ours:
                if not self.purge.reads(other, plan, source, ours):
                    continue
            if plan.step is None:
                raise Refused(
                    f"job {job.name} takes all of {plan.source.label}, and job {other.name} goes "
                    "by steps, so that rows would go that it has not taken yet; nothing was "
                    "deleted. Give both the same steps, or leave purge to the one that has them"
                )
            theirs = SqlLedger(self.purge.runs.database, self.purge.run, other.name).plan()
            taken = None if theirs is None else theirs.step
            if taken is None or theirs is None:
                return f"job {other.name} is not planned"
            if not _taken(job, plan, plan.step, other, theirs, taken, source.dialect):
                return f"job {other.name}, which is at {taken}, has not taken these rows yet"
        return ""


def _taken(
    job: Job, plan: Plan, mine: Step, other: Job, theirs: Plan, taken: Step, dialect: Dialect
) -> bool:
    """Whether the other one takes these rows in this run, or took them before."""
    if isinstance(job, RestoreJob) or isinstance(other, RestoreJob):
        return False
    if mine.column != taken.column or job.step is None or other.step is None:
        return False
    ours = steps_of(job, job.step, plan.source_shape, dialect)
    its = steps_of(other, other.step, theirs.source_shape, dialect)
    begin, end = ours.read(mine.at_least), ours.read(mine.below)
    first, last = its.read(taken.at_least), its.read(taken.below)
    if not ours.exceeds(end, first):
        return True
    return not (taken.waits or ours.exceeds(first, begin) or ours.exceeds(end, last))
