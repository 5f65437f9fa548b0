"""One batch into a collection, with a commit marker.

Documents go in as they came. A document that stands there with other bytes is replaced in a
pipeline, by a literal: unlike a plain replacement, that takes every name and every value. It is
also how a timestamp of zero comes in, which a server sets to its own time when it is inserted.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from bson.raw_bson import RawBSONDocument
from pymongo import ReplaceOne, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError, OperationFailure

from dsp_airflow.engine.errors import BadValue, Collision, DspError, Mismatch, Transient
from dsp_airflow.engine.model import Digest, KeyRange, OnConflict, Origin, Projection, Written
from dsp_airflow.engine.ports import Stream
from dsp_airflow.engine.stores.mongodb import (
    keys,
    markers,
    notes,
    proof,
    query,
    raw,
    rows,
    translate,
)
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.leases import Lease
from dsp_airflow.engine.stores.mongodb.raw import Value
from dsp_airflow.engine.stores.mongodb.relay import WIRE

_ZERO: Final = b"\0" * 8
_MAYBE_ZERO_TIMESTAMP: Final = re.compile(rb"\x11[^\0]*\0{9}")
LOOKED_UP: Final = 10_000
"""Documents compared at once with what stands there."""
INSERTED: Final = 10_000
"""Documents of one command, and"""
INSERTED_BYTES: Final = 4 * 1024 * 1024
"""their bytes, unless one is larger."""
PIECE: Final = 2_000
"""Documents of one transaction, and"""
PIECE_BYTES: Final = 4 * 1024 * 1024
"""their bytes, where a batch does not fit into one."""


class TooLargeError(Collision):
    """The batch does not fit into one transaction; it is to be sent again, for pieces of it."""


def write(
    connection: Connection,
    what: Projection,
    within: KeyRange,
    stream: Stream,
    *,
    wire: str,
    on_conflict: OnConflict,
    ordered_alike: bool,
    origin: Origin,
    marker: markers.Marker | None,
    fence: Callable[[], None],
    lease: Lease | None,
    direct: bool = True,
    pieces: bool = False,
) -> Written:
    """See ``ports.Writes``. The caller has translated nothing yet.

    ``pieces``: several transactions, the marker in the last. What a crash leaves of them is
    written again by the next try, so this is for ``update`` only.
    """
    with (
        _under_one_primary(connection, what),
        translate.escalated(translate.NO_ROOM, lambda: too_large(what)),
        ExitStack() as stack,
    ):
        session: ClientSession | None = None
        if connection.transactions:
            if lease is not None:
                lease.renew(what.label)
            session = stack.enter_context(connection.client.start_session())
            # Left without a commit, the session takes everything back.
            if marker is None or pieces:
                connection.begin(session)
            elif (recovered := markers.claim(connection, what, marker, session)) is not None:
                return recovered
            if lease is not None:
                lease.fence(session, what.label)
        batch = _Batch(connection, what, session, on_conflict, origin.digest is not None)
        if session is not None and pieces:
            batch.between = partial(_next_piece, connection, session, lease, what.label, fence)
        batch.look(within, alone=direct and ordered_alike, ordered_alike=ordered_alike)
        for buffer in stream if wire == WIRE else rows.buffers(stream, what):
            batch.take(bytes(buffer))
        done = replace(batch.done(), origin=origin, bytes=stream.size)
        if done.rows != stream.rows:
            raise Mismatch(
                f"{what.label}: the source sent {stream.rows:,} documents and the target took "
                f"{done.rows:,}. Nothing was written"
            )
        if session is None:
            fence()
            return done
        if marker is not None:
            markers.leave(connection, what, marker, done, session)
        fence()
        connection.commit(session)
    return done


def set_back(
    connection: Connection,
    what: Projection,
    session: ClientSession,
    pairs: Sequence[tuple[bytes, bytes]],
) -> None:
    """Replaces documents, as they are, by what they were; in this order, and without notes.

    ``notes.Unfit`` where the server has something against one of them.
    """
    batch = _Batch(connection, replace(what, notes=""), session, "update", digest=False)
    for _, alike in itertools.groupby(pairs, lambda pair: raw.id_of(pair[0]) == raw.id_of(pair[1])):
        batch.replace(list(alike))


@contextmanager
def _under_one_primary(connection: Connection, what: Projection) -> Iterator[None]:
    """A new primary knows no transaction of the one before; that says nothing of their size."""
    before = connection.election
    try:
        yield
    except TooLargeError as error:
        if connection.elected() == before:
            raise
        raise Transient(
            f"{what.label}: another server became the primary, and has no transaction of this "
            "batch; retry"
        ) from error


def _next_piece(
    connection: Connection,
    session: ClientSession,
    lease: Lease | None,
    label: str,
    fence: Callable[[], None],
) -> None:
    """Commits what was written so far, and goes on in another transaction."""
    fence()
    connection.commit(session)
    connection.begin(session)
    if lease is not None:
        lease.fence(session, label)


@dataclass(slots=True)
class _Batch:
    """What has become of a batch's documents so far."""

    connection: Connection
    what: Projection
    session: ClientSession | None
    on_conflict: OnConflict
    digest: bool
    between: Callable[[], None] | None = None
    """Called after every piece, where the batch has several."""
    _alone: bool = False
    _counted: bool = False
    _others: Digest = field(init=False)
    _instead: Digest = field(init=False)
    _ids: set[Value] = field(default_factory=set)
    _inserted: int = 0
    _updated: int = 0
    _unchanged: int = 0
    _ignored: int = 0
    _unlike: int = 0
    _noting: notes.Noting | None = None

    def __post_init__(self) -> None:
        self._others = self._instead = proof.digest_as(self.what, ())
        if self.what.notes:
            session = notes.require_transaction(self.what, self.session)
            self._noting = notes.Noting(self.connection, self.what, session)

    def look(self, within: KeyRange, *, alone: bool, ordered_alike: bool) -> None:
        """What stands in the range before anything is written."""
        if not ordered_alike:
            # The bounds are none of ids here.
            return
        matching = query.matching(self.what, within)
        table, session = self.what.table, self.session
        first = self.connection.find(
            table, matching, session=session, projection={"_id": 1}, limit=1
        )
        if next(iter(first), None) is None:
            self._alone = alone
        elif self.digest:
            self._others = proof.digest(self.connection, self.what, within, None, session)
        else:
            count = self.connection.count(table, matching, session=session)
            self._others = replace(self._others, rows=count)
        self._counted = True

    def take(self, buffer: bytes) -> None:
        """Writes the documents of a buffer."""
        if self._alone and not self.what.loose:
            self._insert(buffer)
            return
        documents = list(raw.documents(buffer))
        if self.what.loose:
            self._refuse_twins(documents)
        if self._alone:
            self._insert(buffer)
        elif self.between is None:
            for first in range(0, len(documents), LOOKED_UP):
                self._merge(documents[first : first + LOOKED_UP])
        else:
            for piece in _cut(documents, PIECE, PIECE_BYTES):
                self._merge(piece)
                self.between()

    def done(self) -> Written:
        """The sums."""
        rows = self._inserted + self._updated + self._unchanged + self._ignored
        instead = self._instead if self.on_conflict == "ignore" and self.digest else None
        return Written(
            rows,
            self._inserted,
            self._updated,
            self._unchanged,
            self._ignored,
            unlike=self._unlike,
            others=self._others if self.digest else replace(self._others, sum=0),
            instead=instead,
        )

    def _refuse_twins(self, documents: list[bytes]) -> None:
        for document in documents:
            own = raw.id_of(document)
            if own in self._ids:
                raise BadValue(
                    f"{self.what.label}: the source shows _id {keys.text(own)} in two documents; "
                    "nothing of the batch was written"
                )
            self._ids.add(own)

    def _merge(self, documents: Sequence[bytes]) -> None:
        sent = {raw.id_of(document): document for document in documents}
        there = self._there(sent)
        if there and self.on_conflict == "error":
            raise BadValue(
                f"{self.what.label}: the target holds _id {keys.text(next(iter(there)))} already "
                "and on_conflict is error; nothing of the batch was written"
            )
        if self._counted:
            self._others -= proof.digest_as(self.what, there.values())
        if query.is_mapped(self.what) and self.on_conflict == "update":
            # Fields that no column is written to stay as they are.
            for own, old in there.items():
                sent[own] = rows.merged(old, sent[own], self.what)
        unlike = {own: old for own, old in there.items() if self._differ(old, sent[own])}
        if self.on_conflict == "update":
            self._unchanged += len(there) - len(unlike)
            self.replace([(old, sent[own]) for own, old in unlike.items()])
        else:
            self._ignored += len(there)
            self._unlike += len(unlike)
            self._instead += proof.digest_as(self.what, there.values())
            self._instead -= proof.digest_as(self.what, (sent[own] for own in there))
        self._insert(b"".join(new for own, new in sent.items() if own not in there))

    def _differ(self, old: bytes, new: bytes) -> bool:
        if old == new or self.on_conflict == "update":
            return old != new
        if not query.is_mapped(self.what):
            return proof.compared(old, self.what) != proof.compared(new, self.what)
        reading = rows.Rows(self.what)
        return reading.texts(old) != reading.texts(new)

    def _there(self, sent: dict[Value, bytes]) -> dict[Value, bytes]:
        """What stands there under the ids that were sent."""
        found: dict[Value, bytes] = {}
        strange = 0
        for documents in _cut(list(sent.values()), LOOKED_UP, query.LISTED_BYTES):
            matching = query.by_ids([raw.id_of(document) for document in documents])
            for buffer in self.connection.find(
                self.what.table, matching, session=self.session, ordered=False
            ):
                for document in raw.documents(buffer):
                    own = raw.id_of(document)
                    strange += own not in sent
                    found[own] = document
        if not strange:
            return found
        # One number of two types: to the server they are one id.
        there = {own: document for own, document in found.items() if own in sent}
        for own in sent.keys() - there.keys():
            for buffer in self.connection.find(
                self.what.table, query.by_id(own), session=self.session, ordered=False
            ):
                there[own] = next(raw.documents(buffer))
        return there

    def _insert(self, buffer: bytes) -> None:
        for piece in raw.cut(buffer, INSERTED, INSERTED_BYTES):
            try:
                self._inserted += self.connection.insert(self.what.table, piece, self.session)
            except BulkWriteError as error:
                raise self._refused(error, list(raw.documents(piece))) from error
            except OperationFailure as error:
                if self._alone and translate.conflicting(error):
                    raise self._collision() from error
                raise
            if self._noting is not None:
                self._noting.inserted(raw.documents(piece))
        self._pipe([(document, document) for document in _changed_by_insert(buffer)])

    def replace(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        """Old and new document, of one id as the server compares them."""
        alike = [pair for pair in pairs if raw.id_of(pair[0]) == raw.id_of(pair[1])]
        other = [pair for pair in pairs if raw.id_of(pair[0]) != raw.id_of(pair[1])]
        self._pipe(alike)
        # The id takes another type, which only a plain replacement can do.
        self._bulk(
            [ReplaceOne(query.by_id(raw.id_of(old)), RawBSONDocument(new)) for old, new in other],
            other,
        )
        changed = _changed_by_insert(b"".join(new for _, new in other))
        self._pipe([(document, document) for document in changed])
        if self._noting is not None:
            self._noting.updated(pairs)
        self._updated += len(pairs)

    def _pipe(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        self._bulk(
            [
                UpdateOne(
                    self._as_read(old), [{"$replaceWith": {"$literal": RawBSONDocument(new)}}]
                )
                for old, new in pairs
            ],
            pairs,
        )

    def _as_read(self, old: bytes) -> raw.Query:
        """The document that stands there, if it is still the one that was read.

        A transaction sees to that by itself. Without one, fields that no column is written to
        could be somebody else's by now, and would be set back.
        """
        found = query.by_id(raw.id_of(old))
        if self.session is None and query.is_mapped(self.what):
            found["$expr"] = {"$eq": ["$$ROOT", {"$literal": RawBSONDocument(old)}]}
        return found

    def _bulk(
        self,
        requests: Sequence[UpdateOne | ReplaceOne[Any]],
        pairs: Sequence[tuple[bytes, bytes]],
    ) -> None:
        if not requests:
            return
        try:
            done = self._collection.bulk_write(requests, ordered=True, session=self.session)
        except BulkWriteError as error:
            raise self._refused(error, [new for _, new in pairs]) from error
        if done.matched_count != len(requests):
            raise Transient(
                f"{self.what.label}: somebody changed or deleted documents of the batch's ids "
                "meanwhile; the batch is not written, retry"
            )

    def _collision(self) -> Collision:
        return Collision(f"{self.what.label}: documents appeared in the range")

    @property
    def _collection(self) -> Any:
        return self.connection.collection(self.what.table)

    def _refused(self, error: BulkWriteError, documents: Sequence[bytes]) -> DspError:
        """What a server has against one document, by its id."""
        first = ((error.details or {}).get("writeErrors") or [{}])[0]
        number, own = translate.code(error), raw.id_of(documents[int(first.get("index", 0))])
        where = f"{self.what.label}: _id {keys.text(own)}"
        if number in translate.NO_ROOM:
            return too_large(self.what)
        if self._alone and number == translate.CONFLICT:
            return self._collision()
        if number == translate.INVALID:
            told = translate.translated(error, where)
            return notes.Unfit(str(told), own, translate.message(error))
        if number not in translate.DUPLICATES:
            return translate.translated(error, where)
        if list(first.get("keyPattern", {})) != ["_id"]:
            return notes.Unfit(
                f"{where}: {translate.message(error)}. Another document there, which is not of "
                "the batch, holds this value; nothing of the batch was written",
                own,
                translate.message(error),
            )
        if self._alone:
            return self._collision()
        return Transient(
            f"{self.what.label}: somebody inserted documents of the batch's ids meanwhile; "
            "nothing of the batch was written, retry"
        )


def too_large(what: Projection) -> TooLargeError:
    """The error of a batch that the server's cache does not hold, or that took too long."""
    return TooLargeError(
        f"{what.label}: the batch does not fit into one transaction of this server; make batches "
        "smaller (batch_size)"
    )


def _cut(documents: Sequence[bytes], most: int, most_bytes: int) -> Iterable[Sequence[bytes]]:
    """Pieces of so many documents and bytes, or of one that is larger."""
    first = size = 0
    for n, document in enumerate(documents):
        size += len(document)
        if n > first and (n - first >= most or size > most_bytes):
            yield documents[first:n]
            first, size = n, len(document)
    if first < len(documents):
        yield documents[first:]


def _changed_by_insert(buffer: bytes) -> Iterator[bytes]:
    """Documents with a timestamp of zero at the top, which means "now" to a server."""
    # Most buffers hold nothing like it, and one search is enough for all of their documents.
    if _MAYBE_ZERO_TIMESTAMP.search(buffer) is None:
        return
    for document in raw.documents(buffer):
        if _MAYBE_ZERO_TIMESTAMP.search(document) is not None and any(
            value.kind == raw.TIMESTAMP and value.data == _ZERO
            for _, value in raw.elements(document)
        ):
            yield document
