"""Buckets that workers share, and limits that somebody changes by hand."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from dsp_airflow.engine.model import Rates
from dsp_airflow.state.buckets import Bucket
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.limit_changes import LimitChanges
from dsp_airflow.state.maintenance import prune
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.tables import BUCKETS, LIMIT_CHANGES


@pytest.fixture
def run(runs: Runs) -> str:
    return runs.start("shop", "shop.yaml", {"name": "shop"}, "d" * 64).id


def earlier(state: StateDatabase, **values: Any) -> None:
    """The bucket as if it had been left for an hour."""
    with state.write() as connection:
        hour = clock(connection) - timedelta(hours=1)
        connection.execute(update(BUCKETS).values(filled_at=hour, **values))


def test_workers_share_a_bucket(state: StateDatabase, run: str) -> None:
    """Also at its first use, and no batch is lost or taken twice."""
    rates = Rates(rows=1000)

    def work(_: int) -> int:
        bucket, waits = Bucket(state, run, "flights"), 0
        while wait := bucket(rates, 100, 1):
            waits += 1
            time.sleep(wait)
        return waits

    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        waits = list(pool.map(work, range(9)))
    took = time.monotonic() - began
    assert took >= 0.8 - 0.01
    assert took < 10
    assert sum(waits) > 0
    # Of another job and another run there is nothing taken.
    assert Bucket(state, run, "carriers")(rates, 5000, 1) == 0
    assert 4.5 < Bucket(state, run, "carriers")(rates, 1, 1) <= 5


def test_what_is_saved_and_what_is_owed(state: StateDatabase, run: str) -> None:
    bucket, rates = Bucket(state, run, "flights"), Rates(rows=1000, bytes=10)
    assert bucket(rates, 0, 0) == 0
    earlier(state)
    # A second's worth was saved, however long nobody took any.
    assert bucket(rates, 1000, 10) == 0
    assert bucket(rates, 500, 100) == 0
    assert 9 < bucket(rates, 1, 1) <= 10
    # Without the limit on bytes, what was owed by it is forgotten.
    assert bucket(Rates(rows=1000), 1, 1) <= 0.5
    # A clock that was put back pays nothing and takes nothing.
    with state.write() as connection:
        hour = clock(connection) + timedelta(hours=1)
        connection.execute(update(BUCKETS).values(filled_at=hour, rows=-2000))
    assert bucket(Rates(rows=1000), 1, 1) == 2
    assert 1 < bucket(Rates(rows=1000), 1, 1) <= 2


def test_limits_are_changed_and_cleared(state: StateDatabase, runs: Runs, run: str) -> None:
    changes = LimitChanges(state, run)
    assert changes.of("flights") == {}
    changes.set(None, {"rows_per_second": 5, "window": None}, "ann")
    changes.set("flights", {"rows_per_second": 7}, None)
    changes.set("flights", {"bytes_per_second": 2**60}, "bob")
    assert changes.of("flights") == {
        "rows_per_second": 7,
        "bytes_per_second": 2**60,
        "window": None,
    }
    assert changes.of("carriers") == {"rows_per_second": 5, "window": None}
    every, one = changes.all()
    assert (every.job, every.changed_by, one.job, one.changed_by) == (None, "ann", "flights", "bob")
    assert abs(state.now() - one.changed_at) < timedelta(minutes=1)
    changes.clear("flights", "ann")
    assert changes.of("flights") == {"rows_per_second": 5, "window": None}
    changes.set("flights", {"rows_per_second": 7}, None)
    changes.clear(None, "eve")
    assert changes.of("flights") == {}
    # Who cleared them stays known.
    (cleared,) = changes.all()
    assert (cleared.job, cleared.limits, cleared.changed_by) == (None, {}, "eve")
    with ThreadPoolExecutor(4) as pool:
        names = [f"limit{n}" for n in range(8)]
        list(pool.map(lambda name: changes.set(None, {name: 1}, None), names))
    assert set(changes.of("flights")) == set(names)

    assert Bucket(state, run, "flights")(Rates(rows=1), 1, 1) == 0
    runs.begin(run)
    runs.finish(run, "succeeded")
    # The clock may not have moved since the run ended.
    assert prune(state, timedelta(seconds=-1)).runs == 1
    with state.read() as connection:
        for table in (BUCKETS, LIMIT_CHANGES):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0
