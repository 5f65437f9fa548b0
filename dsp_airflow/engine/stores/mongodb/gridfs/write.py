"""One batch of files into a bucket: chunks first, the files' documents last, then the marker.

A batch that one transaction can hold is written by one. Of any other the chunks are written piece
by piece (``staged``), and what makes them files is one transaction again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from dsp_airflow.engine.errors import BadValue, Collision, Mismatch, Transient
from dsp_airflow.engine.model import Digest, KeyRange, OnConflict, Origin, Projection, Written
from dsp_airflow.engine.ports import Stream
from dsp_airflow.engine.stores.mongodb import markers, query, raw, translate
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.gridfs import proof, relay, uploads
from dsp_airflow.engine.stores.mongodb.gridfs.bucket import bucket_of
from dsp_airflow.engine.stores.mongodb.gridfs.contents import contents, documents, of_files
from dsp_airflow.engine.stores.mongodb.gridfs.files import File, comparable
from dsp_airflow.engine.stores.mongodb.gridfs.proof import METHOD
from dsp_airflow.engine.stores.mongodb.gridfs.split import MOST_BYTES
from dsp_airflow.engine.stores.mongodb.leases import Lease
from dsp_airflow.engine.stores.mongodb.raw import Value

_NOW: Final = Value(raw.TIMESTAMP, b"\0" * 8)
"""What a server that inserts it sets to its own time, at the top of a document."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch goes, and what keeps others away meanwhile."""

    connection: Connection
    what: Projection
    on_conflict: OnConflict
    fence: Callable[[], None]
    lease: Lease | None
    digest: bool
    """The sums of what stands there are wanted, too."""

    @property
    def files(self) -> Collection[dict[str, Any]]:
        return self.connection.collection(bucket_of(self.connection, self.what.table).files)

    @property
    def chunks(self) -> Collection[dict[str, Any]]:
        return self.connection.collection(bucket_of(self.connection, self.what.table).chunks)

    @contextmanager
    def step(self, marker: markers.Marker | None = None) -> Iterator[Step]:
        """A transaction that commits only while the batch is ours; none where there are none.

        With a marker it is the one that ends the batch.
        """
        if not self.connection.transactions:
            self.fence()
            yield Step(self, None, marker)
            return
        if self.lease is not None:
            self.lease.renew(self.what.label)
        with self.connection.client.start_session() as session:
            # Left without a commit, the session takes everything back.
            step = Step(self, session, marker)
            if marker is None:
                self.connection.begin(session)
            else:
                step.recovered = markers.claim(self.connection, self.what, marker, session)
            if step.recovered is None and self.lease is not None:
                self.lease.fence(session, self.what.label)
            yield step
            if step.recovered is None:
                self.fence()
                self.connection.commit(session)

    def standing(
        self, files: Sequence[File], session: ClientSession | None = None
    ) -> dict[object, File]:
        """What stands there under the ids of these files, by comparable id."""
        keys = [file.key for file in files]
        found = {
            comparable(there.id): there
            for group in documents(self.connection, self.what, None, keys, session)
            for there in group
        }
        for file in files:
            there = found.get(comparable(file.id))
            if there is not None and there.id != file.id:
                raise BadValue(
                    f"{self.what.label}: the target holds file {there.key[0]}, whose id is to the "
                    f"server the same as {file.key[0]}; give one of them another id. Nothing of "
                    "the file was written"
                )
        if found and self.on_conflict == "error":
            first = next(iter(found.values()))
            raise BadValue(
                f"{self.what.label}: the target holds file {first.key[0]} already and on_conflict "
                "is error; nothing of the batch was written"
            )
        return found


@dataclass(slots=True)
class Step:
    """A transaction of a batch, open."""

    place: Place
    session: ClientSession | None
    marker: markers.Marker | None
    recovered: Written | None = None
    """The batch is written already; nothing is to be done."""

    def leave(self, done: Written) -> None:
        """Says in the marker what became of the batch."""
        if self.marker is not None and self.session is not None:
            place = self.place
            markers.leave(place.connection, place.what, self.marker, done, self.session)


@dataclass(slots=True)
class Tally:
    """What has become of a batch's files so far."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    ignored: int = 0
    unlike: int = 0
    others: Digest = field(default_factory=lambda: Digest(0, 0, METHOD))
    instead: Digest = field(default_factory=lambda: Digest(0, 0, METHOD))
    counted: bool = False

    def look(
        self,
        place: Place,
        within: KeyRange,
        session: ClientSession | None,
        *,
        ordered_alike: bool,
    ) -> None:
        """Sums up what stands in the range before anything is written."""
        self.counted = ordered_alike
        if not ordered_alike:
            return
        if place.digest:
            self.others = proof.digest(place.connection, place.what, within, None, session)
            return
        documents_there = bucket_of(place.connection, place.what.table).files
        matching = query.matching(place.what, within)
        count = place.connection.count(documents_there, matching, session=session)
        self.others = Digest(count, 0, METHOD)

    def stood(self, hashes: Sequence[str]) -> None:
        """Files of the batch that stood there are no others. Without a digest only they count."""
        if self.counted:
            self.others -= proof.digest_of(hashes)

    def left(self, sent: str, standing: str) -> None:
        """``ignore`` has left a file as it stood."""
        self.ignored += 1
        self.unlike += sent != standing
        self.instead += proof.digest_of([standing])
        self.instead -= proof.digest_of([sent])

    def done(self, place: Place) -> Written:
        """The sums."""
        return Written(
            self.inserted + self.updated + self.unchanged + self.ignored,
            self.inserted,
            self.updated,
            self.unchanged,
            self.ignored,
            unlike=self.unlike,
            others=self.others if place.digest else replace(self.others, sum=0),
            instead=self.instead if place.on_conflict == "ignore" and place.digest else None,
        )


def write(
    place: Place,
    within: KeyRange,
    stream: Stream,
    *,
    ordered_alike: bool,
    origin: Origin,
    marker: markers.Marker | None,
) -> Written:
    """In one transaction, or ``Collision`` where the batch is too large for that."""
    with place.step(marker) as step:
        if step.recovered is not None:
            return step.recovered
        sent = _gathered(place.what, stream)
        tally = Tally()
        tally.look(place, within, step.session, ordered_alike=ordered_alike)
        _merge(place, tally, sent, step.session)
        done = finished(place, tally, stream, origin)
        step.leave(done)
    return done


def finished(place: Place, tally: Tally, stream: Stream, origin: Origin) -> Written:
    """The sums, once every file that was sent is accounted for."""
    done = replace(tally.done(place), origin=origin, bytes=stream.size)
    if done.rows != stream.rows:
        raise Mismatch(
            f"{place.what.label}: the source sent {stream.rows:,} files and the target took "
            f"{done.rows:,}. None of them was written"
        )
    return done


def _gathered(what: Projection, stream: Stream) -> list[tuple[File, list[bytes]]]:
    """All of a batch; ``Collision`` when that is more than a transaction holds."""
    sent: list[tuple[File, list[bytes]]] = []
    size = 0
    for arrived in relay.arrivals(iter(stream)):
        if isinstance(arrived, File):
            sent.append((arrived, []))
            size += arrived.size
        else:
            sent[-1][1].append(arrived)
        if size > MOST_BYTES:
            raise Collision(f"{what.label}: the batch is too large for one transaction")
    return sent


def _merge(
    place: Place,
    tally: Tally,
    sent: Sequence[tuple[File, list[bytes]]],
    session: ClientSession | None,
) -> None:
    bucket = bucket_of(place.connection, place.what.table)
    there = place.standing([file for file, _ in sent], session)
    if any(file.size > MOST_BYTES for file in there.values()):
        raise Collision(f"{place.what.label}: what stands there is too large for one transaction")
    hashes = {
        file.id: proof.hashed(file.document, chunks)
        for file, chunks in contents(place.connection, bucket, list(there.values()), session)
    }
    tally.stood(list(hashes.values()))
    missing = [file for file, _ in sent if file.id not in hashes]
    uploads.clear(place.connection, place.what, missing, session)
    written: list[tuple[File, list[bytes]]] = []
    replaced: list[File] = []
    for file, chunks in sent:
        standing = hashes.get(file.id)
        if standing is None:
            tally.inserted += 1
            written.append((file, chunks))
            continue
        found = proof.hashed(file.document, chunks)
        if place.on_conflict == "ignore":
            tally.left(found, standing)
        elif found == standing:
            tally.unchanged += 1
        else:
            tally.updated += 1
            replaced.append(file)
            written.append((file, chunks))
    remove(place, replaced, session)
    if replaced:
        place.chunks.delete_many(of_files(replaced), session=session)
    insert(place, place.chunks, [chunk for _, chunks in written for chunk in chunks], session)
    insert(place, place.files, [file.document for file, _ in written], session)


def remove(place: Place, files: Sequence[File], session: ClientSession | None) -> None:
    """Removes the documents of files."""
    for group in query.chunks([file.key for file in files]):
        place.files.delete_many(query.matching(place.what, None, group), session=session)


def insert(
    place: Place,
    collection: Collection[dict[str, Any]],
    given: Sequence[bytes],
    session: ClientSession | None,
) -> None:
    """Inserts documents as they are."""
    if not given:
        return
    try:
        collection.insert_many(
            [RawBSONDocument(document) for document in given], ordered=True, session=session
        )
    except BulkWriteError as error:
        if translate.code(error) not in translate.DUPLICATES:
            raise
        first: dict[str, Any] = ((error.details or {}).get("writeErrors") or [{}])[0]
        if list(first.get("keyPattern", {})) == ["files_id", "n"]:
            raise Transient(
                f"{place.what.label}: somebody else uploads a file of the batch's ids at this "
                "moment; retry when that has ended"
            ) from error
        raise BadValue(
            f"{collection.full_name}: {translate.message(error)}. Another document there, which is "
            "not of the batch, holds this value; the file was not written"
        ) from error
    for document in given:
        if any(value == _NOW for _, value in raw.elements(document)):
            collection.update_one(
                query.by_id(raw.id_of(document)),
                [{"$replaceWith": {"$literal": RawBSONDocument(document)}}],
                session=session,
            )
