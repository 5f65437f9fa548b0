"""Mails that are due. Each is claimed before it is sent, so exactly one process sends it.

A process that dies between sending and saying so leaves its claim to expire; only then may
another send the same mail once more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, insert, or_, select, text, update

from dsp_airflow.engine.errors import Transient
from dsp_airflow.state.clock import server_now
from dsp_airflow.state.codec import canonical, message
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.owner import owner_name
from dsp_airflow.state.tables import OUTBOX

CLAIM = timedelta(minutes=5)
MAX_ATTEMPTS = 5
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


class Outbox:
    """The mails of a state database."""

    def __init__(self, database: StateDatabase) -> None:
        self.database = database

    def enqueue(self, key: MailKey, recipients: Sequence[str], subject: str, body: str) -> bool:
        """Adds a mail; ``False`` when there is one of this key already, which stays as it is."""
        with self.database.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:k)"), {"k": _LOCK})
            there = connection.execute(select(OUTBOX.c.id).where(_of(key))).one_or_none()
            if there is not None:
                return False
            connection.execute(
                insert(OUTBOX).values(
                    run=key.run,
                    attempt=key.attempt,
                    event=key.event,
                    recipients=canonical(list(recipients)),
                    subject=subject.replace("\x00", ""),
                    body=body.replace("\x00", ""),
                    state="new",
                    attempts=0,
                    created_at=clock(connection),
                )
            )
            return True

    def claim(
        self, key: MailKey | None = None, *, owner: str | None = None, hold: timedelta = CLAIM
    ) -> Mail | None:
        """The mail of this key, or the oldest that is due; ``None`` when it is nobody's turn."""
        owner = owner or owner_name()
        with self.database.write() as connection:
            now = clock(connection)
            due = or_(
                OUTBOX.c.state == "new",
                and_(OUTBOX.c.state == "claimed", OUTBOX.c.claimed_until < now),
            )
            query = select(OUTBOX).where(due).order_by(OUTBOX.c.id).limit(1)
            if key is not None:
                query = query.where(_of(key))
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
        self._settle(mail, state="sent", sent_at=server_now(), error=None)

    def failed(self, mail: Mail, error: str) -> bool:
        """It did not; returns whether it will be tried again (``MAX_ATTEMPTS`` in all)."""
        again = mail.attempts < MAX_ATTEMPTS
        self._settle(mail, state="new" if again else "failed", error=message(error))
        return again

    def state(self, key: MailKey) -> str | None:
        """``new``, ``claimed``, ``sent``, ``failed``, or ``None`` when there is no such mail."""
        with self.database.read() as connection:
            return connection.execute(select(OUTBOX.c.state).where(_of(key))).scalar_one_or_none()

    def _settle(self, mail: Mail, **values: Any) -> None:
        with self.database.write() as connection:
            changed = connection.execute(
                update(OUTBOX)
                .where(
                    _of(mail.key),
                    OUTBOX.c.state == "claimed",
                    OUTBOX.c.claimed_by == mail.owner,
                    OUTBOX.c.attempts == mail.attempts,
                )
                .values(claimed_by=None, claimed_until=None, **values)
            )
        if changed.rowcount != 1:
            raise Transient(f"the mail {mail.key.event} of run {mail.key.run} was taken over")


def _of(key: MailKey) -> ColumnElement[bool]:
    return and_(
        OUTBOX.c.run == key.run, OUTBOX.c.attempt == key.attempt, OUTBOX.c.event == key.event
    )
