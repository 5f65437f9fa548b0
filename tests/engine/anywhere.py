"""Fresh databases of any system, by the names of the servers that tests know."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest

from tests.servers import PostgresServer, fresh_database, fresh_mysql_database


def databases(request: pytest.FixtureRequest, stack: ExitStack, *servers: str) -> list[Any]:
    """One on each: ``pg15``, ``pg18``, ``mariadb``, ``mysql`` or ``mongo``."""
    return [_database(request, stack, name) for name in servers]


def _database(request: pytest.FixtureRequest, stack: ExitStack, name: str) -> Any:
    if name == "mongo":
        return request.getfixturevalue("new_mongo_db")()
    server = request.getfixturevalue(name)
    fresh: Any = fresh_database if isinstance(server, PostgresServer) else fresh_mysql_database
    return stack.enter_context(fresh(server))
