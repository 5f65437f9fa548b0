"""From one run of a job to the next: where its cursor and its steps stand, and when they move."""

from __future__ import annotations

from dataclasses import dataclass

from dsp_airflow.config.jobs import TableJob
from dsp_airflow.config.names import split_table
from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.config.stepping import point_text
from dsp_airflow.config.tasks import Job
from dsp_airflow.engine.model import Plan
from dsp_airflow.engine.ports import Located
from dsp_airflow.state.bounds import Bound, Bounds
from dsp_airflow.state.cursors import CursorKey, Cursors
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.progress import count_differences
from dsp_airflow.state.records import JobSummary
from dsp_airflow.state.runs import Runs

STAYING = ("newest", "damaged")
"""Kinds of kept rows that stay however often a step is repeated."""


def bound_key(task: str, job: Job, source: Located) -> CursorKey | None:
    """By which it is known where a job stands; ``None`` for one that goes by no steps."""
    if isinstance(job, RestoreJob) or job.step is None:
        return None
    return _key(task, job, source, job.step.column)


def bound_of(database: StateDatabase, task: str, job: Job, source: Located) -> Bound | None:
    """Where the next step of a job begins; ``None`` at its start."""
    key = bound_key(task, job, source)
    return None if key is None else Bounds(database).get(key)


def cursor_key(task: str, job: Job, source: Located) -> CursorKey | None:
    """Whose cursor an incremental job moves; ``None`` for any other job."""
    if isinstance(job, RestoreJob) or job.cursor is None:
        return None
    return _key(task, job, source, job.cursor.column)


def cursor_of(database: StateDatabase, task: str, job: Job, source: Located) -> str | None:
    """Where an incremental job has come to; ``None`` at its start."""
    key = cursor_key(task, job, source)
    return None if key is None else Cursors(database).get(key)


def _key(task: str, job: TableJob, source: Located, column: str) -> CursorKey:
    table = ".".join(split_table(job.source.table))
    return CursorKey(task, job.name, f"{source.identity} {table}", column)


@dataclass(frozen=True, slots=True)
class Advance:
    """A run of a job, when all that it does with its step is done."""

    runs: Runs
    run: str
    task: str
    job: Job
    source: Located

    def move_cursor(self, plan: Plan, found: JobSummary) -> str:
        """Moves the cursor of an incremental job to its window's end; a line where it stays.

        A copy that somebody marked as done by hand may have left batches behind: then it stays.
        """
        key = cursor_key(self.task, self.job, self.source)
        end = None if plan.window is None else plan.window.end
        if key is None or end is None or found.batches_copied < found.batches:
            return ""
        if Cursors(self.runs.database).move(key, end, self.run):
            return ""
        return f"Job {plan.job}: the cursor stays: a later run, or somebody, has moved it since"

    def to_next(self, plan: Plan, found: JobSummary) -> str:
        """Moves on, unless something of the step is left; a line that says which.

        A step that was not copied, checked or deleted whole is the next run's, too.
        """
        step, key = plan.step, bound_key(self.task, self.job, self.source)
        if step is None or key is None or isinstance(self.job, RestoreJob) or self.job.step is None:
            raise ValueError(f"job {plan.job} goes by no steps")
        if step.waits:
            return f"Job {plan.job}: the next step is still {step}"
        why = self._left(plan, found)
        if why:
            return f"Job {plan.job}: the next run repeats this step, {step}, as {why}"
        start = point_text(self.job.step.start)
        moved = Bounds(self.runs.database).advance(
            key, step.since, step.below, start=start, run=self.run
        )
        if not moved:
            return (
                f"Job {plan.job}: the step {step} is through, and the job stands elsewhere by now: "
                "another run or somebody moved it (dsp cursor shows where)"
            )
        return f"Job {plan.job}: the next step: {step.following}"

    def _left(self, plan: Plan, found: JobSummary) -> str:
        if found.batches_copied < found.batches:
            return f"{found.batches - found.batches_copied:,} batches are not copied"
        if self.job.purge != "system":
            return ""
        if found.batches_purged < found.batches:
            return f"{found.batches - found.batches_purged:,} batches are not purged"
        kept = found.rows_kept
        if kept:
            kept -= count_differences(self.runs.database, self.run, plan.job, "purge", STAYING)
        return f"{kept:,} of its rows were kept" if kept > 0 else ""
