"""``dsp process``: the approval processes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dsp_airflow.cli import output
from dsp_airflow.cli.approving import actor, note_unless_enforced
from dsp_airflow.cli.lint import counted
from dsp_airflow.cli.surroundings import log_to_stderr
from dsp_airflow.config.errors import ConfigProblems, Problem

if TYPE_CHECKING:
    from dsp_airflow.approval.processes import Known, Processes


def list_processes(task_type: str | None, *, as_json: bool) -> None:
    """All of them; files with errors are told on standard error."""
    with _processes() as processes:
        found = [one for one in processes.all() if task_type in {None, one.process.task_type}]
        broken = processes.broken()
    for one in broken:
        sys.stderr.write(f"{one.problems}\n")
    if as_json:
        output.write_json({"processes": [_document(one) for one in found]})
        return
    if not found:
        output.write("no processes; the built-in one holds: the administrators decide")
        return
    heads = ("type", "priority", "name", "enabled", "levels", "connections", "from", "changed by")
    rows = [
        (
            one.process.task_type,
            one.process.priority,
            one.process.name,
            one.process.enabled,
            len(one.process.levels),
            _connections(one),
            "state database" if one.file is None else one.file,
            one.changed_by,
        )
        for one in found
    ]
    output.console().print(output.table("", heads, rows, right=("priority", "levels")))


def show(name: str, *, as_json: bool) -> None:
    """One, as YAML that ``create`` and ``edit`` take."""
    with _processes() as processes:
        known = processes.get(name)
    if as_json:
        output.write_json(_document(known))
        return
    import yaml

    from dsp_airflow.config.processes import process_values

    text = yaml.safe_dump(process_values(known.process), sort_keys=False, allow_unicode=True)
    output.write(text.rstrip("\n"))


def create(file: Path) -> None:
    """A new one, from a file."""
    from dsp_airflow.config.process_loading import load_process

    process = load_process(file)
    with _processes() as processes:
        processes.create(process, actor())
    output.write(f"process {process.name} was created")


def edit(name: str, file: Path) -> None:
    """Another text for one that is there."""
    from dsp_airflow.config.process_loading import load_process

    process = load_process(file)
    with _processes() as processes:
        processes.edit(name, process, actor())
    output.write(f"process {process.name} was changed")


def enable(name: str, *, enabled: bool) -> None:
    """Offered to new requests, or not."""
    with _processes() as processes:
        processes.enable(name, actor(), enabled=enabled)
    output.write(f"process {name} is {'enabled' if enabled else 'disabled'}")


def reorder(task_type: str, names: Sequence[str]) -> None:
    """The order in which they are tried."""
    with _processes() as processes:
        processes.reorder(task_type, names, actor())
    output.write(f"processes of type {task_type} are tried in this order: {', '.join(names)}")


def delete(name: str) -> None:
    """Gone."""
    with _processes() as processes:
        processes.delete(name, actor())
    output.write(f"process {name} was deleted")


def lint(paths: Sequence[Path], *, as_json: bool) -> None:
    """Tells every problem of every file; exits with 2 when there is one."""
    from dsp_airflow.config.process_loading import load_process, load_processes
    from dsp_airflow.config.tasknames import task_files

    files: list[Path] = []
    problems: list[Problem] = []
    for path in paths:
        if path.is_dir():
            files += task_files(path)
            _, broken = load_processes(path)
            problems += [problem for one in broken for problem in one.problems.problems]
            continue
        files.append(path)
        try:
            load_process(path)
        except ConfigProblems as error:
            problems += error.problems
    if as_json:
        told = [asdict(one) for one in problems]
        output.write_json({"files": [str(file) for file in files], "problems": told})
    else:
        for one in problems:
            sys.stderr.write(f"{one}\n")
        found = counted(len(problems), "problem") if problems else "no problems"
        output.write(f"{counted(len(files), 'process file')}, {found}")
    if problems:
        raise typer.Exit(2)


@contextmanager
def _processes() -> Iterator[Processes]:
    output.stdout()
    log_to_stderr()
    from dsp_airflow.approval.processes import Processes
    from dsp_airflow.state.database import open_state

    note_unless_enforced()
    with open_state(create=True) as database:
        yield Processes(database)


def _document(known: Known) -> dict[str, Any]:
    from dsp_airflow.config.processes import process_values

    return {
        **process_values(known.process),
        "file": None if known.file is None else str(known.file),
        "created_by": known.created_by,
        "created_at": known.created_at,
        "changed_by": known.changed_by,
        "changed_at": known.changed_at,
    }


def _connections(known: Known) -> str:
    told = known.process.connections
    if isinstance(told, str):
        return told
    labels = [f"label {label}" for label in told.labels]
    return ", ".join([*told.names, *labels])
