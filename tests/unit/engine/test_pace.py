"""When a batch may begin."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dsp_airflow.engine import pace
from dsp_airflow.engine.errors import Terminated
from dsp_airflow.engine.events import Noted
from dsp_airflow.engine.pace import BatchEdgePace, LimitedPace


class Brake:
    """Is on as long as it has a reason."""

    def __init__(self, why: str = "") -> None:
        self.why = why
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        return self.why


class Watch:
    def __init__(self) -> None:
        self.told: list[str] = []

    def on(self, event: object) -> None:
        assert isinstance(event, Noted)
        self.told.append(event.text)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "ASK_EVERY", 0.05)


def test_workers_wait_together_and_go_on() -> None:
    free, brake, watch = Brake(), Brake("it is late"), Watch()
    limited = LimitedPace(BatchEdgePace(), "copy", [free, brake], watch)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(limited.before_batch, threading.Event()) for _ in range(4)]
        time.sleep(0.4)
        assert not any(future.done() for future in waiting)
        asked = brake.asked
        brake.why = ""
        for future in waiting:
            future.result(timeout=5)
    assert 2 <= asked <= 10
    waits, goes_on = watch.told
    assert waits == "Job copy waits before its next batch: it is late"
    assert goes_on.startswith("Job copy goes on after")
    limited.before_batch()
    assert len(watch.told) == 2


def test_who_waits_hears_of_a_stop_and_of_another_workers_error() -> None:
    inner = BatchEdgePace()
    limited = LimitedPace(inner, "copy", [Brake("it is late")], Watch())
    halt = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        halted = pool.submit(limited.before_batch, halt)
        time.sleep(0.1)
        halt.set()
        assert halted.result(timeout=5) is None
        stopped = pool.submit(limited.before_batch, threading.Event())
        time.sleep(0.1)
        inner.stop("the test says so")
        with pytest.raises(Terminated, match="the test says so"):
            stopped.result(timeout=5)
