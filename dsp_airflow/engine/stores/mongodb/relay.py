"""Documents on their way out: buffers as the server sent them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Final

from dsp_airflow.engine.ahead import ahead
from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.model import Projection
from dsp_airflow.engine.stores.mongodb import keys, raw

WIRE: Final = "bson"
LARGEST: Final = 16 * 1024 * 1024 + 16 * 1024
"""No server stores a larger document."""
AHEAD: Final = 16 * 1024 * 1024
"""Bytes that are read while the ones before are written."""


class DocumentsOut:
    """See ``ports.Stream``."""

    def __init__(
        self,
        what: Projection,
        buffers: Callable[[], Generator[bytes, None, None]],
        max_row_size: int,
    ) -> None:
        self._what = what
        self._buffers = buffers
        self._largest = max_row_size
        self._rows = -1
        self._size = 0

    @property
    def rows(self) -> int:
        return self._rows

    @property
    def size(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        self._rows, self._size = -1, 0
        count = 0
        with closing(ahead(self._counted(), _size, AHEAD)) as counted:
            for buffer, number in counted:
                count += number
                self._size += len(buffer)
                yield buffer
        self._rows = count

    def _counted(self) -> Generator[tuple[bytes, int], None, None]:
        """Buffers, and how many documents each holds. Looked at while others are written."""
        with closing(self._buffers()) as buffers:
            for buffer in buffers:
                if self._largest < LARGEST:
                    self._refuse_larger(buffer)
                yield buffer, raw.number_of(buffer)

    def _refuse_larger(self, buffer: bytes) -> None:
        for document in raw.documents(buffer):
            if len(document) > self._largest:
                raise too_large(self._what, keys.of(document)[0], len(document), self._largest)


def _size(counted: tuple[bytes, int]) -> int:
    return len(counted[0])


def too_large(what: Projection, key: str, size: int, largest: int) -> Refused:
    """The error for a document that may not pass."""
    return Refused(
        f"{what.label}: the document of _id {key} has {size:,} bytes, max_row_size is "
        f"{largest:,}; raise max_row_size of the job, or leave it out by where"
    )
