"""Approval processes: who decides on which tasks. Administrators see and change them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from fastapi import Depends, HTTPException
from pydantic import Field

from dsp_airflow.approval.processes import Known, Processes
from dsp_airflow.config.process_loading import parse_process
from dsp_airflow.config.processes import Process, TaskType, process_values
from dsp_airflow.state.codec import canonical
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document, Moment, Page, Paged, ordered, plain
from dsp_airflow.web.problems import Mistake, mistakes_of
from dsp_airflow.web.routing import router
from dsp_airflow.web.users import Acting, Actor

routes = router("processes")
_SENT = "process"
"""What mistakes in a process that was sent say in place of a file's name."""


class ProcessLine(Document):
    """One process, and where it comes from."""

    name: str
    task_type: TaskType
    enabled: bool
    priority: int
    values: dict[str, Any]
    """All that it says, as `docs/approval.md` names it."""
    file: str | None
    """Of one that is a file: it is changed there, and not here."""
    created_by: str | None
    created_at: Moment | None
    changed_by: str | None
    changed_at: Moment | None


class ProcessPage(Page[ProcessLine]):
    """Processes, in the order in which they are tried."""

    broken: list[Mistake]
    """What is wrong with files; while that is so, no task of their types can ask."""


class Order(Document):
    """Names of processes in the order in which they are tried; others come after them."""

    names: Annotated[list[str], Field(min_length=1, max_length=500)]


Values: TypeAlias = dict[str, Any]
"""A process, as `docs/approval.md` says it."""


def _processes(database: Database, actor: Acting) -> Processes:
    actor.require_administrator("approval processes")
    return Processes(database, founding=False)


Found = Annotated[Processes, Depends(_processes)]


@routes.get("/processes", summary="List approval processes")
def list_processes(
    processes: Found,
    paging: Paged,
    name: str | None = None,
    type: TaskType | None = None,  # noqa: A002 - as files say it
    creator: str | None = None,
    status: Literal["enabled", "disabled"] | None = None,
    sort: Literal["priority", "name", "task_type", "created_by", "enabled", "changed_at"] = (
        "priority"
    ),
    descending: bool = False,
) -> ProcessPage:
    """By type, and in the order in which they are tried. `name` is a part of it."""
    found = [
        one
        for one in processes.all()
        if (name is None or name.lower() in one.process.name.lower())
        and type in {None, one.process.task_type}
        and creator in {None, one.created_by}
        and (status is None or one.process.enabled == (status == "enabled"))
    ]
    broken = [mistake for one in processes.broken() for mistake in mistakes_of(one.problems)]
    lines = [_line(one) for one in found]
    if sort != "priority":
        lines = ordered(lines, sort, descending=descending)
    page = paging.cut(lines[::-1] if sort == "priority" and descending else lines)
    return ProcessPage(**dict(page), broken=broken)


@routes.get("/processes/{name}", summary="Show an approval process")
def show_process(name: str, processes: Found) -> ProcessLine:
    """All that it says."""
    return _line(_known(processes, name))


@routes.post("/processes", status_code=201, summary="Make an approval process")
def create_process(values: Values, processes: Found, actor: Acting) -> ProcessLine:
    """It is kept in the state database."""
    process = _process(values)
    processes.create(process, actor.name)
    return _line(_known(processes, process.name))


@routes.put("/processes/{name}", summary="Change an approval process")
def edit_process(name: str, values: Values, processes: Found, actor: Acting) -> ProcessLine:
    """Puts another in its place. Requests keep what they have."""
    _known(processes, name)
    process = _process(values)
    processes.edit(name, process, actor.name)
    return _line(_known(processes, process.name))


@routes.post("/processes/{name}/enable", summary="Offer a process")
def enable_process(name: str, processes: Found, actor: Acting) -> ProcessLine:
    """To new requests."""
    return _switched(processes, name, actor, enabled=True)


@routes.post("/processes/{name}/disable", summary="Offer a process no longer")
def disable_process(name: str, processes: Found, actor: Acting) -> ProcessLine:
    """Requests keep what they have."""
    return _switched(processes, name, actor, enabled=False)


@routes.delete("/processes/{name}", summary="Delete a process", status_code=204)
def delete_process(name: str, processes: Found, actor: Acting) -> None:
    """Requests keep what they have."""
    _known(processes, name)
    processes.delete(name, actor.name)


@routes.put("/process-order/{type}", summary="Set the order of the processes of a type")
def reorder_processes(
    type: TaskType,  # noqa: A002 - as files say it
    order: Order,
    processes: Found,
    actor: Acting,
) -> list[ProcessLine]:
    """Those of the type, as they are tried now."""
    processes.reorder(type, order.names, actor.name)
    return [_line(one) for one in processes.all() if one.process.task_type == type]


def _switched(processes: Processes, name: str, actor: Actor, *, enabled: bool) -> ProcessLine:
    _known(processes, name)
    processes.enable(name, actor.name, enabled=enabled)
    return _line(_known(processes, name))


def _known(processes: Processes, name: str) -> Known:
    found = next((one for one in processes.all() if one.process.name == name), None)
    if found is None:
        raise HTTPException(404, f"there is no approval process {name}")
    return found


def _process(values: Values) -> Process:
    """As if a file said it, so that what is wrong is told as it is of files. JSON is YAML."""
    return parse_process(canonical(values), _SENT)


def _line(known: Known) -> ProcessLine:
    process = known.process
    return ProcessLine(
        name=process.name,
        task_type=process.task_type,
        enabled=process.enabled,
        priority=process.priority,
        values=plain(process_values(process)),
        file=None if known.file is None else str(known.file),
        created_by=known.created_by,
        created_at=known.created_at,
        changed_by=known.changed_by,
        changed_at=known.changed_at,
    )
