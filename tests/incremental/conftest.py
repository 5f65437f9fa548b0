"""Ways from every system to others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.incremental.way import Way
from tests.s3.harness import Away
from tests.servers import PostgresServer, fresh_database, fresh_mysql_database
from tests.servers.s3 import fresh_bucket


@pytest.fixture
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Way]:
    """From one server to another, or to ``s3``: named as ``pg18-s3``."""
    with ExitStack() as stack:

        def opened(name: str) -> Any:
            if name == "mongo":
                return request.getfixturevalue("new_mongo_db")()
            server = request.getfixturevalue(name)
            if isinstance(server, PostgresServer):
                return stack.enter_context(fresh_database(server))
            return stack.enter_context(fresh_mysql_database(server))

        source, _, target = request.param.partition("-")
        if target == "s3":
            place = fresh_bucket(request.getfixturevalue("moto"))
            yield Way(tmp_path, opened(source), Away(), place=place)
        else:
            yield Way(tmp_path, opened(source), opened(target))
