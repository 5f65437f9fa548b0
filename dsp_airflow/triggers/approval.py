"""What watches a request while its task sleeps: one look for all requests of a triggerer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from airflow.triggers.base import BaseTrigger, TriggerEvent

from dsp_airflow.approval.requests import Requests
from dsp_airflow.engine.errors import DspError
from dsp_airflow.state.database import open_state
from dsp_airflow.triggers.rest import rest

log = logging.getLogger(__name__)

LOOK_EVERY = 30.0
"""Seconds between two looks at all requests that wait."""
FIRST_LOOK = 1.0
"""Seconds until a request that has just begun to wait is looked at: it may be decided already."""


class ApprovalTrigger(BaseTrigger):
    """Fires once its request need not be waited for any more; what it came to, the task looks up.

    :param request: its id.
    :param seconds: between two looks; all triggers of a process share the most frequent ones.
    """

    def __init__(self, request: str, seconds: float | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.request = request
        self.seconds = LOOK_EVERY if seconds is None else seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """How Airflow makes it anew in a triggerer."""
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return name, {"request": self.request, "seconds": self.seconds}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event."""
        began = time.monotonic()
        await Watch.of_this_loop().settled(self.request, self.seconds)
        await rest(began)
        yield TriggerEvent({"request": self.request})  # type: ignore[no-untyped-call]


class Watch:
    """Looks for everybody in an event loop who waits for a request."""

    _known: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, Watch]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Event] = {}
        self._users: dict[str, int] = {}
        self._seconds = LOOK_EVERY
        self._hurry = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    @classmethod
    def of_this_loop(cls) -> Watch:
        """The one of the running event loop, of which a triggerer has one."""
        loop = asyncio.get_running_loop()
        if loop not in cls._known:
            cls._known[loop] = cls()
        return cls._known[loop]

    async def settled(self, request: str, seconds: float) -> None:
        """Returns when the request need not be waited for any more."""
        event = self._waiting.setdefault(request, asyncio.Event())
        self._users[request] = self._users.get(request, 0) + 1
        self._seconds = min(self._seconds, seconds)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        self._hurry.set()
        try:
            await event.wait()
        finally:
            self._users[request] -= 1
            if not self._users[request]:
                del self._users[request], self._waiting[request]

    async def _look(self) -> None:
        """Until nobody waits. The state database may be away meanwhile: then they wait on."""
        while self._waiting:
            if self._hurry.is_set():
                self._hurry.clear()
                # Whoever comes in the same moment shares the look.
                await asyncio.sleep(min(FIRST_LOOK, self._seconds))
            wanted = set(self._waiting)
            try:
                found = await asyncio.to_thread(_settled, wanted)
            except DspError as error:
                log.warning("requests for approval cannot be looked at now: %s", error)
                found = set()
            except Exception:
                log.exception("requests for approval cannot be looked at now")
                found = set()
            for request in found & self._waiting.keys():
                self._waiting[request].set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), self._seconds)


def _settled(wanted: set[str]) -> set[str]:
    with open_state() as database:
        requests = Requests(database)
        requests.expire_due()
        return requests.settled(wanted)
