"""Task files to tasks, with every error of a file and of what it includes at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dsp_airflow.config import nodes
from dsp_airflow.config.archives import S3Job
from dsp_airflow.config.belonging import belonging_findings
from dsp_airflow.config.errors import ConfigProblems, Problem, listed, nearest
from dsp_airflow.config.findings import Finding
from dsp_airflow.config.includes import refuse_includes, resolve_includes
from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.config.messages import joined, place, problems_of
from dsp_airflow.config.nodes import Node
from dsp_airflow.config.order import order_findings
from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.config.tasknames import name_in, task_files
from dsp_airflow.config.tasks import (
    JOB_TYPES,
    Job,
    Task,
    duplicate_jobs,
    kin,
    places,
    shared_folders,
    shared_targets,
    touched_targets,
)

# Stands for what is wrong, so that the rest can still be judged.
_ANY_JOB: dict[str, Any] = {
    "name": "any",
    "type": "warm",
    "source": {"connection": "any_source", "table": "any"},
    "target": {"connection": "any_target"},
}
_ANY_ARCHIVE: dict[str, Any] = {
    **_ANY_JOB,
    "type": "s3",
    "target": {"connection": "any_target", "bucket": "any", "prefix": "any"},
}
_ANY_RESTORE: dict[str, Any] = {
    "name": "any",
    "type": "restore",
    "source": {"connection": "any_source", "bucket": "any", "manifest": "any"},
    "target": {"connection": "any_target", "table": "any"},
}
_ANY: dict[type[Job], dict[str, Any]] = {
    WarmJob: _ANY_JOB,
    S3Job: _ANY_ARCHIVE,
    RestoreJob: _ANY_RESTORE,
}


def load_task(path: str | os.PathLike[str]) -> Task:
    """The task in a file, with its included files. Raises `ConfigProblems` with all its errors."""
    file = Path(path)
    root, problems = nodes.read(file, str(path))
    if root is None:
        raise ConfigProblems(problems)
    return _whole(root, problems + resolve_includes(root, file))


def parse_task(text: str, shown: str) -> Task:
    """The task in a text that `shown` names, and which names no file; see `load_task`."""
    root, problems = nodes.parse(text, shown)
    if root is None:
        raise ConfigProblems(problems)
    return _whole(root, problems + refuse_includes(root))


def _whole(root: Node, problems: list[Problem]) -> Task:
    problems += empty_values(root, "")
    found: list[Problem] = []
    task = _validated(root, found)
    # What YAML already complains about needs no second complaint.
    known = {(problem.file, problem.line, problem.column) for problem in problems}
    problems += [one for one in found if (one.file, one.line, one.column) not in known]
    if task is None or problems:
        raise ConfigProblems(problems)
    return task


def load_tasks(
    folder: str | os.PathLike[str],
) -> tuple[list[tuple[Path, Task]], list[ConfigProblems]]:
    """All tasks below a folder in the order of their paths, and the problems of each bad file.

    A file with errors takes nothing else with it. Of two files with one name, the later in the
    order of paths is wrong, also when the earlier has other errors: a broken file keeps its name.
    """
    tasks: list[tuple[Path, Task]] = []
    failed: list[ConfigProblems] = []
    owners: dict[str, Path] = {}
    for path in task_files(folder):
        name = name_in(path)
        taken = [_taken(path, name, owners[name])] if name in owners else []
        try:
            task = load_task(path)
        except ConfigProblems as error:
            failed.append(ConfigProblems([*taken, *error.problems]))
        else:
            if taken:
                failed.append(ConfigProblems(taken))
            else:
                tasks.append((path, task))
        if name is not None:
            owners.setdefault(name, path)
    return tasks, failed


def empty_values(node: Node, path: str) -> Iterator[Problem]:
    """A key without a value is a slip, except where it stands for NULL, as in query documents."""
    children: Iterator[tuple[str | int, Node]] = iter(())
    if isinstance(node.value, dict):
        children = iter(node.value.items())
    elif isinstance(node.value, list):
        children = iter(enumerate(node.value))
    for step, child in children:
        inner = "" if child.file != node.file else joined(path, step)
        if child.value is None and step != "constant":
            message = "has no value; write one, or remove it"
            yield Problem(child.file, child.line, child.column, inner, message)
        if step != "where":
            yield from empty_values(child, inner)


def _validated(root: Node, problems: list[Problem]) -> Task | None:
    """The task, or None; what is wrong is added to `problems`.

    Jobs are judged one by one and the task without them, so that one error hides no other.
    """
    if not isinstance(root.value, dict):
        problems.append(place(root, Finding((), "a task file must be a mapping of keys to values")))
        return None
    jobs = root.value.get("jobs")
    entries = jobs.value if jobs is not None and isinstance(jobs.value, list) else []
    values = root.plain()
    if entries:
        values["jobs"] = [_ANY_JOB]
    task: Task | None = None
    try:
        task = Task.model_validate(values)
    except ValidationError as error:
        problems += problems_of(error, root, Task)
    valid = [_job(root, index, problems) for index in range(len(entries))]
    names = [(index, name) for index, entry in enumerate(entries) if (name := _name_of(entry))]
    problems += [place(root, finding) for finding in duplicate_jobs(names)]
    whole = [(index, job) for index, job in enumerate(valid) if job is not None]
    among = [
        *shared_folders(whole),
        *shared_targets(whole),
        *touched_targets(whole),
        *belonging_findings(kin(whole), dict(names), whole=len(names) == len(entries)),
        *order_findings(
            places(whole),
            dict(names),
            serial=values.get("execution", "serial") == "serial",
            whole=len(names) == len(entries),
        ),
    ]
    problems += [place(root, finding) for finding in among]
    if task is None or None in valid:
        return None
    return task.model_copy(update={"jobs": tuple(job for job in valid if job is not None)})


def _job(root: Node, index: int, problems: list[Problem]) -> Job | None:
    node: Node = root.value["jobs"].value[index]
    if node.value is nodes.UNREADABLE:
        return None
    values = node.plain()
    unreadable = isinstance(values, dict) and values.get("columns") is nodes.UNREADABLE
    if unreadable:
        del values["columns"]
    prefix = f"jobs[{index}]" if node.file == root.file else ""
    wrong = {"columns"} if unreadable else set()
    model, known = _model(values), True
    if model is None:
        problems.append(_unknown_type(node, values["type"], prefix))
        # The rest is judged as the usual type would be.
        model, values["type"], known = WarmJob, "warm", False
    try:
        job = model.model_validate(values)
    except ValidationError as error:
        for detail in error.errors():
            wrong |= _involved(detail["loc"])
        problems += problems_of(error, node, model, prefix)
        if isinstance(values, dict):
            problems += _remaining(model, wrong, node, values, prefix)
        return None
    return None if unreadable or not known else job


def _model(values: Any) -> type[Job] | None:
    """The model that judges a job, by its type; without one, the usual."""
    kind = values.get("type", "warm") if isinstance(values, dict) else "warm"
    return JOB_TYPES.get(kind) if isinstance(kind, str) else WarmJob


def _unknown_type(node: Node, kind: str, prefix: str) -> Problem:
    finding = Finding(
        ("type",), f"must be {listed(list(JOB_TYPES))}", kind, nearest(kind, JOB_TYPES)
    )
    return place(node, finding, prefix)


def _remaining(
    model: type[Job], wrong: set[str], node: Node, values: dict[str, Any], prefix: str
) -> Iterator[Problem]:
    """What is wrong between the keys that are right in themselves.

    Such findings only come when every key is right, so the wrong ones are replaced, and findings
    that rest on one of them are left out.
    """
    if not wrong:
        return
    rest = {key: value for key, value in values.items() if key not in wrong}
    columns = values.get("columns")
    if isinstance(columns, list):
        rest["columns"] = [
            {"source": f"replaced_{index}"} if f"columns[{index}]" in wrong else column
            for index, column in enumerate(columns)
        ]
    rest.update({key: value for key, value in _ANY[model].items() if key not in rest})
    try:
        model.model_validate(rest)
    except ValidationError as remaining:
        for detail in remaining.errors():
            for finding in (detail.get("ctx") or {}).get("findings", ()):
                if not finding.involves & wrong:
                    yield place(node, finding, prefix)


def _involved(location: Sequence[str | int]) -> set[str]:
    """The keys that an error at this place makes wrong; of columns, the one entry as well."""
    if not location:
        return set()
    found = {str(location[0])}
    if len(location) > 1 and isinstance(location[1], int):
        found.add(f"{location[0]}[{location[1]}]")
    return found


def _name_of(entry: Node) -> str | None:
    name = entry.value.get("name") if isinstance(entry.value, dict) else None
    return name.value if name is not None and isinstance(name.value, str) else None


def _taken(path: Path, name: str, owner: Path) -> Problem:
    root, _ = nodes.read(path, str(path))
    finding = Finding(("name",), f"{owner} has this name already; names must be unique", name)
    if root is None:
        return Problem(str(path), 1, 1, "name", finding.message, name)
    return place(root, finding)
