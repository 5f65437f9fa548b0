"""What the run as a whole must show before anything of a job is deleted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from dsp_airflow.config.names import split_table
from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.config.tasks import Job, Task
from dsp_airflow.endpoints import OpenStore
from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.engine.model import Plan
from dsp_airflow.engine.ports import Session, Store
from dsp_airflow.state.progress import copied
from dsp_airflow.state.runs import Runs


@dataclass(frozen=True, slots=True)
class PurgeConditions:
    """Each raises ``Refused``; nothing is locked or deleted yet."""

    runs: Runs
    run: str
    """Its id."""
    task: Task
    open_store: OpenStore

    def require_whole(self, plan: Plan, numbers: Collection[int] | None) -> None:
        """Every batch to purge has a record that says it was copied and, if so, checked."""
        known = copied(self.runs.database, self.run, plan.job)
        wanted = set(numbers) if numbers is not None else set(range(1, plan.batches + 1))
        beyond = sorted(n for n in wanted if not 1 <= n <= plan.batches)
        if beyond:
            raise ConfigError(
                f"job {plan.job} has batches 1 to {plan.batches}; there is no batch {beyond[0]}"
            )
        missing = sorted(wanted - known.keys())
        if missing:
            raise Refused(
                f"job {plan.job}: the ledger has no record of batch {_listed(missing)}; without it "
                "nothing is proved, so nothing was deleted. Start a new run"
            )
        bare = sorted(n for n in wanted if not known[n])
        if bare:
            raise Refused(
                f"job {plan.job}: batch {_listed(bare)} is not copied, so nothing was deleted"
            )

    def require_others(self, plan: Plan, connection: str) -> None:
        """Every job of the task that reads this table is copied and checked."""
        source = self.open_store(connection)
        with source.session() as ours:
            reading = [
                job
                for job in self.task.jobs
                if job.name == plan.job or self.reads(job, plan, source, ours)
            ]
        state = {j.name: j for j in self.runs.summary(self.run).jobs}
        for job in reading:
            found = state.get(job.name)
            planned = found is not None and self.runs.job(self.run, job.name).planned
            if found is None or not planned or found.batches_copied < found.batches:
                raise Refused(
                    f"purge of {plan.source.label} waits: job {job.name} is not copied completely"
                )
            if job.check and (found.batches_checked < found.batches or found.rows_different):
                raise Refused(
                    f"purge of {plan.source.label} waits: job {job.name} is not checked"
                    + (f", {found.rows_different:,} rows differ" if found.rows_different else "")
                )

    def reads(self, job: Job, plan: Plan, source: Store, ours: Session) -> bool:
        """Whether another job reads rows that are to be purged, by whatever connection and name.

        ``ours`` is a session of ``source``.
        """
        if isinstance(job, RestoreJob):
            return False
        other = self.open_store(job.source.connection)
        if other.system != source.system:
            return False
        *schema, table = split_table(job.source.table)
        shape = plan.source_shape
        alike = table == shape.name and schema in ([], [shape.schema])
        # Another login may find a table of no schema elsewhere than this one does.
        if not alike and not ours.share_rows(plan.source.table, job.source.table):
            return False
        if other.identity == source.identity:
            return True
        with other.session() as theirs:
            return ours.same_database(theirs)


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:10]))
    return shown + (f" and {len(numbers) - 10} more" if len(numbers) > 10 else "")
