"""What the login may do, as the server tells it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from dsp_airflow.engine.stores.mongodb.connection import Connection

_ANY: Final = "anyAction"
ANY_COLLECTION: Final = "*"
"""A name that no collection has: what is allowed there is allowed in every collection."""
_EVERYTHING: Final = ("root", "__system", "userAdminAnyDatabase")


def missing(connection: Connection, table: str, actions: Sequence[str]) -> list[str]:
    """Those of these actions that the login may not do with the collection."""
    schema, name = connection.split(table)
    held = _held(connection)
    if held is None:
        return []
    allowed: set[str] = set()
    for privilege in held:
        resource = privilege["resource"]
        # "Any collection" leaves out those of the system.
        here = resource.get("db") in {"", schema} and resource.get("collection") in {"", name}
        if resource.get("anyResource") is True or here:
            allowed |= set(privilege["actions"])
    return [] if _ANY in allowed else [action for action in actions if action not in allowed]


def collections(connection: Connection, schema: str) -> dict[str, set[str]]:
    """Actions that the login may do with a collection by its name."""
    found: dict[str, set[str]] = {}
    for privilege in _held(connection) or ():
        resource = privilege["resource"]
        name = resource.get("collection")
        if name and resource.get("db") == schema:
            found.setdefault(name, set()).update(privilege["actions"])
    return found


def everything(connection: Connection) -> bool:
    """Whether it is an administrator's login."""
    told = connection.client.admin.command("connectionStatus")["authInfo"]
    return any(role["role"] in _EVERYTHING for role in told.get("authenticatedUserRoles", ()))


def _held(connection: Connection) -> list[dict[str, Any]] | None:
    """The login's privileges; ``None`` where the server asks nobody who he is."""
    told = connection.client.admin.command({"connectionStatus": 1, "showPrivileges": True})
    held = told["authInfo"]
    if not held.get("authenticatedUsers"):
        return None
    return list(held.get("authenticatedUserPrivileges", ()))


def grant(connection: Connection, table: str, actions: Sequence[str]) -> str:
    """The words of the command that grants them."""
    schema, name = connection.split(table)
    shown = "" if name == ANY_COLLECTION else name
    listed = ", ".join(f'"{action}"' for action in actions)
    return (
        f'db.grantPrivilegesToRole(<role>, [{{resource: {{db: "{schema}", '
        f'collection: "{shown}"}}, actions: [{listed}]}}])'
    )
