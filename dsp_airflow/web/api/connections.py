"""The connections that tasks use: their names and types, and a test of one. Never a secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from fastapi import Depends, HTTPException
from starlette.concurrency import run_in_threadpool

from dsp_airflow.approval.subject import connections_of
from dsp_airflow.permissions.grants import Needed, Scope, allows
from dsp_airflow.permissions.store import Grants
from dsp_airflow.state import audit
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.task_list import Tasks
from dsp_airflow.web.children import Children, children
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document, Page, Paged
from dsp_airflow.web.routing import router
from dsp_airflow.web.secrets import kind_of, secrets_of
from dsp_airflow.web.users import Acting, Actor

routes = router("connections")


@dataclass(slots=True)
class Use:
    """The tasks that use a connection; of them, those that it is a source and a target of."""

    tasks: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)
    targets: set[str] = field(default_factory=set)


class ConnectionLine(Document):
    """One connection of Airflow that a task names."""

    name: str
    type: str | None
    """Null where Airflow has no such connection."""
    tasks: list[str]
    """Those of the tasks that you may see which use it."""
    source_of: list[str]
    target_of: list[str]
    """Of them, those that read from it, and those that write to it; others look at it only."""
    may_test: bool
    """Whether you may."""


class FindingLine(Document):
    """One thing that was looked at."""

    subject: str
    state: Literal["ok", "warning", "failed"]
    text: str
    remedy: str
    """What to do; empty where all is well."""


class Findings(Document):
    """What a test of a connection found."""

    connection: str
    findings: list[FindingLine]


@routes.get("/connections", summary="List the connections that tasks use")
def list_connections(
    database: Database,
    actor: Acting,
    paging: Paged,
    name: str | None = None,
    type: str | None = None,  # noqa: A002 - as Airflow calls it
    used: Literal["source", "target"] | None = None,
) -> Page[ConnectionLine]:
    """By name, of the tasks that you may see. `name` is a part of it, `used` what it is for some
    task.
    """
    tasks = Tasks(database)
    uses = {
        one: its
        for one, its in _uses(tasks, actor).items()
        if (name is None or name.lower() in one.lower())
        and (used is None or (its.sources if used == "source" else its.targets))
    }
    kinds = {} if type is None else {one: kind_of(one) for one in uses}
    page = paging.cut(sorted(one for one in uses if type is None or kinds[one] == type))
    testable = _testable(database, tasks, actor, {one: uses[one] for one in page.items})
    return paging.page(
        [
            ConnectionLine(
                name=one,
                type=kinds[one] if one in kinds else kind_of(one),
                tasks=sorted(uses[one].tasks),
                source_of=sorted(uses[one].sources),
                target_of=sorted(uses[one].targets),
                may_test=one in testable,
            )
            for one in page.items
        ],
        page.total,
    )


def _tested(connection: str, database: Database, actor: Acting) -> str:
    tasks = Tasks(database)
    uses = {one: its for one, its in _uses(tasks, actor).items() if one == connection}
    if not uses:
        raise HTTPException(404, f"no task that you may see uses a connection {connection}")
    if connection not in _testable(database, tasks, actor, uses):
        raise HTTPException(
            403,
            f"{actor.name} may not test {connection}; who may read it by a grant may, and who may "
            "steer a task that uses it",
        )
    if kind_of(connection) is None:
        raise HTTPException(409, f"Airflow has no connection {connection}; create it there first")
    with database.write() as transaction:
        audit.record(
            transaction,
            actor=actor.name,
            action="connection.test",
            object=f"connection {connection}",
        )
    return connection


@routes.post("/connections/{connection}/test", summary="Test a connection")
async def test_connection(
    name: Annotated[str, Depends(_tested)], commands: Annotated[Children, Depends(children)]
) -> Findings:
    """As `dsp check-connection` does, for at most a minute; 504 after that. Of S3 an object of its
    own is put there and removed.
    """
    secrets = await run_in_threadpool(secrets_of, [name])
    found = await commands.document("check-connection", "--json", "--", name, secrets=secrets)
    return Findings(
        connection=name, findings=[FindingLine.model_validate(one) for one in found["findings"]]
    )


def _uses(tasks: Tasks, actor: Actor) -> dict[str, Use]:
    """By connection, of the tasks that the user may see."""
    found: dict[str, Use] = {}
    for name in actor.readable(tasks.files):
        task, _ = tasks.loaded(name)
        for job in task.jobs if task else ():
            for connection in connections_of(job):
                found.setdefault(connection, Use()).tasks.add(name)
            found[job.source.connection].sources.add(name)
            found[job.target.connection].targets.add(name)
    return found


def _testable(
    database: StateDatabase, tasks: Tasks, actor: Actor, uses: Mapping[str, Use]
) -> set[str]:
    """Of these connections, those that the user may read by a grant, or steers a task on."""
    if actor.administrator:
        return set(uses)
    mine, now = Grants(database).of(actor.name), database.now()
    names = {name for its in uses.values() for name in its.tasks}
    owned = {name for name in names if (task := tasks.loaded(name)[0]) and task.owner == actor.name}
    steered = owned | actor.editable(names)
    return {
        one
        for one, its in uses.items()
        if its.tasks & steered
        or allows(mine, actor.name, actor.roles, "read", Needed(Scope(one)), now)
    }
