"""Purging: a source row is deleted only by a transaction that has locked it and has then seen
the same row, value for value, committed in the target.

A batch is first taken as a whole: its rows are deleted tentatively, which locks them, and
exactly those rows are digested. The target's digest is read once they are locked. Equal:
commit. Not equal: the deletion is taken back, rows that look equal are deleted tentatively by
their keys, and each is compared with the target again, now that it is locked; only proved ones
go. Meanwhile no other worker writes into the target: one that read the source before would
bring back an old value over a row whose original is gone.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import TypeAdapter

from dsp_airflow.engine import compare, definition, keptback, quarantine, references
from dsp_airflow.engine.canon import CANON_VERSION
from dsp_airflow.engine.errors import Refused, Transient
from dsp_airflow.engine.events import JobStarted, tell
from dsp_airflow.engine.meanwhile import Meanwhile
from dsp_airflow.engine.model import (
    Claim,
    Copied,
    Difference,
    Digest,
    Gone,
    Key,
    KeyColumn,
    KeyRange,
    Plan,
    Purged,
    Receipt,
    RowHash,
)
from dsp_airflow.engine.ports import Digests, Purge, Session, Witness
from dsp_airflow.engine.work import Done, Job, run_phase

RECEIPT_FORMAT = 1
SETTLE = 60.0
"""Seconds to wait for an earlier transaction that is still ending."""
NEWEST = "has the newest AUTO_INCREMENT value (keep_last_auto_increment)"
PURGED = TypeAdapter(Purged)
CHUNK = 10_000
"""Rows compared at once."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Proof:
    """What was proved of a batch: both sides' digests of the rows to delete, and the rest."""

    deleted: int
    source: Digest
    target: Digest
    left: int
    """Rows that match the filter and were not deleted."""
    strayed: int
    """Rows that match the filter no longer."""
    differences: tuple[Difference, ...]
    damaged: int = 0
    """Rows that match the filter and are not whole: nothing is compared with them."""

    @property
    def kept(self) -> int:
        """Rows that a purge should have deleted."""
        return self.left + self.strayed + self.damaged


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch under proof."""

    plan: Plan
    source: Session
    target: Witness
    claim: Claim
    copied: Copied
    transaction: Purge


def purge(job: Job[Session, Session], task: str, only: Collection[int] | None = None) -> None:
    """Purges the batches that wait for it. Safe to repeat and to run many times at once.

    Raises ``Refused`` before anything is deleted when the tables are not fit for it.
    """
    plan = job.plan
    with job.source.session() as source, job.target.session() as target:
        seen = _fingerprints(source, target, plan)
        # A column that was added before the fingerprint changes it no more, and is not proved.
        definition.require_structure(source, plan.source, plan.source_shape)
        definition.require_structure(target, plan.target, plan.target_shape)
        refuse_unsafe(plan, source, target)
    tell(
        job.watch,
        JobStarted("purge", plan.job, plan.source.label, plan.rows, plan.batches),
    )

    def step(source: Session, target: Session, claim: Claim) -> Done:
        done = settled(job, source, claim)
        if done is None:
            done = purge_batch(job, task, source, target, claim, seen)
        job.ledger.purged(claim, done)
        return done.deleted, done.kept

    run_phase(replace(job, workers=1), "purge", step, only)


def refuse_unsafe(plan: Plan, source: Session, target: Session) -> None:
    """Raises ``Refused`` when deleting from the source, or trusting the target, is not safe."""
    why = source.purge_refusals(plan.source.table, plan.accept_triggers, plan.purged_beside)
    why += target.target_refusals(plan.target.table)
    if why:
        raise Refused(f"job {plan.job} may not purge {plan.source.label}: {'; '.join(why)}")


def purge_batch(
    job: Job[Any, Any],
    task: str,
    source: Session,
    target: Witness,
    claim: Claim,
    seen: tuple[str, str],
) -> Purged:
    """Proves and deletes one batch; the deletion is committed when this returns."""
    plan, batch, copied = job.plan, claim.batch, claim.copied
    if copied is None:
        raise Refused(f"batch {batch.number} of job {plan.job} has no record of being copied")
    # To whoever proves by the source table, deleting from it is writing.
    with (
        source.writing(plan.source),
        target.proving(plan.target),
        source.purge() as transaction,
        Meanwhile(lambda: target.digest(plan.target, batch.within)) as standing,
    ):
        work = _Batch(plan, source, target, claim, copied, transaction)

        def locked(taken: Digest) -> None:
            # The rows are held from here on, and the target can be asked while they are deleted;
            # unless what deletes them may do something to the target.
            if not plan.accept_triggers and _is_whole(work, taken):
                standing.begin()

        taken = transaction.take(plan.source, batch.within, locked)
        standing.wait()
        # From here on the table is locked against what the fingerprint shows.
        proof = None
        if taken is not None:
            _refuse_altered(source, target, plan, seen)
            proof = _whole(work, taken, standing)
        if proof is None:
            transaction.undo()
            proof = _row_by_row(work)
            _refuse_altered(source, target, plan, seen)
        proof = _with_damaged(work, proof)
        done = Purged(
            deleted=proof.deleted,
            kept=proof.kept,
            differences=proof.differences[: compare.REPORTED],
            receipt=_receipt(job, task, claim, proof),
        )
        intent = {
            "token": transaction.token(),
            "left": proof.left,
            "source": seen[0],
            "purged": PURGED.dump_python(done, mode="json"),
        }
        job.ledger.purging(claim, json.dumps(intent))
        # From here on whoever would replace the target, or delete from it, finds that it is relied
        # on. That nobody came in before is known by looking once more.
        target.require_proving(plan.target)
        transaction.commit()
    return done


def kept(job: Job[Any, Any], task: str, source: Session, claim: Claim, reason: str) -> Purged:
    """Nothing is deleted of a batch whose copy proves nothing."""
    plan, nothing = job.plan, Digest(0, 0, compare.METHOD)
    rows = source.count(plan.source, claim.batch.within)
    why = (Difference("missing", (), reason=reason),) if rows else ()
    proof = _Proof(0, nothing, nothing, rows, 0, why)
    return Purged(0, rows, why, _receipt(job, task, claim, proof))


def found_gone(job: Job[Any, Any], task: str, claim: Claim, there: Digest, gone: Gone) -> Purged:
    """Nothing is deleted of a batch that somebody else removed; ``there`` are the target's rows."""
    proof = _Proof(0, Digest(0, 0, there.method), there, 0, 0, ())
    return Purged(0, 0, (), replace(_receipt(job, task, claim, proof), gone=gone))


def _with_damaged(work: _Batch, proof: _Proof) -> _Proof:
    count, damaged = quarantine.found(work.source, work.plan.source, work.claim.batch.within)
    return replace(proof, damaged=count, differences=(*proof.differences, *damaged))


def _refuse_altered(source: Session, target: Witness, plan: Plan, seen: tuple[str, str]) -> None:
    if _fingerprints(source, target, plan) != seen:
        raise Refused(
            f"job {plan.job}: {plan.source.label} or {plan.target.label} was altered during "
            "the purge; nothing of this batch was deleted"
        )


def settled(job: Job[Any, Any], source: Session, claim: Claim) -> Purged | None:
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
        # The commit log reaches back no further; what still stands there tells it. Rows may
        # have come and gone since, so the nearer of the two numbers decides.
        standing = source.count(job.plan.source, claim.batch.within)
        if source.fingerprint(job.plan.source.table) != intent.get("source"):
            # What is missing may stand in a partition that was detached: nothing is counted as
            # deleted that may not have been, and the purge proves what is left.
            return None
        outcome = "aborted" if standing - intent["left"] > done.deleted / 2 else "committed"
    return done if outcome == "committed" else None


def _fingerprints(source: Session, target: Witness, plan: Plan) -> tuple[str, str]:
    return source.fingerprint(plan.source.table), target.fingerprint(plan.target.table)


def _is_whole(work: _Batch, taken: Digest) -> bool:
    """Whether the target's range may be compared as a whole with what was taken."""
    written = work.copied.written
    if not work.plan.ordered_alike or taken.rows != written.rows or written.ignored:
        return False
    return not written.others.rows or work.copied.digest is not None


def _whole(work: _Batch, taken: Digest, standing: Meanwhile) -> _Proof | None:
    """The batch's proof as a whole, when the target's range equals it."""
    plan, within, others = work.plan, work.claim.batch.within, work.copied.written.others
    if not _is_whole(work, taken):
        return None
    for session in _witnesses(work):
        there = standing.result() if session is work.target else session.digest(plan.target, within)
        found = there - others if others.rows else there
        if found != taken:
            return None
    return _Proof(taken.rows, taken, taken, 0, 0, ())


def _witnesses(work: _Batch) -> Iterator[Digests]:
    """Who is asked for the target's rows.

    Triggers on the source may delete in the target too. In one database their work is seen by
    the transaction that fired them, and only by it.
    """
    yield work.target
    if work.plan.accept_triggers and work.source.same_database(work.target):
        work.transaction.settle()
        yield work.source


def _row_by_row(work: _Batch) -> _Proof:
    digest = work.copied.digest
    still = digest is not None and digest == work.source.digest(
        work.plan.source, work.claim.batch.within
    )
    equal, doubtful = _equal(work), set[Key]()
    while True:
        ours, theirs, wrong = _taken(work, equal)
        if not wrong:
            break
        work.transaction.undo()
        # One key may have several spellings: 7 was asked for, 7.0 was taken.
        again = work.source.hashes(work.plan.source, keys=list(wrong))
        doubtful |= wrong | {row.at for row in again}
        equal = [at for at in _equal(work) if at not in doubtful]
    left, known, differences = _left(work, still=still)
    # No more can have strayed than were copied and are neither deleted nor left: other rows of
    # these keys belong to other jobs and earlier runs.
    within, mark = work.claim.batch.within, work.copied.mark
    strayed = left_filter(work.plan, work.source, work.target, within, mark)[
        : max(0, work.copied.written.rows - ours.rows - known)
    ]
    return _Proof(ours.rows, ours, theirs, left, len(strayed), (*differences, *strayed))


def _equal(work: _Batch) -> list[Key]:
    """The source's keys of rows that look the same on both sides; nothing is locked yet."""
    plan = work.plan
    found: list[Key] = []
    for chunk in chunks(work.source.hashes(plan.source, work.claim.batch.within)):
        theirs = compare.by_key(work.target.hashes(plan.target, keys=compare.keys_of(chunk)))
        found += [row.at for row in chunk if not row.kept and _same(row, theirs.get(row.key))]
    return found


def _taken(work: _Batch, keys: list[Key]) -> tuple[Digest, Digest, set[Key]]:
    """Deletes these rows tentatively; both sides' digests, and the keys that are no proof."""
    ours = theirs = Digest(0, 0, compare.METHOD)
    wrong: set[Key] = set()
    # From the last: rows mostly refer to earlier ones, which may go once these are gone.
    for chunk in chunks(reversed(keys)):
        rows = work.transaction.take_keys(work.plan.source, chunk)
        wrong |= {row.at for row in rows if row.kept}
        # One row of the target stands for one of the source.
        wrong |= {at for at, times in Counter(row.at for row in rows).items() if times > 1}
        there: dict[Key, RowHash] = {}
        for session in _witnesses(work):
            there = compare.by_key(session.hashes(work.plan.target, keys=compare.keys_of(rows)))
            wrong |= {row.at for row in rows if not _same(row, there.get(row.key))}
        ours += compare.digest_of(rows)
        theirs += compare.digest_of(there.values())
    return ours, theirs, wrong


def _same(row: RowHash, other: RowHash | None) -> bool:
    return other is not None and other.hash == row.hash


def _left(work: _Batch, *, still: bool) -> tuple[int, int, list[Difference]]:
    """How many matching rows still stand, how many of them the target has, and why they do."""
    plan = work.plan
    count = known = 0
    found: list[Difference] = []
    newest = work.transaction.newest(plan.source)
    referenced = references.of(work.transaction)
    kept_back = keptback.of(work.target)
    standing = work.source.hashes(plan.source, work.claim.batch.within, mark=work.copied.mark)
    for chunk in chunks(standing):
        theirs = compare.by_key(work.target.hashes(plan.target, keys=compare.keys_of(chunk)))
        count += len(chunk)
        known += sum(row.key in theirs for row in chunk)
        rows = chunk[: max(0, compare.REPORTED - len(found))]
        spared = [row for row in rows if row.at in newest]
        found += [Difference("newest", row.key, reason=NEWEST) for row in spared]
        back = [row for row in rows if row.at in kept_back and row.at not in newest]
        found += [kept_back[row.at] for row in back]
        others = [row for row in rows if row.at not in newest and row.at not in kept_back]
        held = [row for row in others if row.at in referenced]
        found += [Difference(references.KIND, row.key, reason=referenced[row.at]) for row in held]
        others = [row for row in others if row.at not in referenced]
        found += _reasons(work, others, theirs, still=still)
    return count, known, found


def _reasons(
    work: _Batch, rows: list[RowHash], theirs: Mapping[Key, RowHash], *, still: bool
) -> list[Difference]:
    """In words for a person. ``still``: the source has not changed since the copy."""
    found: list[Difference] = []
    changed: dict[str, list[RowHash]] = {}
    for row in rows:
        other = theirs.get(row.key)
        if row.kept:
            found.append(Difference("changed", row.key or row.at, reason=row.kept))
        elif _same(row, other):
            reason = "a trigger keeps it, it stands there twice, or it changed during the purge"
            found.append(Difference("changed", row.key, reason=reason))
        elif other is not None:
            reason = "changed in the source since the copy"
            if still or row.settled:
                reason = "changed in the target since the copy"
                if work.copied.written.ignored:
                    reason += ", or left there by on_conflict: ignore"
            changed.setdefault(reason, []).append(row)
        elif still or row.settled:
            found.append(Difference("missing", row.key, reason="removed from the target"))
        else:
            found.append(Difference("new", row.key, reason="appeared in the source since the copy"))
    for reason, those in changed.items():
        keys = [(row.key, row.at) for row in those]
        named = compare.changed(work.plan, work.source, work.target, keys, reason)
        known = {difference.key for difference in named}
        found += named
        found += [
            Difference("changed", row.key, reason="the target spells the same value differently")
            for row in those
            if row.key not in known
        ]
    return found


def left_filter(
    plan: Plan, source: Digests, target: Digests, within: KeyRange, mark: str | None
) -> list[Difference]:
    """Rows that were copied, still stand in the source, and no longer match the filter.

    ``mark``: of the copy's snapshot.
    """
    if plan.source.where is None:
        return []
    # Looked up by the key as it was mapped: the target may hold keys that the source cannot.
    mapped = tuple(KeyColumn(f.expression, f.native) for f in plan.source.fields[: len(plan.key)])
    ours = replace(plan.source, key=mapped)
    found: list[Difference] = []
    if plan.ordered_alike:
        candidates = target.hashes(plan.target, within)
    else:
        candidates = source.hashes(replace(plan.source, where=None), within)
    for chunk in chunks(candidates):
        keys = compare.keys_of(chunk)
        matching = {row.key for row in source.hashes(ours, keys=keys)}
        keys = [key for key in keys if key not in matching]
        if not plan.ordered_alike:
            keys = [row.key for row in target.hashes(plan.target, keys=keys)]
        standing = source.hashes(replace(ours, where=None), keys=keys, mark=mark)
        # What did not change since the copy did not match then either: another job's row.
        found += [
            Difference("left_filter", row.key, reason="no longer matches the filter")
            for row in standing
            if not row.settled
        ]
    return found


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """At most so many at once that a batch of any size fits into memory."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, CHUNK)):
        yield chunk


def _receipt(job: Job[Any, Any], task: str, claim: Claim, proof: _Proof) -> Receipt:
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
        objects=claim.copied.objects if claim.copied else (),
    )


def _text(digest: Digest) -> str:
    return f"{digest.method}:{digest.rows}:{digest.sum}"
