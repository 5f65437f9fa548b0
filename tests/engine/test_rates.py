"""Jobs that are held to a rate or to hours of the day, and limits that change meanwhile."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dsp_airflow import limits as limits_now
from dsp_airflow import steps
from dsp_airflow.engine import work
from dsp_airflow.engine.errors import Terminated
from dsp_airflow.engine.model import Rates
from dsp_airflow.progress import LogWatch
from dsp_airflow.state.buckets import Bucket
from dsp_airflow.state.limit_changes import LimitChanges
from dsp_airflow.steps import TaskRun
from tests.engine.scenes import Db, small


class Step:
    """A step that works beside the test, and what it says."""

    def __init__(self, run: TaskRun, name: str = "copy") -> None:
        self.said: list[str] = []
        self.error: BaseException | None = None
        run.watch = LogWatch(self.said.append)
        self._act = getattr(run, name)
        self._thread = threading.Thread(target=self._do)
        self._thread.start()

    def _do(self) -> None:
        try:
            self._act("copy")
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.error = error

    def told(self, word: str) -> int:
        return sum(word in line for line in self.said)

    def wait_for(self, word: str) -> None:
        end = time.monotonic() + 20
        while not self.told(word):
            assert time.monotonic() < end, self.said
            assert self._thread.is_alive() or self.told(word), self.error
            time.sleep(0.02)

    def end(self) -> BaseException | None:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.error


def shut() -> str:
    """A window that opens in some hours."""
    now = datetime.now(UTC)
    return f"{now + timedelta(hours=3):%H:%M}-{now + timedelta(hours=4):%H:%M}"


class Counted(Bucket):
    """Counts the rows that were taken."""

    rows = 0

    def __call__(self, rates: Rates, rows: int, size: int) -> float:
        wait = super().__call__(rates, rows, size)
        Counted.rows += 0 if wait else rows
        return wait


def test_workers_together_keep_the_rate(bench: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last batch is not waited for; a busy machine may be slower than the rate."""
    monkeypatch.setattr(steps, "Bucket", Counted)
    limits = {"rows_per_second": 400}
    run = small(bench, rows=600)
    for workers in (1, 2, 4):
        bench.write(
            bench.job(batch_size=100, workers=workers, limits=limits, check={"percent": 100})
            | {"purge": "system"}
        )
        run = bench.open(new=True)
        run.plan("copy")
        Counted.rows = 0
        began = time.monotonic()
        run.copy("copy")
        assert 500 / 400 <= time.monotonic() - began < 20
        assert Counted.rows == 600
    # Check and purge take theirs from the same bucket.
    LimitChanges(run.database, run.run.id).set(None, {"rows_per_second": 10**6}, None)
    for act in (run.check, run.purge):
        Counted.rows = 0
        act("copy")
        assert Counted.rows == 600


def test_bytes_are_limited_too_and_batches_smaller(bench: Db) -> None:
    bench.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 3000) n",
        "ANALYZE t",
    )
    bench.write(bench.job(limits={"rows_per_second": 10, "bytes_per_second": "1GiB"}))
    assert bench.open(new=True).plan("copy").batches == 3
    bench.write(bench.job(limits={"bytes_per_second": "1MiB"}))
    run = bench.open(new=True)
    assert run.plan("copy").batches == 2
    began = time.monotonic()
    run.copy("copy")
    assert 1.5 < time.monotonic() - began < 20


def test_a_change_reaches_a_job_that_waits_and_so_does_a_stop(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_now, "LOOK_EVERY", 0.2)
    # Sessions that waited longer than this are opened anew.
    monkeypatch.setattr(work, "IDLE", 0.1)
    limits: dict[str, Any] = {"rows_per_second": 1}
    run = small(bench, rows=300, batch_size=100, limits=limits)
    changes = LimitChanges(run.database, run.run.id)
    step = Step(run)
    step.wait_for("is held to 1 rows/s")
    time.sleep(1.5)
    assert run.summary().jobs[0].batches_copied == 1
    run.runs.request_stop(run.run.id)
    assert isinstance(step.end(), Terminated)
    run.finish(step.error)
    assert step.told("is held to") == 1
    # The batch that waited was given back as it was.
    found = run.runs.batches(run.run.id, "copy")
    assert [(one.holder, one.error) for one in found] == [(None, None)] * 3
    assert run.summary().jobs[0].rows_failed == 0

    run = bench.open()
    step = Step(run)
    step.wait_for("is held to 1 rows/s")
    changes.set("copy", {"window": shut()}, "ann")
    step.wait_for("limits are now 1 rows/s and")
    step.wait_for("waits before its next batch: limits.window is")
    changes.set(None, {"rows_per_second": 100_000}, "ann")
    step.wait_for("limits are now 100,000 rows/s and")
    time.sleep(1.5)
    assert run.summary().jobs[0].batches_copied == 1
    changes.set("copy", {"window": None}, "ann")
    assert step.end() is None
    assert step.told("goes on after") == 1
    assert bench.target.value("SELECT count(*) FROM t") == 300


def test_no_batch_begins_outside_the_window(bench: Db) -> None:
    run = small(bench, limits={"window": shut()})
    step = Step(run)
    step.wait_for("waits before its next batch: limits.window is")
    time.sleep(1.2)
    assert run.summary().jobs[0].batches_copied == 0
    run.pace.stop("the test says so")
    assert isinstance(step.end(), Terminated)
    bench.write(bench.job(purge="system", check={"percent": 100}))
    again = bench.open()
    again.copy("copy")
    assert bench.target.value("SELECT count(*) FROM t") == 100
