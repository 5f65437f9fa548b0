"""Connections that break in the middle of anything, retried until done."""

from __future__ import annotations

import random

import psycopg.conninfo
import pytest

from dsp_airflow.engine.errors import Transient
from dsp_airflow.engine.ports import Store
from dsp_airflow.engine.stores.postgres import PostgresStore
from dsp_airflow.steps import latest_run
from tests.engine.harness import Bench
from tests.engine.test_main_job import fill
from tests.faults.proxy import CuttingProxy
from tests.servers import Database
from tests.share import share

ROWS = 20_000
CUTS = share(60, 8)


@pytest.mark.share
@pytest.mark.parametrize("side", ["source", "target"])
def test_cut_connections(bench: Bench[Database], side: str) -> None:
    chance = random.Random(5)
    fill(bench, ROWS)
    before = bench.source.rows("SELECT md5(string_agg(t::text, '' ORDER BY id)) FROM t")
    bench.write(bench.job(purge="system", batch_size=2000, check={"percent": 50}))
    plain = bench.store
    info = psycopg.conninfo.conninfo_to_dict(getattr(bench, side).uri)
    with CuttingProxy(str(info["host"]), int(str(info["port"]))) as proxy:

        def store(conn_id: str) -> Store:
            if conn_id != side:
                return plain(conn_id)
            # The same identity: a proxy in between is no other database.
            cut = PostgresStore(conn_id, {**info, "port": proxy.port, "sslmode": "disable"})
            cut.identity = plain(conn_id).identity
            return cut

        run = bench.open()
        run.open_store = store
        for name in ("plan", "copy", "check", "purge"):
            proxy.budget = 0
            for _ in range(200):
                proxy.budget = (
                    None
                    if proxy.cuts >= CUTS * (1 + _order(name)) / 4
                    else (chance.randint(2_000, 400_000))
                )
                try:
                    getattr(run, name)("copy")
                    break
                except Transient:
                    continue
            else:
                pytest.fail(f"{name} never came through")
        assert proxy.cuts > 0
    found = latest_run(bench.state, run.task, plain).summary().jobs[0]
    assert (found.rows_written, found.rows_purged, found.rows_kept) == (ROWS, ROWS, 0)
    assert bench.source.value("SELECT count(*) FROM t") == 0
    assert bench.target.rows("SELECT md5(string_agg(t::text, '' ORDER BY id)) FROM t") == before


def _order(name: str) -> int:
    return ("plan", "copy", "check", "purge").index(name)
