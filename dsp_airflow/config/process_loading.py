"""Process files to processes, with every error of a file at once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from dsp_airflow.config import nodes
from dsp_airflow.config.errors import ConfigProblems, Problem
from dsp_airflow.config.findings import Finding
from dsp_airflow.config.loading import empty_values
from dsp_airflow.config.messages import place, problems_of
from dsp_airflow.config.nodes import Node
from dsp_airflow.config.processes import TASK_TYPES, Process
from dsp_airflow.config.tasknames import task_files


@dataclass(frozen=True)
class BrokenFile:
    """A process file with errors; which type of tasks it is for, where that much can be read."""

    path: Path
    task_type: str | None
    problems: ConfigProblems


def load_process(path: str | os.PathLike[str]) -> Process:
    """The process in a file. Raises `ConfigProblems` with all its errors."""
    root, problems = nodes.read(Path(path), str(path))
    if root is None:
        raise ConfigProblems(problems)
    return _validated(root, problems)


def parse_process(text: str, shown: str) -> Process:
    """The process in a text that `shown` names; see `load_process`."""
    root, problems = nodes.parse(text, shown)
    if root is None:
        raise ConfigProblems(problems)
    return _validated(root, problems)


def load_processes(
    folder: str | os.PathLike[str],
) -> tuple[list[tuple[Path, Process]], list[BrokenFile]]:
    """All processes below a folder in the order of their paths, and the files with errors.

    Of two files with one name, the later in the order of paths is wrong.
    """
    found: list[tuple[Path, Process]] = []
    broken: list[BrokenFile] = []
    owners: dict[str, Path] = {}
    for path in task_files(folder):
        try:
            process = load_process(path)
        except ConfigProblems as problems:
            broken.append(BrokenFile(path, _task_type(path), problems))
            continue
        if process.name in owners:
            message = f"{owners[process.name]} has this name already; names must be unique"
            problem = Problem(str(path), 1, 1, "name", message, process.name)
            broken.append(BrokenFile(path, process.task_type, ConfigProblems([problem])))
            continue
        owners[process.name] = path
        found.append((path, process))
    return found, broken


def _validated(root: Node, problems: list[Problem]) -> Process:
    if not isinstance(root.value, dict):
        message = "a process file must be a mapping of keys to values"
        raise ConfigProblems([*problems, place(root, Finding((), message))])
    problems = [*problems, *empty_values(root, "")]
    process: Process | None = None
    found: list[Problem] = []
    try:
        process = Process.model_validate(root.plain())
    except ValidationError as error:
        found += problems_of(error, root, Process)
    # What YAML already complains about needs no second complaint.
    known = {(problem.file, problem.line, problem.column) for problem in problems}
    problems += [one for one in found if (one.file, one.line, one.column) not in known]
    if process is None or problems:
        raise ConfigProblems(problems)
    return process


def _task_type(path: Path) -> str | None:
    root, _ = nodes.read(path, str(path))
    if root is None or not isinstance(root.value, dict):
        return None
    told = root.value.get("task_type")
    return told.value if told is not None and told.value in TASK_TYPES else None
