"""Who has which role."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.state import audit
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.tables import ROLE_MEMBERS


class Roles:
    """The roles of a state database. Each method is one short transaction."""

    def __init__(self, database: StateDatabase) -> None:
        self.database = database

    def members(self, role: str) -> frozenset[str]:
        """The users who have the role now; none where nobody has it."""
        with self.database.read() as connection:
            return members(connection, role)

    def add(self, role: str, user: str, actor: str) -> bool:
        """Gives a user the role; ``False`` when the user has it already."""
        if not (role.strip() and user.strip()):
            raise ConfigError("a role and a user need a name each")
        with self.database.write() as connection:
            if user in members(connection, role):
                return False
            connection.execute(insert(ROLE_MEMBERS).values(role=role, user=user))
            audit.record(
                connection, actor=actor, action="role.add", object=f"role {role}", after=_of(user)
            )
            return True

    def remove(self, role: str, user: str, actor: str) -> bool:
        """Takes the role from a user; ``False`` when the user does not have it."""
        with self.database.write() as connection:
            gone = connection.execute(
                delete(ROLE_MEMBERS).where(ROLE_MEMBERS.c.role == role, ROLE_MEMBERS.c.user == user)
            )
            if not gone.rowcount:
                return False
            audit.record(
                connection,
                actor=actor,
                action="role.remove",
                object=f"role {role}",
                before=_of(user),
            )
            return True


def members(connection: Connection, role: str) -> frozenset[str]:
    """As ``Roles.members``, inside the caller's transaction."""
    query = select(ROLE_MEMBERS.c.user).where(ROLE_MEMBERS.c.role == role)
    return frozenset(connection.execute(query).scalars())


def _of(user: str) -> dict[str, str]:
    return {"user": user}
