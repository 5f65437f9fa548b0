"""Copying: read a range, write it, record it. The source renders, the target loads."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext

from dsp_airflow.engine import adding
from dsp_airflow.engine.compare import keys_of, sum_of
from dsp_airflow.engine.errors import Collision, Refused
from dsp_airflow.engine.events import JobStarted, Noted, tell
from dsp_airflow.engine.model import UNSEEN, Batch, Claim, Copied, Origin, Plan, Written
from dsp_airflow.engine.notes import notes_of
from dsp_airflow.engine.ports import CopySource, Session
from dsp_airflow.engine.work import Done, Job, run_phase


def copy(job: Job[CopySource, Session]) -> None:
    """Copies every batch that is not copied yet. Safe to repeat and to run many times at once."""
    plan = job.plan
    with job.target.session() as session:
        marked = prepare(session, plan)
    tell(
        job.watch,
        JobStarted("copy", plan.job, plan.source.label, plan.rows, plan.batches),
    )

    def step(source: CopySource, target: Session, claim: Claim) -> Done:
        done = copy_batch(job, source, target, claim, marked=marked)
        job.ledger.copied(claim, done)
        return done.written.rows, 0

    run_phase(job, "copy", step)
    if not job.ledger.waiting("copy"):
        with job.target.session() as session:
            for told in session.move_sequences(plan.target):
                tell(job.watch, Noted(told))
            if marked:
                # Every batch is recorded: the markers have said what they were kept for.
                session.forget_markers(plan.target, job.ledger.run, plan.job)


def prepare(session: Session, plan: Plan) -> bool:
    """Creates what is missing in the target; returns whether commit markers can be kept."""
    if plan.create:
        session.create(plan.target.table, plan.ddl)
    adding.add(session, plan)
    marked = session.prepare_markers(plan.target)
    if not marked and plan.on_conflict != "update":
        raise Refused(
            f"{plan.target.label}: on_conflict {plan.on_conflict} needs the table "
            f"{plan.target.markers}, which the role may not create, or not SELECT, INSERT and "
            "DELETE there; have that granted, or use update"
        )
    if plan.target.notes:
        if not marked:
            raise Refused(
                f"{plan.target.label}: rollback: true needs the table {plan.target.markers}, "
                "which the "
                "role may not create: without it a batch might be written, and noted, twice"
            )
        notes_of(session, plan.target).prepare()
    return marked


def copy_batch(
    job: Job[CopySource, Session],
    source: CopySource,
    target: Session,
    claim: Claim,
    *,
    marked: bool,
) -> Copied:
    """One batch: read in one snapshot (and digested in it), written in one transaction."""
    plan, batch = job.plan, claim.batch
    began = time.monotonic()
    with target.writing(plan.target), _view(job, source, batch) as mark:
        digest = source.digest(plan.source, batch.within) if batch.sampled else None
        origin = Origin(digest, mark, source.losses(plan.source, batch.within))
        try:
            written = _relay(job, source, target, claim, origin, marked, direct=True)
        except Collision:
            written = _relay(job, source, target, claim, origin, marked, direct=False)
        keys = _standing(plan, source, target, batch, written)
    return Copied(
        rows_read=written.rows,
        written=written,
        bytes=written.bytes,
        seconds=time.monotonic() - began,
        keys=keys,
    )


def _standing(
    plan: Plan, source: CopySource, target: Session, batch: Batch, written: Written
) -> int | None:
    """See ``Copied.keys``; asked while the source still shows what was read.

    Rows that come and go in a window leave no trace of what was copied, unless they are dated.
    """
    if plan.window is None or plan.ordered_alike or plan.source.dated == "rows":
        return None
    keys = keys_of(source.hashes(plan.source, batch.within))
    found = target.digest(plan.target, None, keys)
    digest = written.origin.digest if written.origin else None
    if found == digest or (digest is None and found.rows == len(keys) == written.rows):
        return sum_of(keys)
    # What an earlier attempt has written the source may not show any more.
    return UNSEEN if written.recovered else None


def _view(
    job: Job[CopySource, Session], source: CopySource, batch: Batch
) -> AbstractContextManager[str | None]:
    """What the batch is read in; yields the mark of its horizon.

    One statement sees one state of the table, so rows that are only read need no transaction
    around it, and the source is free of the batch while the target still writes it. A digest, or
    a count of losses, is a second statement: true of the rows that were read only in one snapshot.
    """
    if job.isolation == "read_committed" and not (batch.sampled or job.plan.source.losses):
        return nullcontext(source.horizon())
    if job.isolation == "serializable" or not (batch.sampled or job.plan.source.losses):
        return source.snapshot(job.isolation)
    return source.snapshot()


def _relay(
    job: Job[CopySource, Session],
    source: CopySource,
    target: Session,
    claim: Claim,
    origin: Origin,
    marked: bool,
    *,
    direct: bool,
) -> Written:
    plan, batch = job.plan, claim.batch
    return target.write(
        plan.target,
        batch.within,
        source.read(plan.source, batch.within, plan.wire, plan.max_row_size),
        wire=plan.wire,
        on_conflict=plan.on_conflict,
        ordered_alike=plan.ordered_alike,
        origin=origin,
        marker=(job.ledger.run, plan.job, batch.number) if marked else None,
        # Who was taken over meanwhile has read rows that are older than those that stand there.
        fence=lambda: job.ledger.keep(claim),
        direct=direct,
    )
