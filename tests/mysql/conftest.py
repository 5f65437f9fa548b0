"""Sessions on MariaDB and MySQL in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest

from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.stores.mysql import login
from dsp_airflow.engine.stores.mysql.query import Connection
from tests.servers import MySQLDatabase

HASHING = "SELECT 1 FROM mysql.component WHERE component_urn LIKE '%%classic_hashing'"
Connect = Callable[..., Connection]


@pytest.fixture
def connect(my_db: MySQLDatabase) -> Iterator[Connect]:
    """Opens as many sessions as the test calls for; ``lock`` are seconds."""
    if my_db.server.product == "MySQL" and not my_db.rows(HASHING):
        # Since 9.6 the server has no MD5() of its own.
        my_db.execute("INSTALL COMPONENT 'file://component_classic_hashing'")
    with ExitStack() as stack:

        def opened(lock: int = 5, **changed: Any) -> Connection:
            options = SessionOptions(lock=timedelta(seconds=lock))
            made = login.connect({**my_db.arguments, **changed}, options, "connection shop")
            stack.callback(lambda: made.close() if made.open else None)
            return made

        yield opened


@pytest.fixture
def connection(connect: Connect) -> Connection:
    return connect()
