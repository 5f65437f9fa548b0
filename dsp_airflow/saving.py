"""Saving a new task file from a page: only where that was switched on, and never over anything.

Whoever saves one answers for it: the task is its saver's own, and does nothing that the saver was
not granted. All gates of a run hold for it as for any other.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from dsp_airflow.approval.waived import require_asking
from dsp_airflow.config.definition import normalise
from dsp_airflow.config.loading import parse_task
from dsp_airflow.config.names import BY_HAND
from dsp_airflow.config.tasks import Task
from dsp_airflow.config.templates import is_template, split_target
from dsp_airflow.engine.errors import ConfigError, Denied, DspError, Refused
from dsp_airflow.permissions.grants import Needed, Scope
from dsp_airflow.permissions.needs import Place, of_run
from dsp_airflow.permissions.store import Grants
from dsp_airflow.state import audit
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.new_file import new_file
from dsp_airflow.state.settings import truth, variable
from dsp_airflow.task_list import Tasks

SHOWN = "new task"
"""What problems of a text that was sent say in place of a file's name."""
MAX_NAME = 200
"""Characters of a name that is a file's, too."""
_MODE = 0o644


def allowed() -> bool:
    """Whether new task files may be saved at all: ``[dsp] allow_save``."""
    return truth("allow_save", default=False)


def judged(text: str) -> Task:
    """The task in a text, as ``dsp lint`` judges a file; ``ConfigProblems`` with all its errors."""
    task = parse_task(text, SHOWN)
    require_asking(task, text, SHOWN)
    return task


def dags_of(name: str) -> list[str]:
    """The ids that the DAGs of a task may have."""
    return [name, *(f"{name}{suffix}" for suffix in BY_HAND)]


def save_task(database: StateDatabase, text: str, actor: str, *, administrator: bool) -> Path:
    """Writes the text into a new file of the task's name, which is returned.

    ``ConfigProblems`` where the text is no task, ``Denied`` where the actor may not save this one,
    ``Refused`` where anything has its name already. Recorded before the file stands there; if that
    fails after all, this is recorded as well.
    """
    if not allowed():
        raise Denied(f"nobody may save task files here: {variable('allow_save')} is not set")
    task = judged(text)
    _check_name(task.name)
    if not administrator:
        _require_own(task, actor)
        _require_grants(database, task, actor)
    tasks = Tasks(database)
    if tasks.known(task.name):
        raise Refused(f"there is a task {task.name} already, or was one; choose another name")
    path = tasks.folder / f"{task.name}.yaml"
    data = text.encode()
    about = {"file": str(path), "sha256": hashlib.sha256(data).hexdigest()}
    recorded = False
    try:
        with new_file(path, _MODE) as file:
            file.write(data)
            # All that may fail has happened by then, but for somebody else's file of that name.
            file.flush()
            os.fsync(file.fileno())
            _record(database, actor, task, "task.save", {**about, "definition": normalise(task)})
            recorded = True
    except DspError as error:
        if recorded:
            _record(database, actor, task, "task.save_failed", {**about, "error": str(error)})
        raise
    return path


def _check_name(name: str) -> None:
    """A task's name may be more than a visible file's may."""
    if name.startswith("."):
        raise ConfigError(f"{name} begins with a dot, and hidden files hold no tasks")
    if len(name) > MAX_NAME:
        raise ConfigError(f"the name is longer than {MAX_NAME} characters, and the file's would be")


def _require_own(task: Task, actor: str) -> None:
    if task.owner != actor:
        said = f"says owner: {task.owner}" if task.owner else "names no owner"
        raise Denied(
            f"task {task.name} {said}; {actor} may save tasks of owner {actor} only, as it would "
            "work by the grants of its owner"
        )


def _require_grants(database: StateDatabase, task: Task, actor: str) -> None:
    """By the names in the text alone: what they stand for is asked of the database by each run."""
    grants = Grants(database)
    missing = [
        one
        for one in of_run(task)
        if not grants.may(actor, one.privilege, Needed(_scope(one.place)))
    ]
    if missing:
        told = "; ".join(f"{one.privilege} {one.place}" for one in missing)
        raise Denied(
            f"{actor} may not save task {task.name}, as {actor} has no grant to {told}; "
            "apply for it, or ask an administrator to save it"
        )


def _scope(place: Place) -> Scope:
    """What a name stands for at least; of one without a schema the whole connection."""
    if place.bucket is not None:
        path = place.prefix is not None
        return Scope(place.connection, place.bucket, place.prefix, is_path=path)
    if place.table is None:
        return Scope(place.connection)
    parts = split_target(place.table)
    if len(parts) == 1 or is_template(parts[0]):
        return Scope(place.connection)
    container, item = parts
    return Scope(place.connection, container, None if is_template(item) else item)


def _record(
    database: StateDatabase, actor: str, task: Task, action: str, after: dict[str, object]
) -> None:
    with database.write() as connection:
        audit.record(
            connection, actor=actor, action=action, object=f"task {task.name}", after=after
        )
