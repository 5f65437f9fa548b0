"""Files that no transaction can hold, chunk by chunk, and their documents at the end.

What stands there is compared on the way. From the first chunk that differs the file is written
anew; its document goes first then, so that nobody reads old and new chunks as one file. A file
that was begun and not ended is taken up where the chunks are the same.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from pymongo.errors import PyMongoError

from dsp_airflow.engine.model import KeyRange, Origin, Written
from dsp_airflow.engine.ports import Stream
from dsp_airflow.engine.stores.mongodb import markers, query, raw, translate
from dsp_airflow.engine.stores.mongodb.gridfs import proof, relay, uploads, write
from dsp_airflow.engine.stores.mongodb.gridfs.bucket import bucket_of
from dsp_airflow.engine.stores.mongodb.gridfs.contents import IN_ORDER
from dsp_airflow.engine.stores.mongodb.gridfs.files import File, comparable
from dsp_airflow.engine.stores.mongodb.raw import Value

PIECE: Final = 8 * 1024 * 1024
"""Bytes of chunks that are inserted at once."""
SIGN: Final = 10.0
"""Seconds after which a writer that only compares shows that it is there."""


@dataclass(slots=True)
class _Open:
    """The file that is arriving."""

    file: File
    standing: File | None
    stood: str
    """The hash of what stands there, where it is wanted."""
    there: Iterator[bytes]
    """Its chunks in the target, as far as they were not compared."""
    ignored: bool
    claimed: bool = False
    writing: bool = False
    same: int = 0
    """Chunks that stand there as they were sent."""
    md5: Any = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))
    piece: list[bytes] = field(default_factory=list)
    size: int = 0


class Staged:
    """The writer of one batch."""

    def __init__(self, place: write.Place, marker: markers.Marker | None) -> None:
        self._place = place
        self._marker = marker
        self._by = (marker[0], marker[1]) if marker is not None else ("", "")
        self._holder = uuid4().hex
        self._tally = write.Tally()
        self._written: list[File] = []
        self._replaced: list[File] = []
        self._claimed: list[Value] = []
        self._open: _Open | None = None
        self._sign = time.monotonic()

    def write(
        self, within: KeyRange, stream: Stream, *, ordered_alike: bool, origin: Origin
    ) -> Written:
        """See ``ports.Writes``."""
        place = self._place
        if self._marker is not None:
            recovered = markers.found(place.connection, place.what, self._marker)
            if recovered is not None:
                return recovered
        self._tally.look(place, within, None, ordered_alike=ordered_alike)
        for arrived in relay.arrivals(iter(stream)):
            if isinstance(arrived, File):
                self._end()
                self._begin(arrived)
            else:
                self._chunk(arrived)
        self._end()
        done = write.finished(place, self._tally, stream, origin)
        with place.step(self._marker) as step:
            if step.recovered is None:
                write.remove(place, self._replaced, step.session)
                made = [file.document for file in self._written]
                write.insert(place, place.files, made, step.session)
                owned = self._claimed
                uploads.release(place.connection, place.what, owned, self._holder, step.session)
                step.leave(done)
        return step.recovered or done

    def _begin(self, file: File) -> None:
        place = self._place
        connection, what = place.connection, place.what
        standing = place.standing([file]).get(comparable(file.id))
        ignored = standing is not None and place.on_conflict == "ignore"
        stood = ""
        if standing is not None and (place.digest or ignored):
            stood = proof.hash_of(connection, what, standing)
        if standing is not None:
            self._tally.stood([stood or "0" * 32])
        self._open = _Open(file, standing, stood, iter(()), ignored)
        self._open.md5.update(file.document)
        if ignored:
            return
        if uploads.claimed(connection, what, [file]):
            self._claim()
        self._open.there = self._chunks_of(file)
        if standing is None and not self._open.claimed:
            if next(self._open.there, None) is not None:
                raise uploads.foreign(what, file)
            self._rewrite()

    def _chunks_of(self, file: File) -> Iterator[bytes]:
        table = bucket_of(self._place.connection, self._place.what.table).chunks
        matching = {"files_id": raw.document([("$eq", file.id)])}
        for buffer in self._place.connection.find(table, matching, order=IN_ORDER, required=False):
            yield from raw.documents(buffer)

    def _chunk(self, chunk: bytes) -> None:
        now = self._arriving
        now.md5.update(chunk)
        self._show()
        if now.ignored:
            return
        if not now.writing:
            if next(now.there, None) == chunk:
                now.same += 1
                return
            self._rewrite()
        now.piece.append(chunk)
        now.size += len(chunk)
        if now.size >= PIECE:
            self._flush()

    def _end(self) -> None:
        if self._open is None:
            return
        now, tally = self._open, self._tally
        if now.ignored:
            tally.left(now.md5.hexdigest(), now.stood)
        else:
            if not now.writing and next(now.there, None) is not None:
                self._rewrite()
            self._flush()
            alike = now.standing is not None and now.standing.document == now.file.document
            if alike and not now.writing:
                tally.unchanged += 1
            else:
                self._written.append(now.file)
                tally.inserted += now.standing is None
                tally.updated += now.standing is not None
                if now.standing is not None and not now.writing:
                    self._replaced.append(now.file)
        self._open = None

    @property
    def _arriving(self) -> _Open:
        if self._open is None:
            raise ValueError("a chunk came before its file")
        return self._open

    def _show(self) -> None:
        """A sign of life, while nothing is written."""
        if time.monotonic() - self._sign < SIGN:
            return
        if self._place.lease is not None:
            self._place.lease.renew(self._place.what.label)
        self._place.fence()
        self._sign = time.monotonic()

    def _claim(self) -> None:
        """Who was killed within a piece holds the file until the server ends his transaction."""
        place, now = self._place, self._arriving
        give_up = time.monotonic() + markers.PATIENCE
        while True:
            try:
                with place.step() as step:
                    holder, own = self._holder, now.file.id
                    uploads.claim(place.connection, place.what, own, holder, self._by, step.session)
                break
            except PyMongoError as error:
                if not translate.conflicting(error) or time.monotonic() > give_up:
                    raise
            time.sleep(markers.TURN)
        now.claimed = True
        self._claimed.append(now.file.id)

    def _rewrite(self) -> None:
        """The file becomes ours: its document goes, and every chunk after those that are right."""
        place, now = self._place, self._arriving
        if not now.claimed:
            self._claim()
        if now.standing is not None:
            with place.step() as step:
                self._hold(step.session)
                write.remove(place, [now.standing], step.session)
        now.there, now.writing = iter(()), True
        wrong: dict[str, Any] = {
            "files_id": raw.document([("$eq", now.file.id)]),
            "$nor": [{"n": {"$lt": now.same}}],
        }
        table = bucket_of(place.connection, place.what.table).chunks
        while True:
            found = place.connection.find(
                table, wrong, projection={"_id": 1}, limit=uploads.REMOVED, ordered=False
            )
            ids = [raw.id_of(d) for buffer in found for d in raw.documents(buffer)]
            if not ids:
                return
            with place.step() as step:
                self._hold(step.session)
                place.chunks.delete_many(query.by_ids(ids), session=step.session)

    def _flush(self) -> None:
        place, now = self._place, self._arriving
        if not now.piece:
            return
        with place.step() as step:
            self._hold(step.session)
            write.insert(place, place.chunks, now.piece, step.session)
        now.piece, now.size = [], 0

    def _hold(self, session: Any) -> None:
        place = self._place
        uploads.hold(place.connection, place.what, self._arriving.file.id, self._holder, session)
