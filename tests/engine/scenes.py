"""Small tables, and runs that have come some way with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg.conninfo

from dsp_airflow.engine.ports import Store
from dsp_airflow.engine.stores.postgres import PostgresStore
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.steps import TaskRun
from tests.engine.harness import Bench
from tests.servers import Database

Db = Bench[Database]

SMALL = "CREATE TABLE t (id bigint PRIMARY KEY, flag boolean, v text)"
ROWS = "INSERT INTO t SELECT n, n = 1, 'v' || n FROM generate_series(1, {}) n"


def small(bench: Db, rows: int = 100, **job: Any) -> TaskRun:
    """A planned run over a small table."""
    bench.source.execute(SMALL, ROWS.format(rows))
    bench.write(bench.job(**{"purge": "system", "check": {"percent": 100}, **job}))
    run = bench.open()
    run.plan("copy")
    return run


def done(run: TaskRun) -> TaskRun:
    """Copied and checked."""
    run.copy("copy")
    run.check("copy")
    return run


@contextmanager
def as_role(bench: Db, *grants: str, side: str = "source", name: str = "hunter") -> Iterator[None]:
    """One side logs in as a role with these privileges."""
    place: Database = getattr(bench, side)
    place.execute(
        f"DROP ROLE IF EXISTS {name}",
        f"CREATE ROLE {name} LOGIN PASSWORD 'x' NOSUPERUSER",
        *grants,
    )
    plain = bench.store
    where = psycopg.conninfo.conninfo_to_dict(place.uri)

    def store(conn_id: str) -> Store:
        if conn_id == side:
            return PostgresStore(conn_id, {**where, "user": name, "password": "x"})
        return plain(conn_id)

    bench.store = store  # type: ignore[method-assign]
    try:
        yield
    finally:
        bench.store = plain  # type: ignore[method-assign]
        place.execute(f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")


def forget_shapes(database: StateDatabase) -> None:
    """No run has seen any table: the next one takes each as it is."""
    with database.write() as connection:
        connection.exec_driver_sql("DELETE FROM shapes")
