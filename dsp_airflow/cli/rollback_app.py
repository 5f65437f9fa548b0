"""``dsp rollback`` and ``dsp repair``: their arguments and help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Adds the commands to the tool."""
    app.command("rollback")(rollback)
    app.command("repair")(repair)


def rollback(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run to undo.")],
    job: Annotated[
        str | None,
        typer.Option("--job", metavar="NAME", help="Only this job; default: all of the run."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", metavar="FILE", help="The run's task file, where it lies elsewhere by now."
        ),
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Then do the work again, by a new run of the file.")
    ] = False,
    forget: Annotated[
        bool,
        typer.Option("--forget", help="Undo nothing: drop what is needed for it, for good."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout.")
    ] = False,
) -> None:
    """Undo what a run wrote: new rows go, updated ones get the values that they had."""
    from dsp_airflow.cli import rollback as command

    command.rollback(run, job=job, file=file, again=again, forget=forget, yes=yes, as_json=as_json)


def repair(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run whose check found rows.")],
    job: Annotated[
        str | None,
        typer.Option("--job", metavar="NAME", help="Only this job; default: all that differ."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", metavar="FILE", help="The run's task file, where it lies elsewhere by now."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout.")
    ] = False,
) -> None:
    """Copy and check once more only the batches that a check found to differ."""
    from dsp_airflow.cli import repair as command

    command.repair(run, job=job, file=file, as_json=as_json)
