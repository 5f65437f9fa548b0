"""Looking for requests: lists, histories, and which of many need not be waited for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from sqlalchemy import ColumnElement, Connection, func, select

from dsp_airflow.approval import machine, people
from dsp_airflow.approval.machine import State
from dsp_airflow.approval.records import (
    PERMISSION,
    Changed,
    Request,
    latest,
    may_decide,
    members_of,
    request_of,
)
from dsp_airflow.config.processes import ADMINISTRATORS
from dsp_airflow.engine.errors import DspError
from dsp_airflow.permissions.checks import not_approvable
from dsp_airflow.state.tables import REQUEST_CHANGES, REQUESTS

_CHUNK = 500
Order: TypeAlias = Literal["created_at", "title", "task_type", "requester", "state", "until"]
"""What a list may be sorted by."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which requests: all that fit everything that is given.

    ``task`` is a part of the task's name, ``of`` the whole of it; ``since`` and ``until`` are about
    when they were made.
    """

    task: str | None = None
    task_type: str | None = None
    requester: str | None = None
    states: Collection[str] = ()
    since: datetime | None = None
    until: datetime | None = None
    seen: Seen | None = None
    of: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What a user may see: requests of these tasks, its own, and those that are given by id."""

    user: str
    tasks: Collection[str]
    ids: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a user may do with a request as it stands."""

    decide: bool
    cancel: bool
    execute: bool


def find(connection: Connection, request: str) -> Request | None:
    """The request of this id, if there is one."""
    return latest(connection, REQUESTS.c.id == request)


def page(
    connection: Connection,
    wanted: Wanted,
    *,
    limit: int,
    offset: int = 0,
    order: Order = "created_at",
    descending: bool = True,
) -> tuple[list[Request], int]:
    """Some of those that are wanted, the youngest first if nothing else is said, and how many
    there are in all.
    """
    conditions = _conditions(wanted)
    total = connection.execute(
        select(func.count()).select_from(REQUESTS).where(*conditions)
    ).scalar_one()
    query = select(REQUESTS).where(*conditions)
    keys: list[Any] = [REQUESTS.c[order], REQUESTS.c.id]
    if order != "created_at":
        keys.insert(1, REQUESTS.c.created_at)
    # Those that have ended have no such time, and come last either way.
    last = [REQUESTS.c.until.is_(None)] if order == "until" else []
    query = query.order_by(*last, *(key.desc() if descending else key for key in keys))
    rows = connection.execute(query.limit(limit).offset(offset)).all()
    return [request_of(connection, row) for row in rows], total


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
    return page(connection, Wanted(task, task_type, requester, states), limit=limit)[0]


def tasks(connection: Connection) -> set[str]:
    """Every task that something was asked for; who applies for a permission is none."""
    query = select(REQUESTS.c.task).where(REQUESTS.c.task_type != PERMISSION)
    return set(connection.execute(query.distinct()).scalars())


def allowed(connection: Connection, request: Request, user: str, now: datetime) -> Allowed:
    """What this user's word would do now."""
    administrators = people.members(connection, ADMINISTRATORS)
    revocable = request.standing and request.state in machine.APPROVED and not request.open

    def may(act: Callable[[], list[machine.Move]]) -> bool:
        try:
            return bool(act())
        except DspError:
            return False

    return Allowed(
        decide=_decides(connection, request, user, now),
        cancel=(revocable and (user == request.requester or user in administrators))
        or may(lambda: machine.cancel(request.case, user, administrators, "", now)),
        execute=request.state == State.WAIT_FOR_EXECUTION
        and may(lambda: machine.execute(request.case, user, administrators, now, by_hand=True)),
    )


def waiting_for(connection: Connection, user: str, now: datetime) -> list[Request]:
    """Those that this user may decide now, the oldest first."""
    query = select(REQUESTS).where(REQUESTS.c.state == State.APPROVING)
    rows = connection.execute(query.order_by(REQUESTS.c.created_at)).all()
    requests = [request_of(connection, row) for row in rows]
    return [one for one in requests if _decides(connection, one, user, now)]


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


def _decides(connection: Connection, request: Request, user: str, now: datetime) -> bool:
    members = members_of(connection, request)
    return may_decide(request, user, members, now) and not not_approvable(
        connection, user, request.connections
    )


def _is_settled(row: Any, now: datetime) -> bool:
    if row.state in {State.CREATED, State.APPROVING} or (
        row.state == State.WAIT_FOR_EXECUTION and row.manual
    ):
        return row.until is not None and now > row.until
    return True


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    its, found = REQUESTS.c, list[ColumnElement[bool]]()
    if wanted.task is not None:
        found.append(its.task.contains(wanted.task, autoescape=True))
    if wanted.of is not None:
        found.append(its.task == wanted.of)
    if wanted.task_type is not None:
        found.append(its.task_type == wanted.task_type)
    if wanted.requester is not None:
        found.append(its.requester == wanted.requester)
    if wanted.states:
        found.append(its.state.in_(sorted(wanted.states)))
    if wanted.since is not None:
        found.append(its.created_at >= wanted.since)
    if wanted.until is not None:
        found.append(its.created_at < wanted.until)
    if wanted.seen is not None:
        seen = wanted.seen
        found.append(
            its.task.in_(sorted(seen.tasks))
            | (its.requester == seen.user)
            | its.id.in_(sorted(seen.ids))
        )
    return found
