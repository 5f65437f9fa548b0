"""A job's limits: the servers they are about, and what they are at this moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from dsp_airflow.config.hours import DailyWindow
from dsp_airflow.config.jobs import TableJob
from dsp_airflow.config.limits import Limits
from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.config.tasks import Job
from dsp_airflow.endpoints import OpenStore
from dsp_airflow.engine.errors import Closed, ConfigError
from dsp_airflow.engine.events import Noted, tell
from dsp_airflow.engine.limits import Limit
from dsp_airflow.engine.model import Rates
from dsp_airflow.engine.ports import Store, Watch

LOOK_EVERY = 2.0
"""Seconds between two looks at what somebody changed."""


def limits_of(job: TableJob, ends: tuple[Store, ...], open_store: OpenStore) -> tuple[Limit, ...]:
    """``ends`` are the databases that the job reads and writes.

    ``ConfigError`` where nobody could be asked.
    """
    if job.limits is None:
        return ()
    lag, threads = job.limits.replica_lag, job.limits.threads_running
    asked = tuple(store for store in ends if store.system == "mysql")
    if not asked and (threads is not None or (lag is not None and not lag.connections)):
        systems = " and ".join(sorted({store.system for store in ends}))
        raise ConfigError(
            f"job {job.name}: limits are asked of servers of MySQL and MariaDB, and the job is "
            f"between others ({systems}); leave them out"
        )
    found = []
    for store in asked:
        own = lag.max if lag is not None and not lag.connections else None
        if own is not None or threads is not None:
            found.append(Limit(store, own, threads))
    if lag is not None:
        found += [Limit(open_store(name), lag.max, replica=True) for name in lag.connections]
    return tuple(found)


def limits_in_file(job: Job) -> Limits:
    """What the task file says; a restore has none there."""
    return (None if isinstance(job, RestoreJob) else job.limits) or Limits()


def changed(limits: Limits, changes: Mapping[str, Any]) -> Limits:
    """The limits with what somebody set in their place; ``None`` there is no limit."""
    given = Limits.model_validate(dict(changes))
    return limits.model_copy(update={name: getattr(given, name) for name in changes})


CHANGEABLE = ("rows_per_second", "bytes_per_second", "window")
"""What can be changed while a job runs."""


def limit_value(name: str, value: object) -> str | int | None:
    """A limit as a task file would say it; ``ConfigError`` for what it would not take."""
    if value is None:
        return None
    try:
        found = getattr(Limits.model_validate({name: value}), name)
    except ValidationError as error:
        raise ConfigError(f"{name} {value!r}: {error.errors()[0]['msg']}; or none") from error
    return found if isinstance(found, int) else str(found)


def limits_now(job: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """What a job of a run's definition is held to, by what was changed and what the file says."""
    filed = job.get("limits") or {}
    return {name: changes[name] if name in changes else filed.get(name) for name in CHANGEABLE}


class CurrentLimits:
    """A job's limits as they are now. Shared by its workers.

    ``changes`` says what was changed by hand since the file was read.
    """

    def __init__(self, job: Job, changes: Callable[[], Mapping[str, Any]], watch: Watch) -> None:
        self._job = job.name
        self._filed = limits_in_file(job)
        self._changes = changes
        self._watch = watch
        self._lock = threading.Lock()
        self._looked: float | None = None
        self._known = self._filed

    def now(self) -> Limits:
        """Looked up every two seconds at most; a change is told."""
        with self._lock:
            now = time.monotonic()
            if self._looked is None or now - self._looked >= LOOK_EVERY:
                self._looked = now
                found = changed(self._filed, self._changes())
                if found != self._known:
                    self._known = found
                    tell(self._watch, Noted(f"Job {self._job}: limits are now {described(found)}"))
            return self._known

    def rates(self) -> Rates:
        """How fast the job may go now."""
        limits = self.now()
        return Rates(limits.rows_per_second, limits.bytes_per_second)

    def outside_window(self) -> str:
        """Why no batch may begin at this time of day; see ``pace.Brake``."""
        window, now = self.now().window, datetime.now(UTC)
        if window is None or window.is_open(now):
            return ""
        return f"limits.window is {window}; it opens at {window.next_opening(now):%Y-%m-%d %H:%M}"

    def leave_outside_window(self) -> str:
        """Raises ``Closed`` with that reason; see ``pace.Brake``."""
        why = self.outside_window()
        if why:
            raise Closed(f"job {self._job}: {why}", self._job)
        return ""


def closed_until(window: DailyWindow | None) -> str | None:
    """When a window opens that is closed now: `22:00 Europe/Vienna`, or a day before that."""
    now = datetime.now(UTC)
    if window is None or window.is_open(now):
        return None
    opens = window.next_opening(now)
    today = opens.date() == now.astimezone(window.zone).date()
    clock = "%H:%M" if today else "%Y-%m-%d %H:%M"
    return f"{opens:{clock}} {window.zone.key}"


def described(limits: Limits) -> str:
    """The limits that can be changed while a job runs, in words."""
    parts = [str(Rates(limits.rows_per_second, limits.bytes_per_second)), str(limits.window or "")]
    return " and ".join(filter(None, parts)) or "none"
