"""One batch of files: an object each, and then the index that tells of all of them."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from dsp_airflow.engine.archive.folder import RunFolder
from dsp_airflow.engine.archive.gridfs import about, index, names
from dsp_airflow.engine.archive.gridfs.chunks import Kept, apart
from dsp_airflow.engine.archive.gridfs.index import Entry
from dsp_airflow.engine.archive.gridfs.source import ReadsFiles
from dsp_airflow.engine.errors import Mismatch, Refused
from dsp_airflow.engine.model import ArchivedObject, Claim, Copied, Key, Origin, Written
from dsp_airflow.engine.ports import Session
from dsp_airflow.engine.stores.mongodb.gridfs import proof, relay
from dsp_airflow.engine.stores.mongodb.gridfs.files import File, filename_of
from dsp_airflow.engine.stores.mongodb.gridfs.namesakes import NAMELESS
from dsp_airflow.engine.stores.s3 import Listed
from dsp_airflow.engine.work import Job

AT_ONCE: Final = 8
"""Small files that are on their way at once,"""
SMALL: Final = 1024 * 1024
"""and the bytes that one of them has at most; a larger one goes by itself, in parts."""
SIGN: Final = 1.0
"""Seconds for which a batch that was ours a moment ago cannot be somebody else's: far less than
its lease lasts."""


def archive_batch(
    job: Job[Session, RunFolder],
    source: Session,
    target: RunFolder,
    claim: Claim,
    upto: Key | None,
) -> Copied:
    """Digested while it is read, in one snapshot. ``upto`` is where the last batch ends."""
    began = time.monotonic()
    with source.snapshot() as mark:
        taken = _stored(job, source, target, claim, upto)
    entries = [entry for entry, _ in taken]
    hashes = [hashed for entry, hashed in taken if entry.stored is not None]
    rows = len(hashes)
    listed = target.put(claim, index.batches(entries), lambda: job.ledger.keep(claim))
    # Those that were kept back are told of, and no part of what is archived.
    listed = replace(listed, rows=rows)
    size = listed.size + sum(entry.stored.size for entry in entries if entry.stored is not None)
    origin = Origin(proof.digest_of(hashes), mark)
    return Copied(
        rows_read=rows,
        written=Written(rows=rows, inserted=rows, origin=origin, bytes=size),
        bytes=size,
        seconds=time.monotonic() - began,
        objects=(listed,),
    )


def _stored(
    job: Job[Session, RunFolder],
    source: Session,
    target: RunFolder,
    claim: Claim,
    upto: Key | None,
) -> list[tuple[Entry, str]]:
    """Uploads the batch's files: what the index says of each, and its hash."""
    what, within, mode = job.plan.source, claim.batch.within, target.archive.name_mode
    if not isinstance(source, ReadsFiles):
        raise Refused(f"{what.label} cannot be read into an archive of files")
    given_way: Mapping[Key, str] = {}
    if mode != names.BY_ID:
        given_way = source.namesakes(what, within, newest=mode == "newest", upto=upto)
    stream = source.files(what, within, given_way.keys())
    with _Uploads(target, lambda: job.ledger.keep(claim)) as uploads:
        for file, chunks in _arriving(iter(stream)):
            reason = given_way.get(file.key)
            if reason is None:
                uploads.store(file, chunks)
            else:
                uploads.keep_back(file, reason)
        taken = uploads.taken()
    if len(taken) != stream.rows:
        raise Mismatch(
            f"{what.label}: batch {claim.batch.number} has {stream.rows:,} files, and "
            f"{len(taken):,} came; nothing is recorded"
        )
    return taken


def _arriving(buffers: Iterator[bytes | memoryview]) -> Iterator[tuple[File, Iterator[bytes]]]:
    """Every file with its chunks, which are to be read before the next is asked for."""
    arrived = relay.arrivals(buffers)
    following: list[File] = [file for file in (next(arrived, None),) if isinstance(file, File)]

    def chunks() -> Iterator[bytes]:
        for each in arrived:
            if isinstance(each, File):
                following.append(each)
                return
            yield each

    while following:
        file = following.pop()
        mine = chunks()
        yield file, mine
        for _ in mine:
            raise ValueError(f"chunks of file {file.key[0]} were not read")


@dataclass(frozen=True, slots=True)
class _Read:
    """A file that was read to its end."""

    hashed: str
    chunks: bytes


class _Reading:
    """Takes a file's chunks apart, and notes what proves it."""

    def __init__(self, file: File, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._md5 = hashlib.md5(file.document, usedforsecurity=False)
        self._kept = Kept()

    def __iter__(self) -> Iterator[bytes]:
        """The bytes of the file."""
        for chunk in self._chunks:
            self._md5.update(chunk)
            rest, content = apart(chunk)
            self._kept.add(rest)
            yield content

    def done(self) -> _Read:
        return _Read(self._md5.hexdigest(), self._kept.packed())


class _Uploads:
    """Files on their way up, the small ones several at once. Leaving early abandons them."""

    def __init__(self, target: RunFolder, keep: Callable[[], None]) -> None:
        self._target = target
        self._bucket = target.bucket
        self._fence = _Fence(keep)
        self._taken: list[Future[tuple[Entry, str]]] = []
        self._flying: list[Future[tuple[Entry, str]]] = []
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="dsp-files")

    def __enter__(self) -> _Uploads:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def store(self, file: File, chunks: Iterator[bytes]) -> None:
        """Uploads a file. An error may come with a later one, or with ``taken``."""
        reading = _Reading(file, chunks)
        if file.length > SMALL:
            self._note(self._put(file, iter(reading), reading))
            return
        content = b"".join(reading)
        while len(self._flying) >= AT_ONCE:
            self._flying.pop(0).result()
        future = self._pool.submit(self._put, file, iter((content,)), reading)
        self._flying.append(future)
        self._taken.append(future)

    def keep_back(self, file: File, reason: str) -> None:
        """Only tells of it."""
        self._note((_entry(file, kept_back=reason), ""))

    def taken(self) -> list[tuple[Entry, str]]:
        """All of them in their order, each with its hash, once they are there."""
        return [future.result() for future in self._taken]

    def _note(self, done: tuple[Entry, str]) -> None:
        future: Future[tuple[Entry, str]] = Future()
        future.set_result(done)
        self._taken.append(future)

    def _put(self, file: File, pieces: Iterator[bytes], reading: _Reading) -> tuple[Entry, str]:
        target = self._target
        name = filename_of(file.document)
        if not name and target.archive.name_mode != names.BY_ID:
            # Where there are no snapshots it may have come since the others were asked for.
            return _entry(file, kept_back=NAMELESS), ""
        key = names.object_key(target.archive, target.run, file.id, name)
        before = self._bucket.head(key)
        if before is not None and not self._may_replace(before, file):
            for _ in pieces:
                pass
            return _entry(file, kept_back=_stands(before)), ""
        etag = None if before is None else before.etag
        with self._bucket.upload(key, replaces=etag, about=about.of(file)) as upload:
            for piece in pieces:
                upload.write(piece)
            if upload.size != file.length:
                raise Mismatch(
                    f"{self._bucket.label(key)}: file {file.key[0]} has {file.length:,} bytes, and "
                    f"{upload.size:,} came; nothing is recorded"
                )
            stored = upload.finish(self._fence)
        done = reading.done()
        made = ArchivedObject(key, stored.size, stored.sha256, stored.etag, stored.version, 1)
        return _entry(file, stored=made, chunks=done.chunks), done.hashed

    def _may_replace(self, before: Listed, file: File) -> bool:
        """An earlier try of ours may have left it; another file's object is never written over."""
        if self._target.archive.name_mode == names.BY_ID:
            return True
        return about.file_in(before) == about.id_of(file)


def _stands(before: Listed) -> str:
    other = about.file_in(before)
    named = f"file {other}" if other else "another file"
    return f"{named} of the same name was archived first"


def _entry(
    file: File,
    stored: ArchivedObject | None = None,
    chunks: bytes = b"",
    kept_back: str = "",
) -> Entry:
    return Entry(file.key[0], file.length, file.document, stored, chunks, kept_back)


class _Fence:
    """Asks whether the batch still is ours, once in a while for all its files."""

    def __init__(self, keep: Callable[[], None]) -> None:
        self._keep = keep
        self._lock = threading.Lock()
        self._at = -SIGN

    def __call__(self) -> None:
        with self._lock:
            if time.monotonic() - self._at < SIGN:
                return
            began = time.monotonic()
            self._keep()
            self._at = began
