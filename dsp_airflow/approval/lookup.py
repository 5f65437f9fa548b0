"""Looking for requests: lists, histories, and which of many need not be waited for."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from dsp_airflow.approval.machine import State
from dsp_airflow.approval.records import (
    Changed,
    Request,
    may_decide,
    members_of,
    request_of,
)
from dsp_airflow.permissions.checks import not_approvable
from dsp_airflow.state.tables import REQUEST_CHANGES, REQUESTS

_CHUNK = 500


def recent(
    connection: Connection,
    *,
    task: str | None = None,
    task_type: str | None = None,
    requester: str | None = None,
    states: Collection[str] = (),
    limit: int = 50,
) -> list[Request]:
    """The youngest first; ``task`` is a part of the task's name."""
    query = select(REQUESTS).order_by(REQUESTS.c.created_at.desc(), REQUESTS.c.id.desc())
    if task is not None:
        query = query.where(REQUESTS.c.task.contains(task, autoescape=True))
    if task_type is not None:
        query = query.where(REQUESTS.c.task_type == task_type)
    if requester is not None:
        query = query.where(REQUESTS.c.requester == requester)
    if states:
        query = query.where(REQUESTS.c.state.in_(sorted(states)))
    rows = connection.execute(query.limit(limit)).all()
    return [request_of(connection, row) for row in rows]


def waiting_for(connection: Connection, user: str, now: datetime) -> list[Request]:
    """Those that this user may decide now, the oldest first."""
    query = select(REQUESTS).where(REQUESTS.c.state == State.APPROVING)
    rows = connection.execute(query.order_by(REQUESTS.c.created_at)).all()
    requests = [request_of(connection, row) for row in rows]
    return [
        one
        for one in requests
        if may_decide(one, user, members_of(connection, one), now)
        and not not_approvable(connection, user, one.connections)
    ]


def history(connection: Connection, request: str) -> list[Changed]:
    """Every transition of a request, the first one first."""
    query = select(REQUEST_CHANGES).where(REQUEST_CHANGES.c.request == request)
    rows = connection.execute(query.order_by(REQUEST_CHANGES.c.version)).all()
    return [
        Changed(row.version, row.before, row.after, row.actor, row.note, row.changed_at)
        for row in rows
    ]


def settled(connection: Connection, requests: Iterable[str], now: datetime) -> set[str]:
    """Those that need not be waited for any more: one query for some hundred of them.

    Nothing is recorded here. A request that is not there counts as settled: whoever waits for it
    has to look.
    """
    wanted, found = sorted(set(requests)), set[str]()
    for start in range(0, len(wanted), _CHUNK):
        some = wanted[start : start + _CHUNK]
        query = select(
            REQUESTS.c.id,
            REQUESTS.c.state,
            REQUESTS.c.until,
            REQUESTS.c.snapshot.contains('"start":"manual"').label("manual"),
        ).where(REQUESTS.c.id.in_(some))
        rows = connection.execute(query).all()
        found |= {row.id for row in rows if _is_settled(row, now)}
        found |= set(some) - {row.id for row in rows}
    return found


def _is_settled(row: Any, now: datetime) -> bool:
    if row.state in {State.CREATED, State.APPROVING} or (
        row.state == State.WAIT_FOR_EXECUTION and row.manual
    ):
        return row.until is not None and now > row.until
    return True
