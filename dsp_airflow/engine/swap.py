"""A table that is built beside another one and takes its place in one step.

Its name tells the run, so a worker that was taken over writes into a table that is gone, and
never into the next run's; what a run that died has left is known by it, too.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, runtime_checkable

from dsp_airflow.engine.errors import Contended, Mismatch, Refused, Transient
from dsp_airflow.engine.events import Noted, tell
from dsp_airflow.engine.model import KeyRange, Plan, Projection
from dsp_airflow.engine.ports import Dialect, Session
from dsp_airflow.engine.removal import MayRemove, anything
from dsp_airflow.engine.work import Job

ATTEMPTS: Final = 3
"""At the swap, each as long as ``timeouts.lock`` says."""
PAUSE: Final = 2.0
"""Seconds at most between two of them."""
_NAME: Final = re.compile(
    r"dsp_(?:swap|old|new)_(\d{8})t(\d{6})_([a-z2-7]{6})_(\d+)_([0-9a-f]{4})_([0-9a-f]{8})"
)


@dataclass(frozen=True, slots=True)
class Replacement:
    """Which table takes which one's place."""

    target: Projection
    built: Projection
    """The same under the name that it is built by."""
    old: str
    """What the old table is called until it is dropped, where that takes a name (quoted SQL)."""
    ddl: tuple[str, ...]
    """Creates the target where there is none; else the table is built as the one that stands."""
    run: str
    job: str

    @property
    def create(self) -> bool:
        """Whether there is nothing to be replaced."""
        return bool(self.ddl)

    @property
    def marker(self) -> tuple[str, str, int]:
        """By which the swap is known again; batches are numbered from 1."""
        return (self.run, self.job, 0)


@dataclass(frozen=True, slots=True)
class Leftover:
    """A table of ours beside a target, as its name tells."""

    table: str
    """Quoted SQL."""
    label: str
    run: str
    """Of the run that made it, without the attempt."""
    job: str
    """A digest of its job's name."""


class Swaps(Protocol):
    """How a session puts one table in another's place in one step."""

    def refusals(self, what: Projection, *, create: bool) -> list[str]:
        """What depends on this very table and not on its name, or could not be made again."""
        ...

    def warnings(self, what: Projection) -> list[str]:
        """What an operator should know before this table is replaced."""
        ...

    def beside(self, what: Projection) -> list[str]:
        """Names in the table's own schema that begin with ``dsp_``: ours are among them."""
        ...

    def build(self, new: Replacement, *, begun: bool) -> None:
        """Creates the table that is to be filled, unless it is there: empty, with its key.

        ``begun``: rows were copied into it already; ``Refused`` when it is gone. Safe when
        several workers do it at once.
        """
        ...

    def complete(self, new: Replacement) -> None:
        """Gives the filled table what takes time: indexes, references, statistics. Idempotent."""
        ...

    def swap(self, new: Replacement) -> None:
        """One step that readers see before or after, and a crash leaves done or not done.

        ``Contended`` when the target was not to be had in time; everything is as before then.
        """
        ...

    def swapped(self, new: Replacement) -> bool:
        """Whether this very swap has happened, so that nobody does it twice."""
        ...

    def tidy(self, new: Replacement) -> None:
        """Drops the old table and forgets the swap, once it is recorded that it happened."""
        ...

    def discard(self, table: str) -> None:
        """Drops a table of ours (quoted SQL); one that is gone is none."""
        ...


@runtime_checkable
class CanSwap(Protocol):
    """A session that can."""

    def swaps(self) -> Swaps:
        """What does it, on the session's connection."""
        ...


def replacement(plan: Plan, run: str, dialect: Dialect) -> Replacement:
    """The names that a run (and attempt) builds a plan's target by."""
    built, old = (
        replace(plan.target_shape, name=_name(kind, run, plan)) for kind in ("swap", "old")
    )
    label = f"{plan.target.label} (as {built.name})"
    return Replacement(
        target=plan.target,
        built=replace(plan.target, table=dialect.qualified(built), label=label),
        old=dialect.qualified(old),
        ddl=plan.ddl if plan.create else (),
        run=run,
        job=plan.job,
    )


def filling(plan: Plan, new: Replacement) -> Plan:
    """What copy and check work by while the target is still the old one."""
    return replace(plan, target=new.built, create=False, ddl=())


def leftovers(session: Swaps, plan: Plan, dialect: Dialect) -> list[Leftover]:
    """Tables of ours beside a target that were made to take its place, whoever made them."""
    found = []
    for name in session.beside(plan.target):
        known = _NAME.fullmatch(name)
        if known is None or known[6] != _digest(plan.target_shape.name, 8):
            continue
        shape = replace(plan.target_shape, name=name)
        run = f"{known[1]}T{known[2]}-{known[3]}"
        found.append(Leftover(dialect.qualified(shape), shape.table, run, known[5]))
    return found


def made_by(one: Leftover, new: Replacement) -> bool:
    """Whether it is the replacement's own job that made it, in this attempt or an earlier one."""
    return (one.run, one.job) == (new.run.partition(".")[0], _digest(new.job, 4))


def is_its(one: Leftover, new: Replacement) -> bool:
    """Whether it is a part of the replacement."""
    return one.table in (new.built.table, new.old)


def perform(
    job: Job[Any, Session],
    new: Replacement,
    allowed: Callable[[], None],
    *,
    allow_empty: bool,
    may: MayRemove = anything,
) -> None:
    """Completes what was built and puts it in the target's place; once, however often asked.

    ``may`` is asked each time right before that about the rows of the table that goes;
    ``allowed`` is called while no purge proves by it. What they raise prevents the swap.

    ``Refused`` when there is no row and that is not allowed, ``Mismatch`` when the table holds
    other rows than were copied, ``Transient`` when the target was held by others for too long.
    """
    with job.target.session() as session:
        _require_rows(job, session, new, allow_empty=allow_empty)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with job.target.session() as session:
                swaps = swaps_of(session)
                # Again each time: who altered the target meanwhile is followed.
                swaps.complete(new)
                if not new.create and not swaps.swapped(new):
                    may(lambda: session.count(new.target, KeyRange()))
                # No batch is on its way into the old table, no purge proves by it, and of two
                # that would swap the second finds it done.
                with session.proving(new.target):
                    if not swaps.swapped(new):
                        allowed()
                        swaps.swap(new)
        except Contended as error:
            if attempt == ATTEMPTS:
                raise Transient(
                    f"{error} Tried {ATTEMPTS} times; the target is as it was, what was built "
                    "waits, and a retry begins at the swap"
                ) from error
            tell(job.watch, Noted(f"{error} It is tried again"))
            job.pace.before_batch()
            time.sleep(random.uniform(0, PAUSE))  # noqa: S311 - no secret
        else:
            return


def swaps_of(session: object) -> Swaps:
    """What the session swaps with; ``Refused`` where it cannot."""
    if not isinstance(session, CanSwap):
        raise Refused("mode: replace is not for this system; use mode: full")
    return session.swaps()


def _require_rows(
    job: Job[Any, Session], session: Session, new: Replacement, *, allow_empty: bool
) -> None:
    copied = sum(record.copied.written.rows for record in job.ledger.records() if record.copied)
    if not copied and not allow_empty:
        raise Refused(empty(job.plan))
    if session.describe(new.built.table) is None:
        raise Refused(gone(new))
    standing = session.count(new.built, KeyRange())
    if standing != copied:
        raise Mismatch(
            f"{new.built.label} holds {standing:,} rows and {copied:,} were copied into it: "
            f"somebody else wrote there. {new.target.label} is as it was; start a new run"
        )


def gone(new: Replacement) -> str:
    """The words for a table that somebody else has dropped."""
    return (
        f"{new.built.label}, which rows were copied into, is gone; {new.target.label} is as it "
        "was. Start a new run, or clear the plan"
    )


def empty(plan: Plan) -> str:
    """Why nothing is replaced by nothing."""
    return (
        f"job {plan.job}: {plan.source.label} has no row to copy, and mode: replace would leave "
        f"{plan.target.label} empty; it stays as it is. If that is meant, say allow_empty: true"
    )


def drop_dead(
    session: Swaps, plan: Plan, new: Replacement, dialect: Dialect, living: Callable[[str], str]
) -> list[str]:
    """Drops what runs that are over have left; returns the labels of what was dropped.

    ``living`` says of a run why it may still need its table; nothing when it is over. ``Refused``
    where one may, or nobody knows.
    """
    dropped = []
    for one in leftovers(session, plan, dialect):
        if is_its(one, new):
            continue
        why = "" if made_by(one, new) else living(one.run)
        if new.create and one.label.rpartition(".")[2].startswith("dsp_old_"):
            why = (
                f"it is what {plan.target.label}, which is gone, was before; rename it, or drop it"
            )
        if why:
            raise Refused(
                f"job {plan.job}: {one.label} was made to take the place of {plan.target.label}: "
                f"{why}"
            )
        session.discard(one.table)
        dropped.append(one.label)
    return dropped


def _name(kind: str, run: str, plan: Plan) -> str:
    run_id, _, attempt = run.partition(".")
    told = re.sub(r"[^a-z0-9]+", "_", run_id.lower())
    ends = f"{_digest(plan.job, 4)}_{_digest(plan.target_shape.name, 8)}"
    return f"dsp_{kind}_{told}_{attempt or 1}_{ends}"


def _digest(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
