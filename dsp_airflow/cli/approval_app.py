"""The commands about approval: their names, arguments and help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
RequestId = Annotated[str, typer.Argument(metavar="REQUEST", help="A request's id.")]
Comment = Annotated[str, typer.Option("--comment", metavar="TEXT", help="What to say about it.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="An approval process.")]
ProcessFile = Annotated[Path, typer.Argument(metavar="FILE", help="A process file (YAML).")]

requests = typer.Typer(
    help="Requests for approval: what waits, what was decided.", rich_markup_mode=None
)
processes = typer.Typer(
    help="Approval processes: who decides on which tasks.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
roles = typer.Typer(
    help="Roles: who may decide where a process asks for one.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Role = Annotated[str, typer.Argument(metavar="ROLE", help="A role, such as administrators.")]
Users = Annotated[list[str], typer.Argument(metavar="USER...", help="Users by name.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to the tool."""
    app.add_typer(requests, name="requests")
    app.add_typer(processes, name="process")
    app.add_typer(roles, name="role")
    for command in (approve, reject, cancel, execute):
        app.command()(command)


@requests.callback(invoke_without_command=True)
def _requests(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        context.invoke(requests_list)


@requests.command("list")
def requests_list(
    task: Annotated[
        str | None, typer.Option("--task", metavar="TEXT", help="Part of the task's name.")
    ] = None,
    task_type: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Such as warm, s3 or purge.")
    ] = None,
    requester: Annotated[
        str | None, typer.Option("--requester", metavar="USER", help="Who asked.")
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option("--state", metavar="STATE", help="Such as APPROVING; repeatable."),
    ] = None,
    mine: Annotated[
        bool, typer.Option("--mine", help="Only those that you may decide now.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many to list.")] = 50,
    as_json: Json = False,
) -> None:
    """List requests, the youngest first."""
    from dsp_airflow.cli import approval_requests as command

    command.list_requests(
        task=task,
        task_type=task_type,
        requester=requester,
        states=state or (),
        mine=mine,
        limit=limit,
        as_json=as_json,
    )


@requests.command("show")
def requests_show(request: RequestId, as_json: Json = False) -> None:
    """Show all that is decided on: changes, SQL, columns, rows, bytes, what would be deleted."""
    from dsp_airflow.cli import approval_requests as command

    command.show(request, as_json=as_json)


def approve(request: RequestId, comment: Comment = "", as_json: Json = False) -> None:
    """Agree to a request, at the node that decides next."""
    from dsp_airflow.cli import approval_requests as command

    command.decide(request, comment, approved=True, as_json=as_json)


def reject(request: RequestId, comment: Comment = "", as_json: Json = False) -> None:
    """Say no to a request; --comment says why."""
    from dsp_airflow.cli import approval_requests as command

    command.decide(request, comment, approved=False, as_json=as_json)


def cancel(request: RequestId, comment: Comment = "", as_json: Json = False) -> None:
    """Take a request back, or what its decision covers from now on."""
    from dsp_airflow.cli import approval_requests as command

    command.cancel(request, comment, as_json=as_json)


def execute(request: RequestId, as_json: Json = False) -> None:
    """Execute now: start what is approved and waits for a start by hand."""
    from dsp_airflow.cli import approval_requests as command

    command.execute(request, as_json=as_json)


@processes.command("list")
def process_list(
    task_type: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Only for this type of task.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the processes by type, in the order in which they are tried."""
    from dsp_airflow.cli import approval_processes as command

    command.list_processes(task_type, as_json=as_json)


@processes.command("show")
def process_show(name: Name, as_json: Json = False) -> None:
    """Show a process as the file that would make it."""
    from dsp_airflow.cli import approval_processes as command

    command.show(name, as_json=as_json)


@processes.command("create")
def process_create(file: ProcessFile) -> None:
    """Make a process of a file's text; it is kept in the state database."""
    from dsp_airflow.cli import approval_processes as command

    command.create(file)


@processes.command("edit")
def process_edit(name: Name, file: ProcessFile) -> None:
    """Put a file's text in the place of a process; requests keep what they have."""
    from dsp_airflow.cli import approval_processes as command

    command.edit(name, file)


@processes.command("enable")
def process_enable(name: Name) -> None:
    """Offer a process to new requests."""
    from dsp_airflow.cli import approval_processes as command

    command.enable(name, enabled=True)


@processes.command("disable")
def process_disable(name: Name) -> None:
    """Offer a process no longer; requests keep what they have."""
    from dsp_airflow.cli import approval_processes as command

    command.enable(name, enabled=False)


@processes.command("reorder")
def process_reorder(
    task_type: Annotated[str, typer.Argument(metavar="TYPE", help="Such as warm, s3 or purge.")],
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="The first one first.")],
) -> None:
    """Set the order in which the processes of a type are tried."""
    from dsp_airflow.cli import approval_processes as command

    command.reorder(task_type, names)


@processes.command("delete")
def process_delete(name: Name) -> None:
    """Delete a process; requests keep what they have."""
    from dsp_airflow.cli import approval_processes as command

    command.delete(name)


@processes.command("lint")
def process_lint(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Process files or folders.")
    ],
    as_json: Json = False,
) -> None:
    """Check process files and show every problem at once; connects nowhere."""
    from dsp_airflow.cli import approval_processes as command

    command.lint(paths, as_json=as_json)


@roles.command("list")
def role_list(as_json: Json = False) -> None:
    """List roles: who has them, and which processes ask for them."""
    from dsp_airflow.cli import approval_roles as command

    command.list_roles(as_json=as_json)


@roles.command("add")
def role_add(role: Role, users: Users) -> None:
    """Give users a role; for administrators, and for anybody while there is none."""
    from dsp_airflow.cli import approval_roles as command

    command.add(role, users)


@roles.command("remove")
def role_remove(role: Role, users: Users) -> None:
    """Take a role from users; the last administrator stays one."""
    from dsp_airflow.cli import approval_roles as command

    command.remove(role, users)


@roles.command("delete")
def role_delete(role: Role) -> None:
    """Take a role from all its members, and revoke its grants; not while a process asks for it."""
    from dsp_airflow.cli import approval_roles as command

    command.delete(role)
