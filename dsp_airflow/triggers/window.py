"""Waiting for a job's window to open, without a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from dsp_airflow.config.hours import DailyWindow, parse_window
from dsp_airflow.engine.errors import DspError
from dsp_airflow.state import stops
from dsp_airflow.state.database import StateDatabase, open_state
from dsp_airflow.state.limit_changes import LimitChanges
from dsp_airflow.state.runs import Runs
from dsp_airflow.triggers.rest import rest

LOOK_EVERY = 5.0
"""Seconds between two looks at the state database: was the run stopped, its window changed?"""


class WindowTrigger(BaseTrigger):
    """Fires when the job's window is open, or somebody asked the run to stop.

    While the state database is out of reach the window counts that was known before.

    :param run: id of the run in the state database.
    :param job: name of its job.
    :param window: what the task file says, such as ``22:00-06:00 Europe/Vienna``; ``None``
        where only ``dsp limits`` set a window.
    :param since: a purge by hand of an ended run obeys what is asked for after that moment.
    """

    def __init__(self, run: str, job: str, window: str | None, since: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.run_id = run
        self.job = job
        self.window = window
        self.since = since
        self._reached = True
        self._said = float("-inf")

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """As Airflow keeps it until a triggerer takes it up."""
        path = f"{type(self).__module__}.{type(self).__name__}"
        values = {"run": self.run_id, "job": self.job, "window": self.window, "since": self.since}
        return path, values

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Any number of them wait in one thread; each looks for a moment in another one."""
        began = time.monotonic()
        known = None if self.window is None else parse_window(self.window)
        while True:
            known, stopped = await asyncio.to_thread(self._look, known)
            now = datetime.now(UTC)
            if stopped or known is None or known.is_open(now):
                break
            opens = (known.next_opening(now) - now).total_seconds()
            await asyncio.sleep(min(opens, LOOK_EVERY))
        await rest(began)
        yield TriggerEvent("stopped" if stopped else "open")  # type: ignore[no-untyped-call]

    def _look(self, known: DailyWindow | None) -> tuple[DailyWindow | None, bool]:
        """The window as it is now, and whether the run is to stop."""
        try:
            with open_state() as database:
                run = Runs(database).get(self.run_id)
                changes = LimitChanges(database, self.run_id).of(self.job)
                self._say_so(database)
        except DspError as error:
            if self._reached:
                self.log.warning("the window is waited for without the state database: %s", error)
            self._reached = False
            return known, False
        self._reached = True
        late = run.stopped_since(datetime.fromisoformat(self.since))
        stopped = late or (run.stop_requested and not run.ended)
        found = changes.get("window", self.window)
        return None if found is None else parse_window(found), stopped

    def _say_so(self, database: StateDatabase) -> None:
        """The job is not left alone; said as often as by those who work."""
        if time.monotonic() - self._said > stops.SILENT.total_seconds() / 3:
            stops.seen(database, self.run_id, self.job)
            self._said = time.monotonic()
