"""What tests of killed workers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dsp_airflow.demo.mongo import MongoServer


@pytest.fixture
def hasty(mongo: MongoServer) -> Iterator[None]:
    """The server ends the transactions of the dead after seconds, not after a minute."""
    limit = "transactionLifetimeLimitSeconds"
    with mongo.connect() as client:
        client.admin.command({"setParameter": 1, limit: 3})
        yield
        client.admin.command({"setParameter": 1, limit: 60})
