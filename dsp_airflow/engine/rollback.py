"""Undoing what a run wrote into its target, note by note, and only what the source still has.

A row that is taken from the target, or set back, may be the last one there is: a purge may have
relied on it, and nobody may know any more. So the source is asked for each, while no purge can
prove by the target.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from dsp_airflow.engine.errors import Contended, Refused, Transient
from dsp_airflow.engine.events import Noted, tell
from dsp_airflow.engine.interrupt import Interrupter
from dsp_airflow.engine.model import Key, KeyColumn, Plan, Projection
from dsp_airflow.engine.notes import Note, Notes, Standing, Tally, notes_of
from dsp_airflow.engine.ports import Session
from dsp_airflow.engine.work import ATTEMPTS, Job, pause, stop_of

CHUNK: Final = 2_000
"""Notes that one transaction goes by."""
SHOWN: Final = 5
"""Keys that an error names."""
REASONS: Final[dict[Standing, str]] = {
    "changed": "others have changed it since",
    "gone": "others have deleted it since",
}
ABSENT: Final = "the source does not have it, so that it may stand nowhere else"
APART: Final = (
    "rows were purged because they stand here, and the source has other values under its key, so "
    "that these may stand nowhere else"
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a rollback would do, and the rows that speak against it."""

    removed: int = 0
    restored: int = 0
    changed: int = 0
    """Others have changed or deleted them since: they stay as they are."""
    only_here: int = 0
    examples: tuple[Key, ...] = ()
    why: str = ""
    """What is wrong with the first of them."""

    @property
    def rows(self) -> int:
        """Rows of the target that it would touch."""
        return self.removed + self.restored


def look(job: Job[Session, Session], strict: bool) -> Found:
    """Goes over all notes that wait; locks nothing and writes nothing."""
    plan, found, below = job.plan, Found(), None
    with job.target.session() as target, job.source.session() as source:
        notes = notes_of(target, plan.target)
        require_notes(plan, notes)
        while chunk := notes.waiting(below, CHUNK):
            below = chunk[-1].number
            found = _with(found, chunk, _lacking(plan, source, target, chunk, strict))
    return found


def refuse_only_copies(plan: Plan, found: Found) -> None:
    """``Refused`` where rows may stand nowhere but in the target."""
    if not found.only_here:
        return
    keys = "; ".join(", ".join(key) for key in found.examples)
    raise Refused(
        f"job {plan.job}: {found.only_here:,} rows that the run wrote into {plan.target.label} "
        "may be "
        f"the last ones: {found.why}. Nothing was undone. Keys: {keys}"
        f"{' ...' if found.only_here > len(found.examples) else ''}. Put them back into "
        f"{plan.source.label} (dsp restore), then repeat"
    )


def require_notes(plan: Plan, notes: Notes) -> Tally:
    """What the notes are; ``Refused`` where there are none."""
    tally = notes.tally()
    if tally is None:
        raise Refused(
            f"job {plan.job}: {plan.target.notes}, with what the run wrote into "
            f"{plan.target.label}, is not "
            "there: it was forgotten, or dropped when its time was over"
        )
    return tally


def undo(job: Job[Session, Session], strict: Callable[[], bool]) -> Tally:
    """Undoes every note that waits. Safe to repeat: a transaction has written down what it did.

    ``strict`` says whether a purge may have relied on the target; it is asked while none can begin
    to. A transaction that lost a lock to others is tried again a few times.
    """
    work = _Work(job, strict)
    with Interrupter(job.pace) as interrupter:
        while True:
            try:
                return _to_the_end(work, interrupter)
            except Contended as error:
                work.lost += 1
                if work.lost >= ATTEMPTS:
                    raise Transient(
                        f"job {job.plan.job}: tried {ATTEMPTS} times: {error}; what was undone "
                        "stays so"
                    ) from error
                tell(job.watch, Noted(f"{error} It is tried again"))
                pause()
            except Transient as error:
                if (stop := stop_of(job)) is not None:
                    raise stop from error
                raise


@dataclass(slots=True)
class _Work:
    """What is known from one session to the next."""

    job: Job[Session, Session]
    strict: Callable[[], bool]
    seen: str | None = None
    """The target's fingerprint when it began."""
    lost: int = 0
    """How often the present transaction has lost a lock."""


def _to_the_end(work: _Work, interrupter: Interrupter) -> Tally:
    job, plan = work.job, work.job.plan
    with (
        job.target.session() as target,
        job.target.session() as beside,
        job.source.session() as source,
        interrupter.watching(target, beside, source),
    ):
        notes = notes_of(target, plan.target)
        require_notes(plan, notes)
        if work.seen is None:
            refuse_unsafe(plan, target)
            work.seen = target.fingerprint(plan.target.table)
            notes.index()
        while True:
            job.pace.before_batch()
            with target.proving(plan.target):
                notes.require_fitting()
                if not _undo(plan, source, target, beside, notes, work.seen, work.strict()):
                    return _all_of(plan, notes)
            work.lost = 0
            tell(job.watch, Noted(_told(plan, notes)))


def _all_of(plan: Plan, notes: Notes) -> Tally:
    """What became of them, once none is found that waits."""
    tally = require_notes(plan, notes)
    if tally.waiting:
        raise Transient(
            f"job {plan.job}: {tally.waiting:,} notes in {plan.target.notes} wait still; repeat"
        )
    return tally


def refuse_unsafe(plan: Plan, target: Session) -> None:
    """``Refused`` where taking a row from the target would do more than that."""
    why = target.purge_refusals(plan.target.table, ())
    if why:
        raise Refused(f"job {plan.job}: {plan.target.label} may lose no row: {'; '.join(why)}")


def _undo(
    plan: Plan,
    source: Session,
    target: Session,
    beside: Session,
    notes: Notes,
    seen: str,
    strict: bool,
) -> bool:
    """One transaction; False when no note waits any more."""
    with notes.undoing() as work:
        taken = work.take(CHUNK)
        if not taken:
            return False
        # What was locked stands still, so another session reads what is here.
        lacking = _lacking(plan, source, beside, taken, strict)
        kept = lacking | {
            note.number: REASONS[note.standing] for note in taken if note.standing != "left"
        }
        work.settle([note.number for note in taken if note.number not in kept], kept)
        if target.fingerprint(plan.target.table) != seen:
            raise Refused(
                f"job {plan.job}: {plan.target.label} was altered meanwhile; nothing more was "
                "undone"
            )
        # Without it a purge may have proved by rows that are about to go.
        target.require_proving(plan.target)
        work.commit()
    return True


def _lacking(
    plan: Plan, source: Session, target: Session, notes: Sequence[Note], strict: bool
) -> dict[int, str]:
    """Notes whose rows may stand nowhere else: why, by number."""
    left = [note for note in notes if note.standing == "left"]
    if not left:
        return {}
    here = {row.at: row for row in target.hashes(plan.target, keys=[note.key for note in left])}
    keys = list({row.key for row in here.values()})
    there = {row.key: row for row in source.hashes(by_mapped_key(plan), keys=keys)}
    why = {}
    for note in left:
        mine = here.get(note.key)
        other = None if mine is None else there.get(mine.key)
        if mine is None or other is None:
            why[note.number] = ABSENT
        elif strict and other.hash != mine.hash:
            why[note.number] = APART
    return why


def by_mapped_key(plan: Plan) -> Projection:
    """Rows of the source, whether or not they match the job's filter still.

    Found by the key as it was mapped: the target may hold keys that the source's own type cannot.
    """
    ours = replace(plan.source, where=None)
    if plan.source_shape.open:
        return ours
    fields = plan.source.fields[: len(plan.key)]
    return replace(ours, key=tuple(KeyColumn(f.expression, f.native) for f in fields))


def _with(found: Found, chunk: Sequence[Note], lacking: dict[int, str]) -> Found:
    free = [n for n in chunk if n.standing == "left" and n.number not in lacking]
    keys = [note.key for note in chunk if note.number in lacking]
    return replace(
        found,
        removed=found.removed + sum(note.inserted for note in free),
        restored=found.restored + sum(not note.inserted for note in free),
        changed=found.changed + sum(note.standing != "left" for note in chunk),
        only_here=found.only_here + len(lacking),
        examples=(*found.examples, *keys)[:SHOWN],
        why=found.why or next(iter(lacking.values()), ""),
    )


def _told(plan: Plan, notes: Notes) -> str:
    tally: Any = require_notes(plan, notes)
    return (
        f"Job {plan.job}: removed {tally.removed:,}, set back {tally.restored:,}, kept "
        f"{tally.kept:,}; {tally.waiting:,} to go"
    )
