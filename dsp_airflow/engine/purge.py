"""Purging: a source row is deleted only by a transaction that has locked it and has then seen
the same row, value for value, committed in the target.

A batch is first taken as a whole: its rows are deleted tentatively, which locks them, and
exactly those rows are digested. The target's digest is read after that. Equal: commit. Not
equal: the deletion is taken back and row is compared with row under lock; only proved ones go.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

from dsp_airflow.engine import compare
from dsp_airflow.engine.canon import CANON_VERSION
from dsp_airflow.engine.errors import Refused, Transient
from dsp_airflow.engine.events import JobStarted, tell
from dsp_airflow.engine.model import (
    Claim,
    Copied,
    Difference,
    Digest,
    Key,
    Plan,
    Projection,
    Purged,
    Receipt,
    RowHash,
)
from dsp_airflow.engine.ports import Purge, Session
from dsp_airflow.engine.work import Done, Job, run_phase

RECEIPT_FORMAT = 1
SETTLE = 60.0
"""Seconds to wait for an earlier transaction that is still ending."""
PURGED = TypeAdapter(Purged)


@dataclass(frozen=True, slots=True)
class _Proof:
    """What was proved of a batch: both sides' digests of the rows to delete, and the rest."""

    deleted: int
    source: Digest
    target: Digest
    kept: int
    differences: tuple[Difference, ...]


def purge(job: Job, task: str, only: Collection[int] | None = None) -> None:
    """Purges the batches that wait for it. Safe to repeat and to run many times at once.

    Raises ``Refused`` before anything is deleted when the tables are not fit for it.
    """
    plan = job.plan
    with job.source.session() as source, job.target.session() as target:
        seen = _fingerprints(source, target, plan)
        refuse_unsafe(plan, source, target)
    tell(
        job.watch,
        JobStarted("purge", plan.job, plan.source.label, plan.rows, plan.batches),
    )

    def step(source: Session, target: Session, claim: Claim) -> Done:
        done = _settled(job, source, claim)
        if done is None:
            done = purge_batch(job, task, source, target, claim, seen)
        job.ledger.purged(claim, done)
        return done.deleted, done.kept

    run_phase(replace(job, workers=1), "purge", step, only)


def refuse_unsafe(plan: Plan, source: Session, target: Session) -> None:
    """Raises ``Refused`` when deleting from the source, or trusting the target, is not safe."""
    why = source.purge_refusals(plan.source.table, plan.accept_triggers)
    why += target.target_refusals(plan.target.table)
    if why:
        raise Refused(f"job {plan.job} may not purge {plan.source.label}: {'; '.join(why)}")


def purge_batch(
    job: Job,
    task: str,
    source: Session,
    target: Session,
    claim: Claim,
    seen: tuple[str, str],
) -> Purged:
    """Proves and deletes one batch; the deletion is committed when this returns."""
    plan, batch, copied = job.plan, claim.batch, claim.copied
    if copied is None:
        raise Refused(f"batch {batch.number} of job {plan.job} has no record of being copied")
    with source.purge() as transaction:
        taken = transaction.take(plan.source, batch.within)
        # From here on the table is locked against what the fingerprint shows.
        if _fingerprints(source, target, plan) != seen:
            raise Refused(
                f"job {plan.job}: {plan.source.label} or {plan.target.label} was altered during "
                "the purge; nothing of this batch was deleted"
            )
        proof = _whole(plan, target, claim, copied, taken)
        if proof is None:
            transaction.undo()
            proof = _row_by_row(plan, source, target, claim, copied, transaction)
            if _fingerprints(source, target, plan) != seen:
                raise Refused(f"job {plan.job}: {plan.source.label} was altered during the purge")
        done = Purged(
            deleted=proof.deleted,
            kept=proof.kept,
            differences=proof.differences[: compare.REPORTED],
            receipt=_receipt(job, task, claim, proof),
        )
        intent = {"token": transaction.token(), "purged": PURGED.dump_python(done, mode="json")}
        job.ledger.purging(claim, json.dumps(intent))
        transaction.commit()
    return done


def _settled(job: Job, source: Session, claim: Claim) -> Purged | None:
    """What an interrupted purge of this batch did; ``None`` when it did nothing."""
    if claim.intent is None:
        return None
    intent = json.loads(claim.intent)
    done = PURGED.validate_python(intent["purged"], strict=False)
    give_up = time.monotonic() + SETTLE
    while (outcome := source.outcome(intent["token"])) == "running":
        if time.monotonic() > give_up:
            raise Transient(
                f"batch {claim.batch.number}: an earlier purge transaction "
                f"({intent['token']}) is still open on {job.source.name}; retry when it has ended"
            )
        time.sleep(0.2)
    if outcome == "unknown":
        # The commit log reaches back no further; what still stands there tells it.
        standing = source.count(job.plan.source, claim.batch.within)
        outcome = "aborted" if standing >= done.deleted + done.kept else "committed"
    return done if outcome == "committed" else None


def _fingerprints(source: Session, target: Session, plan: Plan) -> tuple[str, str]:
    return source.fingerprint(plan.source.table), target.fingerprint(plan.target.table)


def _whole(
    plan: Plan, target: Session, claim: Claim, copied: Copied, taken: Digest
) -> _Proof | None:
    """The batch's proof as a whole, when the target's range equals it."""
    if not plan.ordered_alike or taken.rows != copied.written.rows:
        return None
    others = copied.written.others
    if copied.written.ignored or (others.rows and copied.digest is None):
        return None
    standing = target.digest(plan.target, claim.batch.within)
    found = standing - others if others.rows else standing
    if found != taken:
        return None
    return _Proof(taken.rows, taken, found, 0, ())


def _row_by_row(
    plan: Plan,
    source: Session,
    target: Session,
    claim: Claim,
    copied: Copied,
    transaction: Purge,
) -> _Proof:
    locked = transaction.lock(plan.source, claim.batch.within, copied.mark)
    theirs = compare.by_key(target.hashes(plan.target, keys=[row.key for row in locked]))
    proved = [row for row in locked if _same(row, theirs.get(row.key))]
    rest = [row for row in locked if not _same(row, theirs.get(row.key))]
    deleted = transaction.delete(plan.source, [row.at for row in proved])
    if deleted != len(proved):
        raise Refused(
            f"{plan.source.label}: {len(proved)} rows were proved and {deleted} would have been "
            "deleted; nothing of this batch was deleted"
        )
    differences = _kept(plan, source, target, rest, theirs)
    strayed = _left_filter(plan, source, target, claim, copied, {row.key for row in locked})
    return _Proof(
        deleted=deleted,
        source=compare.digest_of(proved),
        target=compare.digest_of(theirs[row.key] for row in proved),
        kept=len(rest) + len(strayed),
        differences=(*differences, *strayed),
    )


def _same(row: RowHash, other: RowHash | None) -> bool:
    return other is not None and other.hash == row.hash


def _kept(
    plan: Plan,
    source: Session,
    target: Session,
    rest: list[RowHash],
    theirs: dict[Key, RowHash],
) -> list[Difference]:
    """Why rows were kept, in words for a person."""
    found: list[Difference] = []
    changed_here: list[tuple[Key, Key]] = []
    changed_there: list[tuple[Key, Key]] = []
    for row in rest[: compare.REPORTED]:
        if row.key in theirs:
            pair = (row.key, row.at)
            (changed_there if row.settled else changed_here).append(pair)
        elif row.settled:
            found.append(Difference("missing", row.key, reason="removed from the target"))
        else:
            found.append(Difference("new", row.key, reason="appeared in the source since the copy"))
    if changed_here:
        reason = "changed in the source since the copy"
        found += compare.changed(plan, source, target, changed_here, reason)
    if changed_there:
        reason = "changed in the target since the copy"
        found += compare.changed(plan, source, target, changed_there, reason)
    return found


def _left_filter(
    plan: Plan,
    source: Session,
    target: Session,
    claim: Claim,
    copied: Copied,
    locked: set[Key],
) -> list[Difference]:
    """Rows that were copied, still stand in the source, and no longer match the filter."""
    if plan.source.where is None or not plan.ordered_alike or len(locked) >= copied.written.rows:
        return []
    gone = [
        row.at for row in target.hashes(plan.target, claim.batch.within) if row.key not in locked
    ]
    unfiltered: Projection = replace(plan.source, where=None)
    return [
        Difference("left_filter", row.key, reason="no longer matches the filter")
        for row in source.hashes(unfiltered, keys=gone)
    ]


def _receipt(job: Job, task: str, claim: Claim, proof: _Proof) -> Receipt:
    plan, within = job.plan, claim.batch.within
    return Receipt(
        format=RECEIPT_FORMAT,
        canon=CANON_VERSION,
        run=job.ledger.run,
        task=task,
        job=plan.job,
        batch=claim.batch.number,
        source=f"{job.source.identity} {plan.source.label}",
        target=f"{job.target.identity} {plan.target.label}",
        after=within.after,
        upto=within.upto,
        filter=plan.filter,
        rows=proof.deleted,
        kept=proof.kept,
        source_digest=_text(proof.source),
        target_digest=_text(proof.target),
        definition=plan.definition,
    )


def _text(digest: Digest) -> str:
    return f"{digest.method}:{digest.rows}:{digest.sum}"
