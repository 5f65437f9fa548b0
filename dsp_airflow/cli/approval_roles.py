"""``dsp role``: who has which role."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from dsp_airflow.cli import output
from dsp_airflow.cli.approving import actor
from dsp_airflow.cli.surroundings import log_to_stderr


def list_roles(*, as_json: bool) -> None:
    """Roles that somebody has, and those that processes ask for; files with errors are told."""
    output.stdout()
    log_to_stderr()
    from dsp_airflow.approval.people import Roles
    from dsp_airflow.approval.processes import Processes
    from dsp_airflow.approval.role_list import role_list
    from dsp_airflow.config.processes import ADMINISTRATORS
    from dsp_airflow.state.database import open_state

    with open_state(create=True) as database:
        processes = Processes(database)
        roles, broken = role_list(Roles(database), processes), processes.broken()
    for file in broken:
        sys.stderr.write(f"{file.problems}\n")
    found: list[dict[str, Any]] = [
        {"role": one.role, "members": list(one.members), "processes": list(one.processes)}
        for one in roles
    ]
    if as_json:
        output.write_json({"roles": found})
        return
    rows = [
        (one["role"], ", ".join(one["members"]) or "nobody", ", ".join(one["processes"]))
        for one in found
    ]
    output.console().print(output.table("", ("role", "members", "asked for by"), rows))
    for one in found:
        if one["members"] or not one["processes"]:
            continue
        output.note(
            f"nobody has the role {one['role']}, so what {', '.join(one['processes'])} asks of it "
            "expires; dsp role add",
            "WARN",
        )
    if not any(one.members for one in roles if one.role == ADMINISTRATORS):
        output.note(
            f"nobody has the role {ADMINISTRATORS}: anybody may change roles and processes, until "
            f"dsp role add {ADMINISTRATORS} names one",
            "WARN",
        )


def add(role: str, users: Sequence[str]) -> None:
    """One after the other; repeating it after an error does what is left."""
    output.stdout()
    log_to_stderr()
    from dsp_airflow.approval.people import Roles, require_fit
    from dsp_airflow.state.database import open_state

    who = actor()
    for user in users:
        require_fit(role, user)
    with open_state(create=True) as database:
        for user in users:
            added = Roles(database).add(role, user, who)
            output.write(f"{user} {'now has' if added else 'has'} the role {role}")


def remove(role: str, users: Sequence[str]) -> None:
    """One after the other; repeating it after an error does what is left."""
    output.stdout()
    log_to_stderr()
    from dsp_airflow.approval.people import Roles
    from dsp_airflow.state.database import open_state

    who = actor()
    with open_state(create=True) as database:
        for user in users:
            removed = Roles(database).remove(role, user, who)
            output.write(f"{user} {'no longer has' if removed else 'does not have'} role {role}")


def delete(role: str) -> None:
    """With its grants; refused while a process asks for it."""
    output.stdout()
    log_to_stderr()
    from dsp_airflow.approval.people import Roles
    from dsp_airflow.approval.processes import Processes
    from dsp_airflow.approval.role_deletion import delete_role
    from dsp_airflow.state.database import open_state

    who = actor()
    with open_state(create=True) as database:
        gone = delete_role(Roles(database), Processes(database), role, who)
    output.write(f"role {role} is deleted" if gone else f"there was no role {role}")
