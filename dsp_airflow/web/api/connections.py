"""The connections that tasks use: their names and types, and a test of one. Never a secret."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Depends, HTTPException
from starlette.concurrency import run_in_threadpool

from dsp_airflow.approval.subject import connections_of
from dsp_airflow.permissions.grants import Needed, Scope
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


class ConnectionLine(Document):
    """One connection of Airflow that a task names."""

    name: str
    type: str | None
    """Null where Airflow has no such connection."""
    tasks: list[str]
    """Those of the tasks that you may see which use it."""


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
def list_connections(database: Database, actor: Acting, paging: Paged) -> Page[ConnectionLine]:
    """By name, of the tasks that you may see."""
    used = _used(Tasks(database), actor)
    page = paging.cut(sorted(used))
    return paging.page(
        [
            ConnectionLine(name=name, type=kind_of(name), tasks=sorted(used[name]))
            for name in page.items
        ],
        page.total,
    )


def _tested(connection: str, database: Database, actor: Acting) -> str:
    used = _used(Tasks(database), actor)
    if connection not in used:
        raise HTTPException(404, f"no task that you may see uses a connection {connection}")
    if not _may_test(database, actor, connection, used[connection]):
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


def _used(tasks: Tasks, actor: Actor) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name in actor.readable(tasks.files):
        task, _ = tasks.loaded(name)
        for job in task.jobs if task else ():
            for connection in connections_of(job):
                found.setdefault(connection, set()).add(name)
    return found


def _may_test(database: StateDatabase, actor: Actor, connection: str, used: set[str]) -> bool:
    if Grants(database).may(actor.name, "read", Needed(Scope(connection))):
        return True
    tasks = Tasks(database)
    owners = {name: task.owner for name in used if (task := tasks.loaded(name)[0])}
    return any(actor.may_steer(name, owner) for name, owner in owners.items())
