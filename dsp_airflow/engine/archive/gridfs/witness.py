"""One batch of archived files, read back: its index, and the object of each file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

from dsp_airflow.engine import keptback
from dsp_airflow.engine.archive.formats import File
from dsp_airflow.engine.archive.gridfs import columns, index
from dsp_airflow.engine.archive.gridfs.chunks import Rebuilt
from dsp_airflow.engine.archive.gridfs.index import Entry
from dsp_airflow.engine.archive.witness import Altered, read_back, require_object
from dsp_airflow.engine.errors import Mismatch
from dsp_airflow.engine.model import (
    Archive,
    ArchivedObject,
    Copied,
    Difference,
    Digest,
    Key,
    KeyRange,
    LossCount,
    Projection,
    RowHash,
)
from dsp_airflow.engine.stores.mongodb.gridfs import proof
from dsp_airflow.engine.stores.s3 import Bucket

T = TypeVar("T")
AT_ONCE: Final = 8
"""Objects that are looked at, or read, at once."""
BLOCK: Final = 1024 * 1024


@dataclass
class FilesWitness:
    """Implements ``ports.Witness``, and ``keptback.KeepsBack``.

    Objects are hashed while they are read, and none is held as a whole.
    """

    bucket: Bucket
    archive: Archive
    copied: Copied
    _entries: list[Entry] | None = field(default=None, init=False)
    _hashes: dict[Key, str] | None = field(default=None, init=False)
    _altered: dict[Key, Difference] = field(default_factory=dict, init=False)
    """Files whose objects are not what was uploaded, once they were read."""

    def __enter__(self) -> FilesWitness:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    # What a purge asks

    @contextmanager
    def proving(self, what: Projection) -> Iterator[None]:
        """Reads everything before anything is locked: it takes its time."""
        self.digest(what, None)
        yield

    def require_proving(self, what: Projection) -> None:
        """Objects are held by nobody: ``fingerprint`` tells of those that were altered."""

    def fingerprint(self, table: str) -> str:  # noqa: ARG002
        """The objects as they lie there now; of a bucket without versions, read once more."""
        for stored in self.copied.objects:
            self._look_again(stored)
        # Those that are known to be altered already prove nothing, whatever becomes of them.
        right = [e.stored for e in self.entries() if e.stored and e.key not in self._altered]
        each(self._look_again, right)
        return self.named()

    def named(self) -> str:
        """What ``fingerprint`` gives while nothing was altered. The index names all the others."""
        return ",".join(f"{o.key} {o.version} {o.sha256}" for o in self.copied.objects)

    def _look_again(self, stored: ArchivedObject) -> None:
        if stored.version is None:
            hashed(self.bucket, stored, ())
        else:
            require_object(self.bucket, stored)

    def kept_back(self) -> Mapping[Key, Difference]:
        """See ``keptback.KeepsBack``."""
        kept = (entry for entry in self.entries() if entry.stored is None)
        found = {e.key: Difference(keptback.KIND, e.key, reason=e.kept_back) for e in kept}
        return {**found, **self._altered}

    # Digests

    def digest(
        self, what: Projection, within: KeyRange | None, keys: Sequence[Key] | None = None
    ) -> Digest:
        """Of all files of the batch, or those of these keys."""
        return proof.digest_of(row.hash for row in self.hashes(what, within, keys))

    def count(self, what: Projection, within: KeyRange) -> int:  # noqa: ARG002
        """Of files, as far as their objects are still the ones that were uploaded."""
        if self._hashes is None:
            for stored in self.copied.objects:
                require_object(self.bucket, stored)
            each(
                lambda stored: require_object(self.bucket, stored),
                [entry.stored for entry in self.entries() if entry.stored],
            )
        return sum(entry.stored is not None for entry in self.entries())

    def losses(self, what: Projection, within: KeyRange) -> tuple[LossCount, ...]:  # noqa: ARG002
        """None: files are kept as they are."""
        return ()

    def holds_rows(self, what: Projection) -> bool:  # noqa: ARG002
        """Whether there is any."""
        return any(stored.rows for stored in self.copied.objects)

    def hashes(
        self,
        what: Projection,  # noqa: ARG002
        within: KeyRange | None = None,  # noqa: ARG002
        keys: Sequence[Key] | None = None,
        mark: str | None = None,  # noqa: ARG002
    ) -> Iterator[RowHash]:
        """File by file, without those whose objects are not what was uploaded."""
        if self._hashes is None:
            stored = [entry for entry in self.entries() if entry.stored is not None]
            found = zip(stored, each(self._hash, stored), strict=True)
            self._hashes = {entry.key: hashed for entry, hashed in found if hashed}
        chosen = self._hashes if keys is None else [k for k in keys if k in self._hashes]
        for key in chosen:
            yield RowHash(key, self._hashes[key], None, key)

    def texts(self, what: Projection, keys: Sequence[Key]) -> dict[Key, tuple[str | None, ...]]:  # noqa: ARG002
        """As ``proof.texts`` gives them of files in a bucket."""
        wanted = set(keys)
        found: dict[Key, tuple[str | None, ...]] = {}
        for entry in self.entries():
            if entry.key in wanted and entry.stored is not None:
                label = self.bucket.label(entry.stored.key)
                with read_back(self.bucket, entry.stored) as path, path.open("rb") as content:
                    chunks = chunks_of(entry, content, label)
                    found[entry.key] = proof.text_of(entry.document, chunks)
        return found

    def _hash(self, entry: Entry) -> str:
        """Empty where the object was altered."""
        try:
            return hash_of(self.bucket, entry)
        except Mismatch as error:
            self._altered[entry.key] = Difference("missing", entry.key, reason=str(error))
            return ""

    def entries(self) -> list[Entry]:
        """What the index says, once it is proved to be the one that was uploaded."""
        if self._entries is None:
            self._entries = [
                entry for stored in self.copied.objects for entry in self._listed(stored)
            ]
        return self._entries

    def _listed(self, stored: ArchivedObject) -> Iterator[Entry]:
        with read_back(self.bucket, stored) as path:
            yield from index.entries(index_file(self.bucket, self.archive, stored, path))


def index_file(bucket: Bucket, archive: Archive, stored: ArchivedObject, path: Path) -> File:
    """An index that was read back, as a file of its format."""
    return File(
        path=path,
        label=bucket.label(stored.key),
        format=archive.format,
        compression=archive.compression,
        forms=columns.FORMS,
        largest=stored.largest,
    )


def hash_of(bucket: Bucket, entry: Entry) -> str:
    """The hash that the file had in its bucket, as ``proof.hashed`` makes it."""
    if entry.stored is None:
        raise ValueError(f"file {entry.id} has no object")
    return hashed(bucket, entry.stored, (entry.document, entry.chunks))


def hashed(bucket: Bucket, stored: ArchivedObject, rest: tuple[bytes, ...]) -> str:
    """Reads an object to its end; ``Altered`` unless it is what was uploaded.

    ``rest`` is the document and the packed chunks of its file, of which the hash is made; nothing
    to only read it.
    """
    sink = Sink(rest, bucket.label(stored.key))
    _download(bucket, stored, sink)
    return sink.done()


class Sink:
    """Hashes what is downloaded, in place of a file that holds it."""

    def __init__(self, rest: tuple[bytes, ...], label: str) -> None:
        self._rest = rest
        self._label = label
        self._md5: Any = None
        self._rebuilt: Rebuilt | None = None

    def seek(self, _at: int) -> None:
        """A download begins, maybe anew."""
        if self._rest:
            document, packed = self._rest
            self._md5 = hashlib.md5(document, usedforsecurity=False)
            self._rebuilt = Rebuilt(packed, self._label)

    def truncate(self) -> None:
        """Nothing is held."""

    def write(self, content: bytes) -> None:
        """Some more bytes of the object."""
        if self._rebuilt is not None:
            self._take(self._rebuilt.feed(content))

    def done(self) -> str:
        """The hash of the file, at the end."""
        if self._rebuilt is None:
            return ""
        self._take(self._rebuilt.end())
        found: str = self._md5.hexdigest()
        return found

    def _take(self, chunks: Iterator[bytes]) -> None:
        for chunk in chunks:
            self._md5.update(chunk)


def content_of(bucket: Bucket, stored: ArchivedObject) -> bytes:
    """A small object; ``Altered`` unless it is what was uploaded."""
    sink = BytesIO()
    _download(bucket, stored, sink)
    return sink.getvalue()


def _download(bucket: Bucket, stored: ArchivedObject, sink: Any) -> None:
    require_object(bucket, stored)
    size, sha256 = bucket.download(stored.key, sink, stored.version)
    if (size, sha256) != (stored.size, stored.sha256):
        raise Altered(
            f"{bucket.label(stored.key)} is not what was uploaded: its SHA-256 is {sha256}, and "
            f"was {stored.sha256}"
        )


def chunks_of(entry: Entry, content: BinaryIO, label: str) -> Iterator[bytes]:
    """The chunks' documents, of an object that was read back."""
    rebuilt = Rebuilt(entry.chunks, label)
    while block := content.read(BLOCK):
        yield from rebuilt.feed(block)
    yield from rebuilt.end()


def each(do: Callable[[Any], T], given: Sequence[Any]) -> list[T]:
    """Several at once; the first error ends it."""
    if len(given) < 2:
        return [do(one) for one in given]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="dsp-objects") as pool:
        try:
            return list(pool.map(do, given))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
