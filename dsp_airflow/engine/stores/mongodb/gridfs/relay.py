"""Files on their way: every document has a letter in front that tells what it is.

A file's document comes first, and then its chunks, in order. Buffers hold whole documents.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import closing
from itertools import chain
from typing import Final

from dsp_airflow.engine.ahead import ahead
from dsp_airflow.engine.errors import Transient
from dsp_airflow.engine.model import Key, KeyRange, Projection
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.gridfs.bucket import bucket_of
from dsp_airflow.engine.stores.mongodb.gridfs.contents import contents, sorted_out
from dsp_airflow.engine.stores.mongodb.gridfs.files import Account, File, file_of

WIRE: Final = "gridfs"
FILE: Final = ord("F")
CHUNK: Final = ord("C")
AHEAD: Final = 16 * 1024 * 1024
"""Bytes that are read while the ones before are written."""
BUFFER: Final = 4 * 1024 * 1024
"""Bytes that are sent at once."""


class FilesOut:
    """See ``ports.Stream``. A row is a file; those that are not whole are left out.

    Of the ``bare`` ones only the documents are sent.
    """

    def __init__(
        self,
        connection: Connection,
        what: Projection,
        within: KeyRange,
        bare: Collection[Key] = (),
    ) -> None:
        self._connection = connection
        self._what = what
        self._within = within
        self._bare = frozenset(bare)
        self._rows = -1
        self._size = 0
        self._count = 0

    @property
    def rows(self) -> int:
        return self._rows

    @property
    def size(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        self._rows, self._size, self._count = -1, 0, 0
        with closing(ahead(self._buffers(), len, AHEAD)) as buffers:
            for buffer in buffers:
                self._size += len(buffer)
                yield buffer
        self._rows = self._count

    def _buffers(self) -> Generator[bytes, None, None]:
        yield from _gathered(self._documents())

    def _documents(self) -> Iterator[tuple[int, bytes]]:
        bucket = bucket_of(self._connection, self._what.table)
        for whole, _ in sorted_out(self._connection, self._what, self._within):
            for file in whole:
                if file.key in self._bare:
                    self._count += 1
                    yield FILE, file.document
            sent = [file for file in whole if file.key not in self._bare] if self._bare else whole
            for file, chunks in contents(self._connection, bucket, sent):
                self._count += 1
                yield FILE, file.document
                account = Account(file)
                for chunk in chunks:
                    account.read(chunk)
                    yield CHUNK, chunk
                # Where there are no snapshots it may have changed since it was looked at.
                damage = account.damage() or account.wrong_md5()
                if damage:
                    raise Transient(
                        f"{self._what.label}: file {file.key[0]} changed while it was read "
                        f"({damage}); retry"
                    )


def buffered(document: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """One file, as it is sent."""
    return _gathered(chain([(FILE, document)], ((CHUNK, chunk) for chunk in chunks)))


def _gathered(documents: Iterable[tuple[int, bytes]]) -> Iterator[bytes]:
    buffer = bytearray()
    for letter, document in documents:
        buffer.append(letter)
        buffer += document
        if len(buffer) >= BUFFER:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)


def arrivals(buffers: Iterator[bytes | memoryview]) -> Iterator[File | bytes]:
    """What the buffers hold: a file, and then its chunks."""
    for buffer in buffers:
        data, at = bytes(buffer), 0
        while at < len(data):
            stop = at + 1 + int.from_bytes(data[at + 1 : at + 5], "little")
            document = data[at + 1 : stop]
            yield file_of(document) if data[at] == FILE else document
            at = stop
