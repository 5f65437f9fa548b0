"""`{file: ...}`: jobs and column lists in files of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dsp_airflow.config import nodes
from dsp_airflow.config.errors import Problem, nearest
from dsp_airflow.config.findings import Finding
from dsp_airflow.config.messages import place
from dsp_airflow.config.nodes import UNREADABLE, Node
from dsp_airflow.config.tasknames import SUFFIXES


def resolve_includes(root: Node, file: Path) -> list[Problem]:
    """Puts the content of included files in place of `{file: ...}`, for jobs and their columns.

    Paths are relative to the file that names them. What cannot be read is replaced by a node
    whose value is UNREADABLE, and reported at the place that names it.
    """
    problems: list[Problem] = []
    for container, key, path in _job_places(root):
        job, job_file = _resolved(container.value[key], path, (file,), problems)
        container.value[key] = job
        if isinstance(job.value, dict) and "columns" in job.value:
            own = job.file != container.file
            columns_path = "columns" if own else f"{path}.columns"
            columns = job.value["columns"]
            job.value["columns"], _ = _resolved(columns, columns_path, (job_file,), problems)
    return problems


def refuse_includes(root: Node) -> list[Problem]:
    """As `resolve_includes` where no file may be read: whoever sends a text would be told of it."""
    problems: list[Problem] = []
    for container, key, path in _job_places(root):
        container.value[key] = job = _without_file(container.value[key], path, problems)
        if isinstance(job.value, dict) and "columns" in job.value:
            columns = job.value["columns"]
            job.value["columns"] = _without_file(columns, f"{path}.columns", problems)
    return problems


def _without_file(node: Node, path: str, problems: list[Problem]) -> Node:
    if not isinstance(node.value, dict) or "file" not in node.value:
        return node
    message = "files are named in task files only; write what it holds here"
    problems.append(place(node, Finding(("file",), message), path))
    return Node(node.file, node.line, node.column, UNREADABLE)


def _job_places(root: Node) -> Iterator[tuple[Node, int, str]]:
    jobs = root.value.get("jobs") if isinstance(root.value, dict) else None
    if jobs is not None and isinstance(jobs.value, list):
        for index in range(len(jobs.value)):
            yield jobs, index, f"jobs[{index}]"


def _resolved(
    node: Node, path: str, trail: tuple[Path, ...], problems: list[Problem]
) -> tuple[Node, Path]:
    """What the node stands for and the file it is in; `trail` are the files that led here."""
    if not isinstance(node.value, dict) or "file" not in node.value:
        return node, trail[-1]
    named: Node = node.value["file"]
    wrong = _wrong_reference(node, named, trail)
    if wrong is None:
        target = _target(trail[-1], named.value)
        content, found = nodes.read(target, str(target))
        problems += found
        if content is not None:
            return _resolved(content, "", (*trail, target), problems)
    else:
        problems.append(place(node, wrong, path))
    return Node(node.file, node.line, node.column, UNREADABLE), trail[-1]


def _wrong_reference(node: Node, named: Node, trail: tuple[Path, ...]) -> Finding | None:
    others = [key for key in node.value if key != "file"]
    if others:
        return Finding((others[0],), "must not stand beside file; put it into that file", others[0])
    text = named.value
    if not isinstance(text, str) or not text:
        return Finding(("file",), "must be the path of a YAML file, such as ../jobs/flights.yaml")
    return _wrong_path(text, trail)


def _wrong_path(text: str, trail: tuple[Path, ...]) -> Finding | None:
    if PurePosixPath(text).is_absolute() or "\\" in text or "\0" in text:
        message = "must be relative to this file and written with /, such as ../jobs/flights.yaml"
        return Finding(("file",), message, text)
    if not text.endswith(SUFFIXES):
        return Finding(("file",), "must end in .yaml or .yml", text)
    target = _target(trail[-1], text)
    if any(_same(target, earlier) for earlier in trail):
        shown = " -> ".join(str(step) for step in (*trail, target))
        return Finding(("file",), f"the files name each other in a circle: {shown}", text)
    if not target.is_file():
        return Finding(("file",), f"there is no file {target}", text, _nearby(target, text))
    return None


def _target(file: Path, text: str) -> Path:
    return Path(os.path.normpath(file.parent / text))


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _nearby(target: Path, text: str) -> str | None:
    """The file of that folder whose name is most like it, written as the author would."""
    try:
        names = [entry.name for entry in target.parent.iterdir() if entry.suffix in SUFFIXES]
    except OSError:
        # No such folder: then there is nothing near, and the problem itself is reported.
        return None
    found = nearest(target.name, names)
    return str(PurePosixPath(text).with_name(found)) if found else None
