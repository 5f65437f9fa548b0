"""When the next batch may begin."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from dsp_airflow.engine.errors import Terminated
from dsp_airflow.engine.events import Noted, tell
from dsp_airflow.engine.ports import Pace, Watch

ASK_EVERY = 1.0
"""Seconds between two looks at the ledger's stop request."""


class BatchEdgePace:
    """Stops at a batch edge when a signal or the ledger asks for it.

    Shared by a job's workers. ``stop`` may be called from a signal handler. ``asked`` says who
    asked for it and why, once somebody has.
    """

    def __init__(self, asked: Callable[[], str | None] = lambda: None) -> None:
        self._asked = asked
        self._lock = threading.Lock()
        self._looked = 0.0
        self._reason: str | None = None

    def stop(self, reason: str) -> None:
        """Asks every worker to stop at its next batch edge."""
        self._reason = self._reason or reason

    def before_batch(self, halt: threading.Event | None = None) -> None:  # noqa: ARG002
        """Raises ``Terminated`` once the work was asked to stop."""
        with self._lock:
            if self._reason is None and time.monotonic() - self._looked >= ASK_EVERY:
                self._looked = time.monotonic()
                self._reason = self._asked() or self._reason
            reason = self._reason
        if reason is not None:
            raise Terminated(f"stopped at a batch edge: {reason}; run it again to go on")


Brake: TypeAlias = Callable[[], str]
"""Why no batch may begin now, in words; empty when one may. Raises ``Closed`` to leave the work
in place of waiting for it.
"""


class LimitedPace:
    """Begins no batch while a brake is on. Shared by a job's workers, like ``inner``."""

    def __init__(self, inner: Pace, job: str, brakes: Sequence[Brake], watch: Watch) -> None:
        self._inner = inner
        self._job = job
        self._brakes = brakes
        self._watch = watch
        self._lock = threading.Lock()
        self._looked: float | None = None
        self._since: float | None = None

    def before_batch(self, halt: threading.Event | None = None) -> None:
        """Returns when no brake is on, or ``halt`` is set; stop requests are heard meanwhile."""
        halt = halt or threading.Event()
        while True:
            self._inner.before_batch(halt)
            if halt.is_set() or not self._held():
                return
            halt.wait(ASK_EVERY)

    def _held(self) -> bool:
        """Brakes are asked once a second at most, by whichever worker comes first."""
        with self._lock:
            now = time.monotonic()
            if self._looked is None or now - self._looked >= ASK_EVERY:
                why = next((why for brake in self._brakes if (why := brake())), "")
                self._looked = time.monotonic()
                self._turned(why, now)
            return self._since is not None

    def _turned(self, why: str, now: float) -> None:
        """Says so when it begins and when it ends, and not in between."""
        if why and self._since is None:
            self._since = now
            tell(self._watch, Noted(f"Job {self._job} waits before its next batch: {why}"))
        elif not why and self._since is not None:
            waited, self._since = now - self._since, None
            tell(self._watch, Noted(f"Job {self._job} goes on after {waited:,.0f} s"))
