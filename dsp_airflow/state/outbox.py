"""Mails that are due. Each is claimed before it is sent, so exactly one process sends it.

A process that dies between sending and saying so leaves its claim to expire; only then may
another send the same mail once more. A mail that could not be sent waits longer each time, and
is given up a day after it was written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, insert, or_, select, text, update

from dsp_airflow.engine.errors import Transient
from dsp_airflow.state.codec import canonical, message
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.owner import owner_name
from dsp_airflow.state.tables import OUTBOX

CLAIM = timedelta(minutes=5)
FIRST_WAIT = timedelta(seconds=15)
LONGEST_WAIT = timedelta(minutes=15)
GIVE_UP = timedelta(hours=24)
"""How long after it was written a mail is still tried."""
_LOCK = 7_203_911_445
"""PostgreSQL's advisory lock for adding mails."""


@dataclass(frozen=True, slots=True)
class MailKey:
    """What a mail is about: at most one is ever sent for it."""

    run: str
    attempt: int
    event: str


@dataclass(frozen=True, slots=True)
class Mail:
    """A claimed mail. ``attempts`` counts this try."""

    key: MailKey
    recipients: tuple[str, ...]
    subject: str
    body: str
    owner: str
    attempts: int


@dataclass(frozen=True, slots=True)
class MailStatus:
    """One mail as lists show it. ``not_before``: when it is tried again, or its claim ends."""

    run: str
    attempt: int
    event: str
    recipients: tuple[str, ...]
    subject: str
    state: str
    attempts: int
    error: str | None
    created_at: datetime
    sent_at: datetime | None
    not_before: datetime | None


class Outbox:
    """The mails of a state database."""

    def __init__(self, database: StateDatabase) -> None:
        self.database = database

    def enqueue(
        self,
        key: MailKey,
        recipients: Sequence[str],
        subject: str,
        body: str,
        *,
        after: timedelta = timedelta(0),
    ) -> bool:
        """Adds a mail; ``False`` when there is one of this key already, which stays as it is.

        ``after``: so long it is kept for whoever claims it by its key.
        """
        with self.database.write() as connection:
            return add(connection, key, recipients, subject, body, after=after)

    def claim(
        self, key: MailKey | None = None, *, owner: str | None = None, hold: timedelta = CLAIM
    ) -> Mail | None:
        """The mail of this key, unless it is sent or in hand; or the oldest that is due."""
        owner = owner or owner_name()
        with self.database.write() as connection:
            now = clock(connection)
            over = OUTBOX.c.claimed_until < now
            if key is None:
                free = and_(OUTBOX.c.state == "new", or_(OUTBOX.c.claimed_until.is_(None), over))
            else:
                free = and_(OUTBOX.c.state == "new", _of(key))
            taken = and_(OUTBOX.c.state == "claimed", over)
            if key is not None:
                taken = and_(taken, _of(key))
            query = select(OUTBOX).where(or_(free, taken)).order_by(OUTBOX.c.id).limit(1)
            row = connection.execute(query.with_for_update(skip_locked=True)).one_or_none()
            if row is None:
                return None
            connection.execute(
                update(OUTBOX)
                .where(OUTBOX.c.id == row.id)
                .values(
                    state="claimed",
                    claimed_by=owner,
                    claimed_until=now + hold,
                    attempts=row.attempts + 1,
                )
            )
        return Mail(
            key=MailKey(row.run, row.attempt, row.event),
            recipients=tuple(json.loads(row.recipients)),
            subject=row.subject,
            body=row.body,
            owner=owner,
            attempts=row.attempts + 1,
        )

    def sent(self, mail: Mail) -> None:
        """It went out."""
        with self.database.write() as connection:
            _settle(connection, mail, state="sent", sent_at=clock(connection), error=None)

    def failed(self, mail: Mail, error: str) -> timedelta | None:
        """It did not; returns how long to wait, or ``None`` when it is given up."""
        wait = min(FIRST_WAIT * 2 ** min(mail.attempts - 1, 20), LONGEST_WAIT)
        with self.database.write() as connection:
            now = clock(connection)
            written = connection.execute(
                select(OUTBOX.c.created_at).where(_of(mail.key))
            ).scalar_one()
            again = now + wait < written + GIVE_UP
            _settle(
                connection,
                mail,
                state="new" if again else "failed",
                claimed_until=now + wait if again else None,
                error=message(error),
            )
        return wait if again else None

    def wait(self) -> timedelta | None:
        """How long until the next mail is due; ``None`` when none is left to send."""
        with self.database.read() as connection:
            now = clock(connection)
            open_mails = OUTBOX.c.state.in_(("new", "claimed"))
            first = connection.execute(
                select(func.min(func.coalesce(OUTBOX.c.claimed_until, OUTBOX.c.created_at))).where(
                    open_mails
                )
            ).scalar_one()
        return None if first is None else max(first - now, timedelta(0))

    def hurry(self) -> int:
        """Every mail that waits is due now; returns how many there are."""
        with self.database.write() as connection:
            return connection.execute(
                update(OUTBOX).where(OUTBOX.c.state == "new").values(claimed_until=None)
            ).rowcount

    def recent(self, limit: int = 20) -> list[MailStatus]:
        """The youngest mails first, those that wait before all others."""
        waiting = OUTBOX.c.state.in_(("new", "claimed"))
        query = select(OUTBOX).order_by(waiting.desc(), OUTBOX.c.id.desc()).limit(limit)
        with self.database.read() as connection:
            return [
                MailStatus(
                    run=row.run,
                    attempt=row.attempt,
                    event=row.event,
                    recipients=tuple(json.loads(row.recipients)),
                    subject=row.subject,
                    state=row.state,
                    attempts=row.attempts,
                    error=row.error,
                    created_at=row.created_at,
                    sent_at=row.sent_at,
                    not_before=row.claimed_until,
                )
                for row in connection.execute(query)
            ]

    def state(self, key: MailKey) -> str | None:
        """``new``, ``claimed``, ``sent``, ``failed``, or ``None`` when there is no such mail."""
        with self.database.read() as connection:
            return connection.execute(select(OUTBOX.c.state).where(_of(key))).scalar_one_or_none()


def add(
    connection: Connection,
    key: MailKey,
    recipients: Sequence[str],
    subject: str,
    body: str,
    *,
    after: timedelta = timedelta(0),
) -> bool:
    """``Outbox.enqueue`` inside the caller's writing transaction."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:k)"), {"k": _LOCK})
    there = connection.execute(select(OUTBOX.c.id).where(_of(key))).one_or_none()
    if there is not None:
        return False
    now = clock(connection)
    connection.execute(
        insert(OUTBOX).values(
            run=key.run,
            attempt=key.attempt,
            event=key.event,
            recipients=canonical(list(recipients)),
            subject=subject.replace("\x00", ""),
            body=body.replace("\x00", ""),
            state="new",
            claimed_until=now + after if after else None,
            attempts=0,
            created_at=now,
        )
    )
    return True


def _settle(connection: Connection, mail: Mail, **values: Any) -> None:
    """Writes how a try ended, if the mail is still in this sender's hand."""
    changed = connection.execute(
        update(OUTBOX)
        .where(
            _of(mail.key),
            OUTBOX.c.state == "claimed",
            OUTBOX.c.claimed_by == mail.owner,
            OUTBOX.c.attempts == mail.attempts,
        )
        .values({"claimed_by": None, "claimed_until": None, **values})
    )
    if changed.rowcount != 1:
        raise Transient(f"the mail {mail.key.event} of run {mail.key.run} was taken over")


def _of(key: MailKey) -> ColumnElement[bool]:
    return and_(
        OUTBOX.c.run == key.run, OUTBOX.c.attempt == key.attempt, OUTBOX.c.event == key.event
    )
