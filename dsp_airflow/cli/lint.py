"""``dsp lint``: judges task files without connecting anywhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import typer

from dsp_airflow.cli import output
from dsp_airflow.config.errors import ConfigProblems, Problem


def lint(paths: Sequence[Path], *, as_json: bool) -> None:
    """Tells every problem of every file; exits with 2 when there is one."""
    files: list[Path] = []
    problems: list[Problem] = []
    for path in paths:
        some, found = _judged(path)
        files += some
        problems += found
    if as_json:
        output.write_json(
            {"files": [str(file) for file in files], "problems": [asdict(one) for one in problems]}
        )
    else:
        for one in problems:
            sys.stderr.write(f"{one}\n")
        bad = len({one.file for one in problems})
        told = "no problems" if not problems else f"{counted(len(problems), 'problem')} in {bad}"
        output.write(f"{counted(len(files), 'task file')}, {told}")
    if problems:
        raise typer.Exit(2)


def _judged(path: Path) -> tuple[list[Path], list[Problem]]:
    from dsp_airflow.approval.waived import without_waived
    from dsp_airflow.config import load_task, load_tasks
    from dsp_airflow.config.tasknames import task_files

    if path.is_dir():
        tasks, failed = load_tasks(path)
        failed += without_waived(tasks)[1]
        files = task_files(path)
        if not files:
            return [], [Problem(str(path), 1, 1, "", "the folder holds no task file (*.yaml)")]
        return files, [one for error in failed for one in error.problems]
    try:
        tasks = [(path, load_task(path))]
    except ConfigProblems as error:
        return [path], list(error.problems)
    return [path], [one for error in without_waived(tasks)[1] for one in error.problems]


def counted(number: int, noun: str) -> str:
    """``3 problems``."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
