"""Collections in S3: whole documents, and fields as columns; and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mongo import odd
from tests.mongo.cross import Cross
from tests.s3.harness import Away
from tests.servers import MongoDatabase
from tests.servers.s3 import S3Server, fresh_bucket


@pytest.fixture
def jobs(tmp_path: Path, mongo_db: MongoDatabase, moto: S3Server) -> Cross:
    """A collection of every odd document, and a bucket."""
    mongo_db.insert_raw("t", odd.WHOLE)
    return Cross(tmp_path, mongo_db, Away(), place=fresh_bucket(moto))


def test_whole_documents_come_back_to_the_last_byte(jobs: Cross, mongo_db: MongoDatabase) -> None:
    """Archived, proved, purged, restored, and told to others."""
    before = mongo_db.raw("t")
    mongo_db["t"].create_index("n", name="by n")
    jobs.moved(jobs.s3(), len(odd.WHOLE))
    assert mongo_db.raw("t") == []
    mongo_db["t"].drop()
    assert jobs.back_to(mongo_db).rows_checked == len(before)
    assert mongo_db.raw("t") == before
    assert "by n" in mongo_db["t"].index_information()
