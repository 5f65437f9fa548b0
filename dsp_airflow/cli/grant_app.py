"""``dsp grant``: the commands' names, arguments and help. What they do is in ``cli/grants.py``."""

from __future__ import annotations

from typing import Annotated

import typer

grants = typer.Typer(
    help="Grants: who may do what to which connection, schema, table or prefix.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Holder = Annotated[str, typer.Argument(metavar="USER", help="A user by name; --role: a role.")]
Connection = Annotated[
    str, typer.Argument(metavar="CONNECTION", help="Id of an Airflow connection.")
]
Privileges = Annotated[
    list[str],
    typer.Argument(metavar="PRIVILEGE...", help="read, write, purge, approve or administer."),
]
Container = Annotated[
    str | None,
    typer.Option(
        "--schema",
        "--database",
        "--bucket",
        metavar="NAME",
        help="Only this schema (PostgreSQL), database (MySQL, MongoDB) or bucket (S3).",
    ),
]
Table = Annotated[
    str | None,
    typer.Option(
        "--table",
        "--collection",
        metavar="NAME",
        help="Only this table or collection of it; the name without its schema.",
    ),
]
Prefix = Annotated[
    str | None,
    typer.Option("--prefix", metavar="PATH", help="Only this folder of the bucket, and below it."),
]
Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="TIME",
        help="When it ends: 2026-12-01, a time (UTC without a zone), or after a while, as 30d.",
    ),
]


def register(app: typer.Typer) -> None:
    """Adds the commands to the tool."""
    app.add_typer(grants, name="grant")


@grants.command("add")
def grant_add(
    holder: Holder,
    connection: Connection,
    privileges: Privileges,
    container: Container = None,
    table: Table = None,
    prefix: Prefix = None,
    role: Annotated[bool, typer.Option("--role", help="To everybody with this role.")] = False,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """Give a grant; for administrators, and for holders of administer on all of it."""
    from dsp_airflow.cli import grants as command

    scope = command.scope_of(connection, container, table, prefix)
    command.add(holder, scope, privileges, is_role=role, until=until, as_json=as_json)


@grants.command("list")
def grant_list(
    holder: Annotated[
        str | None, typer.Option("--holder", metavar="NAME", help="Only of this user or role.")
    ] = None,
    connection: Annotated[
        str | None, typer.Option("--connection", metavar="NAME", help="Only on this connection.")
    ] = None,
    privilege: Annotated[
        str | None, typer.Option("--privilege", metavar="NAME", help="Only of this privilege.")
    ] = None,
    over: Annotated[bool, typer.Option("--over", help="Also those whose time is over.")] = False,
    as_json: Json = False,
) -> None:
    """List grants by connection."""
    from dsp_airflow.cli import grants as command

    command.list_grants(holder, connection, privilege, over=over, as_json=as_json)


@grants.command("revoke")
def grant_revoke(
    ids: Annotated[list[str], typer.Argument(metavar="GRANT...", help="Grants by their ids.")],
) -> None:
    """Take grants back; what works by them stops at its next step."""
    from dsp_airflow.cli import grants as command

    command.revoke(ids)


@grants.command("request")
def grant_request(
    connection: Connection,
    privileges: Privileges,
    container: Container = None,
    table: Table = None,
    prefix: Prefix = None,
    until: Until = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="What approvers read about it.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Apply for a grant for yourself; it is made once its approval process has agreed."""
    from dsp_airflow.cli import grants as command

    scope = command.scope_of(connection, container, table, prefix)
    command.request(scope, privileges, until=until, reason=reason, as_json=as_json)


@grants.command("check")
def grant_check(
    holder: Annotated[str, typer.Argument(metavar="USER", help="A user by name.")],
    connection: Connection,
    privileges: Privileges,
    container: Container = None,
    table: Table = None,
    prefix: Prefix = None,
    as_json: Json = False,
) -> None:
    """Say whether a user may do something now, and by what; exits with 4 when not."""
    from dsp_airflow.cli import grants as command

    scope = command.scope_of(connection, container, table, prefix)
    command.check(holder, scope, privileges, as_json=as_json)
