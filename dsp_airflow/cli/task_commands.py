"""``dsp task``: the commands' names, arguments and help. What they do is in ``cli/tasks.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

tasks = typer.Typer(
    help="List tasks, switch them on and off, run them now.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A task's name, which its DAG has too.")]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--folder", metavar="FOLDER", help="Where the task files are; default: Airflow's DAGs."
    ),
]
Reason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Why, for who looks later.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
NoAirflow = Annotated[
    bool, typer.Option("--no-airflow", help="Do not ask Airflow, which takes some seconds.")
]


@tasks.command("list")
def list_tasks(folder: Folder = None, no_airflow: NoAirflow = False, as_json: Json = False) -> None:
    """List the tasks: type, schedule, state, last and next run, and whether Airflow paused them."""
    from dsp_airflow.cli import tasks as command

    command.list_tasks(folder, ask=not no_airflow, as_json=as_json)


@tasks.command()
def show(
    name: Name, folder: Folder = None, no_airflow: NoAirflow = False, as_json: Json = False
) -> None:
    """Show one task, who switched it on or off, and its latest runs."""
    from dsp_airflow.cli import tasks as command

    command.show(name, folder, ask=not no_airflow, as_json=as_json)


@tasks.command()
def enable(
    name: Name,
    reason: Reason = None,
    from_offline: Annotated[
        bool, typer.Option("--from-offline", help="Also if the task was taken offline.")
    ] = False,
    folder: Folder = None,
) -> None:
    """Let runs of the task begin again; its DAG goes on in Airflow."""
    from dsp_airflow.cli import tasks as command

    command.switch(name, "enabled", reason, folder, back=from_offline)


@tasks.command()
def disable(name: Name, reason: Reason = None, folder: Folder = None) -> None:
    """Let no new run of the task begin; one that has begun goes on."""
    from dsp_airflow.cli import tasks as command

    command.switch(name, "disabled", reason, folder)


@tasks.command()
def offline(name: Name, reason: Reason = None, folder: Folder = None) -> None:
    """Take the task out of service: no run, no deletion; it does not come back by itself."""
    from dsp_airflow.cli import tasks as command

    command.switch(name, "offline", reason, folder)


@tasks.command()
def run(name: Name, folder: Folder = None) -> None:
    """Have Airflow run the task's DAG now; without Airflow: dsp run FILE."""
    from dsp_airflow.cli import tasks as command

    command.run_now(name, folder)
