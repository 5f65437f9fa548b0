"""The phases of an S3 job: archive, check by reading back, purge by what was read back."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Final, TypeAlias

from dsp_airflow.engine import check as checking
from dsp_airflow.engine import compare, definition, keptback
from dsp_airflow.engine import purge as purging
from dsp_airflow.engine.archive import layout, manifest, owner
from dsp_airflow.engine.archive.folder import RunFolder
from dsp_airflow.engine.archive.formats import format_of
from dsp_airflow.engine.archive.forms import Beyond
from dsp_airflow.engine.archive.manifest import Facts
from dsp_airflow.engine.archive.witness import Altered
from dsp_airflow.engine.errors import Mismatch, Refused
from dsp_airflow.engine.events import JobStarted, tell
from dsp_airflow.engine.model import (
    ArchivedObject,
    Checked,
    Claim,
    Copied,
    Difference,
    Origin,
    Projection,
    Purged,
    Written,
)
from dsp_airflow.engine.ports import ReadsArrow, Session, Witness
from dsp_airflow.engine.work import Done, Job, run_phase

ArchiveBatch: TypeAlias = Callable[[Job[Session, RunFolder], Session, RunFolder, Claim], Copied]

MOST_PARTS: Final = 200
"""Partitions that the rows of one batch may fall into."""


def copy(job: Job[Session, RunFolder], facts: Facts) -> None:
    """Archives every batch that is not archived yet, then the manifest. Safe to repeat."""
    plan, folder = job.plan, _folder(job)
    _require_types(job)
    mine = owner.Owner(facts.task, plan.job, plan.source.label)
    owner.take(folder.bucket, folder.archive, mine)
    _refuse_set_back(job)
    tell(job.watch, JobStarted("copy", plan.job, plan.source.label, plan.rows, plan.batches))

    archive = _batches(job)

    def step(source: Session, target: RunFolder, claim: Claim) -> Done:
        done = archive(job, source, target, claim)
        job.ledger.copied(claim, done)
        return done.written.rows, 0

    run_phase(job, "copy", step)
    if job.ledger.waiting("copy"):
        return
    _finish(job, facts)


def _batches(job: Job[Session, RunFolder]) -> ArchiveBatch:
    """How a batch is archived."""
    if not _folder(job).of_files:
        return archive_batch
    from dsp_airflow.engine.archive.gridfs import archiving

    upto = None
    for record in job.ledger.records():
        upto = record.batch.within.upto

    def files(
        job: Job[Session, RunFolder], source: Session, target: RunFolder, claim: Claim
    ) -> Copied:
        return archiving.archive_batch(job, source, target, claim, upto)

    return files


def _refuse_set_back(job: Job[Session, RunFolder]) -> None:
    """``Refused`` when the ledger knows less than the archive: its rows may stand nowhere else.

    The manifest comes last, so a batch that is written after it would replace what it names.
    """
    folder = _folder(job)
    key = layout.manifest_key(folder.archive, folder.run)
    if job.ledger.waiting("copy") and folder.bucket.head(key) is not None:
        raise Refused(
            f"job {job.plan.job}: {folder.bucket.label(key)} says that this run is archived, and "
            "the state database does not know it: it was set back to an earlier moment. Rows that "
            "were deleted since may stand in that archive alone, so nothing was written; start a "
            "new run"
        )


def _finish(job: Job[Session, RunFolder], facts: Facts) -> None:
    """Every batch is recorded: nothing else is left in the folder, and the manifest says so."""
    plan, folder = job.plan, _folder(job)
    # Somebody may have altered one between two batches.
    _require_types(job)
    records = list(job.ledger.records())
    folder.sweep({stored.key for r in records if r.copied for stored in r.copied.objects})
    if folder.of_files:
        from dsp_airflow.engine.archive.gridfs.sweep import sweep

        sweep(folder, records)
    made = manifest.manifest_of(plan, folder.run, facts, records)
    key = layout.manifest_key(folder.archive, folder.run)
    folder.replace(key, manifest.manifest_bytes(made))


def _require_types(job: Job[Session, RunFolder]) -> None:
    """``Refused`` when types are made of something else than the manifest is going to say."""
    planned = {column.name: column.needs for column in job.plan.source_shape.columns}
    if job.plan.source_shape.open or _folder(job).of_files or not any(planned.values()):
        return
    with job.source.session() as session:
        shape = session.describe(job.plan.source.table)
    columns = () if shape is None else shape.columns
    altered = [c.name for c in columns if planned.get(c.name, ()) != c.needs]
    if altered:
        raise Refused(
            f"{job.plan.source.label}: the type of {', '.join(altered)} was altered since the run "
            "was planned, and its manifest would tell how to create the old one; start a new run"
        )


def archive_batch(
    job: Job[Session, RunFolder], source: Session, target: RunFolder, claim: Claim
) -> Copied:
    """One batch: digested (or counted) and read in one snapshot, uploaded as one object."""
    plan, batch = job.plan, claim.batch
    began = time.monotonic()
    with source.snapshot() as mark:
        digest = source.digest(plan.source, batch.within) if batch.sampled else None
        losses = source.losses(plan.source, batch.within)
        rows = source.count(plan.source, batch.within) if digest is None else digest.rows
        objects = tuple(_objects(job, source, target, claim))
    stored = sum(one.rows for one in objects)
    if stored != rows:
        raise Mismatch(
            f"{plan.source.label}: batch {batch.number} has {rows:,} rows, and {stored:,} "
            f"were written to {', '.join(one.key for one in objects)}; nothing is recorded"
        )
    size = sum(one.size for one in objects)
    written = Written(rows=rows, inserted=rows, origin=Origin(digest, mark, losses), bytes=size)
    return Copied(
        rows_read=rows,
        written=written,
        bytes=size,
        seconds=time.monotonic() - began,
        objects=objects,
    )


def _objects(
    job: Job[Session, RunFolder], source: Session, target: RunFolder, claim: Claim
) -> Iterator[ArchivedObject]:
    """Uploads the batch: one object, or one for each partition that its rows fall into."""
    plan, within, partitions = job.plan, claim.batch.within, target.archive.partitions
    if not isinstance(source, ReadsArrow):
        raise Refused(f"{plan.source.label} cannot be read into an archive")
    if not partitions:
        yield _put(job, source, target, claim, plan.source, ())
        return
    expressions = [partition.expression for partition in partitions]
    for values, condition in source.parts(plan.source, within, expressions, MOST_PARTS):
        both = f"({plan.source.where}) AND {condition}" if plan.source.where else condition
        yield _put(job, source, target, claim, replace(plan.source, where=both), values)


def _put(
    job: Job[Session, RunFolder],
    source: ReadsArrow,
    target: RunFolder,
    claim: Claim,
    what: Projection,
    values: Sequence[str | None],
) -> ArchivedObject:
    def put(*, exact: bool) -> ArchivedObject:
        batches = source.arrow(
            what,
            claim.batch.within,
            target.forms,
            exact=exact,
            max_row_size=job.plan.max_row_size,
        )
        with closing(batches):
            # Who was taken over meanwhile has read rows that are older than those that lie there.
            return target.put(claim, batches, lambda: job.ledger.keep(claim), values)

    try:
        return put(exact=not format_of(target.archive.format).EXACT_APART)
    except Beyond:
        return put(exact=True)


def check(job: Job[Session, RunFolder]) -> None:
    """Reads back the sampled batches, looks at the others; the ledger holds the findings."""
    plan, folder = job.plan, _folder(job)
    tell(job.watch, JobStarted("check", plan.job, plan.target.label, plan.rows, plan.batches))

    def step(source: Session, target: RunFolder, claim: Claim) -> Done:
        with target.witness(claim) as witness:
            found = check_batch(job, source, witness, claim)
        job.ledger.checked(claim, found)
        return found.rows, found.different

    run_phase(job, "check", step)
    if not job.ledger.waiting("check"):
        records = list(job.ledger.records())
        body = manifest.receipts_bytes(folder.run, plan.job, records)
        folder.replace(layout.receipts_key(folder.archive, folder.run), body)


def check_batch(
    job: Job[Session, RunFolder], source: Session, witness: Witness, claim: Claim
) -> Checked:
    """The verdict on one batch. An object that is not what was uploaded holds none of its rows."""
    try:
        found = _compared(job, source, witness, claim)
        back = keptback.on_purpose(witness)
        return replace(
            found,
            differences=(*found.differences, *back)[: compare.REPORTED],
            note="; ".join(filter(None, [found.note, keptback.note(len(back))])),
        )
    except Mismatch as error:
        rows = claim.copied.written.rows if claim.copied else 0
        why = Difference("missing", (), reason=str(error))
        return Checked(rows, compared=True, different=max(1, rows), differences=(why,))


def _compared(
    job: Job[Session, RunFolder], source: Session, witness: Witness, claim: Claim
) -> Checked:
    if claim.batch.sampled and claim.copied is not None:
        witness.digest(job.plan.target, claim.batch.within)
        altered = keptback.altered(witness)
        if altered:
            rows = claim.copied.written.rows
            return Checked(rows, compared=True, different=len(altered), differences=tuple(altered))
    return checking.check_batch(job.plan, source, witness, claim)


def purge(job: Job[Session, RunFolder], facts: Facts, only: Collection[int] | None = None) -> None:
    """Purges the batches that wait for it: each is read back, whatever was checked.

    A batch whose object is not what was uploaded keeps its rows; the others go on.
    """
    plan, folder = job.plan, _folder(job)
    with job.source.session() as source:
        seen = source.fingerprint(plan.source.table)
        # A column that was added before the fingerprint changes it no more, and is in no object.
        definition.require_structure(source, plan.source, plan.source_shape)
        why = source.purge_refusals(plan.source.table, plan.accept_triggers, plan.purged_beside)
    if why:
        raise Refused(f"job {plan.job} may not purge {plan.source.label}: {'; '.join(why)}")
    if folder.bucket.head(layout.manifest_key(folder.archive, folder.run)) is None:
        # Whoever recorded the last batch was killed before it wrote it, or somebody removed it.
        # Objects without one look unfinished, and soon may be the only ones that have the rows.
        _finish(job, facts)
    tell(job.watch, JobStarted("purge", plan.job, plan.source.label, plan.rows, plan.batches))

    def step(source: Session, target: RunFolder, claim: Claim) -> Done:
        done = purging.settled(job, source, claim)
        if done is None:
            done = _purge_batch(job, facts.task, source, target, claim, seen)
        job.ledger.purged(claim, done)
        return done.deleted, done.kept

    run_phase(replace(job, workers=1), "purge", step, only)


def _purge_batch(
    job: Job[Session, RunFolder],
    task: str,
    source: Session,
    target: RunFolder,
    claim: Claim,
    seen: str,
) -> Purged:
    with target.witness(claim) as witness:
        try:
            return purging.purge_batch(job, task, source, witness, claim, (seen, witness.named()))
        except Altered as error:
            # Its transaction is rolled back: every row stands.
            return purging.kept(job, task, source, claim, str(error))


def _folder(job: Job[Session, RunFolder]) -> RunFolder:
    if not isinstance(job.target, RunFolder):
        raise TypeError("an S3 job works on a folder of a bucket")
    return job.target
