"""``dsp mark-deleted``: its arguments and help. What it does is in ``cli/mark.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Adds the command to the tool."""
    app.command("mark-deleted")(mark_deleted)


def mark_deleted(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run that copied the rows.")],
    batches: Annotated[
        str, typer.Option("--batches", metavar="LIST", help="1-5, 3, 1,4-6 or all.")
    ],
    job: Annotated[
        str | None,
        typer.Option("--job", metavar="NAME", help="The job; needed where there are several."),
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
    """Record rows that somebody deleted from the source by hand, once they are seen to be gone."""
    from dsp_airflow.cli import mark as command

    command.mark_deleted(run, batches=batches, job=job, file=file, as_json=as_json)
