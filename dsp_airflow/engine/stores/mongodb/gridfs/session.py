"""A session whose tables are buckets of GridFS: one row is a file, with all its chunks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from pymongo.errors import PyMongoError

from dsp_airflow.engine.model import (
    Batch,
    BatchSize,
    Column,
    Difference,
    Digest,
    Key,
    KeyRange,
    OnConflict,
    Origin,
    Projection,
    RowHash,
    Shape,
    Written,
)
from dsp_airflow.engine.ports import Outcome, Purge, Stream
from dsp_airflow.engine.stores.mongodb import catalog
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.gridfs import (
    bucket,
    namesakes,
    proof,
    purge,
    refusals,
    relay,
    remains,
    split,
    staged,
    uploads,
    write,
)
from dsp_airflow.engine.stores.mongodb.gridfs.contents import Damaged
from dsp_airflow.engine.stores.mongodb.purge import table_of
from dsp_airflow.engine.stores.mongodb.store import MongoSession
from dsp_airflow.engine.translated import TranslatedPurge, TranslatedStream


class FilesSession(MongoSession):
    """See ``ports.Session``; what is not here is as with any collection."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._damaged: tuple[Projection | None, list[Difference]] = (None, [])

    def describe(self, table: str) -> Shape | None:
        with self._at(table):
            return bucket.describe(self.connection, table)

    def read_refusals(self, table: str) -> list[str]:
        with self._at(table):
            return refusals.read_refusals(self.connection, table)

    def read_warnings(self, table: str) -> list[str]:
        with self._at(table):
            return refusals.read_warnings(self.connection, table)

    def _documents(self, table: str) -> str:
        return bucket.bucket_of(self.connection, table).files

    def nearest(self, table: str) -> list[str]:
        with self._at(table):
            return bucket.nearest(self.connection, table)

    def renders(self) -> Sequence[str]:
        return (relay.WIRE,)

    def loads(self) -> Sequence[str]:
        return (relay.WIRE,)

    def read(self, what: Projection, within: KeyRange, wire: str, max_row_size: int) -> Stream:
        """Files pass in chunks, so that ``max_row_size`` bounds nothing here."""
        del wire, max_row_size
        stream = relay.FilesOut(self.connection, what, within)
        return TranslatedStream(stream, self._at, what.label)

    def files(self, what: Projection, within: KeyRange, bare: Collection[Key]) -> Stream:
        """See ``archive.gridfs.source``."""
        stream = relay.FilesOut(self.connection, what, within, bare)
        return TranslatedStream(stream, self._at, what.label)

    def namesakes(
        self, what: Projection, within: KeyRange, *, newest: bool, upto: Key | None
    ) -> Mapping[Key, str]:
        """See ``archive.gridfs.source``."""
        with self._at(what.label):
            return namesakes.found(self.connection, what, within, newest=newest, upto=upto)

    def count_namesakes(self, what: Projection) -> int:
        """See ``archive.gridfs.source``."""
        with self._at(what.label):
            return namesakes.count(self.connection, what)

    def split(
        self, what: Projection, size: BatchSize, max_row_size: int
    ) -> tuple[Sequence[Batch], int]:
        del max_row_size
        with self._at(what.label):
            batches, total, damaged = split.split(self.connection, what, size)
        self._damaged = what, [_difference(one) for one in damaged]
        return batches, total

    def prove_key(self, what: Projection) -> None:
        """A collection keeps its ids apart."""

    def share_rows(self, table: str, other: str) -> bool:
        with self._at(table):
            one, two = (bucket.bucket_of(self.connection, name) for name in (table, other))
            return one == two or catalog.root(self.connection, one.files) == two.files

    # Digests

    def digest(
        self, what: Projection, within: KeyRange | None, keys: Sequence[Key] | None = None
    ) -> Digest:
        with self._at(what.label):
            self._proving(what.label)
            return proof.digest(self.connection, what, within, keys)

    def count(self, what: Projection, within: KeyRange) -> int:
        with self._at(what.label):
            return proof.count(self.connection, what, within)

    def holds_rows(self, what: Projection) -> bool:
        return super().holds_rows(bucket.documents_of(self.connection, what))

    def hashes(
        self,
        what: Projection,
        within: KeyRange | None = None,
        keys: Sequence[Key] | None = None,
        mark: str | None = None,
    ) -> Iterator[RowHash]:
        del mark
        with self._at(what.label):
            self._proving(what.label)
            yield from proof.hashes(self.connection, what, within, keys)

    def texts(self, what: Projection, keys: Sequence[Key]) -> dict[Key, tuple[str | None, ...]]:
        with self._at(what.label):
            return proof.texts(self.connection, what, keys)

    def quarantined(self, what: Projection, within: KeyRange) -> Iterator[Difference]:
        """See ``ports.Quarantines``."""
        known, damaged = self._damaged
        if known == what and within == KeyRange():
            # They were found when the bucket was cut into batches, a moment ago.
            yield from damaged
            return
        with self._at(what.label):
            yield from map(_difference, proof.damaged(self.connection, what, within))

    # Writes

    def design(
        self, table: str, columns: Sequence[Column], key: Sequence[str]
    ) -> tuple[Shape, tuple[str, ...]]:
        del key
        with self._at(table):
            return bucket.design(self.connection, table, columns)

    def write_refusals(
        self, what: Projection, on_conflict: OnConflict, *, create: bool
    ) -> list[str]:
        with self._at(what.label):
            return refusals.write_refusals(self.connection, what, on_conflict, create=create)

    def prepare_markers(self, what: Projection) -> bool:
        """The indexes without which a file's chunks are not kept apart are made here, too.

        What a purge has left of large files goes first: one of them may be about to come back,
        with the very chunks that it had.
        """
        with self._at(what.label):
            bucket.index(self.connection, what.table)
            remains.clear(self.connection, bucket.bucket_of(self.connection, what.table))
        return super().prepare_markers(what)

    def forget_markers(self, what: Projection, run: str, job: str) -> None:
        super().forget_markers(what, run, job)
        with self._at(what.label):
            uploads.forget(self.connection, what, run, job)

    def drop_bucket(self, table: str) -> None:
        """See ``archive.gridfs.source``."""
        with self._at(table):
            bucket.drop(self.connection, table)

    def write(
        self,
        what: Projection,
        within: KeyRange,
        stream: Stream,
        *,
        wire: str,
        on_conflict: OnConflict,
        ordered_alike: bool,
        origin: Origin,
        marker: tuple[str, str, int] | None,
        fence: Callable[[], None],
        direct: bool = True,
    ) -> Written:
        del wire  # There is one.
        place = write.Place(
            self.connection,
            what,
            on_conflict,
            fence,
            self._leases.get(what.table),
            origin.digest is not None,
        )
        with self._at(what.label):
            if direct and self.connection.transactions:
                return write.write(
                    place,
                    within,
                    stream,
                    ordered_alike=ordered_alike,
                    origin=origin,
                    marker=marker,
                )
            writer = staged.Staged(place, marker)
            return writer.write(within, stream, ordered_alike=ordered_alike, origin=origin)

    # Purges

    @contextmanager
    def purge(self) -> Iterator[Purge]:
        with self._at("purge"):
            lease = next(iter(self._leases.values()), None)
            work = purge.FilesPurge(self.connection, lease)
        try:
            yield TranslatedPurge(work, self._at)
        finally:
            with contextlib.suppress(PyMongoError):
                # A transaction that cannot be told ends by itself.
                work.close()

    def outcome(self, token: str) -> Outcome:
        """Who asks goes on where a purge was cut off after its commit."""
        found = super().outcome(token)
        if found == "committed":
            with self._at("purge"):
                table = table_of(token)
                remains.clear(self.connection, bucket.bucket_of(self.connection, table))
        return found

    def purge_refusals(
        self, table: str, accepted_triggers: Collection[str], beside: Collection[str] = ()
    ) -> list[str]:
        del accepted_triggers, beside
        with self._at(table):
            return refusals.purge_refusals(self.connection, table)

    def target_refusals(self, table: str) -> list[str]:
        with self._at(table):
            return refusals.target_refusals(self.connection, table)

    def fingerprint(self, table: str) -> str:
        with self._at(table):
            self._proving(table)
            return bucket.fingerprint(self.connection, table)


def _difference(found: Damaged) -> Difference:
    return Difference("damaged", found.file.key, reason=found.reason)
