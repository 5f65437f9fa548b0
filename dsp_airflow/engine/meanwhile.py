"""One digest, read in a thread of its own while this one does something else."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from dsp_airflow.engine.model import Digest


class Meanwhile:
    """Reads a digest once, at once or when it is asked for.

    Whose session reads it is nobody else's between ``begin`` and ``result``, or the end: leaving
    waits for the thread.
    """

    def __init__(self, read: Callable[[], Digest]) -> None:
        self._read = read
        self._pool = ThreadPoolExecutor(1, "dsp-meanwhile")
        self._begun: Future[Digest] | None = None

    def __enter__(self) -> Meanwhile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown()

    def begin(self) -> None:
        """Reads it from now on."""
        if self._begun is None:
            self._begun = self._pool.submit(self._read)

    def wait(self) -> None:
        """Until nothing is being read; what reading raised is kept for ``result``."""
        if self._begun is not None:
            self._begun.exception()

    def result(self) -> Digest:
        """The digest, or what reading it raised."""
        return self._read() if self._begun is None else self._begun.result()
