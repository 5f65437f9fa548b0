"""A bench per test: two fresh databases on each PostgreSQL in turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import NewDatabase
from tests.engine.harness import Bench


@pytest.fixture
def bench(tmp_path: Path, new_pg_db: NewDatabase) -> Bench:
    return Bench(tmp_path, new_pg_db(), new_pg_db())
