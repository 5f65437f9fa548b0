"""Who has which role."""

from __future__ import annotations

from sqlalchemy import Connection, delete, insert, select

from dsp_airflow.config.processes import ADMINISTRATORS
from dsp_airflow.engine.errors import ConfigError, Denied, Refused
from dsp_airflow.permissions.administrators import administrators
from dsp_airflow.state import audit
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.tables import ROLE_MEMBERS

MAX_ROLE, MAX_USER = 110, 250
"""Characters of their names, as the table holds them."""


class Roles:
    """The roles of a state database. Each method is one short transaction; changes are audited.

    ``founding``: while nobody is an administrator anybody may change them, as on the command line,
    where whoever reaches the state database could write into it anyway.
    """

    def __init__(self, database: StateDatabase, *, founding: bool = True) -> None:
        self.database = database
        self._founding = founding

    def all(self) -> dict[str, frozenset[str]]:
        """Every role that somebody has, by name, with its members."""
        query = select(ROLE_MEMBERS).order_by(ROLE_MEMBERS.c.role)
        found: dict[str, frozenset[str]] = {}
        with self.database.read() as connection:
            for row in connection.execute(query):
                found[row.role] = found.get(row.role, frozenset()) | {row.user}
        return found

    def members(self, role: str) -> frozenset[str]:
        """The users who have the role now; none where nobody has it."""
        with self.database.read() as connection:
            return members(connection, role)

    def add(self, role: str, user: str, actor: str) -> bool:
        """Gives a user the role; ``False`` when the user has it already."""
        require_fit(role, user)
        with self.database.write() as connection:
            before = self._before_change(connection, role, actor)
            if user in before:
                return False
            connection.execute(insert(ROLE_MEMBERS).values(role=role, user=user))
            _record(connection, actor, "role.add", role, before, before | {user})
            return True

    def remove(self, role: str, user: str, actor: str) -> bool:
        """Takes the role from a user; ``False`` when the user does not have it.

        ``Refused`` for the last administrator: anybody could name the next one.
        """
        with self.database.write() as connection:
            before = self._before_change(connection, role, actor)
            if user not in before:
                return False
            if role == ADMINISTRATORS and len(before) == 1:
                raise Refused(
                    f"{user} is the last of {ADMINISTRATORS}, and without one anybody may change "
                    "roles and processes; add another one first"
                )
            connection.execute(
                delete(ROLE_MEMBERS).where(ROLE_MEMBERS.c.role == role, ROLE_MEMBERS.c.user == user)
            )
            _record(connection, actor, "role.remove", role, before, before - {user})
            return True

    def _before_change(self, connection: Connection, role: str, actor: str) -> frozenset[str]:
        """Those with the role, whom the actor may change; nobody else does until the end."""
        audit.hold(connection)
        what = "who has which role"
        require_administrator(connection, actor, what, founding=self._founding)
        return _added(connection, role)


def members(connection: Connection, role: str) -> frozenset[str]:
    """As ``Roles.members``, inside the caller's transaction.

    Of the role ``administrators`` they are all whom ``permissions.administrators`` knows.
    """
    if role == ADMINISTRATORS:
        return administrators(connection)
    return _added(connection, role)


def require_administrator(
    connection: Connection, actor: str, what: str, *, founding: bool = True
) -> None:
    """``Denied`` for others. ``founding``: until somebody is one, anybody is."""
    known = administrators(connection)
    if actor in known or (founding and not known):
        return
    who = f"administrators may: {', '.join(sorted(known))}" if known else "nobody is administrator"
    raise Denied(f"{actor} may not change {what}; {who}")


def _added(connection: Connection, role: str) -> frozenset[str]:
    """Those who were given the role here."""
    query = select(ROLE_MEMBERS.c.user).where(ROLE_MEMBERS.c.role == role)
    return frozenset(connection.execute(query).scalars())


def require_fit(role: str, user: str) -> None:
    """``ConfigError`` for what can be no name of a role or a user."""
    for kind, name, most in (("role", role, MAX_ROLE), ("user", user, MAX_USER)):
        if not name.strip() or name != name.strip() or not name.isprintable() or len(name) > most:
            raise ConfigError(
                f"{name!r} is no name of a {kind}: up to {most} printable characters, without "
                "spaces around them"
            )


def _record(
    connection: Connection,
    actor: str,
    action: str,
    role: str,
    before: frozenset[str],
    after: frozenset[str],
) -> None:
    audit.record(
        connection,
        actor=actor,
        action=action,
        object=f"role {role}",
        before={"members": sorted(before)},
        after={"members": sorted(after)},
    )
