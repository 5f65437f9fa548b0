"""Rows that only the target holds: found by their keys, and deleted one by one as they were seen.

The source's keys are streamed to the target, whose server compares them with its own. What it finds
missing is only a guess, as both sides move on: before anything is deleted, the source is asked for
those keys again, while nobody copies into the target. A row is deleted only if it is locked the way
it was seen before that.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, runtime_checkable

from dsp_airflow.config.missing import DeleteMissing
from dsp_airflow.engine import definition
from dsp_airflow.engine.errors import Denied, Refused, Transient
from dsp_airflow.engine.events import Noted, tell
from dsp_airflow.engine.model import Key, KeyColumn, KeyRange, Plan, Projection, RowHash
from dsp_airflow.engine.ports import Purge, Session, Stream
from dsp_airflow.engine.removal import MayRemove, Removal, anything
from dsp_airflow.engine.work import Job

CHUNK: Final = 5_000
"""Rows that one transaction deletes."""
SAMPLED: Final = 200
"""Keys of a chunk by which it is told later whether it was deleted."""
SHOWN: Final = 5
"""Keys that an error names."""
SETTLE: Final = 60.0
"""Seconds to wait for an earlier transaction that is still ending."""


class Missing(Protocol):
    """What stands in the target and was not sent, as of one moment."""

    sent: int
    """Keys that came from the source."""
    standing: int
    """Rows of the target."""
    rows: int
    """Those whose key did not come."""

    def keys(self, at_once: int) -> Iterator[list[Key]]:
        """Their own keys, so many at once at most."""
        ...

    def close(self) -> None:
        """Forgets them."""
        ...


@runtime_checkable
class FindsMissing(Protocol):
    """A session that tells which rows of a table have none of the keys that it is sent."""

    def missing(self, what: Projection, stream: Stream, *, wire: str) -> Missing:
        """``what`` has the key's fields alone, and the stream has them as rows.

        Nothing is changed in the table; what is kept beside it goes with ``close``. ``Mismatch``
        when less arrives than was sent.
        """
        ...

    def missing_refusals(self, what: Projection) -> list[str]:
        """What keeps this role from that, beyond what keeps it from writing there."""
        ...


@runtime_checkable
class CountsMissing(Protocol):
    """A session that keeps what it is sent where others see it, and so has another way to count."""

    def unsent(self, what: Projection, stream: Stream, *, wire: str) -> Removal:
        """As ``FindsMissing.missing``, by numbers alone; nothing is written anywhere."""
        ...


class Record(Protocol):
    """What is kept of a job's deletions, each after the commit it describes."""

    @property
    def deleted(self) -> int:
        """How many rows the run has deleted so far."""
        ...

    @property
    def intent(self) -> str | None:
        """A deletion that was about to commit, as JSON."""
        ...

    def allow(self) -> None:
        """``Refused`` where rows were purged from a source because they stand in the target.

        Asked while no purge proves by it.
        """
        ...

    def found(self, rows: int) -> None:
        """So many are missing, those that were deleted before among them."""
        ...

    def intend(self, intent: str) -> None:
        """A deletion is about to commit."""
        ...

    def settle(self, intent: str, rows: int) -> None:
        """It did, and deleted so many; or it did not. Nothing happens where that is known."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the missing rows."""

    missing: int
    deleted: int
    """In all attempts."""
    kept: int
    """They changed, or stand in the source again."""


def delete_missing(
    job: Job[Session, Session], wanted: DeleteMissing, record: Record, may: MayRemove = anything
) -> Outcome:
    """Deletes what the source has no more, up to the limit. Safe to repeat; one at a time only.

    ``Refused`` before anything is deleted when more than that is missing, when the source is empty,
    when a purge relied on the target, or when deleting there would not be safe. ``may`` is asked
    before the first row goes.
    """
    plan = job.plan
    with job.target.session() as target, job.source.session() as source:
        seen = target.fingerprint(plan.target.table)
        definition.require_structure(target, plan.target, plan.target_shape)
        refuse_unsafe(plan, source, target)
        with target.proving(plan.target):
            _settle(target, plan, record)
            record.allow()
        with job.target.session() as beside, _compared(plan, source, beside) as found:
            missing = found.rows + record.deleted
            _refuse_many(job, found, wanted, record)
            may(lambda: missing)
            record.found(missing)
            tell(job.watch, Noted(_begun(plan, found)))
            kept = 0
            for chunk in found.keys(CHUNK):
                job.pace.before_batch()
                kept += len(chunk) - _delete(job, source, target, chunk, seen, record)
    return Outcome(missing, record.deleted, kept)


def refuse_unsafe(plan: Plan, source: Session, target: Session) -> None:
    """``Refused`` when a deletion would do more than that, or the source hides rows."""
    why = target.purge_refusals(plan.target.table, ())
    why += source.read_refusals(plan.source.table)
    if why:
        raise Refused(f"job {plan.job}: {plan.target.label} may lose no row: {'; '.join(why)}")


def refuse_unfit(job: str, plan: Plan, source: Session, target: Session) -> None:
    """The same while it is planned."""
    if not plan.key or not isinstance(target, FindsMissing):
        why = "it has no key" if not plan.key else "its system cannot compare keys"
        raise Refused(f"job {job}: delete_missing: {plan.target.label}: {why}")
    lacking = target.missing_refusals(plan.target)
    if lacking:
        raise Denied(f"job {job}: delete_missing: {'; '.join(lacking)}")
    if not plan.create:
        refuse_unsafe(plan, source, target)


def warnings(wanted: DeleteMissing | None, plan: Plan, target: Session, rows: int) -> list[str]:
    """How many rows would be deleted, as far as their numbers alone tell."""
    if wanted is None or plan.create:
        return []
    standing = target.count(plan.target, KeyRange())
    most, least = wanted.limit.of(standing), max(0, standing - rows)
    told = (
        f"delete_missing: the target {plan.target.label} holds {standing:,} rows and the source "
        f"{rows:,}, so that at least {least:,} are missing there and would be deleted, of up to "
        f"{most:,} (limit: {wanted.limit})"
    )
    if least > most:
        told += ": the run would fail, and delete none"
    if standing and not rows and not wanted.allow_empty:
        told += "; as the source is empty, it would fail unless allow_empty: true"
    return [told]


def counted(plan: Plan, source: Session, target: Session) -> Removal:
    """How many rows of the target the source does not have now; nothing is deleted."""
    if isinstance(target, CountsMissing):
        with source.snapshot():
            stream = _keys(plan, source)
            return target.unsent(keys_of(plan.target), stream, wire=plan.wire)
    with _compared(plan, source, target) as found:
        return Removal(found.rows, found.standing)


@contextmanager
def _compared(plan: Plan, source: Session, target: Session) -> Iterator[Missing]:
    """All keys of one view of the source, beside those of the target."""
    if not isinstance(target, FindsMissing):
        raise Refused(f"{plan.target.label}: its system cannot compare keys")
    with source.snapshot():
        found = target.missing(keys_of(plan.target), _keys(plan, source), wire=plan.wire)
    with closing(found):
        yield found


def _keys(plan: Plan, source: Session) -> Stream:
    return source.read(keys_of(plan.source), KeyRange(), plan.wire, plan.max_row_size)


def keys_of(side: Projection) -> Projection:
    """The key's columns alone."""
    return replace(side, fields=side.fields[: len(side.key)], losses=())


def _refuse_many(
    job: Job[Session, Session], found: Missing, wanted: DeleteMissing, record: Record
) -> None:
    plan = job.plan
    if not found.rows:
        return
    if not found.sent and not wanted.allow_empty:
        raise Refused(
            f"job {plan.job}: the source {plan.source.label} holds no row, and the target "
            f"{plan.target.label} {found.standing:,}; nothing was deleted. If that is meant, write "
            "delete_missing: {allow_empty: true}"
        )
    missing, standing = found.rows + record.deleted, found.standing + record.deleted
    most = wanted.limit.of(standing)
    if missing <= most:
        return
    examples = [", ".join(key) for key in next(found.keys(SHOWN))]
    already = f", of which {record.deleted:,} were deleted before" if record.deleted else ""
    raise Refused(
        f"job {plan.job}: {missing:,} of {standing:,} rows of the target {plan.target.label} are "
        f"missing in the source {plan.source.label}{already}, and delete_missing.limit is "
        f"{wanted.limit} ({most:,} rows): nothing was deleted{' now' if already else ''}. Their "
        f"keys: {'; '.join(examples)}{' ...' if found.rows > len(examples) else ''}. Look whether "
        "they are to go, and raise the limit"
    )


def _begun(plan: Plan, found: Missing) -> str:
    if not found.rows:
        return f"Every row of the target {plan.target.label} is in the source, by its key"
    return (
        f"Deleting from the target {plan.target.label} {found.rows:,} of {found.standing:,} rows, "
        "which the source does not have"
    )


def _delete(
    job: Job[Session, Session],
    source: Session,
    target: Session,
    chunk: Sequence[Key],
    seen: str,
    record: Record,
) -> int:
    """Deletes those rows of a chunk that are still missing and as they were; how many."""
    plan = job.plan
    # To whoever copies into the target or proves by it, this is neither the one nor the other.
    with target.proving(plan.target):
        # Of a worker that was taken over, and died since.
        _settle(target, plan, record)
        record.allow()
        rows = {row.at: row for row in target.hashes(plan.target, keys=chunk) if not row.kept}
        there = _in_source(plan, source, list(rows.values()))
        rows = {at: row for at, row in rows.items() if row.key not in there}
        if not rows:
            return 0
        with target.purge() as transaction:
            deleted = _taken(transaction, plan, rows)
            if target.fingerprint(plan.target.table) != seen:
                raise Refused(
                    f"job {plan.job}: {plan.target.label} was altered meanwhile; nothing more was "
                    "deleted"
                )
            transaction.settle()
            token, rest = transaction.token(), deleted[:SAMPLED]
            intent = json.dumps({"token": token, "deleted": len(deleted), "keys": rest})
            record.intend(intent)
            transaction.commit()
        record.settle(intent, len(deleted))
    return len(deleted)


def _in_source(plan: Plan, source: Session, rows: Sequence[RowHash]) -> set[Key]:
    """Which of the keys the source has at this moment, whatever else its rows are."""
    ours = keys_of(plan.source)
    if not plan.source_shape.open:
        # By the key as it was mapped: the target may hold keys that the source's own type cannot.
        ours = replace(ours, key=tuple(KeyColumn(f.expression, f.native) for f in ours.fields))
    return {row.key for row in source.hashes(ours, keys=[row.key for row in rows])}


def _taken(transaction: Purge, plan: Plan, rows: dict[Key, RowHash]) -> list[Key]:
    """Deletes them tentatively; a row that is not as it was seen stays."""
    wanted = list(rows)
    while True:
        taken = transaction.take_keys(plan.target, wanted)
        other = {
            row.at
            for row in taken
            if row.kept or row.at not in rows or rows[row.at].hash != row.hash
        }
        found = Counter(row.at for row in taken)
        # One that stands there twice, under one key, is left, too.
        other |= {at for at, times in found.items() if times > 1}
        if not other:
            return [at for at in wanted if at in found]
        transaction.undo()
        left = [at for at in wanted if at not in other]
        if len(left) == len(wanted):
            # A key that was not asked for came: one value has several spellings.
            return []
        wanted = left


def _settle(target: Session, plan: Plan, record: Record) -> None:
    """What became of a deletion whose outcome was not recorded.

    Nobody else is at one: that takes the lock that is held here.
    """
    left = record.intent
    if left is None:
        return
    intent = json.loads(left)
    give_up = time.monotonic() + SETTLE
    while (outcome := target.outcome(intent["token"])) == "running":
        if time.monotonic() > give_up:
            raise Transient(
                f"{plan.target.label}: an earlier deletion ({intent['token']}) is still open; "
                "retry when it has ended"
            )
        time.sleep(0.2)
    if outcome == "unknown":
        # The server does not tell, so its rows do.
        keys: list[Any] = [tuple(key) for key in intent["keys"]]
        standing = sum(1 for _ in target.hashes(keys_of(plan.target), keys=keys))
        outcome = "aborted" if standing > len(keys) / 2 else "committed"
    record.settle(left, intent["deleted"] if outcome == "committed" else 0)
