"""How the source tables of a task differ from what its last run found, and accepting that."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import Depends, HTTPException
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from dsp_airflow.approval.subject import connections_of
from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.model import Shape
from dsp_airflow.state.codec import load
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.shapes import ShapeKey, Shapes
from dsp_airflow.web.api.tasks import visible
from dsp_airflow.web.children import Children, children
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document
from dsp_airflow.web.routing import router
from dsp_airflow.web.secrets import secrets_of
from dsp_airflow.web.users import Acting, Actor

routes = router("drift")

Name: TypeAlias = Annotated[str, Field(max_length=250)]


class Look(Document):
    """Of which job."""

    job: Name


class Acceptance(Look):
    """What was seen of it."""

    digest: Annotated[str, Field(max_length=64)]
    """As the look gave it: another table, or one that changed since, is not accepted by it."""


class TableChange(Document):
    """One thing that is not as it was."""

    kind: Literal["added", "dropped", "widened", "narrowed", "key", "kind"]
    what: str


class JobDrift(Document):
    """A source table, compared with what the last run found of it."""

    job: str
    table: str
    run: str | None
    """Which run found it; null: somebody accepted it, or nobody has looked."""
    known: bool
    changes: list[TableChange]
    digest: str | None
    """Of the table as it is; null where it cannot be accepted."""
    accepted: bool


@dataclass(frozen=True, slots=True)
class Looked:
    """A job that the user may look at: its file, and where it connects to."""

    task: str
    job: str
    file: str
    connections: tuple[str, ...]
    database: StateDatabase
    by: str


def _allowed(task: str, job: str, database: StateDatabase, actor: Actor) -> Looked:
    tasks = visible(database, actor, task)
    found, problems = tasks.loaded(task)
    owner = found.owner if found else None
    actor.require_steering(task, owner, f"say that the tables of task {task} are as they should be")
    if problems is not None:
        raise problems
    if found is None:
        raise HTTPException(409, f"the file of task {task} is not in {tasks.folder}")
    its = next((one for one in found.jobs if one.name == job), None)
    if its is None or its.type == "restore":
        raise HTTPException(404, f"task {task} has no job {job} that reads a table")
    file, names = str(tasks.files[task]), tuple(connections_of(its))
    return Looked(task, job, file, names, database, actor.name)


def _looked(task: str, said: Look, database: Database, actor: Acting) -> Looked:
    return _allowed(task, said.job, database, actor)


def _accepting(task: str, said: Acceptance, database: Database, actor: Acting) -> Looked:
    return _allowed(task, said.job, database, actor)


@routes.post("/tasks/{task}/drift", summary="Compare a source table with what the last run found")
async def look_at_drift(
    looked: Annotated[Looked, Depends(_looked)], commands: Annotated[Children, Depends(children)]
) -> JobDrift:
    """Connects and reads as `dsp drift` does, for at most a minute; 504 after that."""
    return _document(await _found(looked, commands))


@routes.post("/tasks/{task}/drift/accept", summary="Take a source table as it is")
async def accept_drift(
    said: Acceptance,
    looked: Annotated[Looked, Depends(_accepting)],
    commands: Annotated[Children, Depends(children)],
) -> JobDrift:
    """From then on runs compare with what it is now. 409 where that is not what was seen."""
    found = await _found(looked, commands)
    seen = _document(found)
    if not seen.changes:
        raise Refused(f"{seen.table} is as the last run found it; there is nothing to accept")
    if seen.digest is None or seen.digest != said.digest:
        raise Refused(f"{seen.table} has changed since you looked; look again, and accept it then")
    key = ShapeKey(looked.task, looked.job, str(found["source"]))
    shape = load(Shape, str(found["shape"]))
    await run_in_threadpool(Shapes(looked.database).accept, key, shape, looked.by)
    return seen.model_copy(update={"accepted": True})


async def _found(looked: Looked, commands: Children) -> dict[str, Any]:
    secrets = await run_in_threadpool(secrets_of, looked.connections)
    arguments = ("drift", "--json", "--job", looked.job, "--", looked.file)
    found: dict[str, Any] = (await commands.document(*arguments, secrets=secrets))["jobs"][0]
    return found


def _document(found: dict[str, Any]) -> JobDrift:
    shape = found["shape"]
    digest = None if shape is None else hashlib.sha256(str(shape).encode()).hexdigest()
    return JobDrift(
        **{name: found[name] for name in ("job", "table", "run", "known", "changes", "accepted")},
        digest=digest,
    )
