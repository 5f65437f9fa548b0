"""The objects of files that an index names, as they lie there now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from dsp_airflow.engine.archive.formats import File
from dsp_airflow.engine.archive.gridfs import index, sweep
from dsp_airflow.engine.archive.gridfs.index import Entry
from dsp_airflow.engine.archive.gridfs.witness import Sink, each
from dsp_airflow.engine.errors import DspError, Mismatch
from dsp_airflow.engine.model import ArchivedObject, Digest
from dsp_airflow.engine.stores.mongodb.gridfs import proof
from dsp_airflow.engine.stores.s3 import Bucket

AT_ONCE: Final = 64
"""Files that are told of at once."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An object that was read: its size and SHA-256, and the hash of the file that it makes.

    ``hashed`` is empty where object and index do not make a file; ``error``: it could not be read.
    """

    stored: ArchivedObject
    size: int = 0
    sha256: str = ""
    hashed: str = ""
    error: DspError | None = None

    @property
    def is_right(self) -> bool:
        """Whether it is, byte for byte, what was uploaded."""
        return (self.size, self.sha256) == (self.stored.size, self.stored.sha256)


class FileObjects:
    """Those of one run. To be used as a context manager."""

    def __init__(self, bucket: Bucket, folder: str) -> None:
        self._bucket = bucket
        self._folder = folder
        self._stack = ExitStack()
        self._names = self._stack.enter_context(sweep.names())
        self.read = 0
        """Indexes that were read to their end."""

    def __enter__(self) -> FileObjects:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def named(self, file: File) -> Iterator[ArchivedObject]:
        """What an index names, without a look at it."""
        for entry in self._entries(file):
            if entry.stored is not None:
                yield entry.stored

    def seen(self, file: File) -> Iterator[Seen]:
        """What an index names, read."""
        some: list[Entry] = []
        for entry in self._entries(file):
            some.append(entry)
            if len(some) == AT_ONCE:
                yield from each(self._read, some)
                some = []
        yield from each(self._read, some)

    def unnamed(self) -> Iterator[str]:
        """Objects among the files that no index named so far."""
        return sweep.unnamed(self._bucket, self._folder, self._names)

    def is_in_place(self, stored: ArchivedObject) -> bool:
        """Whether an object lies among the run's files."""
        return stored.key.startswith(self._folder)

    def _entries(self, file: File) -> Iterator[Entry]:
        for entry in index.entries(file):
            if entry.stored is not None:
                self._names.add([entry.stored.key])
                yield entry
        self.read += 1

    def _read(self, entry: Entry) -> Seen:
        stored = entry.stored
        if stored is None:
            raise ValueError(f"file {entry.id} has no object")
        sink = Sink((entry.document, entry.chunks), self._bucket.label(stored.key))
        try:
            size, sha256 = self._bucket.download(stored.key, sink)  # type: ignore[arg-type]
        except DspError as error:
            return Seen(stored, error=error)
        try:
            hashed = sink.done()
        except Mismatch:
            hashed = ""
        return Seen(stored, size, sha256, hashed)


def digest_of(seen: list[Seen]) -> Digest:
    """Of the files that were read."""
    return proof.digest_of(one.hashed for one in seen)
