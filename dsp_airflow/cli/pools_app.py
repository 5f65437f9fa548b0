"""``dsp pools``: the commands' names, arguments and help. What they do is in ``cli/pools.py``."""

from __future__ import annotations

import typer

from dsp_airflow.cli.task_commands import Folder, Json

pools = typer.Typer(
    help="Look after Airflow's pools, one for each connection.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@pools.command("list")
def list_pools(folder: Folder = None, as_json: Json = False) -> None:
    """List the pools of the connections that tasks use, and which of them Airflow does not have."""
    from dsp_airflow.cli import pools as command

    command.list_pools(folder, as_json=as_json)


@pools.command()
def sync(folder: Folder = None) -> None:
    """Create the pools that are missing, and give all the size that [dsp] pool_size says."""
    from dsp_airflow.cli import pools as command

    command.sync(folder)
