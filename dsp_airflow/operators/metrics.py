"""What a step tells Airflow's own metrics while it works."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from dsp_airflow.advancing import cursor_key
from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.engine.events import BatchDone, BatchStarted, tell
from dsp_airflow.engine.ports import Phase, Watch
from dsp_airflow.state.cursors import Cursors
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.steps import TaskRun

log = logging.getLogger(__name__)

EVERY = 10.0
"""Seconds between two reports."""
ROWS: Mapping[Phase, str] = {
    "copy": "dsp.rows_copied",
    "check": "dsp.rows_checked",
    "purge": "dsp.rows_purged",
}
EXCEPTIONS: Mapping[Phase, str] = {"check": "dsp.rows_different", "purge": "dsp.rows_kept"}
TIMES = ("timestamp", "timestamptz", "date")


class Stats:
    """Airflow's metrics under the tags of a step. Where they fail, the work goes on without."""

    def __init__(self, tags: Mapping[str, str]) -> None:
        self._tags = dict(tags)
        self._lost = False

    def send(self, counters: Mapping[str, int], gauges: Mapping[str, float]) -> None:
        """Counters are what came to be since the last time."""
        if self._lost:
            return
        try:
            from airflow.sdk.observability import stats

            for name, count in counters.items():
                if count:
                    stats.incr(name, count, tags=self._tags)
            for name, value in gauges.items():
                stats.gauge(name, value, tags=self._tags)
        except Exception:
            self._lost = True
            log.exception("metrics cannot be sent; the work goes on without them")


class Meter:
    """Counts what one step does in this process. Any number of threads may tell it.

    A context: a thread reports while it is open, so that a batch that does not end shows too.
    """

    def __init__(self, inner: Watch, stats: Stats, phase: Phase) -> None:
        self._inner = inner
        self._stats = stats
        self._phase = phase
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._report, name="dsp-metrics", daemon=True)
        self._rows = self._sent = self._exceptions = 0
        self._began = time.monotonic()
        self._open: dict[int, float] = {}

    def __enter__(self) -> Meter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        # A batch that was given up is nobody's any more.
        self._open.clear()
        self._send()

    def on(self, event: object) -> None:
        """See ``ports.Watch``."""
        tell(self._inner, event)
        with self._lock:
            if isinstance(event, BatchStarted):
                self._open[event.number] = time.monotonic()
            elif isinstance(event, BatchDone):
                self._open.pop(event.number, None)
                self._rows += event.rows
                self._exceptions += event.exceptions

    def _report(self) -> None:
        while not self._done.wait(EVERY):
            self._send()

    def _send(self) -> None:
        now = time.monotonic()
        with self._lock:
            fresh, self._sent = self._rows - self._sent, self._rows
            oldest = max((now - began for began in self._open.values()), default=0.0)
            gauges = {
                "dsp.rows_per_second": self._rows / max(now - self._began, 0.001),
                "dsp.oldest_unfinished_batch_seconds": oldest,
            }
            if self._phase in EXCEPTIONS:
                gauges[EXCEPTIONS[self._phase]] = float(self._exceptions)
        self._stats.send({ROWS[self._phase]: fresh}, gauges)


@contextmanager
def measured(run: TaskRun, job: str, phase: Phase) -> Iterator[None]:
    """The step inside is measured; how far its cursor lags behind is told before and after."""
    stats = Stats({"task": run.task.name, "job": job, "step": phase})
    watch = run.watch
    _tell_lag(run, job, stats)
    with Meter(watch, stats, phase) as meter:
        run.watch = meter
        try:
            yield
        finally:
            run.watch = watch
    _tell_lag(run, job, stats)


def _tell_lag(run: TaskRun, job: str, stats: Stats) -> None:
    try:
        lag = cursor_lag(run, job)
    except Exception:
        log.exception("how far the cursor of job %s lags is not known; the work goes on", job)
        return
    if lag is not None:
        stats.send({}, {"dsp.cursor_lag_seconds": lag})


def cursor_lag(run: TaskRun, name: str) -> float | None:
    """Seconds from where the cursor stands to now; ``None`` for one that is no point in time.

    Times without a zone are taken for UTC.
    """
    job = next((j for j in run.task.jobs if j.name == name), None)
    if job is None or isinstance(job, RestoreJob) or job.cursor is None:
        return None
    plan = SqlLedger(run.database, run.run.id, name).plan()
    if plan is None:
        return None
    column = plan.source_shape.column(job.cursor.column)
    key = cursor_key(run.task.name, job, run.open_store(job.source.connection))
    # Of what documents have each value tells its type.
    if key is None or (column is not None and column.type.name not in TIMES):
        return None
    at = _moment(Cursors(run.database).get(key))
    return None if at is None else max(0.0, (run.database.now() - at).total_seconds())


def _moment(text: str | None) -> datetime | None:
    """A time as the database prints it; ``None`` for what no calendar of Python's has."""
    if text is None:
        return None
    if text.startswith('{"$date": "'):
        text = json.loads(text)["$date"]
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.utcoffset() is not None else found.replace(tzinfo=UTC)
