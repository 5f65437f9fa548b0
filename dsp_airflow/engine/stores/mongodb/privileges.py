"""What the login may do, as the server tells it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from dsp_airflow.engine.stores.mongodb.connection import Connection

_ANY: Final = "anyAction"


def missing(connection: Connection, table: str, actions: Sequence[str]) -> list[str]:
    """Those of these actions that the login may not do with the collection."""
    schema, name = connection.split(table)
    told = connection.client.admin.command({"connectionStatus": 1, "showPrivileges": True})
    held = told["authInfo"]
    if not held.get("authenticatedUsers"):
        # The server asks nobody who he is.
        return []
    allowed = set(_actions(held.get("authenticatedUserPrivileges", ()), schema, name))
    return [] if _ANY in allowed else [action for action in actions if action not in allowed]


def _actions(privileges: Collection[Mapping[str, Any]], schema: str, name: str) -> Iterator[str]:
    for privilege in privileges:
        resource = privilege["resource"]
        wide = resource.get("anyResource") is True
        here = resource.get("db") in {"", schema} and resource.get("collection") in {"", name}
        # "Any collection" leaves out those of the system.
        if wide or ("db" in resource and here):
            yield from privilege["actions"]


def grant(connection: Connection, table: str, actions: Sequence[str]) -> str:
    """The words of the command that grants them."""
    schema, name = connection.split(table)
    listed = ", ".join(f'"{action}"' for action in actions)
    return (
        f'grantPrivilegesToRole, [{{resource: {{db: "{schema}", collection: "{name}"}}, '
        f"actions: [{listed}]}}]"
    )
