"""``dsp audit``: the commands' names, arguments and help. What they do is in ``cli/audit.py``."""

from __future__ import annotations

from typing import Annotated

import typer

audit = typer.Typer(
    help="The audit: who did what to what; list, verify and export it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="Only from then on: 2026-12-01, a time (UTC without a zone), or an age such as 24h.",
    ),
]
Actor = Annotated[
    str | None, typer.Option("--actor", metavar="USER", help="Only what this user did.")
]
Action = Annotated[
    str | None,
    typer.Option("--action", metavar="ACTION", help="Such as role.add, or role for both."),
]
Object = Annotated[
    str | None, typer.Option("--object", metavar="TEXT", help="Part of what was changed.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


@audit.command("list")
def audit_list(
    since: Since = None,
    actor: Actor = None,
    action: Action = None,
    object_: Object = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many to list.")] = 50,
    as_json: Json = False,
) -> None:
    """List records, the youngest first."""
    from dsp_airflow.cli import audit as command

    command.list_records(
        since=since, actor=actor, action=action, of=object_, limit=limit, as_json=as_json
    )


@audit.command("verify")
def audit_verify(as_json: Json = False) -> None:
    """Name every record that was edited, removed or moved; exits with 3 when there is one."""
    from dsp_airflow.cli import audit as command

    command.verify(as_json=as_json)


@audit.command("export")
def audit_export(
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="A new file, or - for standard output.")
    ],
    since: Since = None,
    actor: Actor = None,
    action: Action = None,
    object_: Object = None,
) -> None:
    """Write records as JSON lines, the oldest first."""
    from dsp_airflow.cli import audit as command

    command.export(file, since=since, actor=actor, action=action, of=object_)
