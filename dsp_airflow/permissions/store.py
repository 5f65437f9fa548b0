"""The grants of a state database."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, insert, select

from dsp_airflow.engine.errors import ConfigError, Denied, Refused
from dsp_airflow.permissions.administrators import administrators
from dsp_airflow.permissions.grants import (
    Grant,
    Holder,
    Needed,
    Privilege,
    Scope,
    allows,
    check_privileges,
    check_scope,
)
from dsp_airflow.state import audit
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.runs import run_id
from dsp_airflow.state.tables import GRANTS, ROLE_MEMBERS

MAX_HOLDER = 250
"""Characters of a user's or a role's name."""
_ALWAYS = datetime.max.replace(tzinfo=UTC)


class Grants:
    """All grants. Each method is one short transaction; changes are audited.

    Administrators may give and revoke all of them; others those of what they hold ``administer``
    on themselves.
    """

    def __init__(self, database: StateDatabase) -> None:
        self.database = database

    # Looking

    def all(
        self,
        *,
        holder: str | None = None,
        is_role: bool | None = None,
        connection: str | None = None,
        privilege: Privilege | None = None,
        over: bool = False,
    ) -> list[Grant]:
        """Those that fit, by connection and holder; ``over``: also those whose time is over.

        ``is_role``: of roles alone, or of users alone.
        """
        wanted: list[ColumnElement[bool]] = []
        if holder is not None:
            wanted.append(GRANTS.c.holder == holder)
        if is_role is not None:
            wanted.append(GRANTS.c.is_role.is_(is_role))
        if connection is not None:
            wanted.append(GRANTS.c.connection == connection)
        with self.database.read() as transaction:
            found, now = _select(transaction, *wanted), clock(transaction)
        return [
            one
            for one in found
            if (over or one.holds(now)) and (privilege is None or privilege in one.privileges)
        ]

    def get(self, grant: str) -> Grant:
        """One by its id; ``ConfigError`` when there is none."""
        with self.database.read() as connection:
            return _present(connection, grant)

    def of(self, user: str) -> list[Grant]:
        """Those that a user has now, by name or by a role."""
        with self.database.read() as connection:
            now = clock(connection)
            return [one for one in _concerning(connection, user) if one.holds(now)]

    def may(self, user: str, privilege: Privilege, needed: Needed) -> bool:
        """Whether the user may do it now: by a grant, or as an administrator."""
        with self.database.read() as connection:
            return may(connection, user, privilege, needed)

    def who_gives(self, scope: Scope) -> frozenset[str]:
        """Who could give a grant of this scope now: administrators, and holders of administer."""
        with self.database.read() as connection:
            return who_gives(connection, scope)

    # Changes

    def add(
        self,
        holder: Holder,
        scope: Scope,
        privileges: Collection[str],
        actor: str,
        *,
        until: datetime | None = None,
    ) -> Grant:
        """Gives a grant; one that is there already, word for word, is returned.

        ``Denied`` unless the actor is an administrator, or holds ``administer`` on all of the scope
        at least as long.
        """
        with self.database.write() as connection:
            audit.hold(connection)
            _require_giver(connection, actor, scope, until)
            return give(connection, holder, scope, privileges, actor, until=until)

    def revoke(self, grant: str, actor: str) -> Grant:
        """Takes a grant back; what works by it stops at its next step."""
        with self.database.write() as connection:
            audit.hold(connection)
            found = _present(connection, grant)
            _require_giver(connection, actor, found.scope, None, gives=False)
            take(connection, found, actor)
            return found


def may(connection: Connection, user: str, privilege: Privilege, needed: Needed) -> bool:
    """As ``Grants.may``, inside the caller's transaction."""
    if user in administrators(connection):
        return True
    return holds(connection, user, privilege, needed)


def holds(
    connection: Connection,
    user: str,
    privilege: Privilege,
    needed: Needed,
    at: datetime | None = None,
) -> bool:
    """Whether a grant lets the user do it (now, or ``at`` another time)."""
    found = _concerning(connection, user, needed.scope.connection)
    moment = clock(connection) if at is None else at
    return allows(found, user, roles_of(connection, user), privilege, needed, moment)


def who_gives(connection: Connection, scope: Scope) -> frozenset[str]:
    """As ``Grants.who_gives``, inside the caller's transaction."""
    found = set(administrators(connection))
    for one in _select(connection, GRANTS.c.connection == scope.connection):
        names = {one.holder.name}
        if one.holder.is_role:
            query = select(ROLE_MEMBERS.c.user).where(ROLE_MEMBERS.c.role == one.holder.name)
            names = set(connection.execute(query).scalars())
        found |= {
            name for name in names - found if holds(connection, name, "administer", Needed(scope))
        }
    return frozenset(found)


def give(
    connection: Connection,
    holder: Holder,
    scope: Scope,
    privileges: Collection[str],
    actor: str,
    *,
    until: datetime | None = None,
    request: str | None = None,
) -> Grant:
    """Makes the grant inside the caller's writing transaction, which has found it allowed."""
    _require_holder(holder)
    scope, known = check_scope(scope), check_privileges(privileges)
    now = clock(connection)
    if until is not None and until.tzinfo is None:
        raise ConfigError(f"the end of a grant needs its time zone; {until.isoformat()} has none")
    if until is not None and until <= now:
        raise Refused(f"a grant until {until:%Y-%m-%d %H:%M} UTC would be over already")
    for one in _select(connection, GRANTS.c.holder == holder.name):
        if (one.holder, one.scope, one.privileges, one.until) == (holder, scope, known, until):
            return one
    made = Grant(run_id(now), holder, scope, known, actor, now, until, request)
    connection.execute(
        insert(GRANTS).values(
            id=made.id,
            holder=holder.name,
            is_role=holder.is_role,
            connection=scope.connection,
            container=scope.container,
            item=scope.item,
            is_path=scope.is_path,
            privileges=" ".join(sorted(known)),
            granted_by=actor,
            granted_at=now,
            until=until,
            request=request,
        )
    )
    audit.record(
        connection,
        actor=actor,
        action="grant.add",
        object=f"grant {made.id}",
        after=grant_values(made),
    )
    return made


def take(connection: Connection, grant: Grant, actor: str) -> None:
    """Revokes it inside the caller's writing transaction, which has found it allowed."""
    connection.execute(delete(GRANTS).where(GRANTS.c.id == grant.id))
    audit.record(
        connection,
        actor=actor,
        action="grant.revoke",
        object=f"grant {grant.id}",
        before=grant_values(grant),
    )


def granted_to(connection: Connection, role: str) -> list[Grant]:
    """All grants of a role, those that are over too."""
    return _select(connection, GRANTS.c.is_role.is_(True), GRANTS.c.holder == role)


def roles_of(connection: Connection, user: str) -> frozenset[str]:
    """The roles that the user has now."""
    query = select(ROLE_MEMBERS.c.role).where(ROLE_MEMBERS.c.user == user)
    return frozenset(connection.execute(query).scalars())


def grant_values(grant: Grant) -> dict[str, Any]:
    """A grant fit for JSON."""
    scope = grant.scope
    return {
        "holder": grant.holder.name,
        "is_role": grant.holder.is_role,
        "connection": scope.connection,
        "container": scope.container,
        "item": scope.item,
        "is_path": scope.is_path,
        "privileges": sorted(grant.privileges),
        "until": None if grant.until is None else grant.until.isoformat(),
        "request": grant.request,
    }


def _require_giver(
    connection: Connection, actor: str, scope: Scope, until: datetime | None, *, gives: bool = True
) -> None:
    if actor in administrators(connection):
        return
    needed = Needed(check_scope(scope))
    if holds(connection, actor, "administer", needed):
        last = (until or _ALWAYS) - timedelta(microseconds=1)
        if not gives or holds(connection, actor, "administer", needed, last):
            return
        raise Denied(
            f"{actor} administers {scope}, but not as long as the grant would last; give it an "
            "earlier end"
        )
    who = ", ".join(sorted(who_gives(connection, scope)))
    may_be = f"who may: {who}" if who else "nobody may yet: name an administrator (dsp role add)"
    raise Denied(f"{actor} may not change grants on {scope}; {may_be}")


def _require_holder(holder: Holder) -> None:
    name = holder.name
    if not name.strip() or name != name.strip() or not name.isprintable() or len(name) > MAX_HOLDER:
        kind = "role" if holder.is_role else "user"
        raise ConfigError(
            f"{name!r} is no name of a {kind}: up to {MAX_HOLDER} printable characters, without "
            "spaces around them"
        )


def _concerning(connection: Connection, user: str, of: str | None = None) -> list[Grant]:
    """The grants of a user and of the user's roles, on one connection or on all."""
    roles = select(ROLE_MEMBERS.c.role).where(ROLE_MEMBERS.c.user == user)
    mine = GRANTS.c.is_role.is_(False) & (GRANTS.c.holder == user)
    ours = GRANTS.c.is_role.is_(True) & GRANTS.c.holder.in_(roles)
    wanted = [mine | ours] if of is None else [mine | ours, GRANTS.c.connection == of]
    return _select(connection, *wanted)


def _select(connection: Connection, *wanted: ColumnElement[bool]) -> list[Grant]:
    query = select(GRANTS).where(*wanted)
    query = query.order_by(GRANTS.c.connection, GRANTS.c.holder, GRANTS.c.id)
    return [_grant(row) for row in connection.execute(query)]


def _present(connection: Connection, grant: str) -> Grant:
    found = _select(connection, GRANTS.c.id == grant)
    if not found:
        raise ConfigError(f"there is no grant {grant!r}; see dsp grant list")
    return found[0]


def _grant(row: Any) -> Grant:
    """An unknown word among the privileges is nobody's permission."""
    return Grant(
        row.id,
        Holder(row.holder, row.is_role),
        Scope(row.connection, row.container, row.item, row.is_path),
        check_privileges(row.privileges.split()),
        row.granted_by,
        row.granted_at,
        row.until,
        row.request,
    )
