"""Tasks: their files, whether they may run, and running one now."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import HTTPException

from dsp_airflow.config.definition import normalise
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.run_list import WantedRuns, runs_page
from dsp_airflow.state.switches import Switch, TaskState
from dsp_airflow.task_list import Tasks
from dsp_airflow.web import scheduler
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document, Moment, Page, Paged, plain
from dsp_airflow.web.problems import Mistake, mistakes_of
from dsp_airflow.web.routing import router
from dsp_airflow.web.users import Acting, Actor

routes = router("tasks")

_LATEST = 10
"""Runs that are shown with a task."""
LARGEST = 1024 * 1024
"""Bytes of a task file that is shown."""


class TaskLine(Document):
    """One task as lists show it."""

    name: str
    title: str
    owner: str | None
    types: list[str]
    schedule: str
    """A cron expression, `manual`, or `once: ...`; empty where the file cannot be read."""
    state: TaskState
    paused: bool | None
    """In Airflow; null where it has no such DAG."""
    last_run: str | None
    last_state: str | None
    last_at: Moment | None
    next_at: Moment | None
    file: str | None
    problems: list[Mistake]


class SwitchedBy(Document):
    """Who said last whether a task may run."""

    state: TaskState
    reason: str | None
    changed_by: str | None
    changed_at: Moment


class RunOfTask(Document):
    """One of its latest runs."""

    id: str
    state: str
    triggered_by: str | None
    created_at: Moment
    ended_at: Moment | None


class TaskDetail(TaskLine):
    """One task, with its file."""

    description: str
    yaml: str | None
    """The text of its file."""
    definition: dict[str, Any] | None
    """What it says, defaults filled in; null while the file has problems."""
    switch: SwitchedBy | None
    runs: list[RunOfTask]
    may_steer: bool


@routes.get("/tasks", summary="List tasks")
def list_tasks(
    database: Database,
    actor: Acting,
    paging: Paged,
    name: str | None = None,
    type: Literal["warm", "s3", "restore"] | None = None,  # noqa: A002 - as files say it
    state: TaskState | None = None,
    broken: bool | None = None,
) -> Page[TaskLine]:
    """By name. `broken` are those whose file has problems."""
    tasks = Tasks(database)
    names = [one for one in tasks.names if name is None or name.lower() in one.lower()]
    seen = actor.readable(names)
    names = [one for one in names if one in seen]
    if state is not None:
        names = [one for one in names if _state(tasks.switches.get(one)) == state]
    if type is None and broken is None:
        some = names[paging.offset : paging.offset + paging.limit]
        tasks.scheduled = scheduler.scheduled(some)
        return paging.page([_line(tasks, one) for one in some], len(names))
    # These stand in the files alone.
    tasks.scheduled = scheduler.scheduled(names)
    lines = [_line(tasks, one) for one in names]
    return paging.cut(
        [
            one
            for one in lines
            if (type is None or type in one.types)
            and (broken is None or bool(one.problems) == broken)
        ]
    )


@routes.get("/tasks/{task}", summary="Show a task")
def show_task(task: str, database: Database, actor: Acting) -> TaskDetail:
    """Its file, what is wrong with it, and its latest runs."""
    tasks = visible(database, actor, task)
    tasks.scheduled = scheduler.scheduled([task])
    return _detail(tasks, task, actor)


def visible(database: StateDatabase, actor: Actor, task: str) -> Tasks:
    """404 for one that is not there, or whose DAG the user may not read."""
    tasks = Tasks(database)
    if not tasks.known(task) or not actor.may_read(task):
        raise HTTPException(404, f"there is no task {task} that you may see")
    return tasks


def _state(switch: Switch | None) -> TaskState:
    return "enabled" if switch is None else switch.state


def _line(tasks: Tasks, name: str) -> TaskLine:
    known = tasks.line(name)
    found, problems = tasks.loaded(name)
    return TaskLine(
        **{
            field: getattr(known, field) for field in TaskLine.model_fields if hasattr(known, field)
        },
        title=found.title if found else name,
        owner=(found.owner or None) if found else None,
        problems=[] if problems is None else mistakes_of(problems),
    )


def _detail(tasks: Tasks, name: str, actor: Actor) -> TaskDetail:
    found, _ = tasks.loaded(name)
    switch = tasks.switches.get(name)
    owner = found.owner if found else None
    return TaskDetail(
        **_line(tasks, name).model_dump(),
        description=found.description if found else "",
        yaml=_text(tasks, name),
        definition=plain(normalise(found)) if found else None,
        switch=None if switch is None else SwitchedBy.model_validate(switch, from_attributes=True),
        runs=_runs(tasks, name),
        may_steer=actor.may_steer(name, owner),
    )


def _runs(tasks: Tasks, name: str) -> list[RunOfTask]:
    with tasks.database.read() as connection:
        runs, _ = runs_page(connection, WantedRuns(task=name), limit=_LATEST)
    return [RunOfTask.model_validate(run, from_attributes=True) for run in runs]


def _text(tasks: Tasks, name: str) -> str | None:
    path = tasks.files.get(name)
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            return file.read(LARGEST).decode("utf-8", "replace")
    except OSError:
        return None  # it was there a moment ago; what is wrong is among the problems
