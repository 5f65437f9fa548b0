"""Two databases on a replica set, and a task between them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import NewMongoDatabase
from tests.mongo.harness import MongoBench


@pytest.fixture
def bench(tmp_path: Path, new_mongo_db: NewMongoDatabase) -> MongoBench:
    """A task folder with a state database, and two fresh databases."""
    return MongoBench(tmp_path, new_mongo_db(), new_mongo_db())
