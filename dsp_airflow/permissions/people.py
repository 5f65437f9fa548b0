"""Everybody whom the state database knows by name, and what each has."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select, union

from dsp_airflow.permissions.administrators import administrators
from dsp_airflow.state.tables import GRANTS, KNOWN_USERS, ROLE_MEMBERS


@dataclass(frozen=True, slots=True)
class Person:
    """A user, the roles that were given to it, and how many grants it has by its own name."""

    name: str
    administrator: bool
    roles: tuple[str, ...]
    grants: int


def everybody(connection: Connection, name: str | None = None) -> list[str]:
    """Names with this part in them, sorted: of who has logged in, a role, a grant, or a setting."""
    known = union(
        select(KNOWN_USERS.c.name),
        select(ROLE_MEMBERS.c.user),
        select(GRANTS.c.holder).where(GRANTS.c.is_role.is_(False)),
    )
    found = {*connection.execute(known).scalars(), *administrators(connection)}
    part = (name or "").lower()
    return sorted(one for one in found if part in one.lower())


def people(connection: Connection, names: list[str]) -> list[Person]:
    """What users of these names have, in their order."""
    ruling = administrators(connection)
    roles: dict[str, list[str]] = {}
    query = select(ROLE_MEMBERS).where(ROLE_MEMBERS.c.user.in_(names))
    for row in connection.execute(query.order_by(ROLE_MEMBERS.c.role)):
        roles.setdefault(row.user, []).append(row.role)
    counted = (
        select(GRANTS.c.holder, func.count().label("number"))
        .where(GRANTS.c.is_role.is_(False), GRANTS.c.holder.in_(names))
        .group_by(GRANTS.c.holder)
    )
    grants = {row.holder: row.number for row in connection.execute(counted)}
    return [
        Person(one, one in ruling, tuple(roles.get(one, ())), grants.get(one, 0)) for one in names
    ]
