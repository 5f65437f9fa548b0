"""The command over two fresh databases of one server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.harness import Dsp
from tests.cli.warm import Forks
from tests.conftest import NewDatabase
from tests.servers import PostgresServer, fresh_database


@pytest.fixture
def dsp(tmp_path: Path, pg18: PostgresServer, forks: Forks) -> Iterator[Dsp]:
    """On one server: for what the command does, whatever the server."""
    with fresh_database(pg18) as source, fresh_database(pg18) as target:
        yield Dsp(tmp_path, source, target, forks)


@pytest.fixture
def dsp_on_each(tmp_path: Path, new_pg_db: NewDatabase, forks: Forks) -> Dsp:
    """On each PostgreSQL in turn."""
    return Dsp(tmp_path, new_pg_db(), new_pg_db(), forks)
