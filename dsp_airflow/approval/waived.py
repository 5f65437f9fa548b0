"""Task files that say ``approval: none``: refused while approval is enforced, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dsp_airflow.approval import settings
from dsp_airflow.config import nodes
from dsp_airflow.config.errors import ConfigProblems, Problem
from dsp_airflow.config.findings import Finding
from dsp_airflow.config.messages import place
from dsp_airflow.config.nodes import Node
from dsp_airflow.config.processes import NONE
from dsp_airflow.config.tasks import Task

REFUSED = "is not accepted while [dsp] enforce_approval is on; write match, or a process by name"


def without_waived(
    found: Iterable[tuple[Path, Task]],
) -> tuple[list[tuple[Path, Task]], list[ConfigProblems]]:
    """The tasks that ask somebody, and what is wrong with the files of the others."""
    kept: list[tuple[Path, Task]] = []
    refused: list[ConfigProblems] = []
    for path, task in found:
        if task.approval == NONE and settings.enforced():
            refused.append(ConfigProblems([_problem(path)]))
        else:
            kept.append((path, task))
    return kept, refused


def require_asking(task: Task, text: str, shown: str) -> None:
    """``ConfigProblems`` where a text that `shown` names makes a task that asks nobody."""
    if task.approval == NONE and settings.enforced():
        raise ConfigProblems([_at(nodes.parse(text, shown)[0], shown)])


def _problem(path: Path) -> Problem:
    return _at(nodes.read(path, str(path))[0], str(path))


def _at(root: Node | None, shown: str) -> Problem:
    if root is None:  # it was edited since it was read
        return Problem(shown, 1, 1, "approval", REFUSED, NONE)
    return place(root, Finding(("approval",), REFUSED, NONE))
