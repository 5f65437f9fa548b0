"""What steps send to Airflow's metrics, caught by a real StatsD listener."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dsp_airflow.engine.events import BatchDone, BatchStarted, Quiet
from dsp_airflow.operators import metrics
from dsp_airflow.operators.metrics import Meter, Stats
from tests.dags.conftest import Stepper, World
from tests.servers import StatsdListener

TASK = """
    name: moving
    retries: 0
    jobs:
      - name: flights
        type: warm
        source: {connection: flights_source, table: public.flights}
        target: {connection: flights_target, table: public.flights}
        mode: incremental
        cursor: {column: at}
        batch_size: 500
        check: {percent: 100}
"""


@pytest.fixture
def statsd(airflow_db: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[StatsdListener]:
    """Airflow's own metrics, set up as a task's process does it, lead here."""
    from airflow.sdk._shared.observability.metrics import stats as backend
    from airflow.sdk.observability import stats
    from airflow.sdk.observability.metrics import stats_utils

    with StatsdListener() as listener:
        for name, value in listener.settings.items():
            monkeypatch.setenv(name, value)
        stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)
        yield listener
        # The client's socket is Airflow's to close, which it never does.
        client: Any = backend._get_backend()
        client.statsd.close()
        monkeypatch.undo()
        stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)


def test_a_run_is_measured(
    world: World, steps: Callable[..., Stepper], statsd: StatsdListener
) -> None:
    world.fill()
    world.source.execute("UPDATE flights SET at = now() - (2501 - id) * interval '1 hour'")
    step = steps(TASK)
    for name in ("estimate", "flights.plan", "flights.copy", "flights.check"):
        step(name)
    copy = {"task": "moving", "job": "flights", "step": "copy"}
    check = copy | {"step": "check"}
    assert statsd.wait(lambda: len(statsd.values("dsp.cursor_lag_seconds", **check)) == 1)
    assert sum(statsd.values("dsp.rows_copied", **copy)) == 2500
    assert sum(statsd.values("dsp.rows_checked", **check)) == 2500
    assert statsd.values("dsp.rows_per_second", **copy)[-1] > 0
    assert statsd.values("dsp.oldest_unfinished_batch_seconds", **copy)[-1] == 0
    assert statsd.values("dsp.rows_different", **check)[-1] == 0
    # The cursor moves with the check: there was none before, and now it is an hour behind.
    assert statsd.values("dsp.cursor_lag_seconds", **copy) == []
    (lag,) = statsd.values("dsp.cursor_lag_seconds", **check)
    assert 3600 <= lag < 7200


def test_a_batch_that_does_not_end_grows_old(
    statsd: StatsdListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "EVERY", 0.05)
    tags = {"task": "t", "job": "j", "step": "purge"}

    def ages() -> list[float]:
        return statsd.values("dsp.oldest_unfinished_batch_seconds", **tags)

    with Meter(Quiet(), Stats(tags), "purge") as meter:
        for number in (1, 2):
            meter.on(BatchStarted("purge", "j", number, 2, 10))
        meter.on(BatchDone("purge", "j", 2, 2, 10, 0.1, exceptions=3))
        assert statsd.wait(lambda: max(ages(), default=0) > 0.3)
        meter.on(BatchDone("purge", "j", 1, 2, 7, 0.1))
    assert statsd.wait(lambda: ages()[-1:] == [0.0])
    assert sum(statsd.values("dsp.rows_purged", **tags)) == 17
    assert statsd.values("dsp.rows_kept", **tags)[-1] == 3


def test_what_fails_in_the_metrics_stays_there(
    world: World,
    steps: Callable[..., Stepper],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from airflow.sdk.observability import stats

    def broken(*_: object, **__: object) -> None:
        raise OSError("no route to the metrics")

    monkeypatch.setattr(stats, "incr", broken)
    monkeypatch.setattr(stats, "gauge", broken)
    world.fill()
    step = steps(TASK)
    with caplog.at_level(logging.ERROR, "dsp_airflow"):
        for name in ("estimate", "flights.plan", "flights.copy", "flights.check"):
            step(name)
    assert world.count() == (2500, 2500)
    told = [r for r in caplog.records if "metrics cannot be sent" in r.message]
    assert len(told) == 2  # once for each step


def test_a_cursor_that_is_no_time_has_no_lag(
    world: World, steps: Callable[..., Stepper], statsd: StatsdListener
) -> None:
    """Numbers such as 20260101 look like a date."""
    world.source.execute(
        "CREATE TABLE flights (id bigint PRIMARY KEY, at int NOT NULL)",
        "INSERT INTO flights SELECT n, 20260100 + n FROM generate_series(1, 20) n",
    )
    step = steps(TASK)
    for name in ("estimate", "flights.plan", "flights.copy", "flights.check"):
        step(name)
    assert statsd.wait(lambda: bool(statsd.values("dsp.rows_different", step="check")))
    assert statsd.values("dsp.cursor_lag_seconds") == []
