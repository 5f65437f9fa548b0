"""Rolling back what a run archived. Arrow and DuckDB load with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection

from dsp_airflow.approval.gate import GuardedPace
from dsp_airflow.config.archives import S3Job
from dsp_airflow.endpoints import for_step
from dsp_airflow.engine import rollback
from dsp_airflow.engine.archive import rollback as archiving
from dsp_airflow.engine.archive.folder import RunFolder
from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.model import Plan
from dsp_airflow.engine.ports import Store
from dsp_airflow.engine.rollback import Found
from dsp_airflow.engine.work import Job
from dsp_airflow.paths import ArchivePath
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.state.rollbacks import Rollback, Rollbacks
from dsp_airflow.steps import TaskRun
from dsp_airflow.undoing import (
    REPORTED,
    counts_of,
    refuse_elsewhere,
    refuse_younger,
    take_back,
)


@dataclass(frozen=True, slots=True)
class ArchiveUndo:
    """The objects that a run archived."""

    work: TaskRun
    name: str
    job: S3Job
    plan: Plan
    source: Store
    target: RunFolder
    ledger: SqlLedger

    def look(self) -> Found:
        """What it would remove; nothing is written."""
        return archiving.look(self._engine_job())

    def do(self, by: str) -> Rollback:
        """Removes the objects of all that the source still has. Safe to repeat."""
        run, rollbacks = self.work.run.id, Rollbacks(self.work.database)
        found = self.look()
        rollback.refuse_only_copies(self.plan, found)
        self.work.gate.undoing(self.plan, run, found.rows)
        resource = f"{self.source.identity} {self.plan.source.label}"
        # What a purge of the very run holds; one that is at it is waited for by its lease alone.
        with self.work.runs.table_lease(resource, f"rollback of {run}"):
            place = f"{self.target.identity} {self.plan.target.label} {self.ledger.run}"
            rollbacks.begin(run, self.name, by, place, self._refuse_younger)
            take_back(self.work, self.job, self.plan, self.source)
            tally, kept = archiving.remove(self._engine_job())
            report = [asdict(one) for one in kept[:REPORTED]]
            rollbacks.end(run, self.name, by, counts_of(tally), report)
        return next(one for one in rollbacks.of_run(run) if one.job == self.name)

    def forget(self, by: str) -> None:  # noqa: ARG002
        """There is nothing to forget: the objects are all that it takes."""
        raise Refused(f"job {self.name} archives; nothing is noted of it that could be forgotten")

    def _refuse_younger(self, connection: Connection) -> None:
        if self.plan.window is not None or self.plan.step is not None:
            refuse_younger(connection, self.work, self.plan, self.source, self.target)

    def _engine_job(self) -> Job[Any, Any]:
        return Job(
            plan=self.plan,
            source=self.source,
            target=self.target,
            ledger=self.ledger,
            pace=GuardedPace(self.work.pace, self.work.gate),
            watch=self.work.watch,
        )


def archive_undo(work: TaskRun, job: S3Job, plan: Plan, ledger: SqlLedger) -> ArchiveUndo:
    """What a run archived, as far as its present records tell it."""
    archiving.refuse_unfit(plan, ledger.run)
    opened = for_step(work.open_store, work.task.name, job, "rollback")
    work.permit.require(work.task, job, opened)
    path = ArchivePath(work.task, job, opened(job.source.connection), opened)
    refuse_elsewhere(work, job, path.source)
    return ArchiveUndo(work, job.name, job, plan, path.source, path.folder(plan, ledger), ledger)
