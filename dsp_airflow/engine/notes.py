"""What a run wrote into its target, noted beside it by the very transactions that wrote.

A note has the key of a row that was inserted, or the whole row that an update replaced, and a
digest of the row as it was left. So it is known later what to undo, and what others have changed
since.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol, TypeAlias, runtime_checkable

from dsp_airflow.engine.errors import Denied, Refused
from dsp_airflow.engine.model import Key, Plan, Projection
from dsp_airflow.engine.ports import Dialect, Session

Standing: TypeAlias = Literal["left", "changed", "gone"]
"""A row is as it was left, or others have changed it since, or deleted it."""
UNDONE: Final = "undone"
"""What became of a note whose row was removed, or set back. Other words say why it was kept."""
LONGEST: Final = 500
"""Characters of such words."""
_NAME: Final = re.compile(r"dsp_before_(\d{8})t(\d{6})_([a-z2-7]{6})_([0-9a-f]{8})")


@dataclass(frozen=True, slots=True)
class Note:
    """One row that a run wrote."""

    number: int
    """Later ones are larger."""
    key: Key
    """The target's own."""
    inserted: bool
    """Else it was updated."""
    standing: Standing


@dataclass(frozen=True, slots=True)
class KeptNote:
    """One that was not undone, and why."""

    key: Key
    inserted: bool
    why: str


@dataclass(frozen=True, slots=True)
class Tally:
    """How many notes there are."""

    inserted: int = 0
    updated: int = 0
    """Those that wait."""
    removed: int = 0
    restored: int = 0
    kept: int = 0

    @property
    def waiting(self) -> int:
        """Notes that nobody has gone by yet."""
        return self.inserted + self.updated


class Undoing(Protocol):
    """One open transaction in the target. Nothing is final before ``commit``."""

    def take(self, most: int) -> Sequence[Note]:
        """The youngest notes that wait, one of each key; their rows are locked from here on."""
        ...

    def settle(self, undone: Collection[int], kept: Mapping[int, str]) -> None:
        """Removes the rows of these notes, or sets them back; writes down what became of each.

        A row that cannot be, as others refer to it or hold its old value, is kept, too: see
        ``not_allowed``. Where a server takes back all for one, older notes may be left to wait.
        ``Refused`` where something there makes another row of it.
        """
        ...

    def commit(self) -> None:
        """Makes it final."""
        ...


class Notes(Protocol):
    """The notes of one run on one target."""

    def refusals(self, *, create: bool) -> list[str]:
        """Why this role could not note what it writes there. ``create``: the target is missing."""
        ...

    def prepare(self) -> None:
        """Creates their table unless it is there; ``Refused`` where the target was altered."""
        ...

    def tally(self) -> Tally | None:
        """``None`` where there is no such table."""
        ...

    def waiting(self, below: int | None, most: int) -> Sequence[Note]:
        """Notes that wait, the youngest first, below a number; nothing is locked."""
        ...

    def require_fitting(self) -> None:
        """``Refused`` where the target is not any more what the notes were made of."""
        ...

    def index(self) -> None:
        """Gives their table what it takes to go by them, unless it has that. Idempotent."""
        ...

    def undoing(self) -> AbstractContextManager[Undoing]:
        """Opens a transaction; leaving without ``commit`` rolls it back."""
        ...

    def kept(self, most: int) -> list[KeptNote]:
        """Those that were not undone, the youngest first."""
        ...

    def drop(self) -> None:
        """Drops their table, if it is there."""
        ...


@runtime_checkable
class TakesNotes(Protocol):
    """A session whose writes can be noted: those into a target that ``Projection.notes`` is of."""

    def notes(self, what: Projection) -> Notes:
        """The notes on this target, on the session's connection."""
        ...


@dataclass(frozen=True, slots=True)
class NotesTable:
    """One that stands beside a target."""

    table: str
    """Quoted SQL."""
    label: str
    run: str


def not_allowed(said: str) -> str:
    """Why a row is kept that the server keeps as it is; ``said`` is what it says of that.

    Others changed something since: a row refers to it, or has its old value of a unique index.
    """
    return f"the database does not allow it: {said}"[:LONGEST]


def notes_of(session: object, what: Projection) -> Notes:
    """The notes on a target; ``Refused`` where its system takes none."""
    if not isinstance(session, TakesNotes):
        raise Refused(f"{what.label}: rollback is not for this system")
    return session.notes(what)


def noting(plan: Plan, run: str, dialect: Dialect) -> Plan:
    """The plan as it is copied by: its writes are noted, where the job asks for that.

    All attempts of a run share a table.
    """
    if not plan.rollback:
        return plan
    return replace(plan, target=noted(plan, run, dialect))


def noted(plan: Plan, run: str, dialect: Dialect) -> Projection:
    """The target, with the table of the run's notes beside it."""
    run_id = run.partition(".")[0]
    told = re.sub(r"[^a-z0-9]+", "_", run_id.lower())
    name = f"dsp_before_{told}_{_digest(plan.target_shape.name)}"
    table = dialect.qualified(replace(plan.target_shape, name=name))
    return replace(plan.target, notes=table)


def refuse_unfit(plan: Plan, session: Session) -> None:
    """``Refused`` or ``Denied`` where what a job would write could not be undone."""
    why = [] if plan.key else ["it has no key, by which its rows would be found again"]
    if plan.shared:
        why.append("another job of the task writes there, too, and one would undo the other's rows")
    if not plan.create:
        why += session.purge_refusals(plan.target.table, ())
    if why:
        raise Refused(f"job {plan.job}: rollback: {plan.target.label}: {'; '.join(why)}")
    lacking = notes_of(session, plan.target).refusals(create=plan.create)
    if lacking:
        raise Denied(f"job {plan.job}: rollback: {plan.target.label}: {'; '.join(lacking)}")


def noting_costs(plan: Plan, rows: int) -> list[str]:
    """What an operator should know of a job whose writes are noted."""
    if not plan.rollback:
        return []
    told = (
        f"rollback: each of the {rows:,} rows is staged and, where it is written, noted beside "
        f"{plan.target.label}: the key of a new one, all of one that is updated. That takes up to "
        "four times the time, most where the table is empty, and room until the notes are "
        "dropped (see dsp rollback)"
    )
    return [told]


def beside(plan: Plan, names: Sequence[str], dialect: Dialect) -> list[NotesTable]:
    """Those of these tables that are notes on the plan's target, whichever run took them."""
    found = []
    for name in names:
        known = _NAME.fullmatch(name)
        if known is None or known[4] != _digest(plan.target_shape.name):
            continue
        shape = replace(plan.target_shape, name=name)
        run = f"{known[1]}T{known[2]}-{known[3]}"
        found.append(NotesTable(dialect.qualified(shape), shape.table, run))
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
