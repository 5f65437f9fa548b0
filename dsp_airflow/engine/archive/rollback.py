"""Taking back what a run archived: its objects go, once every row of theirs stands in the source
again.

An archive is what rows were, and may be the only one to have them. So each row has to be in the
source value for value, whatever receipts say; and an object that is not what was uploaded is left
alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from dsp_airflow.engine import compare
from dsp_airflow.engine.archive import layout
from dsp_airflow.engine.archive.folder import RunFolder
from dsp_airflow.engine.archive.witness import Altered, ArchiveWitness
from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.events import Noted, tell
from dsp_airflow.engine.model import Batch, BatchRecord, Claim, Copied, Key, Plan
from dsp_airflow.engine.notes import KeptNote, Tally
from dsp_airflow.engine.ports import Session
from dsp_airflow.engine.purge import chunks
from dsp_airflow.engine.rollback import APART, SHOWN, Found, by_mapped_key
from dsp_airflow.engine.work import Job


def refuse_unfit(plan: Plan, run: str) -> None:
    """``Refused`` where the records do not tell all that lies there."""
    why = ""
    if plan.archive is not None and plan.archive.name_mode:
        why = "files of GridFS are objects of their own, which it does not take back"
    elif "." in run:
        why = "it was planned anew, and what it archived before has no records; delete its folders"
    if why:
        raise Refused(f"job {plan.job} of run {run} cannot be rolled back: {why}")


def look(job: Job[Session, RunFolder]) -> Found:
    """Reads everything back; nothing is written. ``removed`` counts archived rows."""
    found = Found()
    with job.source.session() as source, job.target.session() as folder:
        for record, copied in _archived(job):
            left = _left(folder, copied)
            if not left.objects:
                continue
            missing = _missing(job.plan, source, folder, record.batch, left)
            found = Found(
                removed=found.removed + (0 if missing else sum(o.rows for o in left.objects)),
                only_here=found.only_here + len(missing),
                examples=(*found.examples, *missing)[:SHOWN],
                why=found.why or (APART if missing else ""),
            )
    return found


def remove(job: Job[Session, RunFolder]) -> tuple[Tally, list[KeptNote]]:
    """Removes the objects of every batch whose rows the source has; then manifest and receipts.

    Safe to repeat. Nobody purges by this run meanwhile, or later.
    """
    removed = 0
    kept: list[KeptNote] = []
    with job.source.session() as source, job.target.session() as folder:
        for record, copied in _archived(job):
            job.pace.before_batch()
            left = _left(folder, copied)
            if left.objects:
                try:
                    missing = _missing(job.plan, source, folder, record.batch, left)
                except Altered as altered:
                    kept.append(KeptNote((str(record.batch.number),), True, str(altered)))
                    continue
                if missing:
                    kept += [KeptNote(key, True, APART) for key in missing]
                    continue
                for stored in left.objects:
                    folder.bucket.delete(stored.key)
            removed += copied.written.rows
            told = f"Job {job.plan.job}: the objects of batch {record.batch.number} are gone"
            tell(job.watch, Noted(told))
        if not kept:
            for key in (
                layout.receipts_key(folder.archive, folder.run),
                layout.manifest_key(folder.archive, folder.run),
            ):
                if folder.bucket.head(key) is not None:
                    folder.bucket.delete(key)
    return Tally(removed=removed, kept=len(kept)), kept


def _archived(job: Job[Any, RunFolder]) -> Iterator[tuple[BatchRecord, Copied]]:
    for record in job.ledger.records():
        if record.copied is not None:
            yield record, record.copied


def _left(folder: RunFolder, copied: Copied) -> Copied:
    """The batch with those of its objects that are there: others may have been removed already."""
    there = [one for one in copied.objects if folder.bucket.head(one.key) is not None]
    return replace(copied, objects=tuple(there))


def _missing(
    plan: Plan, source: Session, folder: RunFolder, batch: Batch, copied: Copied
) -> list[Key]:
    """Keys of archived rows that the source does not have as they are."""
    with folder.witness(Claim(batch, "", 0, copied=copied)) as archived:
        if not isinstance(archived, ArchiveWitness):
            raise Refused(f"job {plan.job}: files cannot be taken back")
        if archived.digest(plan.target, None) == source.digest(plan.source, batch.within):
            return []
        found: list[Key] = []
        for chunk in chunks(archived.hashes(plan.target)):
            there = compare.by_key(source.hashes(by_mapped_key(plan), keys=compare.keys_of(chunk)))
            found += [
                row.key for row in chunk if row.key not in there or there[row.key].hash != row.hash
            ]
        return found
