"""Reading ahead: the source renders the next buffers while the target takes the last ones."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

from dsp_airflow.engine.ports import Stream

AHEAD = 16
"""Buffers read ahead. A buffer is 256 KiB, or one larger row."""


class Overlapped:
    """A stream that is read by a thread of its own.

    The thread ends with the stream, with its first error (raised to whoever iterates), or
    when the iteration is left early.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._queue: queue.Queue[bytes | memoryview | BaseException | None] = queue.Queue(AHEAD)
        self._left = threading.Event()

    @property
    def rows(self) -> int:
        """See ``ports.Stream``."""
        return self._stream.rows

    @property
    def size(self) -> int:
        """See ``ports.Stream``."""
        return self._stream.size

    def leave(self) -> None:
        """See ``ports.Stream``."""
        self._stream.leave()

    def __iter__(self) -> Iterator[bytes | memoryview]:
        thread = threading.Thread(target=self._read, name="dsp-read", daemon=True)
        thread.start()
        try:
            while (item := self._queue.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self._left.set()
            self._stream.leave()
            while thread.is_alive():
                self._drain()
                thread.join(0.05)

    def _drain(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()

    def _read(self) -> None:
        try:
            for buffer in self._stream:
                self._queue.put(buffer)
                if self._left.is_set():
                    # Nobody wants the rest; dropping the iterator closes the source's cursor.
                    return
        except BaseException as error:  # noqa: BLE001 - carried to the reader's thread
            self._queue.put(error)
        else:
            self._queue.put(None)
