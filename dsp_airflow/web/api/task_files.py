"""New task files: what they may say, what is wrong with one, and saving it where that is on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import HTTPException
from pydantic import Field

from dsp_airflow import saving
from dsp_airflow.approval import settings
from dsp_airflow.approval.processes import Processes
from dsp_airflow.config.errors import ConfigProblems
from dsp_airflow.config.processes import TaskType
from dsp_airflow.config.schema import task_schema
from dsp_airflow.web import scheduler
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document
from dsp_airflow.web.problems import Mistake, mistakes_of
from dsp_airflow.web.routing import router
from dsp_airflow.web.users import Acting

routes = router("task files")

LARGEST = 256 * 1024
"""Characters of a task file that is sent."""


class ProcessName(Document):
    """An approval process that a task may name."""

    name: str
    task_type: TaskType
    remarks: str


class TaskForm(Document):
    """What a new task file may say."""

    task_schema: dict[str, Any]
    """The JSON Schema of task files."""
    processes: list[ProcessName]
    """Those that are offered, in the order in which they are tried."""
    approval_enforced: bool
    may_save: bool
    """Whether you may save a new task file here: see docs/operations.md."""


class TaskText(Document):
    """A task file."""

    text: Annotated[str, Field(max_length=LARGEST)]


class Judged(Document):
    """What is wrong with a task file; nothing: it is one."""

    task: str | None
    problems: list[Mistake]


class SavedTask(Document):
    """A task file that was saved. Airflow reads its folder now and then."""

    task: str
    file: str


@routes.get("/task-files/form", summary="What a new task may say")
def show_form(database: Database, actor: Acting) -> TaskForm:
    """The JSON Schema of task files, and the approval processes that are offered."""
    known = Processes(database, founding=False).all()
    return TaskForm(
        task_schema=task_schema(),
        processes=[
            ProcessName(
                name=one.process.name,
                task_type=one.process.task_type,
                remarks=one.process.remarks,
            )
            for one in known
            if one.process.enabled
        ],
        approval_enforced=settings.enforced(),
        may_save=saving.allowed() and actor.may_edit_dags,
    )


@routes.post("/task-files/lint", summary="Judge a task file")
def lint_text(said: TaskText) -> Judged:
    """As `dsp lint` does: every problem, with line and column. Nothing is kept, and no other file
    is read.
    """
    try:
        return Judged(task=saving.judged(said.text).name, problems=[])
    except ConfigProblems as error:
        return Judged(task=None, problems=mistakes_of(error))


@routes.post("/task-files", summary="Save a new task file", status_code=201)
def save_text(said: TaskText, database: Database, actor: Acting) -> SavedTask:
    """Where `[dsp] allow_save` is on, for who may edit DAGs in Airflow, and holds the grants that
    the task needs as its owner. 409 where anything has its name.
    """
    if not actor.may_edit_dags:
        raise HTTPException(
            403, f"{actor.name} may not save task files; who may edit DAGs in Airflow may"
        )
    name = saving.judged(said.text).name
    taken = sorted(scheduler.scheduled(saving.dags_of(name)))
    if taken:
        raise HTTPException(409, f"Airflow has a DAG {taken[0]} already; choose another name")
    file = saving.save_task(database, said.text, actor.name, administrator=actor.administrator)
    return SavedTask(task=name, file=str(file))
