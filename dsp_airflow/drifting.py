"""Whether a job's source is what the run before found: seen before it is planned to be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dsp_airflow.config.names import RESTORE_SUFFIX, split_table
from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.config.tasks import Job
from dsp_airflow.engine.drift import DRIFTED, TAKEN, Change, changes
from dsp_airflow.engine.errors import DspError, Refused, Transient
from dsp_airflow.engine.model import Shape
from dsp_airflow.engine.ports import Store
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.shapes import KnownShape, ShapeKey, Shapes


@dataclass(frozen=True, slots=True)
class Drift:
    """A table as it is, and as it was."""

    job: Job
    label: str
    shape: Shape | None = None
    known: KnownShape | None = None

    @property
    def found(self) -> list[Change]:
        """What changed; nothing where one of the two is not known."""
        if self.shape is None or self.known is None:
            return []
        return changes(self.known.shape, self.shape)

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Planning fails for what changed, more often than not: then that is what is told."""
        try:
            yield
        except Transient:
            raise
        except DspError:
            self.require_taken()
            raise

    def require_taken(self) -> list[str]:
        """What changed and is taken as it is, in words; ``Refused`` where that is not all."""
        if isinstance(self.job, RestoreJob):
            return []
        taken = TAKEN if self.job.drift == "add-columns" else frozenset()
        wrong = [change.told for change in self.found if change.kind not in taken]
        if wrong:
            known = self.known
            since = f"run {known.run}" if known and known.run else "somebody accepted it"
            raise Refused(
                f"job {self.job.name}: {self.label} {DRIFTED} {since} found it: "
                f"{'; '.join(wrong)} (drift: {self.job.drift}). Look whether the copies are still "
                f"what they should be, then accept it: dsp drift FILE --job {self.job.name} "
                "--accept"
            )
        return [f"{self.label}: {change.told} since the run before" for change in self.found]


def key_of(task: str, job: Job, source: Store) -> ShapeKey | None:
    """Under which a job's table is kept; ``None`` for a restore."""
    if isinstance(job, RestoreJob):
        return None
    return ShapeKey(task, job.name, f"{source.identity} {'.'.join(split_table(job.source.table))}")


def drift_of(database: StateDatabase, task: str, job: Job, source: object) -> Drift:
    """Looks at the table; collections, and what is not there, are left to the plan."""
    if isinstance(job, RestoreJob) or task.endswith(RESTORE_SUFFIX):
        # What is brought back is chosen each time, as it is.
        return Drift(job, "")
    store: Store = source  # type: ignore[assignment]
    with store.session() as session:
        shape = session.describe(job.source.table)
    key = key_of(task, job, store)
    if shape is None or shape.open or key is None:
        return Drift(job, job.source.table)
    return Drift(job, shape.table, shape, Shapes(database).get(key))


def keep(database: StateDatabase, task: str, drift: Drift, source: object, run: str) -> None:
    """The run has planned to read the table as it is."""
    key = key_of(task, drift.job, source)  # type: ignore[arg-type]
    if key is not None and drift.shape is not None:
        Shapes(database).keep(key, drift.shape, run)
