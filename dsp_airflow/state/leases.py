"""Leases on resources that several runs may want, such as the purge of one source table."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import ColumnElement, Connection, and_, insert, select, text, update

from dsp_airflow.engine.errors import DspError, Transient
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.keeper import Renewal
from dsp_airflow.state.owner import holder, surely_dead
from dsp_airflow.state.tables import LEASES

log = logging.getLogger(__name__)

TTL = timedelta(seconds=60)
_LOCK = 7_203_911_443
"""PostgreSQL's advisory lock for taking a lease that nobody holds yet."""


class TableLease:
    """A lease that is held. ``check`` before anything that relies on it."""

    def __init__(
        self, database: StateDatabase, resource: str, owner: str, token: int, ttl: timedelta
    ) -> None:
        self.database = database
        self.resource = resource
        self.owner = owner
        self.token = token
        self.ttl = ttl

    def check(self) -> None:
        """Renews the lease; ``Transient`` when it was lost."""
        with self.database.write() as connection:
            renewed = connection.execute(
                update(LEASES).where(_same(self)).values(until=clock(connection) + self.ttl)
            )
        if renewed.rowcount != 1:
            raise Transient(f"the lease on {self.resource} was lost to somebody else")


@contextmanager
def table_lease(
    database: StateDatabase, resource: str, owner: str, *, ttl: timedelta = TTL
) -> Iterator[TableLease]:
    """Holds ``resource`` for ``owner`` and renews it meanwhile.

    The same owner may enter several times, in any process; the last to leave gives it back.
    ``Transient`` names the holder when it is somebody else. A holder that died is followed
    after ``ttl``, or at once if it was a process of this machine (see ``owner_name``).
    """
    lease = TableLease(database, resource, owner, _take(database, resource, owner, ttl), ttl)
    try:
        with Renewal(lease.check, ttl / 3, f"lease of {resource}"):
            yield lease
    finally:
        _give_back(lease)


def _take(database: StateDatabase, resource: str, owner: str, ttl: timedelta) -> int:
    with database.write() as connection:
        _one_at_a_time(connection)
        now = clock(connection)
        row = connection.execute(
            select(LEASES).where(LEASES.c.resource == resource).with_for_update()
        ).one_or_none()
        if row is None:
            values = {"owner": owner, "token": 1, "holds": 1, "until": now + ttl}
            connection.execute(insert(LEASES).values(resource=resource, **values))
            return 1
        live = row.holds > 0 and row.until >= now and not surely_dead(row.owner)
        if live and row.owner != owner:
            raise Transient(
                f"{resource} is being worked on by {holder(row.owner)}"
                f" until {row.until:%Y-%m-%d %H:%M:%S} UTC at least; try again later"
            )
        # A lease that is taken anew gets a new token, so that who lost it cannot give it back.
        token: int = row.token if live else row.token + 1
        connection.execute(
            update(LEASES)
            .where(LEASES.c.resource == resource)
            .values(
                owner=owner,
                token=token,
                holds=row.holds + 1 if live else 1,
                until=now + ttl,
            )
        )
        return token


def _one_at_a_time(connection: Connection) -> None:
    """Two that insert the same lease would make one fail on the key instead of waiting."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def _give_back(lease: TableLease) -> None:
    leaving = update(LEASES).where(_same(lease)).values(holds=LEASES.c.holds - 1)
    try:
        with lease.database.write() as connection:
            connection.execute(leaving)
    except DspError as error:
        # The work is done or has its own error to tell; the lease ends by itself.
        log.warning("The lease on %s could not be given back: %s", lease.resource, error)


def _same(lease: TableLease) -> ColumnElement[bool]:
    return and_(
        LEASES.c.resource == lease.resource,
        LEASES.c.owner == lease.owner,
        LEASES.c.token == lease.token,
    )
