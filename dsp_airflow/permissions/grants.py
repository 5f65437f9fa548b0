"""Grants, and what they cover: pure functions of names and the time.

A grant says that a user, or everybody with a role, may do something to a connection or to a part
of it. The part is named as the catalog names it: a schema of PostgreSQL, a database of MySQL or
MongoDB, a bucket of S3; and in it a table, a collection, or a prefix of keys.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from dsp_airflow.engine.errors import ConfigError

Privilege: TypeAlias = Literal["read", "write", "purge", "approve", "administer"]
PRIVILEGES: tuple[Privilege, ...] = ("read", "write", "purge", "approve", "administer")
"""What may be granted. None of them includes another one."""
MAX_CONNECTION, MAX_PART = 250, 1024
"""Characters of their names."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A connection, or a part of it; ``None`` stands for all there are.

    ``container`` is a schema, a database or a bucket; ``item`` a table or a collection in it, or,
    with ``is_path``, a prefix of keys and everything below it.
    """

    connection: str
    container: str | None = None
    item: str | None = None
    is_path: bool = False

    def __str__(self) -> str:
        parts = [one for one in (self.container, self.item) if one is not None]
        return " ".join([f"connection {self.connection}", *parts])


@dataclass(frozen=True, slots=True)
class Needed:
    """What somebody is about to touch. ``None``: it may be any of them, so all must be granted.

    ``folds``: the server takes names without their case.
    """

    scope: Scope
    folds: bool = False


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a grant: a user, or everybody with a role."""

    name: str
    is_role: bool = False

    def __str__(self) -> str:
        return f"role {self.name}" if self.is_role else self.name


@dataclass(frozen=True, slots=True)
class Grant:
    """One grant as it is kept. It ends with ``until``, or when it is revoked."""

    id: str
    holder: Holder
    scope: Scope
    privileges: frozenset[Privilege]
    granted_by: str
    granted_at: datetime
    until: datetime | None = None
    request: str | None = None
    """The request that it was made for."""

    def holds(self, now: datetime) -> bool:
        """Whether it is not over."""
        return self.until is None or now < self.until


def covers(scope: Scope, needed: Needed) -> bool:
    """Whether all that is needed lies in the scope."""
    wanted = needed.scope
    if scope.connection != wanted.connection:
        return False
    if scope.container is not None and not _same(scope.container, wanted.container, needed):
        return False
    if scope.item is None:
        return True
    if scope.is_path:
        return wanted.is_path and wanted.item is not None and _below(scope.item, wanted.item)
    return not wanted.is_path and _same(scope.item, wanted.item, needed)


def concerns(grant: Grant, user: str, roles: AbstractSet[str]) -> bool:
    """Whether the user has the grant, by name or by a role."""
    holder = grant.holder
    return holder.name in roles if holder.is_role else holder.name == user


def allows(
    grants: Iterable[Grant],
    user: str,
    roles: AbstractSet[str],
    privilege: Privilege,
    needed: Needed,
    now: datetime,
) -> bool:
    """Whether one of the grants lets the user do it now."""
    return any(
        privilege in one.privileges
        and one.holds(now)
        and concerns(one, user, roles)
        and covers(one.scope, needed)
        for one in grants
    )


def check_scope(scope: Scope) -> Scope:
    """The scope; ``ConfigError`` for what can be no name."""
    if scope.item is not None and scope.container is None:
        raise ConfigError(
            f"{scope.item!r} needs its schema, database or bucket: names are granted as the "
            "catalog has them"
        )
    _require_name("a connection", scope.connection, MAX_CONNECTION)
    for name in (scope.container, scope.item):
        if name is not None:
            _require_name("a schema, table or prefix", name, MAX_PART)
    if scope.is_path and (scope.item is None or "" in scope.item.split("/")):
        raise ConfigError(
            f"{scope.item!r} is no prefix: it must not begin or end with a slash, nor have two in "
            "a row"
        )
    return scope


def check_privileges(names: Collection[str]) -> frozenset[Privilege]:
    """The privileges of these names; ``ConfigError`` for unknown ones and for none."""
    known = frozenset(one for one in PRIVILEGES if one in names)
    unknown = sorted(set(names) - known)
    if unknown or not known:
        told = f"{unknown[0]!r} is not one of" if unknown else "say what is granted:"
        raise ConfigError(f"{told} {', '.join(PRIVILEGES)}")
    return known


def _same(granted: str, wanted: str | None, needed: Needed) -> bool:
    if wanted is None:
        return False
    return granted == wanted or (needed.folds and granted.lower() == wanted.lower())


def _below(granted: str, wanted: str) -> bool:
    """Prefixes end where a folder does: ``a/b`` is not the beginning of ``a/bc``."""
    return wanted == granted or wanted.startswith(f"{granted}/")


def _require_name(kind: str, name: str, most: int) -> None:
    if not name.strip() or not name.isprintable() or len(name) > most:
        raise ConfigError(f"{name!r} is no name of {kind}: up to {most} printable characters")
