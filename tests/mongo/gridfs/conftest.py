"""A job between two buckets called ``fs``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import NewMongoDatabase
from tests.mongo.gridfs.buckets import Bucket, BucketBench


@pytest.fixture
def bench(tmp_path: Path, new_mongo_db: NewMongoDatabase) -> BucketBench:
    """A task folder with a state database, and two fresh databases."""
    return BucketBench(tmp_path, new_mongo_db(), new_mongo_db())


@pytest.fixture
def source(bench: BucketBench) -> Bucket:
    return Bucket(bench.source)


@pytest.fixture
def target(bench: BucketBench) -> Bucket:
    return Bucket(bench.target)
