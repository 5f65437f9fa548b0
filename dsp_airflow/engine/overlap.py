"""Reading ahead: the source renders the next buffers while the target takes the last ones."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

from dsp_airflow.engine.ports import Stream

AHEAD = 4 * 1024 * 1024
"""Bytes read ahead; beyond them at most the one buffer that is being read, however large."""


class _Between:
    """What was read and not yet written. One thread puts, another takes."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._buffers: deque[bytes | memoryview] = deque()
        self._size = 0
        self._ended = False
        self._left = False
        self._error: BaseException | None = None

    def put(self, buffer: bytes | memoryview) -> bool:
        """Waits for room; False when nobody takes any more."""
        with self._change:
            self._change.wait_for(lambda: self._size < AHEAD or self._left)
            self._buffers.append(buffer)
            self._size += len(buffer)
            self._change.notify_all()
            return not self._left

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more comes."""
        with self._change:
            self._ended, self._error = True, error
            self._change.notify_all()

    def take(self) -> bytes | memoryview | None:
        """Waits for the next buffer; ``None`` after the last one, or raises what ended it."""
        with self._change:
            self._change.wait_for(lambda: self._buffers or self._ended)
            if not self._buffers:
                if self._error is not None:
                    raise self._error
                return None
            buffer = self._buffers.popleft()
            self._size -= len(buffer)
            self._change.notify_all()
            return buffer

    def leave(self) -> None:
        """Nothing more is taken."""
        with self._change:
            self._left = True
            self._change.notify_all()


class Overlapped:
    """A stream that is read by a thread of its own.

    The thread ends with the stream, with its first error (raised to whoever iterates), or
    when the iteration is left early.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._between = _Between()

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
            while (buffer := self._between.take()) is not None:
                yield buffer
        finally:
            self._between.leave()
            self._stream.leave()
            thread.join()

    def _read(self) -> None:
        try:
            for buffer in self._stream:
                if not self._between.put(buffer):
                    # Dropping the iterator closes the source's cursor.
                    break
        except BaseException as error:  # noqa: BLE001 - carried to the reader's thread
            self._between.end(error)
        else:
            self._between.end()
