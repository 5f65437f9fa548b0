"""Batches whose rows somebody removed from the source by hand: looked for, and recorded.

Nothing is deleted. A batch is recorded only while the target holds what was copied, and none of
it stands in the source under its key. What came into the source since is no obstacle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from dsp_airflow.engine import compare, purge
from dsp_airflow.engine.errors import Mismatch, Refused
from dsp_airflow.engine.events import Noted, Quiet, tell
from dsp_airflow.engine.model import Claim, Digest, Gone, Key, KeyRange, Plan
from dsp_airflow.engine.ports import Quarantines, Session, Witness
from dsp_airflow.engine.work import Done, Job, run_phase

NAMED = 5
"""Rows that a refusal names."""


@runtime_checkable
class KeepsBatches(Protocol):
    """A target that keeps each batch apart from all others, and shows what lies there of it."""

    def witness(self, claim: Claim) -> AbstractContextManager[Witness]:
        """What lies there of a batch."""
        ...


@dataclass(frozen=True, slots=True)
class Unproved:
    """A batch that is not recorded as removed, and why."""

    batch: int
    why: str
    rows: int = 0
    """That stand in the source still."""
    keys: tuple[str, ...] = ()
    """Of some of them."""

    def __str__(self) -> str:
        if not self.rows:
            return f"batch {self.batch}: {self.why}"
        more = ", ..." if self.rows > len(self.keys) else ""
        return f"batch {self.batch}: {self.rows:,} rows {self.why} ({', '.join(self.keys)}{more})"


def look(job: Job[Session, Session], wanted: Mapping[int, int]) -> list[Unproved]:
    """Which of the ``wanted`` batches cannot be recorded; nothing is changed."""
    found: list[Unproved] = []
    with job.source.session() as source, job.target.session() as target:
        for record in job.ledger.records():
            if record.batch.number not in wanted:
                continue
            job.pace.before_batch()
            # Only read by: who records a batch claims it first, and looks again.
            claim = Claim(record.batch, owner="", token=0, copied=record.copied)
            seen = _seen(job.plan, source, target, claim)
            if isinstance(seen, Unproved):
                found.append(seen)
    return found


def record(job: Job[Session, Session], task: str, by: str, wanted: Mapping[int, int]) -> None:
    """Looks at each of the batches once more and records it, with a receipt that names ``by``.

    ``wanted`` tells how many rows of each batch purges had deleted before. One whose purge was
    interrupted is recorded by what that has deleted. Raises ``Refused`` for a batch of which
    rows stand there after all.
    """
    plan = job.plan

    def step(source: Session, target: Session, claim: Claim) -> Done:
        done = purge.settled(job, source, claim)
        if done is None:
            seen = _seen(plan, source, target, claim)
            if isinstance(seen, Unproved):
                raise Refused(f"job {plan.job}: not marked as deleted: {seen}")
            copied = claim.copied.written.rows if claim.copied else 0
            gone = Gone(max(0, copied - wanted[claim.batch.number]), by)
            done = purge.found_gone(job, task, claim, seen, gone)
        job.ledger.purged(claim, done)
        told = f"{done.deleted:,} rows were deleted by a purge that was interrupted"
        if done.receipt.gone is not None:
            told = f"{done.receipt.gone.rows:,} rows are recorded as removed by hand"
        tell(job.watch, Noted(f"Job {plan.job}: batch {claim.batch.number}: {told}"))
        return done.deleted, done.kept

    # What is told of a purge would frighten: none is at work.
    run_phase(replace(job, workers=1, watch=Quiet()), "purge", step, wanted)


def _seen(plan: Plan, source: Session, target: Session, claim: Claim) -> Digest | Unproved:
    """The target's rows of a batch that is gone from the source; else why it is not proved."""
    number = claim.batch.number
    if not plan.key:
        return Unproved(number, "without a key its rows cannot be looked for in the source")
    if claim.copied is None:
        return Unproved(number, "it is not copied")
    try:
        with _witness(target, claim) as witness:
            there = _held(plan, target, witness, claim)
            if isinstance(there, Unproved):
                return there
            return _standing(plan, source, witness, claim) or there
    except Mismatch as error:
        return Unproved(number, f"what was copied is not as it was: {error}")


@contextmanager
def _witness(target: Session, claim: Claim) -> Iterator[Witness]:
    if not isinstance(target, KeepsBatches):
        yield target
        return
    with target.witness(claim) as witness:
        yield witness


def _held(plan: Plan, target: Session, witness: Witness, claim: Claim) -> Digest | Unproved:
    """What the target has of the batch; less than was copied proves nothing.

    No range of a target that sorts otherwise is the batch: there only its check stands for that.
    """
    if not plan.ordered_alike and not isinstance(target, KeepsBatches):
        return Digest(0, 0, "none")
    if claim.copied is None:
        raise ValueError(f"batch {claim.batch.number} was not copied")
    there = witness.digest(plan.target, claim.batch.within)
    written = claim.copied.written
    wanted = written.rows + written.others.rows
    if there.rows >= wanted:
        return there
    return Unproved(
        claim.batch.number,
        f"{plan.target.label} has {there.rows:,} rows there and had {wanted:,} when it was "
        "copied; look for the others before anything is marked",
    )


def _standing(plan: Plan, source: Session, witness: Witness, claim: Claim) -> Unproved | None:
    """The rows that the target has and that stand in the source, whatever their values."""
    within, copied = claim.batch.within, claim.copied
    count, keys = 0, list[str]()
    for asked in _there_now(plan, source, within):
        # Told by the target's rows: one key may have several spellings.
        there = compare.by_key(witness.hashes(plan.target, keys=asked))
        count += len(there)
        keys += [", ".join(map(str, key)) for key in list(there)[: NAMED - len(keys)]]
    if count:
        return Unproved(claim.batch.number, "still stand in the source", count, tuple(keys))
    mark = copied.mark if copied else None
    strayed = purge.left_filter(plan, source, witness, within, mark)
    if not strayed:
        return None
    return Unproved(
        claim.batch.number,
        "stand in the source and match the job's filter no longer",
        len(strayed),
        tuple(", ".join(map(str, row.key)) for row in strayed[:NAMED]),
    )


def _there_now(plan: Plan, source: Session, within: KeyRange) -> Iterator[list[Key]]:
    """Keys of all matching rows of the source's range, also of those that are damaged by now."""
    for chunk in purge.chunks(source.hashes(plan.source, within)):
        yield compare.keys_of(chunk)
    if isinstance(source, Quarantines):
        for damaged in purge.chunks(source.quarantined(plan.source, within)):
            yield [one.key for one in damaged]
