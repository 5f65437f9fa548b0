"""Jobs that replace their target: what holds from the first row copied until the swap."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.config.tasks import Job as AnyJob
from dsp_airflow.engine import swap
from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.events import Noted, tell
from dsp_airflow.engine.model import Plan
from dsp_airflow.engine.ports import Store, Watch
from dsp_airflow.engine.removal import MayRemove
from dsp_airflow.engine.swap import Replacement
from dsp_airflow.engine.work import Job
from dsp_airflow.state import swaps
from dsp_airflow.state.relied import relied_on
from dsp_airflow.state.runs import Runs


def replaces(job: AnyJob) -> bool:
    """Whether the job builds its target anew."""
    return isinstance(job, WarmJob) and job.mode == "replace"


@dataclass(frozen=True, slots=True)
class Replacing:
    """One job's replacement in one run. ``plan`` is as it was stored."""

    runs: Runs
    run: str
    """Its id; the attempt is a part of ``new``."""
    task: str
    plan: Plan
    store: Store
    new: Replacement

    @property
    def settled(self) -> bool:
        """Whether the swap has happened, by whoever was killed before he could say so, too."""
        if self.runs.job(self.run, self.plan.job).swapped_at is None:
            with self.store.session() as session:
                if not swap.swaps_of(session).swapped(self.new):
                    return False
        # Also what is recorded: nobody may have tidied up.
        self._record()
        return True

    def begin(self, watch: Watch, *, begun: bool) -> None:
        """Drops what runs that are over have left, and creates what is to be filled.

        ``begun``: rows were copied into it before.
        """
        self._refuse_relied_on()
        with self.store.session() as session:
            made = swap.swaps_of(session)
            dialect = self.store.dialect
            for label in swap.drop_dead(made, self.plan, self.new, dialect, self._living):
                tell(watch, Noted(f"{label}, left by a run that is over, was dropped"))
            made.build(self.new, begun=begun)

    def finish(self, work: Job[Any, Any], *, allow_empty: bool, may: MayRemove) -> None:
        """The swap, once, and its record; then the old table goes. See ``swap.perform``."""
        self._refuse_relied_on()
        # Once more when no purge can come in between any more: indexes may have taken hours.
        allowed = self._refuse_relied_on
        swap.perform(work, self.new, allowed, allow_empty=allow_empty, may=may)
        tell(work.watch, Noted(f"{self.plan.target.label} is the new table from now on"))
        self._record()

    def _record(self) -> None:
        """What tells of the swap goes when it is recorded, and not before."""
        swaps.record(self.runs.database, self.run, self.plan.job)
        with self.store.session() as session:
            swap.swaps_of(session).tidy(self.new)

    def _refuse_relied_on(self) -> None:
        """Rows that were purged because they stand in the target would be lost with it."""
        found = relied_on(self.runs.database, self.target)
        if found is not None:
            raise Refused(
                f"job {self.plan.job} may not replace {self.plan.target.label}: {found}; let mode: "
                "replace write to another table"
            )

    @property
    def target(self) -> str:
        """Where it is, and its name."""
        return f"{self.store.identity} {self.plan.target.label}"

    def _living(self, run_id: str) -> str:
        """See ``swap.drop_dead``. A later run of a task stands for its earlier ones."""
        run = self.runs.find_id(run_id)
        if run is None:
            return (
                f"this state database knows no run {run_id}; if it is over, drop the table, then "
                "retry"
            )
        if run.id == self.run:
            return "another job of this run replaces the same table"
        earlier = run.created_at < self.runs.get(self.run).created_at
        if run.ended or (run.task == self.task and earlier):
            return ""
        return f"run {run.id} of task {run.task} is {run.state}; retry when it has ended"


@contextmanager
def alone(replacing: Replacing | None) -> Iterator[None]:
    """Held while a run works on a replacement: no other run does so, for the same target."""
    if replacing is None:
        yield
        return
    resource = f"replacement of {replacing.target}"
    with replacing.runs.table_lease(resource, replacing.run):
        yield
