"""A request to stop, for who waits inside a database for a lock of somebody else.

Between batches the pace is asked. Inside a batch nobody can hear it: so a thread asks, too, and
ends the statement that waits. The batch is given back as after any lost lock.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from dsp_airflow.engine.errors import DspError, Terminated
from dsp_airflow.engine.pace import ASK_EVERY
from dsp_airflow.engine.ports import Pace

log = logging.getLogger(__name__)


@runtime_checkable
class Unblocks(Protocol):
    """A session whose waits for locks another thread can end."""

    def unblock(self) -> None:
        """Ends the statement that this session is at, if it waits for a lock; else does nothing.

        Called while another thread uses the session; opens a connection of its own for it.
        """
        ...


class Interrupter:
    """Installed from entry to exit, beside the workers of a phase."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._sessions: dict[int, Unblocks] = {}
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dsp-interrupter", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def watch(self, *sessions: object) -> None:
        """From now on, until ``forget``."""
        with self._lock:
            self._sessions |= {id(one): one for one in sessions if isinstance(one, Unblocks)}

    def forget(self, *sessions: object) -> None:
        """They are about to be closed."""
        with self._lock:
            for one in sessions:
                self._sessions.pop(id(one), None)

    @contextmanager
    def watching(self, *sessions: object) -> Iterator[None]:
        """Those that are opened for a while."""
        self.watch(*sessions)
        try:
            yield
        finally:
            self.forget(*sessions)

    def _run(self) -> None:
        while not self._done.wait(ASK_EVERY):
            try:
                self._pace.before_batch(self._done)
            except Terminated:
                self._unblock()
            except Exception as error:  # noqa: BLE001 - a worker asks the same, and tells
                log.debug("whether to stop could not be asked, and is asked again: %s", error)

    def _unblock(self) -> None:
        with self._lock:
            sessions = list(self._sessions.values())
        for session in sessions:
            try:
                session.unblock()
            except DspError as error:
                log.warning("a session that waits for a lock cannot be told to stop: %s", error)
