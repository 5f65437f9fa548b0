"""When the next batch may begin."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from dsp_airflow.engine.errors import Terminated

ASK_EVERY = 1.0
"""Seconds between two looks at the ledger's stop request."""


class BatchEdgePace:
    """Stops at a batch edge when a signal or the ledger asks for it.

    Shared by a job's workers. ``stop`` may be called from a signal handler.
    """

    def __init__(self, asked: Callable[[], bool] = lambda: False) -> None:
        self._asked = asked
        self._lock = threading.Lock()
        self._looked = 0.0
        self._reason: str | None = None

    def stop(self, reason: str) -> None:
        """Asks every worker to stop at its next batch edge."""
        self._reason = self._reason or reason

    def before_batch(self) -> None:
        """Raises ``Terminated`` once the work was asked to stop."""
        with self._lock:
            if self._reason is None and time.monotonic() - self._looked >= ASK_EVERY:
                self._looked = time.monotonic()
                if self._asked():
                    self._reason = "a stop was requested"
            reason = self._reason
        if reason is not None:
            raise Terminated(f"stopped at a batch edge: {reason}; run it again to go on")
