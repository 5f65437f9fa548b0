"""Progress of a step: Airflow's log lines, and its task state while the step works."""

from __future__ import annotations

import threading
import time
from typing import Any

from dsp_airflow.engine.events import BatchDone, JobDone, JobStarted, tell
from dsp_airflow.engine.ports import Watch
from dsp_airflow.progress import Emit

KEY = "progress"
EVERY = 5.0
"""Seconds between two reports into the task state."""
SAY_EVERY = 30.0
"""Seconds between two lines of speed in the log."""


class TaskWatch:
    """Passes every event on, and keeps the task state and the log up to date.

    ``store`` is Airflow's task state store, or ``None`` where there is none; ``emit`` takes
    lines for the log.
    """

    def __init__(self, inner: Watch, store: Any, emit: Emit) -> None:
        self._inner = inner
        self._store = store
        self._emit = emit
        self._lock = threading.Lock()
        self._total = 0
        self._rows = 0
        self._began = time.monotonic()
        self._reported = self._said = self._began

    def on(self, event: object) -> None:
        """Called by every worker thread of the step."""
        tell(self._inner, event)
        with self._lock:
            if isinstance(event, JobStarted):
                self._total, self._rows = event.rows, 0
                self._began = self._said = time.monotonic()
            elif isinstance(event, BatchDone):
                self._rows += event.rows
                self._batch_done(event)
            elif isinstance(event, JobDone):
                self._report({"phase": event.phase, "job": event.job, "done": True})

    def _batch_done(self, event: BatchDone) -> None:
        now = time.monotonic()
        speed = int(self._rows / max(now - self._began, 0.001))
        if now - self._reported >= EVERY:
            self._reported = now
            self._report(
                {
                    "phase": event.phase,
                    "job": event.job,
                    "batch": event.number,
                    "batches": event.batches,
                    "rows": self._rows,
                    "rows_total": self._total,
                    "rows_per_second": speed,
                }
            )
        if now - self._said >= SAY_EVERY:
            self._said = now
            self._emit(
                f"Batch {event.number}/{event.batches} done: {self._rows:,} rows so far in this "
                f"try, {speed:,} rows/s"
            )

    def _report(self, values: dict[str, Any]) -> None:
        # One failure says enough: the ledger has the progress anyway.
        store, self._store = self._store, None
        if store is not None:
            store.set(KEY, values)
            self._store = store
