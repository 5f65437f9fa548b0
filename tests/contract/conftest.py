"""Every store the contract holds for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.contract.places import Leg, MemoryPlace, Place, PostgresPlace
from tests.servers import PostgresServer, fresh_database

STORES = ("memory", "pg15", "pg18")


@pytest.fixture
def new_place(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Place]]:
    """Makes an empty place of a kind: as many as the test calls for."""
    with ExitStack() as stack:

        def new(kind: str) -> Place:
            if kind == "memory":
                return MemoryPlace()
            server: PostgresServer = request.getfixturevalue(kind)
            return PostgresPlace(stack.enter_context(fresh_database(server, "contract")))

        yield new


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, new_place: Callable[[str], Place]) -> Place:
    """Each store in turn."""
    return new_place(request.param)


@pytest.fixture(params=["memory", "pg15-binary", "pg18-binary", "pg15-text", "pg18-text"])
def leg(request: pytest.FixtureRequest, new_place: Callable[[str], Place]) -> Leg:
    """A source and a target of each store and wire format in turn."""
    kind, _, wire = request.param.partition("-")
    return Leg(new_place(kind), new_place(kind), wire or "text")
