"""Making things in one thread while another works them off, some bytes apart."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Final, Generic, TypeVar

T = TypeVar("T")
PATIENCE: Final = 1.0
"""Seconds between two calls of ``cancel``."""


def ahead(
    items: Generator[T, None, None],
    size: Callable[[T], int],
    limit: int,
    cancel: Callable[[], None] = lambda: None,
) -> Generator[T, None, None]:
    """The items in their order, made in a thread of their own while the caller uses them.

    The thread is at most ``limit`` bytes ahead, or one item that is larger, beside the one that
    it is making. What making them raises comes out here, as it is and at once.

    The thread has ended, and ``items`` is closed, when this has: who leaves early closes it
    (``contextlib.closing``). ``cancel`` is called then; it wakes the thread where it waits for
    others, and what that makes it raise is dropped.
    """
    line = _Line(size, limit)
    # A daemon, so that a generator that nobody closed does not keep the process.
    thread = threading.Thread(target=line.fill, args=(items,), name="dsp-ahead", daemon=True)
    thread.start()
    try:
        while True:
            found = line.take()
            if not found:
                return
            yield found.pop()
    finally:
        making = line.leave()
        while thread.is_alive():
            if making:
                # Once more each time: the first may have come before there was anything to cancel.
                cancel()
            thread.join(PATIENCE)


class _Line(Generic[T]):
    """Between one thread that fills it and one that takes."""

    def __init__(self, size: Callable[[T], int], limit: int) -> None:
        self._size = size
        self._limit = limit
        self._waiting: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._ended = False
        self._left = False
        self._error: BaseException | None = None
        self._moved = threading.Condition()

    def fill(self, items: Generator[T, None, None]) -> None:
        """Puts all items, as long as somebody takes them."""
        error: BaseException | None = None
        try:
            with closing(items):
                for item in items:
                    if not self._put(item):
                        break
                    # It may be large, and the next one is made meanwhile.
                    del item
        except BaseException as raised:  # noqa: BLE001 - it comes out of ``take``
            error = raised
        with self._moved:
            self._error, self._ended = error, True
            self._moved.notify_all()

    def _put(self, item: T) -> bool:
        """False: nobody is there any more."""
        size = self._size(item)
        with self._moved:
            while self._waiting and self._bytes + size > self._limit and not self._left:
                self._moved.wait()
            if self._left:
                return False
            self._waiting.append((item, size))
            self._bytes += size
            self._moved.notify_all()
        return True

    def take(self) -> list[T]:
        """The next item; none at the end. Raises what making it raised."""
        with self._moved:
            while not self._waiting and not self._ended:
                self._moved.wait()
            if self._error is not None:
                raise self._error
            if not self._waiting:
                return []
            item, size = self._waiting.popleft()
            self._bytes -= size
            self._moved.notify_all()
            return [item]

    def leave(self) -> bool:
        """Takes no more; returns whether items are still being made."""
        with self._moved:
            self._left = True
            self._waiting.clear()
            self._moved.notify_all()
            return not self._ended
