"""Rolling a run back: what has to be so before, in which order, and what is recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select

from dsp_airflow.advancing import bound_key, cursor_key
from dsp_airflow.approval.gate import GuardedPace
from dsp_airflow.approval.subject import job_estimate
from dsp_airflow.config.archives import S3Job
from dsp_airflow.config.jobs import Source, Target, WarmJob
from dsp_airflow.config.names import ROLLBACK_SUFFIX
from dsp_airflow.config.tasks import Task
from dsp_airflow.endpoints import for_step
from dsp_airflow.engine import rollback
from dsp_airflow.engine.errors import ConfigError, DspError, Refused
from dsp_airflow.engine.events import Noted, tell
from dsp_airflow.engine.model import Plan, Shape
from dsp_airflow.engine.notes import KeptNote, Tally, noted, notes_of
from dsp_airflow.engine.ports import Located, Store
from dsp_airflow.engine.rollback import Found
from dsp_airflow.engine.work import Job
from dsp_airflow.state.bounds import Bounds
from dsp_airflow.state.codec import load
from dsp_airflow.state.cursors import Cursors
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.state.relied import relied_on
from dsp_airflow.state.rollbacks import Rollback, Rollbacks
from dsp_airflow.state.tables import BATCHES, JOBS, RUNS
from dsp_airflow.steps import TaskRun

if TYPE_CHECKING:
    from dsp_airflow.undoing_archives import ArchiveUndo

REPORTED = 1_000
"""Rows that were kept, of which the record tells one by one; all are counted."""


@dataclass(frozen=True, slots=True)
class Undo:
    """One job of a run that is to be undone, by the plan and the connections that it had then."""

    work: TaskRun
    name: str
    job: WarmJob
    plan: Plan
    source: Store
    target: Store
    ledger: SqlLedger

    @property
    def place(self) -> str:
        """Where the target is, and its name, as receipts have it."""
        return f"{self.target.identity} {self.plan.target.label}"

    @property
    def strict(self) -> bool:
        """Whether a purge, of whichever run, has relied on the target, or is about to."""
        return relied_on(self.work.database, self.place) is not None

    def look(self) -> Found:
        """What it would do; nothing is written."""
        if self._never_wrote() or self._done() is not None:
            return Found()
        return rollback.look(self._engine_job(), self.strict)

    def do(self, by: str) -> Rollback:
        """Undoes all that the source still has. Safe to repeat."""
        if (done := self._done()) is not None:
            return done
        run, rollbacks = self.work.run.id, Rollbacks(self.work.database)
        empty = self._never_wrote()
        if not empty:
            self._refuse_unsafe()
        with self.work.runs.table_lease(self.place, run):
            rollbacks.begin(run, self.name, by, self.place, self._refuse_younger)
            # Before the first row goes: after a crash rows are copied twice, and not never.
            take_back(self.work, self.job, self.plan, self.source)
            tally, kept = Tally(), list[KeptNote]()
            if not empty:
                tally = rollback.undo(self._engine_job(), lambda: self.strict)
                with self.target.session() as session:
                    kept = notes_of(session, self.plan.target).kept(REPORTED)
            rollbacks.end(run, self.name, by, counts_of(tally), [asdict(one) for one in kept])
            if not empty and not tally.kept:
                self._drop()
        return next(one for one in rollbacks.of_run(run) if one.job == self.name)

    def forget(self, by: str) -> None:
        """Drops the notes: what the run wrote cannot be undone any more.

        A rollback that is not through ends half-way, so that runs may write to the target again.
        """
        run, rollbacks = self.work.run.id, Rollbacks(self.work.database)
        what = {"table": self.plan.target.notes, "connection": self.job.target.connection}
        self.work.runs.record(run, self.name, by, "rollback.forget", what)
        if any(one.job == self.name and one.ended_at is None for one in rollbacks.of_run(run)):
            with self.target.session() as session:
                tally = notes_of(session, self.plan.target).tally() or Tally()
            rollbacks.end(run, self.name, by, counts_of(tally), ())
        self._drop()

    def _drop(self) -> None:
        with self.target.session() as session:
            notes_of(session, self.plan.target).drop()

    def _refuse_unsafe(self) -> None:
        """Looked at before anything is recorded, and once more under lock."""
        job = self._engine_job()
        with self.target.session() as session:
            rollback.refuse_unsafe(self.plan, session)
            notes = notes_of(session, self.plan.target)
            rollback.require_notes(self.plan, notes)
            notes.require_fitting()
        with self.work.database.read() as connection:
            self._refuse_younger(connection)
        found = rollback.look(job, self.strict)
        rollback.refuse_only_copies(self.plan, found)
        self.work.gate.undoing(self.plan, self.work.run.id, found.rows)

    def _engine_job(self) -> Job[Any, Any]:
        return Job(
            plan=self.plan,
            source=self.source,
            target=self.target,
            ledger=self.ledger,
            pace=GuardedPace(self.work.pace, self.work.gate),
            watch=self.work.watch,
        )

    def _done(self) -> Rollback | None:
        """An earlier rollback that is through, of which nothing is left to go by."""
        found = Rollbacks(self.work.database).of_run(self.work.run.id)
        done = next((one for one in found if one.job == self.name and one.ended_at), None)
        if done is not None:
            with self.target.session() as session:
                tally = notes_of(session, self.plan.target).tally()
                if tally is not None and tally.waiting:
                    return None
        return done

    def _never_wrote(self) -> bool:
        """No batch was ever begun. Where one was, its notes have to be there."""
        query = select(func.count()).where(
            BATCHES.c.run == self.work.run.id,
            BATCHES.c.job == self.name,
            (BATCHES.c.attempts > 0) | BATCHES.c.copied_at.is_not(None),
        )
        with self.work.database.read() as connection:
            if connection.execute(query).scalar_one():
                return False
        with self.target.session() as session:
            return notes_of(session, self.plan.target).tally() is None

    def _refuse_younger(self, connection: Connection) -> None:
        refuse_younger(connection, self.work, self.plan, self.source, self.target)


def refuse_younger(
    connection: Connection, work: TaskRun, plan: Plan, source: Located, target: Located
) -> None:
    """What a younger run found as it was to be, it did not write, and relies on.

    Its copy would have holes, which a cursor may have gone past.
    """
    mine = (plan.source.label, plan.target.label)
    for run, theirs in _younger(connection, work.run.id, source.identity):
        if (theirs.source.label, theirs.target.label) != mine:
            continue
        if not _is_target(work, run, theirs.job, target):
            continue
        raise Refused(
            f"run {run.id} of task {run.task} copied {plan.source.label} into {plan.target.label} "
            f"after run {work.run.id}, or is about to, and relies on what that wrote; nothing was "
            f"undone. Roll the younger one back first: dsp rollback {run.id}"
        )


def take_back(work: TaskRun, job: WarmJob | S3Job, plan: Plan, source: Located) -> None:
    """The next run of an incremental job, or of one by steps, begins where this one did."""
    database, run, task = work.database, work.run.id, work.run.task
    moved = False
    if plan.window is not None and (key := cursor_key(task, job, source)) is not None:
        # The window begins before the cursor by the overlap; to begin there is as good.
        moved = Cursors(database).take_back(key, plan.window.after, run)
    if plan.step is not None and (key := bound_key(task, job, source)) is not None:
        moved = not plan.step.waits and Bounds(database).take_back(key, plan.step.since, run)
    if moved:
        tell(work.watch, Noted(f"Job {job.name}: the next run begins where run {run} did"))


def _is_target(work: TaskRun, run: Any, name: str, target: Located) -> bool:
    """Whether a job of another run writes to the same place; where nobody knows, it does."""
    jobs = json.loads(run.definition)["jobs"]
    told = next((one for one in jobs if one["name"] == name), None)
    try:
        found: Located = work.open_store(str(told["target"]["connection"])) if told else target
    except DspError:
        return True
    return found.identity == target.identity


def undo_of(work: TaskRun, name: str) -> Undo | ArchiveUndo:
    """A job of a run, as it was then. ``Refused`` where it noted nothing."""
    told = next((one for one in work.run.definition["jobs"] if one["name"] == name), None)
    job = next((one for one in work.task.jobs if one.name == name), None)
    if told is None or job is None:
        raise ConfigError(f"run {work.run.id}, or its task file, has no job {name!r}")
    ledger = SqlLedger(work.database, work.run.id, name)
    plan = ledger.plan()
    if plan is None:
        raise Refused(f"job {name} was never begun in run {work.run.id}; there is nothing to undo")
    if isinstance(job, S3Job) and plan.archive is not None:
        from dsp_airflow.undoing_archives import archive_undo

        return archive_undo(work, job, plan, ledger)
    if not plan.rollback or not isinstance(job, WarmJob):
        raise Refused(
            f"job {name} of run {work.run.id} noted nothing of what it wrote, so that it cannot be "
            "undone; with rollback: true the next run can"
        )
    job = _as_it_was(job, told, plan)
    opened = for_step(work.open_store, work.task.name, job, "rollback")
    work.permit.require(work.task, job, opened)
    source, target = opened(job.source.connection), opened(job.target.connection)
    refuse_elsewhere(work, job, source)
    plan = _with_notes(plan, work.run.id, target)
    return Undo(work, name, job, plan, source, target, ledger)


def refuse_elsewhere(work: TaskRun, job: WarmJob | S3Job, source: Located) -> None:
    """``Refused`` where the connection does not lead to what the run read."""
    known = work.runs.job(work.run.id, job.name).source_identity
    if source.identity != known:
        raise Refused(
            f"job {job.name}: connection {job.source.connection} leads to {source.identity} and "
            f"led to {known}, so that nobody could tell what the source still has"
        )


def undoable(work: TaskRun) -> tuple[str, ...]:
    """The run's jobs that can be undone, the last one first: rows that refer to others go before
    them.

    ``Refused`` where some other job wrote, too.
    """
    jobs = list(work.run.definition["jobs"])
    begun = {one.name for one in work.summary().jobs}
    other = [one["name"] for one in jobs if one["name"] in begun and not _noted(one)]
    if other:
        raise Refused(
            f"job {other[0]} of run {work.run.id} noted nothing of what it wrote, so that the "
            "run cannot be undone as a whole; name the jobs to undo with --job"
        )
    return tuple(one["name"] for one in reversed(jobs) if one["name"] in begun)


def _noted(told: Mapping[str, Any]) -> bool:
    """Of an archive the records of its objects are all that it takes."""
    return bool(told.get("rollback")) or told["type"] == "s3"


def look_at_rollback(work: TaskRun, name: str) -> dict[str, Any]:
    """What approvers are shown of a rollback."""
    undo = undo_of(work, name)
    found = undo.look()
    plan, label, table = undo.plan, undo.plan.target.label, undo.plan.target.table
    key = ", ".join(plan.key)
    shown = job_estimate(undo.job, plan, undo.source.system, found.rows)
    stays = (
        f"; {found.changed:,} rows that others changed or deleted since stay as they are"
        if found.changed
        else ""
    )
    return {
        **shown,
        "subtypes": ["delete", "update"],
        "rollback": work.run.id,
        "create": False,
        "statements": [
            f"remove each object of the run below {label}",
        ]
        if isinstance(undo.job, S3Job)
        else [
            f"DELETE FROM {table} WHERE ({key}) = each that was inserted",  # noqa: S608
            f"UPDATE {table} SET all that it was, for each that was updated",  # noqa: S608
        ],
        "deletes": (
            f"{found.removed:,} rows of {label} that run {work.run.id} inserted; "
            f"{found.restored:,} that it updated get the values that they had{stays}"
        ),
        "removes": {"rows": found.rows, "of": found.rows + found.changed},
        "only_here": found.only_here,
        "bytes": 0,
    }


def counts_of(tally: Tally) -> dict[str, int]:
    return {"removed": tally.removed, "restored": tally.restored, "kept": tally.kept}


def rollback_task(task: Task) -> Task:
    """The task as a rollback of it is called."""
    return task.model_copy(
        update={
            "name": f"{task.name}{ROLLBACK_SUFFIX}",
            "display_name": f"{task.title}: rollback",
        }
    )


def _as_it_was(job: WarmJob, told: Mapping[str, Any], plan: Plan) -> WarmJob:
    """The file may name other tables by now, or other connections."""
    source = Source(connection=told["source"]["connection"], table=_named(plan.source_shape))
    target = Target(connection=told["target"]["connection"], table=_named(plan.target_shape))
    return job.model_copy(update={"source": source, "target": target})


def _named(shape: Shape) -> str:
    parts = [part for part in (shape.schema, shape.name) if part]
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def _with_notes(plan: Plan, run: str, target: Store) -> Plan:
    return replace(plan, target=noted(plan, run, target.dialect))


def _younger(connection: Connection, run: str, source: str) -> Iterator[tuple[Any, Plan]]:
    """Runs that were begun later, have copied something or may do so yet, and are not undone."""
    this = select(RUNS.c.created_at).where(RUNS.c.id == run).scalar_subquery()
    rows = connection.execute(
        select(RUNS.c.id, RUNS.c.task, RUNS.c.definition, JOBS.c.plan)
        .join(JOBS, JOBS.c.run == RUNS.c.id)
        .where(
            RUNS.c.created_at > this,
            JOBS.c.source_identity == source,
            JOBS.c.undone_at.is_(None),
            JOBS.c.plan.is_not(None),
        )
        .order_by(RUNS.c.created_at.desc())
    )
    for row in rows:
        plan = load(Plan, row.plan)
        if plan.batches:
            yield row, plan


__all__ = ["Undo", "look_at_rollback", "rollback_task", "undo_of", "undoable"]
