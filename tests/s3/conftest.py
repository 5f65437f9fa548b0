"""A database and a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import NewDatabase
from tests.s3.harness import Archives, archives
from tests.servers import Database
from tests.servers.s3 import Place, S3Server, fresh_bucket


@pytest.fixture
def jobs(tmp_path: Path, new_pg_db: NewDatabase, s3_place: Place) -> Archives:
    """On each PostgreSQL and each S3 server in turn."""
    return archives(tmp_path, new_pg_db(), s3_place)


@pytest.fixture(params=[False, True], ids=["unversioned", "versioned"])
def one(
    request: pytest.FixtureRequest, tmp_path: Path, pg18_db: Database, moto: S3Server
) -> Archives:
    """PostgreSQL 18 and moto, whose bucket keeps versions or none."""
    return archives(tmp_path, pg18_db, fresh_bucket(moto, versioned=request.param))


@pytest.fixture
def plain(tmp_path: Path, pg18_db: Database, moto: S3Server) -> Archives:
    """PostgreSQL 18 and moto, whose bucket keeps no versions: where that makes no difference."""
    return archives(tmp_path, pg18_db, fresh_bucket(moto))
