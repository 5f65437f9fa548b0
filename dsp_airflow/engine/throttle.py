"""How fast batches follow each other, where a job has limits on its rate."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

from dsp_airflow.engine.events import Noted, tell
from dsp_airflow.engine.model import Claim, Plan, Rates
from dsp_airflow.engine.pace import ASK_EVERY
from dsp_airflow.engine.ports import Pace, Phase, Watch

Take: TypeAlias = Callable[[Rates, int, int], float]
"""Takes so many rows and bytes from what the job may move, and returns 0; or takes nothing and
returns the seconds to wait. Whole batches only; safe for any number of workers at once."""


class Throttle:
    """Holds claimed batches back until the job may move them. Shared by a job's workers."""

    def __init__(
        self, pace: Pace, job: str, rates: Callable[[], Rates], take: Take, watch: Watch
    ) -> None:
        self._pace = pace
        self._job = job
        self._rates = rates
        self._take = take
        self._watch = watch
        self._lock = threading.Lock()
        self._told = Rates()

    def admit(self, rows: int, size: int, halt: threading.Event) -> bool:
        """Returns when the batch may begin; false when ``halt`` was set before that.

        Raises ``Terminated`` when the run was asked to stop. Rates may change meanwhile.
        """
        while True:
            self._pace.before_batch(halt)
            if halt.is_set():
                return False
            rates = self._rates()
            wait = self._take(rates, rows, size) if rates else 0.0
            if not wait:
                return True
            self._say(rates)
            halt.wait(min(wait, ASK_EVERY))

    def _say(self, rates: Rates) -> None:
        """Once for each rate: every batch may have to wait."""
        with self._lock:
            known, self._told = self._told, rates
        if known != rates:
            tell(self._watch, Noted(f"Job {self._job} is held to {rates}; its batches wait"))


def load(plan: Plan, phase: Phase, claim: Claim) -> tuple[int, int]:
    """Rows and bytes that a batch moves: as copied, or as planned before it is copied."""
    rows = claim.batch.rows
    if phase == "check" and plan.ordered_alike and not claim.batch.sampled:
        # Its rows are counted, and not read.
        return 0, 0
    if claim.copied is not None and phase != "copy":
        return claim.copied.rows_read, claim.copied.bytes
    return rows, round(plan.bytes * rows / plan.rows) if plan.rows else 0
