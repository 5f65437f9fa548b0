"""Rates: what a bucket lets through, and how a batch waits for its turn."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsp_airflow.engine.errors import Terminated
from dsp_airflow.engine.events import Noted
from dsp_airflow.engine.model import Rates
from dsp_airflow.engine.pace import BatchEdgePace
from dsp_airflow.engine.throttle import Throttle
from dsp_airflow.state.buckets import SAVED, Level


class Watch:
    def __init__(self) -> None:
        self.told: list[str] = []

    def on(self, event: object) -> None:
        assert isinstance(event, Noted)
        self.told.append(event.text)


@given(
    st.integers(1, 10_000),
    st.lists(st.tuples(st.integers(0, 50_000), st.floats(0, 5)), min_size=1, max_size=30),
)
def test_no_more_than_the_rate_and_not_much_less(
    rate: int, batches: list[tuple[int, float]]
) -> None:
    """Batches of any size, each asked for after a pause; the clock is the test's."""
    rates, level, now, moved, paused = Rates(rows=rate), Level(), 0.0, 0, 0.0
    for rows, pause in batches:
        now, paused, level = now + pause, paused + pause, level.after(pause, rates)
        while wait := level.wait(rates):
            now, level = now + wait, level.after(wait, rates)
        # What was moved before this batch was paid for.
        assert moved <= rate * now + 1
        level, moved = level.without(rows, 10**9, rates), moved + rows
        assert level.rows <= rate * SAVED
        assert level.bytes == 0
    # Nobody waited longer than it takes to pay for the batches before.
    assert now - paused <= moved / rate + 0.001 * len(batches)


def test_rows_and_bytes_are_held_to_their_own_rates() -> None:
    rates = Rates(rows=100, bytes=1000)
    assert Level(-50, 0).wait(rates) == 0.5
    assert Level(-50, -4000).wait(rates) == 4
    assert Level(-50, -4000).wait(Rates(rows=100)) == 0.5
    assert Level(-50, -4000).after(0, Rates(rows=100)) == Level(-50, 0)
    assert Level(3, 3).without(10, 20, rates) == Level(-7, -17)
    assert str(rates) == "100 rows/s and 1,000 bytes/s"
    assert not Rates()


def test_a_batch_waits_once_told_and_hears_of_a_change() -> None:
    rates, watch = [Rates(rows=10)], Watch()
    asked = threading.Semaphore(0)

    def take(given: Rates, rows: int, size: int) -> float:
        assert (rows, size) == (7, 70)
        asked.release()
        return 0.05 if given.rows == 10 else 0.0

    throttle = Throttle(BatchEdgePace(), "copy", lambda: rates[0], take, watch)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(throttle.admit, 7, 70, threading.Event()) for _ in range(2)]
        for _ in range(6):
            assert asked.acquire(timeout=5)
        assert not any(future.done() for future in waiting)
        rates[0] = Rates(rows=20)
        assert all(future.result(timeout=5) for future in waiting)
    assert watch.told == ["Job copy is held to 10 rows/s; its batches wait"]
    rates[0] = Rates()
    assert throttle.admit(7, 70, threading.Event())


def test_who_waits_hears_of_a_stop_and_of_another_workers_error() -> None:
    inner = BatchEdgePace()
    throttle = Throttle(inner, "copy", lambda: Rates(1), lambda *_: 0.05, Watch())
    halt = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        halted = pool.submit(throttle.admit, 1, 1, halt)
        stopped = pool.submit(throttle.admit, 1, 1, threading.Event())
        halt.set()
        assert halted.result(timeout=5) is False
        inner.stop("the test says so")
        with pytest.raises(Terminated, match="the test says so"):
            stopped.result(timeout=5)
