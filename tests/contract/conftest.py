"""Every store the contract holds for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.contract.mongo_place import GAPS, MongoPlace
from tests.contract.places import Leg, MemoryPlace, MySqlPlace, Place, PostgresPlace
from tests.servers import (
    Database,
    MySQLFamilyServer,
    PostgresServer,
    fresh_database,
    fresh_mysql_database,
)

STORES = ("memory", "pg15", "pg18", "mariadb", "mysql", "mongo")

Pool = dict[str, list[Database]]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests of what MongoDB has not, and of row hashes beside its only one."""
    gaps = [
        item
        for item in items
        if isinstance(item, pytest.Function)
        and (call := getattr(item, "callspec", None)) is not None
        and "mongo" in call.id
        and (item.originalname in GAPS or call.params.get("method", "md5") != "md5")
    ]
    if gaps:
        items[:] = [item for item in items if item not in gaps]
        config.hook.pytest_deselected(items=gaps)


@pytest.fixture(scope="session")
def pool(pg15: PostgresServer, pg18: PostgresServer) -> Iterator[tuple[Pool, ExitStack]]:
    """Databases that are free. Emptying one takes a tenth of the time of creating one."""
    with ExitStack() as stack:
        yield defaultdict(list), stack


def emptied(database: Database) -> Database:
    database.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    database.execute("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return database


@pytest.fixture
def new_place(
    request: pytest.FixtureRequest, pool: tuple[Pool, ExitStack]
) -> Iterator[Callable[[str], Place]]:
    """Makes an empty place of a kind: as many as the test calls for."""
    free, stack = pool
    taken: list[tuple[str, Database]] = []

    def new(kind: str) -> Place:
        if kind == "memory":
            return MemoryPlace()
        if kind == "mongo":
            return MongoPlace(request.getfixturevalue("new_mongo_db")())
        server: PostgresServer | MySQLFamilyServer = request.getfixturevalue(kind)
        if isinstance(server, MySQLFamilyServer):
            # Creating one costs little here.
            return MySqlPlace(here.enter_context(fresh_mysql_database(server)))
        if free[kind]:
            database = emptied(free[kind].pop())
        else:
            database = stack.enter_context(fresh_database(server, "contract"))
        taken.append((kind, database))
        return PostgresPlace(database)

    with ExitStack() as here:
        yield new
    for kind, database in taken:
        free[kind].append(database)


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, new_place: Callable[[str], Place]) -> Place:
    """Each store in turn."""
    return new_place(request.param)


LEGS = ("memory", "pg15-binary", "pg18-binary", "pg15-text", "pg18-text")


@pytest.fixture(params=[*LEGS, "mariadb-mysql text", "mysql-mysql text", "mongo-bson"])
def leg(request: pytest.FixtureRequest, new_place: Callable[[str], Place]) -> Leg:
    """A source and a target of each store and wire format in turn."""
    kind, _, wire = request.param.partition("-")
    return Leg(new_place(kind), new_place(kind), wire or "text")
