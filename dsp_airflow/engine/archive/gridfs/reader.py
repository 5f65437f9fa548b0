"""Archived files as the source of a copy: read back from index and objects, and proved."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from typing import Final

from dsp_airflow.engine import keptback
from dsp_airflow.engine.archive.gridfs.index import Entry
from dsp_airflow.engine.archive.gridfs.witness import FilesWitness, chunks_of, content_of
from dsp_airflow.engine.archive.manifest import ArchivedBatch, Manifest
from dsp_airflow.engine.archive.witness import read_back
from dsp_airflow.engine.errors import Mismatch
from dsp_airflow.engine.model import (
    Archive,
    ArchivedObject,
    Copied,
    Digest,
    Isolation,
    Key,
    KeyRange,
    LossCount,
    Origin,
    Projection,
    RowHash,
    Written,
)
from dsp_airflow.engine.ports import Stream
from dsp_airflow.engine.stores.mongodb.gridfs import relay
from dsp_airflow.engine.stores.s3 import S3Store

AHEAD: Final = 8
"""Small files that are fetched at once,"""
SMALL: Final = 1024 * 1024
"""and the bytes that one of them has at most."""


@dataclass(frozen=True)
class ArchivedFiles:
    """Implements ``ports.Opens``: what a restore of files reads from. Threads share it."""

    store: S3Store
    manifest: Manifest

    @property
    def name(self) -> str:
        """The connection's id."""
        return self.store.name

    @property
    def identity(self) -> str:
        """Where the connection leads."""
        return self.store.identity

    @contextmanager
    def session(self) -> Iterator[FilesReader]:
        """Reads for one thread."""
        yield FilesReader(self)


@dataclass
class FilesReader:
    """Implements ``ports.CopySource``. What an object holds never changes, or it is not read."""

    run: ArchivedFiles
    _last: tuple[KeyRange, FilesWitness] | None = field(default=None, init=False)

    @contextmanager
    def snapshot(self, isolation: Isolation = "repeatable_read") -> Iterator[str | None]:  # noqa: ARG002
        """Needs none."""
        yield None

    def horizon(self) -> str | None:
        """Files of an archive do not grow older."""
        return None

    def read(self, what: Projection, within: KeyRange, wire: str, max_row_size: int) -> Stream:
        """The batch's files; nothing of one is sent before its object was proved."""
        del wire, max_row_size
        return _FilesIn(what, self._witness(within), self._batch(within))

    def digest(
        self, what: Projection, within: KeyRange | None, keys: Sequence[Key] | None = None
    ) -> Digest:
        """Of the files as they lie there now; ``Mismatch`` when the manifest knows another one."""
        witness = self._witness(within)
        found = witness.digest(what, within, keys)
        altered = keptback.altered(witness)
        if altered:
            raise Mismatch(f"{altered[0].reason}; nothing of the batch was restored")
        batch = self._batch(within)
        if keys is None and batch.digest is not None and found != batch.digest:
            raise Mismatch(
                f"{what.label}: batch {batch.number} has another digest than its manifest says; "
                "nothing of it was restored"
            )
        return found

    def count(self, what: Projection, within: KeyRange) -> int:
        """Of the batch's files."""
        return self._witness(within).count(what, within)

    def losses(self, what: Projection, within: KeyRange) -> tuple[LossCount, ...]:  # noqa: ARG002
        """None: every byte comes back."""
        return ()

    def holds_rows(self, what: Projection) -> bool:  # noqa: ARG002
        """Whether the archive has any."""
        return self.run.manifest.rows > 0

    def hashes(
        self,
        what: Projection,
        within: KeyRange | None = None,
        keys: Sequence[Key] | None = None,
        mark: str | None = None,
    ) -> Iterator[RowHash]:
        """File by file."""
        return self._witness(within).hashes(what, within, keys, mark)

    def texts(self, what: Projection, keys: Sequence[Key]) -> dict[Key, tuple[str | None, ...]]:
        """Of files of the batch that was asked for last: only there they are looked for."""
        return self._witness(None).texts(what, keys)

    def _batch(self, within: KeyRange | None) -> ArchivedBatch:
        batches = self.run.manifest.batches
        found = [b for b in batches if within == KeyRange(b.after, b.upto)]
        if len(found) != 1:
            raise ValueError(f"{within} is no batch of the archive")
        return found[0]

    def _witness(self, within: KeyRange | None) -> FilesWitness:
        if self._last is not None and within in (None, self._last[0]):
            return self._last[1]
        if within is None:
            raise ValueError("no batch was read")
        manifest, batch = self.run.manifest, self._batch(within)
        archive = Archive(
            manifest.bucket,
            manifest.prefix,
            manifest.file_format,
            manifest.compression,
            name_mode=manifest.name_mode,
        )
        written = Written(batch.rows, batch.rows, origin=Origin(batch.digest))
        copied = Copied(batch.rows, written, 0, 0.0, batch.objects)
        made = FilesWitness(self.run.store.bucket(manifest.bucket), archive, copied)
        self._last = within, made
        return made


class _FilesIn:
    """See ``ports.Stream``.

    Small files are fetched ahead, several at once; a larger one lies in a temporary file meanwhile.
    """

    def __init__(self, what: Projection, witness: FilesWitness, batch: ArchivedBatch) -> None:
        self.rows = -1
        self.size = 0
        self._what = what
        self._witness = witness
        self._batch = batch

    def __iter__(self) -> Iterator[bytes]:
        self.rows, self.size = -1, 0
        rows = 0
        for entry, chunks in self._arriving():
            rows += 1
            for buffer in relay.buffered(entry.document, chunks):
                self.size += len(buffer)
                yield buffer
        if rows != self._batch.rows:
            raise Mismatch(
                f"{self._what.label}: batch {self._batch.number} has {rows:,} files, and its "
                f"manifest says {self._batch.rows:,}; nothing of it was restored"
            )
        self.rows = rows

    def _arriving(self) -> Iterator[tuple[Entry, Iterator[bytes]]]:
        bucket = self._witness.bucket
        stored = ((e, e.stored) for e in self._witness.entries() if e.stored is not None)
        waiting: deque[tuple[Entry, ArchivedObject, Future[bytes] | None]] = deque()
        pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="dsp-fetch")
        try:
            while True:
                for entry, one in islice(stored, AHEAD - len(waiting)):
                    small = one.size <= SMALL
                    waiting.append(
                        (entry, one, pool.submit(content_of, bucket, one) if small else None)
                    )
                if not waiting:
                    return
                entry, one, fetched = waiting.popleft()
                label = bucket.label(one.key)
                if fetched is not None:
                    yield entry, chunks_of(entry, BytesIO(fetched.result()), label)
                    continue
                with read_back(bucket, one) as path, path.open("rb") as content:
                    yield entry, chunks_of(entry, content, label)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
