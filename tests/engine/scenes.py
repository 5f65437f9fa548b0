"""Small tables, and runs that have come some way with them."""

from __future__ import annotations

from typing import Any

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
