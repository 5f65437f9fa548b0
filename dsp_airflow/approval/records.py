"""A request as it is kept, and as it is read back."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from dsp_airflow.approval import machine, people
from dsp_airflow.approval.machine import Case, Rules, State
from dsp_airflow.config.processes import Node, Process, process_of
from dsp_airflow.engine.errors import ConfigError, DspError
from dsp_airflow.state.tables import DECISIONS, REQUESTS

PERMISSION = "permission"
"""The type of what somebody applies for: a grant."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided at one node."""

    node: int
    actor: str
    verdict: str
    comment: str
    digest: str
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class Changed:
    """One transition of a request."""

    version: int
    before: str | None
    after: str
    actor: str
    note: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it stands. ``version`` rises with each change."""

    id: str
    key: str
    number: int
    task: str
    title: str
    task_type: str
    process: Process
    level: int
    evidence: dict[str, Any]
    digest: str
    requester: str
    created_at: datetime
    state: State | None = None
    node: int = 0
    until: datetime | None = None
    version: int = 0
    reason: str | None = None
    covered_by: str | None = None
    standing: bool = False
    ended_at: datetime | None = None
    decisions: tuple[Decided, ...] = ()

    @property
    def case(self) -> Case:
        """As the state machine sees it."""
        rules = Rules.of(self.process, self.level)
        if self.task_type == PERMISSION:
            # Nobody gives a permission to oneself, and there is nothing to wait for.
            rules = replace(rules, requester_may_decide=False, manual_start=False)
        people_only = (one.actor for one in self.decisions if one.verdict != "automatic")
        return Case(
            rules=rules,
            requester=self.requester,
            state=self.state,
            node=self.node,
            until=self.until,
            deciders=frozenset(people_only),
        )

    @property
    def connections(self) -> list[str]:
        """The connections that it is about."""
        return [str(one["name"]) for one in self.evidence.get("connections", ())]

    @property
    def open(self) -> bool:
        """Whether something may still become of it by itself."""
        return self.state in machine.OPEN

    @property
    def waits_for(self) -> Node | None:
        """The node that decides next."""
        nodes = self.process.levels[self.level].nodes
        return nodes[self.node] if self.state == State.APPROVING else None


def request_of(connection: Connection, row: Any) -> Request:
    """A row of the requests, with its decisions."""
    decided = connection.execute(
        select(DECISIONS).where(DECISIONS.c.request == row.id).order_by(DECISIONS.c.node)
    ).all()
    return Request(
        id=row.id,
        key=row.key,
        number=row.number,
        task=row.task,
        title=row.title,
        task_type=row.task_type,
        process=process_of(json.loads(row.snapshot)),
        level=row.level,
        evidence=json.loads(row.evidence),
        digest=row.digest,
        requester=row.requester,
        created_at=row.created_at,
        state=State(row.state) if row.version else None,
        node=row.node,
        until=row.until,
        version=row.version,
        reason=row.reason,
        covered_by=row.covered_by,
        standing=row.standing,
        ended_at=row.ended_at,
        decisions=tuple(
            Decided(d.node, d.actor, d.verdict, d.comment, d.digest, d.decided_at) for d in decided
        ),
    )


def latest(connection: Connection, *conditions: ColumnElement[bool]) -> Request | None:
    """The youngest request that fits."""
    query = select(REQUESTS).where(*conditions)
    query = query.order_by(REQUESTS.c.created_at.desc(), REQUESTS.c.number.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else request_of(connection, row)


def present(connection: Connection, request: str, *, for_update: bool = False) -> Request:
    """The request of this id; ``ConfigError`` when there is none."""
    query = select(REQUESTS).where(REQUESTS.c.id == request)
    row = connection.execute(query.with_for_update() if for_update else query).one_or_none()
    if row is None:
        raise ConfigError(f"there is no request {request}; see dsp requests")
    return request_of(connection, row)


def members_of(connection: Connection, request: Request) -> frozenset[str]:
    """Who may decide at the node that decides next."""
    node = request.waits_for
    return frozenset() if node is None else deciders(connection, node)


def deciders(connection: Connection, node: Node) -> frozenset[str]:
    """Who may decide at a node now, whoever asked and whatever was decided before."""
    if node.role is not None:
        return people.members(connection, node.role)
    return frozenset() if node.user is None else frozenset({node.user})


def may_decide(request: Request, user: str, members: frozenset[str], now: datetime) -> bool:
    """Whether the user's yes or no would count now."""
    try:
        machine.approve(request.case, user, members, "", now)
    except DspError:
        return False
    return True


def within(approved: int | None, now: int | None, percent: int) -> bool:
    """Whether an estimate is no more than so many percent off; unknown ones never are."""
    if approved is None or now is None:
        return approved is now
    return abs(now - approved) * 100 <= approved * percent
