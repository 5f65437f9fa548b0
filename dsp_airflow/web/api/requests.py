"""Requests for approval: the inbox, and what is decided on."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import HTTPException, Query
from sqlalchemy import Connection

from dsp_airflow.approval import lookup
from dsp_airflow.approval.machine import State
from dsp_airflow.approval.records import PERMISSION, Request, deciders
from dsp_airflow.approval.requests import Requests
from dsp_airflow.config.processes import TaskType, process_values
from dsp_airflow.notify import relay
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document, Moment, Number, Page, Paged, ordered, plain
from dsp_airflow.web.routing import router
from dsp_airflow.web.users import Acting, Actor

routes = router("requests")

Whose: TypeAlias = Literal["waiting-for-me", "mine", "all"]


class RequestLine(Document):
    """One request as lists show it."""

    id: str
    state: State
    version: int
    """One more with each change; a decision names the one that was seen."""
    task: str
    title: str
    task_type: str
    process: str
    level: int
    level_name: str | None
    requester: str
    waits_for: str | None
    """The node that decides next, such as `role dataowners`."""
    until: Moment | None
    """When its present state ends by itself."""
    rows: Number | None
    bytes: Number | None
    reason: str | None
    created_at: Moment
    ended_at: Moment | None


class NodeStand(Document):
    """One node of a request, and what was decided there."""

    label: str
    members: list[str]
    """Who may decide there now."""
    verdict: Literal["approved", "rejected", "automatic"] | None
    actor: str | None
    comment: str | None
    decided_at: Moment | None


class Change(Document):
    """One transition."""

    version: int
    before: State | None
    after: State
    actor: str
    note: str
    changed_at: Moment


class Clocks(Document):
    """The three periods of its process, in seconds."""

    approval: float
    waiting: float
    execution: float


class RequestDetail(RequestLine):
    """One request, with all that is decided on."""

    key: str
    digest: str
    """Of what a decision is bound to; a decision names it."""
    evidence: dict[str, Any]
    """Definition, SQL, columns, rows, bytes, what is deleted, and what differs from what was
    approved last."""
    nodes: list[NodeStand]
    history: list[Change]
    clocks: Clocks
    process_values: dict[str, Any]
    """The process as it was when this was asked."""
    covered_by: str | None
    """An earlier request whose decision covers this one."""
    standing: bool
    """Whether its decision covers later ones."""
    may_decide: bool
    may_cancel: bool
    may_execute: bool


@routes.get("/requests", summary="List requests")
def list_requests(
    database: Database,
    actor: Acting,
    paging: Paged,
    whose: Whose = "all",
    state: Annotated[list[State], Query()] = [],  # noqa: B006 - FastAPI copies it
    task: str | None = None,
    type: TaskType | None = None,  # noqa: A002 - as files say it
    requester: str | None = None,
    of: str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    sort: lookup.Order = "created_at",
    descending: bool | None = None,
) -> Page[RequestLine]:
    """The youngest first; those that wait for you the oldest first, as the clock runs on them.

    `all` are those of tasks that you may see, and your own. `task` is a part of a task's name, `of`
    the whole of it.
    """
    requests = Requests(database)
    requests.expire_due()
    if whose == "waiting-for-me":
        lines = [_line(one) for one in requests.waiting_for(actor.name)]
        return paging.cut(ordered(lines, sort, descending=descending is True))
    wanted = lookup.Wanted(
        task=task,
        of=of,
        task_type=type,
        requester=actor.name if whose == "mine" else requester,
        states=tuple(state),
        since=since,
        until=until,
    )
    with database.read(snapshot=True) as connection:
        if whose == "all" and not actor.administrator:
            waiting = lookup.waiting_for(connection, actor.name, clock(connection))
            seen = lookup.Seen(
                actor.name,
                actor.readable(lookup.tasks(connection)),
                [one.id for one in waiting],
            )
            wanted = replace(wanted, seen=seen)
        found, total = lookup.page(
            connection,
            wanted,
            limit=paging.limit,
            offset=paging.offset,
            order=sort,
            descending=descending is not False,
        )
    return paging.page([_line(one) for one in found], total)


@routes.get("/requests/{request}", summary="Show a request")
def show_request(request: str, database: Database, actor: Acting) -> RequestDetail:
    """All that the approvers decide on, and what was decided."""
    Requests(database).expire_due()
    return _detail(database, visible(database, actor, request), actor)


class Decision(Document):
    """What somebody says to a request, and what that person had before the eyes."""

    version: int
    digest: str
    comment: str = ""


class Comment(Document):
    """Why."""

    comment: str = ""


@routes.post("/requests/{request}/approve", summary="Agree to a request")
def approve(request: str, said: Decision, database: Database, actor: Acting) -> RequestDetail:
    """At the node that decides next. 409 where it is another by now than the one that was seen."""
    return _decide(request, said, database, actor, approved=True)


@routes.post("/requests/{request}/reject", summary="Say no to a request")
def reject(request: str, said: Decision, database: Database, actor: Acting) -> RequestDetail:
    """The comment has to say why."""
    return _decide(request, said, database, actor, approved=False)


@routes.post("/requests/{request}/cancel", summary="Take a request back")
def cancel(request: str, said: Comment, database: Database, actor: Acting) -> RequestDetail:
    """Or, of one that has ended, what its decision covers from now on."""
    visible(database, actor, request)
    return changed(database, actor, Requests(database).cancel(request, actor.name, said.comment))


@routes.post("/requests/{request}/execute", summary="Execute now")
def execute(request: str, database: Database, actor: Acting) -> RequestDetail:
    """Lets what is approved begin, where its process asks for a start by hand."""
    visible(database, actor, request)
    return changed(database, actor, Requests(database).execute(request, actor.name))


def _decide(
    request: str, said: Decision, database: StateDatabase, actor: Actor, *, approved: bool
) -> RequestDetail:
    visible(database, actor, request)
    found = Requests(database).decide(
        request,
        actor.name,
        said.comment,
        approved=approved,
        seen=said.version,
        digest=said.digest,
    )
    return changed(database, actor, found)


def changed(database: StateDatabase, actor: Actor, request: Request) -> RequestDetail:
    """The request as it stands now; mails that are due begin their way."""
    relay.start_for(database)
    return _detail(database, request, actor)


def visible(database: StateDatabase, actor: Actor, request: str) -> Request:
    """404 for one that is not the user's to see: of its task, its own, or to be decided by it."""
    with database.read() as connection:
        found = lookup.find(connection, request)
    if found is None or not (
        actor.administrator
        or actor.name == found.requester
        or _is_decider(actor, found)
        # A request is named as the DAG that asks for it, also where the command asks; who applies
        # for a permission is nobody else's business.
        or (found.task_type != PERMISSION and actor.may_read(found.task))
    ):
        raise HTTPException(404, f"there is no request {request} that you may see")
    return found


def _is_decider(actor: Actor, request: Request) -> bool:
    nodes = request.process.levels[request.level].nodes
    return any(node.user == actor.name or node.role in actor.roles for node in nodes)


def _line(request: Request) -> RequestLine:
    level = request.process.levels[request.level]
    waits = request.waits_for
    return RequestLine(
        id=request.id,
        state=request.state or State.CREATED,
        version=request.version,
        task=request.task,
        title=request.title,
        task_type=request.task_type,
        process=request.process.name,
        level=request.level + 1,
        level_name=level.name or None,
        requester=request.requester,
        waits_for=None if waits is None else waits.label,
        until=request.until,
        rows=request.evidence.get("rows"),
        bytes=request.evidence.get("bytes"),
        reason=request.reason or None,
        created_at=request.created_at,
        ended_at=request.ended_at,
    )


def _detail(database: StateDatabase, request: Request, actor: Actor) -> RequestDetail:
    validity = request.process.validity
    with database.read() as connection:
        allowed = lookup.allowed(connection, request, actor.name, clock(connection))
        history = lookup.history(connection, request.id)
        nodes = _nodes(connection, request)
    return RequestDetail(
        **_line(request).model_dump(),
        key=request.key,
        digest=request.digest,
        evidence=plain(request.evidence),
        nodes=nodes,
        history=[
            Change(
                version=one.version,
                before=None if one.before is None else State(one.before),
                after=State(one.after),
                actor=one.actor,
                note=one.note,
                changed_at=one.changed_at,
            )
            for one in history
        ],
        clocks=Clocks(
            approval=validity.approval.total_seconds(),
            waiting=validity.waiting.total_seconds(),
            execution=validity.execution.total_seconds(),
        ),
        process_values=plain(process_values(request.process)),
        covered_by=request.covered_by,
        standing=request.standing,
        may_decide=allowed.decide,
        may_cancel=allowed.cancel,
        may_execute=allowed.execute,
    )


def _nodes(connection: Connection, request: Request) -> list[NodeStand]:
    said = {one.node: one for one in request.decisions}
    found = []
    for number, node in enumerate(request.process.levels[request.level].nodes):
        its = said.get(number)
        found.append(
            NodeStand(
                label=node.label,
                members=sorted(deciders(connection, node)),
                verdict=None if its is None else its.verdict,
                actor=None if its is None else its.actor,
                comment=None if its is None else its.comment,
                decided_at=None if its is None else its.decided_at,
            )
        )
    return found
