"""The record of one job in one run: the engine's ``Ledger`` over the state database.

Each method is one short transaction. A lease ends after ``ttl`` without renewal (see
``keeper``), or at once when its holder was a process of this machine that is gone.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from dsp_airflow.engine.errors import ConfigError, Refused, Transient
from dsp_airflow.engine.model import (
    Batch,
    BatchRecord,
    Checked,
    Claim,
    Copied,
    Difference,
    KeyRange,
    Plan,
    Purged,
)
from dsp_airflow.engine.ports import Phase
from dsp_airflow.state import receipts, stops
from dsp_airflow.state.chosen import Chosen
from dsp_airflow.state.clock import server_now
from dsp_airflow.state.codec import canonical, dump, dump_key, load, load_key, message
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.owner import dead_among, owner_name
from dsp_airflow.state.rollbacks import refuse_undone
from dsp_airflow.state.tables import BATCHES, DIFFERENCES, JOBS, RUNS

MAX_DIFFERENCES = 1000
"""Per batch and phase. The counts on the batch are always complete."""
TTL = timedelta(seconds=60)
_CHUNK = 500
_FREE = {"lease_phase": None, "lease_owner": None, "lease_until": None}


class SqlLedger:
    """Implements ``dsp_airflow.engine.ports.Ledger``. Threads may share one.

    ``run`` names the run, and from the second attempt at the job's plan on also the attempt
    (``20260101T000000-abcdef.2``): what an earlier attempt left in a target under its name
    is never taken for this one's. ``run_id`` is the run alone.
    """

    run: str
    job: str

    def __init__(
        self,
        database: StateDatabase,
        run: str,
        job: str,
        owner: str | None = None,
        *,
        ttl: timedelta = TTL,
    ) -> None:
        self.database = database
        self.run_id = run
        self.job = job
        self.owner = owner or owner_name()
        self.ttl = ttl
        self.from_last = False
        self._held: dict[int, Claim] = {}
        self._chosen = Chosen(None)
        self._lock = Lock()
        with database.read() as connection:
            self._attempt = _attempt(connection, run, job)
        self.run = attempt_name(run, self._attempt)

    def plan(self) -> Plan | None:
        """The job's plan, once there is one."""
        with self.database.read() as connection:
            text = connection.execute(
                select(JOBS.c.plan).where(self._its_row())
            ).scalar_one_or_none()
        return None if text is None else load(Plan, text)

    def planned(self, plan: Plan, batches: Iterable[Batch]) -> None:
        """Stores both at once; ``Refused`` when batches were copied by the present plan.

        A plan that is replaced ends its attempt: somebody may have begun one of its batches.
        """
        with self.database.write() as connection:
            self._current(connection, for_update=True)
            copied = connection.execute(
                select(func.count(BATCHES.c.copied_at)).where(self._batches())
            ).scalar_one()
            if copied:
                raise Refused(
                    f"job {self.job} of run {self.run} has copied {copied} batches by its plan;"
                    " start a new attempt to plan it anew"
                )
            replaced = connection.execute(delete(BATCHES).where(self._batches())).rowcount
            attempt = self._attempt + (1 if replaced else 0)
            key = {"run": self.run_id, "job": self.job, "attempt": attempt}
            rows = (_batch_row(batch) | key for batch in batches)
            while some := list(itertools.islice(rows, _CHUNK)):
                connection.execute(insert(BATCHES), some)
            connection.execute(
                update(JOBS)
                .where(self._its_row())
                .values(plan=dump(plan), attempt=attempt, planned_at=server_now())
            )
        self._attempt = attempt
        self.run = attempt_name(self.run_id, attempt)

    def claim(self, phase: Phase, only: Collection[int] | None = None) -> Claim | None:
        """Leases the lowest batch that waits for the phase and that nobody alive holds.

        The highest one if ``from_last``.
        """
        with self.database.write() as connection:
            checks, now = self._current(connection, working=True)
            free = or_(
                BATCHES.c.lease_owner.is_(None),
                BATCHES.c.lease_until < now,
                BATCHES.c.lease_owner.in_(self._dead(connection)),
            )
            row = self._next(connection, and_(_ready(phase, checks), free), self._chosen_by(only))
            if row is None:
                return None
            claim = self._leased(row, now + self.ttl)
            connection.execute(
                update(BATCHES)
                .where(self._batches(), BATCHES.c.number == row.number)
                .values(
                    lease_phase=phase,
                    lease_owner=claim.owner,
                    lease_token=claim.token,
                    lease_until=claim.until,
                    attempts=BATCHES.c.attempts + 1,
                )
            )
        with self._lock:
            self._held[claim.batch.number] = claim
        return claim

    def waiting(self, phase: Phase, only: Collection[int] | None = None) -> int:
        """Batches that are ready for the phase and not through it, held ones included.

        A batch is ready for ``check`` and ``purge`` once it is copied, and for ``purge`` once
        the check it has to pass found no difference. What is not ready waits for nothing
        that this phase's workers could do.
        """
        with self.database.read() as connection:
            checks, _ = self._current(connection)
            query = select(func.count()).where(self._batches(), _ready(phase, checks))
            return sum(
                connection.execute(query.where(part)).scalar_one()
                for part in self._chosen_by(only).parts
            )

    def keep(self, claim: Claim) -> None:
        """Renews the lease."""
        with self.database.write() as connection:
            until = clock(connection) + self.ttl
            self._record(connection, claim, lease_until=until)

    def keep_all(self) -> tuple[int, ...]:
        """Renews every lease this ledger holds; returns the batches that others took over."""
        with self._lock:
            held = list(self._held.values())
        if not held:
            return ()
        with self.database.write() as connection:
            until = clock(connection) + self.ttl
            lost = [c for c in held if not self._set(connection, c, {"lease_until": until})]
        # One that is being recorded or released was not lost.
        gone = [claim for claim in lost if self._forget(claim)]
        return tuple(claim.batch.number for claim in gone)

    def seen(self) -> None:
        """See ``stops.seen``; whether or not a batch is held."""
        stops.seen(self.database, self.run_id, self.job)

    def copied(self, claim: Claim, what: Copied) -> None:
        """Records the copy and gives the batch back."""
        written = what.written
        self._forget(claim)
        with self.database.write() as connection:
            self._record(
                connection,
                claim,
                copied=dump(what),
                rows_read=what.rows_read,
                rows_written=written.rows - written.ignored,
                bytes=what.bytes,
                seconds=what.seconds,
                copied_at=server_now(),
                error=None,
                **_FREE,
            )

    def checked(self, claim: Claim, what: Checked) -> None:
        """Records the check with its differences and gives the batch back."""
        self._forget(claim)
        with self.database.write() as connection:
            self._record(
                connection,
                claim,
                rows_checked=what.rows,
                rows_different=what.different,
                compared=what.compared,
                check_note=message(what.note),
                checked_at=server_now(),
                error=None,
                **_FREE,
            )
            self._report(connection, claim, "check", what.differences)

    def purging(self, claim: Claim, intent: str) -> None:
        """Stores the intent; it stays until ``purged`` or until it is replaced."""
        with self.database.write() as connection:
            self._record(connection, claim, intent=intent)

    def purged(self, claim: Claim, what: Purged) -> None:
        """Counts, differences and the chained receipt, in one transaction."""
        gone = what.receipt.gone
        found = {} if gone is None else {"rows_gone": gone.rows}
        self._forget(claim)
        with self.database.write() as connection:
            self._record(
                connection,
                claim,
                rows_purged=BATCHES.c.rows_purged + what.deleted,
                rows_kept=what.kept,
                purged_at=server_now(),
                intent=None,
                error=None,
                **found,
                **_FREE,
            )
            self._report(connection, claim, "purge", what.differences)
            receipts.append(connection, self.run_id, self._attempt, what.receipt)

    def records(self) -> Iterator[BatchRecord]:
        """Every batch with what is recorded of it, by number; a few hundred in memory."""
        after = 0
        while True:
            with self.database.read() as connection:
                self._current(connection)
                rows = connection.execute(
                    select(BATCHES)
                    .where(self._batches(), BATCHES.c.number > after)
                    .order_by(BATCHES.c.number)
                    .limit(_CHUNK)
                ).all()
            yield from map(_batch_record, rows)
            if len(rows) < _CHUNK:
                return
            after = rows[-1].number

    def release(self, claim: Claim, error: str | None = None) -> None:
        """Gives the batch back undone; an error is kept until the batch succeeds."""
        values: dict[str, Any] = dict(_FREE)
        if error is not None:
            values["error"] = message(error)
        self._forget(claim)
        with self.database.write() as connection:
            self._record(connection, claim, **values)

    def stop_requested(self) -> bool:
        """Whether somebody asked the run to stop."""
        with self.database.read() as connection:
            return bool(
                connection.execute(
                    select(RUNS.c.stop_requested).where(RUNS.c.id == self.run_id)
                ).scalar_one_or_none()
            )

    def _batches(self) -> ColumnElement[bool]:
        return and_(
            BATCHES.c.run == self.run_id,
            BATCHES.c.job == self.job,
            BATCHES.c.attempt == self._attempt,
        )

    def _its_row(self) -> ColumnElement[bool]:
        return and_(JOBS.c.run == self.run_id, JOBS.c.name == self.job)

    def _current(
        self, connection: Connection, *, for_update: bool = False, working: bool = False
    ) -> tuple[bool, datetime]:
        """Whether the job has a check, and the time; refuses a job that was planned anew.

        Who is about to work is refused one that was rolled back, too.
        """
        query = select(JOBS.c.attempt, JOBS.c.check_percent, server_now(), JOBS.c.undone_at).where(
            self._its_row()
        )
        row = connection.execute(query.with_for_update() if for_update else query).one_or_none()
        if row is None or row[0] != self._attempt:
            raise Transient(f"job {self.job} of run {self.run} was planned anew; begin again")
        if working:
            refuse_undone(self.run_id, self.job, row[3])
        return row[1] is not None, row[2]

    def _chosen_by(self, only: Collection[int] | None) -> Chosen:
        """Made once of what a phase asks for again with every claim."""
        chosen = self._chosen
        if chosen.only is not only:
            chosen = self._chosen = Chosen(only)
        return chosen

    def _next(
        self, connection: Connection, condition: ColumnElement[bool], chosen: Chosen
    ) -> Any | None:
        """The lowest batch, locked; of very many chosen ones the lowest of a part of them."""
        query = (
            select(BATCHES)
            .where(self._batches(), condition)
            .order_by(BATCHES.c.number.desc() if self.from_last else BATCHES.c.number)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        for place, part in chosen.from_here():
            row = connection.execute(query.where(part)).one_or_none()
            if row is not None:
                chosen.found(place)
                return row
        return None

    def _dead(self, connection: Connection) -> list[str]:
        owners = connection.execute(
            select(BATCHES.c.lease_owner)
            .where(self._batches(), BATCHES.c.lease_owner.is_not(None))
            .distinct()
        ).scalars()
        return dead_among([owner for owner in owners if owner is not None])

    def _leased(self, row: Any, until: datetime) -> Claim:
        return Claim(
            batch=_batch(row),
            owner=self.owner,
            token=row.lease_token + 1,
            copied=None if row.copied is None else load(Copied, row.copied),
            intent=row.intent,
            until=until,
        )

    def _record(self, connection: Connection, claim: Claim, **values: Any) -> None:
        if not self._set(connection, claim, values):
            self._forget(claim)
            raise Transient(
                f"batch {claim.batch.number} of job {self.job} was taken over;"
                " what this worker did with it is not recorded"
            )

    def _set(self, connection: Connection, claim: Claim, values: dict[str, Any]) -> bool:
        changed = connection.execute(
            update(BATCHES)
            .where(
                self._batches(),
                BATCHES.c.number == claim.batch.number,
                BATCHES.c.lease_owner == claim.owner,
                BATCHES.c.lease_token == claim.token,
            )
            .values(**values)
        )
        return changed.rowcount == 1

    def _forget(self, claim: Claim) -> bool:
        """Renews the lease no more: before it is given back, or ``keep_all`` took it for lost."""
        with self._lock:
            held = self._held.get(claim.batch.number)
            if held is None or held.token != claim.token:
                return False
            del self._held[claim.batch.number]
            return True

    def _report(
        self, connection: Connection, claim: Claim, phase: str, found: tuple[Difference, ...]
    ) -> None:
        key = {
            "run": self.run_id,
            "job": self.job,
            "attempt": self._attempt,
            "batch": claim.batch.number,
            "phase": phase,
        }
        connection.execute(delete(DIFFERENCES).filter_by(**key))
        if found:
            rows = [key | _difference_row(one) for one in found[:MAX_DIFFERENCES]]
            connection.execute(insert(DIFFERENCES), rows)


def attempt_name(run: str, attempt: int) -> str:
    """The run as ``Ledger.run`` names it."""
    return run if attempt == 1 else f"{run}.{attempt}"


def _attempt(connection: Connection, run: str, job: str) -> int:
    attempt: int | None = connection.execute(
        select(JOBS.c.attempt).where(JOBS.c.run == run, JOBS.c.name == job)
    ).scalar_one_or_none()
    if attempt is None:
        raise ConfigError(f"run {run} has no job {job} in the state database; plan it first")
    return attempt


def _ready(phase: Phase, checks: bool) -> ColumnElement[bool]:
    if phase == "copy":
        return BATCHES.c.copied_at.is_(None)
    if phase == "check":
        return and_(BATCHES.c.copied_at.is_not(None), BATCHES.c.checked_at.is_(None))
    ready = and_(BATCHES.c.copied_at.is_not(None), BATCHES.c.purged_at.is_(None))
    if checks:
        ready = and_(ready, BATCHES.c.checked_at.is_not(None), BATCHES.c.rows_different == 0)
    return ready


def _batch(row: Any) -> Batch:
    within = KeyRange(load_key(row.after), load_key(row.upto))
    return Batch(row.number, within, row.rows, row.sampled)


def _batch_record(row: Any) -> BatchRecord:
    copied = None if row.copied is None else load(Copied, row.copied)
    different = int(row.rows_different or 0)
    return BatchRecord(_batch(row), copied, bool(row.compared), row.checked_at, different)


def _batch_row(batch: Batch) -> dict[str, Any]:
    return {
        "number": batch.number,
        "after": dump_key(batch.within.after),
        "upto": dump_key(batch.within.upto),
        "rows": batch.rows,
        "sampled": batch.sampled,
        "rows_purged": 0,
        "lease_token": 0,
        "attempts": 0,
    }


def _difference_row(found: Difference) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "key": canonical(found.key),
        "columns": canonical(found.columns),
        "source": canonical(found.source),
        "target": canonical(found.target),
        "reason": message(found.reason) or "",
    }
