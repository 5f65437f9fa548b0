"""Deleting a role: its members no longer have it, and what was granted to it is revoked."""

from __future__ import annotations

from sqlalchemy import delete, select

from dsp_airflow.approval.people import Roles, require_administrator
from dsp_airflow.approval.processes import Processes
from dsp_airflow.approval.role_list import roles_of
from dsp_airflow.config.processes import ADMINISTRATORS
from dsp_airflow.engine.errors import Refused
from dsp_airflow.permissions.store import granted_to, take
from dsp_airflow.state import audit
from dsp_airflow.state.tables import ROLE_MEMBERS


def delete_role(roles: Roles, processes: Processes, role: str, actor: str) -> int:
    """How many members and grants the role had; 0 where there is nothing of that name.

    Grants go with it: whoever gave the name to somebody later would give those grants as well.
    ``Refused`` for the administrators, and while a process asks for the role.
    """
    if role == ADMINISTRATORS:
        raise Refused(f"the role {ADMINISTRATORS} is always there; remove members of it instead")
    asking = sorted(one.process.name for one in processes.all() if role in roles_of(one.process))
    if asking:
        raise Refused(
            f"process {', '.join(asking)} asks the role {role}, and without it nobody could decide "
            "there; change the process first"
        )
    with roles.database.write() as connection:
        audit.hold(connection)
        require_administrator(connection, actor, "who has which role", founding=False)
        its = ROLE_MEMBERS.c.role == role
        members = sorted(connection.execute(select(ROLE_MEMBERS.c.user).where(its)).scalars())
        grants = granted_to(connection, role)
        for grant in grants:
            take(connection, grant, actor)
        if members:
            connection.execute(delete(ROLE_MEMBERS).where(its))
            audit.record(
                connection,
                actor=actor,
                action="role.delete",
                object=f"role {role}",
                before={"members": members},
            )
        return len(members) + len(grants)
