"""Tasks: their files, whether they may run, and running one now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import Depends, HTTPException, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from dsp_airflow import task_list
from dsp_airflow.config.definition import normalise
from dsp_airflow.config.names import PURGE_SUFFIX
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.run_list import WantedRuns, runs_page
from dsp_airflow.state.switches import Switch, Switches, TaskState
from dsp_airflow.task_list import Tasks
from dsp_airflow.web import scheduler
from dsp_airflow.web.api.actions import begin
from dsp_airflow.web.api.runs import AirflowRun
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document, Moment, Page, Paged, plain
from dsp_airflow.web.problems import Mistake, mistakes_of
from dsp_airflow.web.routing import router
from dsp_airflow.web.users import Acting, Actor, owner_of

routes = router("tasks")

TaskOrder: TypeAlias = Literal["name", "state", "next_at", "last_at"]
"""What tasks are sorted by: what is known of all of them without reading every file."""

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
    """Whether you may switch it, and look at its plan."""
    may_run: bool
    """Whether Airflow lets you run it."""


@routes.get("/tasks", summary="List tasks")
def list_tasks(
    database: Database,
    actor: Acting,
    paging: Paged,
    name: str | None = None,
    type: Literal["warm", "s3", "restore"] | None = None,  # noqa: A002 - as files say it
    state: TaskState | None = None,
    broken: bool | None = None,
    sort: TaskOrder = "name",
    descending: bool = False,
) -> Page[TaskLine]:
    """By name, if nothing else is said. `broken` are those whose file has problems."""
    tasks = Tasks(database)
    names = [one for one in tasks.names if name is None or name.lower() in one.lower()]
    seen = actor.readable(names)
    names = [one for one in names if one in seen]
    if state is not None:
        names = [one for one in names if _state(tasks.switches.get(one)) == state]
    if type is not None or broken is not None:
        names = [one for one in names if _fits(tasks, one, type, broken=broken)]
    names = _in_order(tasks, names, sort, descending=descending)
    some = names[paging.offset : paging.offset + paging.limit]
    tasks.scheduled = scheduler.scheduled(some)
    return paging.page([_line(tasks, one) for one in tasks.lines(some)], len(names))


@routes.get("/tasks/{task}", summary="Show a task")
def show_task(task: str, database: Database, actor: Acting) -> TaskDetail:
    """Its file, what is wrong with it, and its latest runs."""
    tasks = visible(database, actor, task)
    tasks.scheduled = scheduler.scheduled([task])
    return _detail(tasks, task, actor)


class Switching(Document):
    """Why a task is switched."""

    reason: Annotated[str, Field(max_length=4000)] | None = None
    from_offline: bool = False
    """Whether a task that was taken offline comes back; it is refused without."""


class Switched(Document):
    """A task as it is switched now."""

    task: str
    state: TaskState
    going: list[str]
    """Runs that have begun, and go on."""
    airflow: str
    """What became of its DAG in Airflow, which shows the state and does not decide it."""


def _enabled(task: str, said: Switching, database: Database, actor: Acting) -> Switched:
    return _switch(database, actor, task, "enabled", said)


def _disabled(task: str, said: Switching, database: Database, actor: Acting) -> Switched:
    return _switch(database, actor, task, "disabled", said)


def _offline(task: str, said: Switching, database: Database, actor: Acting) -> Switched:
    return _switch(database, actor, task, "offline", said)


@routes.post("/tasks/{task}/enable", summary="Let runs of a task begin again")
async def enable_task(request: Request, done: Annotated[Switched, Depends(_enabled)]) -> Switched:
    """Also unpauses its DAG in Airflow, where you may do that."""
    return await _mirrored(request, done)


@routes.post("/tasks/{task}/disable", summary="Let no new run of a task begin")
async def disable_task(request: Request, done: Annotated[Switched, Depends(_disabled)]) -> Switched:
    """One in progress goes on. Also pauses its DAG in Airflow, where you may do that."""
    return await _mirrored(request, done)


@routes.post("/tasks/{task}/offline", summary="Take a task out of service")
async def take_offline(request: Request, done: Annotated[Switched, Depends(_offline)]) -> Switched:
    """As `disable`; nothing of it is deleted by hand either, and it comes back only with
    `from_offline`.
    """
    return await _mirrored(request, done)


def _may_begin(task: str, database: Database, actor: Acting) -> str:
    visible(database, actor, task)
    Switches(database).require_enabled(task)
    dag = scheduler.scheduled([task]).get(task)
    if dag is None:
        raise HTTPException(409, f"Airflow has no DAG {task} yet; it reads its folder now and then")
    if dag.paused:
        raise HTTPException(409, f"DAG {task} is paused in Airflow, where the run would wait")
    return task


@routes.post("/tasks/{task}/run", summary="Run a task now", status_code=202)
async def run_task(request: Request, task: Annotated[str, Depends(_may_begin)]) -> AirflowRun:
    """Begins a run of its DAG in your name, which Airflow has to allow you."""
    return await begin(request, task)


def visible(database: StateDatabase, actor: Actor, task: str) -> Tasks:
    """404 for one that is not there, or whose DAG the user may not read."""
    tasks = Tasks(database)
    if not tasks.known(task) or not actor.may_read(task):
        raise HTTPException(404, f"there is no task {task} that you may see")
    return tasks


def _switch(
    database: StateDatabase, actor: Actor, task: str, state: TaskState, said: Switching
) -> Switched:
    tasks = visible(database, actor, task)
    found, _ = tasks.loaded(task)
    last = tasks.runs.latest(task)
    owner = found.owner if found else owner_of(last) if last else None
    actor.require_steering(task, owner, f"switch task {task}")
    Switches(database).set(task, state, actor.name, said.reason, back=said.from_offline)
    going = [run for run in tasks.runs.recent(task) if not run.ended]
    return Switched(task=task, state=state, going=[run.id for run in going], airflow="")


async def _mirrored(request: Request, done: Switched) -> Switched:
    """Airflow's own pause, as `dsp task` sets it; that it failed is told, and changes nothing."""
    paused = done.state != "enabled"
    if paused and done.going:
        said = "its DAG is not paused while a run goes on; new runs are refused all the same"
        return done.model_copy(update={"airflow": said})
    dags = [done.task] if done.state == "disabled" else [done.task, f"{done.task}{PURGE_SUFFIX}"]
    known = await run_in_threadpool(scheduler.scheduled, dags)
    try:
        for dag in known:
            await scheduler.ask(request, "PATCH", scheduler.dag_path(dag), {"is_paused": paused})
    except HTTPException as error:
        return done.model_copy(update={"airflow": str(error.detail)})
    said = ("paused" if paused else "not paused") if known else "it has no such DAG"
    return done.model_copy(update={"airflow": said})


def _in_order(tasks: Tasks, names: list[str], by: TaskOrder, *, descending: bool) -> list[str]:
    """The names by what is asked for, and by themselves; what has no such value comes last."""
    if by == "name":
        return sorted(names, reverse=descending)
    values: Mapping[str, Any]
    if by == "state":
        values = {one: _state(tasks.switches.get(one)) for one in names}
    elif by == "last_at":
        values = tasks.runs.latest_times()
    else:
        tasks.scheduled = scheduler.scheduled(names)
        values = {one: tasks.next_at(one) for one in names}
    known = sorted(one for one in names if values.get(one) is not None)
    known.sort(key=lambda one: values[one], reverse=descending)
    return known + sorted(one for one in names if values.get(one) is None)


def _state(switch: Switch | None) -> TaskState:
    return "enabled" if switch is None else switch.state


def _fits(tasks: Tasks, name: str, kind: str | None, *, broken: bool | None) -> bool:
    """Whether the task's file has a job of this type, and has problems or has none."""
    found, problems = tasks.loaded(name)
    if kind is not None and not (found and any(job.type == kind for job in found.jobs)):
        return False
    return broken is None or broken == (problems is not None)


def _line(tasks: Tasks, known: task_list.TaskLine) -> TaskLine:
    found, problems = tasks.loaded(known.name)
    return TaskLine(
        **{
            field: getattr(known, field) for field in TaskLine.model_fields if hasattr(known, field)
        },
        title=found.title if found else known.name,
        owner=(found.owner or None) if found else None,
        problems=[] if problems is None else mistakes_of(problems),
    )


def _detail(tasks: Tasks, name: str, actor: Actor) -> TaskDetail:
    found, _ = tasks.loaded(name)
    switch = tasks.switches.get(name)
    owner = found.owner if found else None
    return TaskDetail(
        **_line(tasks, tasks.line(name)).model_dump(),
        description=found.description if found else "",
        yaml=_text(tasks, name),
        definition=plain(normalise(found)) if found else None,
        switch=None if switch is None else SwitchedBy.model_validate(switch, from_attributes=True),
        runs=_runs(tasks, name),
        may_steer=actor.may_steer(name, owner),
        may_run=actor.may_begin(name),
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
