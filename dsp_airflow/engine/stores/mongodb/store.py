"""The store of a MongoDB endpoint, and its sessions."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from pymongo.errors import PyMongoError

from dsp_airflow.engine.canon import lines
from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.engine.missing import Missing
from dsp_airflow.engine.model import (
    Batch,
    BatchSize,
    Column,
    Digest,
    Inferred,
    Isolation,
    Key,
    KeyRange,
    LossCount,
    OnConflict,
    Origin,
    Projection,
    RowHash,
    Shape,
    Window,
    Written,
)
from dsp_airflow.engine.notes import Notes
from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.ports import Dialect, Outcome, Purge, Restores, Session, Stream
from dsp_airflow.engine.removal import Removal
from dsp_airflow.engine.resolved import Resolved
from dsp_airflow.engine.stores.mongodb import (
    catalog,
    cursor,
    dialect,
    identity,
    infer,
    leases,
    login,
    markers,
    missing,
    proof,
    purge,
    query,
    raw,
    refusals,
    relay,
    split,
    swap,
    translate,
    write,
)
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.leases import Lease
from dsp_airflow.engine.stores.mongodb.notes import MongoNotes
from dsp_airflow.engine.stores.mongodb.rows import Rows
from dsp_airflow.engine.stores.mongodb.spool import Spool
from dsp_airflow.engine.swap import Swaps
from dsp_airflow.engine.translated import TranslatedPurge, TranslatedStream, TranslatedSwaps


class MongoStore:
    """An endpoint. ``arguments`` are MongoClient's; they hold the secret and are never shown.

    ``database`` is where collections are that are named without one.
    """

    system = "mongodb"
    dialect: Dialect = dialect

    def __init__(self, name: str, arguments: Mapping[str, Any], database: str) -> None:
        self.name = name
        self.options = SessionOptions()
        self._arguments = arguments
        self._database = database
        self._words: Restores | None = None
        self.identity = identity.of(arguments, database)

    def __repr__(self) -> str:
        return f"MongoStore({self.name!r}, {self.identity!r})"

    def having(self, options: SessionOptions) -> MongoStore:
        other = copy.copy(self)
        other.options = options
        return other

    def buckets(self) -> MongoStore:
        """See ``archive.gridfs.source``."""
        return self.having(replace(self.options, files=True))

    def telling(self, words: Restores) -> MongoStore:
        """See ``ports.Tells``."""
        other = copy.copy(self)
        other._words = words
        return other

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Opens one client; closing it rolls back what is open."""
        connection = login.connect(self._arguments, self._database, self.name, self.options)
        session = self._of(connection)
        try:
            yield session
        finally:
            session.close()

    def _of(self, connection: Connection) -> MongoSession:
        if not self.options.files:
            return MongoSession(connection, self._words)
        from dsp_airflow.engine.stores.mongodb.gridfs.session import FilesSession

        return FilesSession(connection)


class MongoSession:
    """One client. Every driver error leaves it translated, naming connection and object."""

    def __init__(self, connection: Connection, words: Restores | None = None) -> None:
        self.connection = connection
        self._words = words
        self._leases: dict[str, Lease] = {}
        self._proof: Lease | None = None
        self._spool: Spool | None = None
        self._large: set[KeyRange] = set()

    def _at(self, label: str) -> AbstractContextManager[None]:
        return translate.translating(f"{self.connection.name}: {label}", self.connection.options)

    def close(self) -> None:
        with contextlib.suppress(PyMongoError):
            # The server would keep an open transaction, and what it holds, for a minute.
            self.connection.end_view()
        self.connection.client.close()

    # Reads

    def describe(self, table: str) -> Shape | None:
        with self._at(table):
            return catalog.describe(self.connection, table)

    def resolved(self, table: str) -> Resolved:
        """See ``resolved.Resolves``."""
        with self._at(table):
            return catalog.resolved(self.connection, table)

    def read_refusals(self, table: str) -> list[str]:
        with self._at(table):
            half = refusals.half_of_a_bucket(self.connection, table)
            return refusals.read_refusals(self.connection, table) + half

    def read_warnings(self, table: str) -> list[str]:
        with self._at(table):
            return refusals.read_warnings(self.connection, table)

    def nearest(self, table: str) -> list[str]:
        with self._at(table):
            return catalog.nearest(self.connection, table)

    def typed(self, shape: Shape, expressions: Sequence[str]) -> list[Column]:
        raise ConfigError(f"{shape.table}: MongoDB has no SQL expressions: {expressions[0]}")

    def typed_value(self, column: Column, text: str) -> str:
        return cursor.typed_value(column, text)

    def window(
        self, shape: Shape, column: Column, since: str | None, overlap: timedelta | int
    ) -> Window:
        table = self._documents(dialect.qualified(shape))
        with self._at(shape.table):
            return cursor.window(self.connection, table, column, since, overlap)

    def cursor_column(
        self, shape: Shape, name: str, since: str | None, where: str | None
    ) -> Column:
        """See ``ports.FindsCursors``."""
        table = self._documents(dialect.qualified(shape))
        with self._at(shape.table):
            return cursor.column(self.connection, table, name, since, where)

    def of_other_types(self, what: Projection, column: Column) -> Mapping[str, int]:
        """See ``ports.FindsCursors``."""
        within = replace(what, table=self._documents(what.table))
        with self._at(what.label):
            return cursor.of_other_types(self.connection, within, column)

    def _documents(self, table: str) -> str:
        """The collection whose documents have the fields that conditions name."""
        return table

    @contextmanager
    def snapshot(self, isolation: Isolation = "repeatable_read") -> Iterator[str | None]:
        if isolation == "read_committed":
            yield None
            return
        if not self.connection.transactions:
            try:
                with closing(Spool(self.connection)) as self._spool:
                    yield None
            finally:
                self._spool = None
            return
        with self._at("snapshot"):
            view = self.connection.client.start_session(snapshot=True)
        self.connection.view = view
        try:
            yield None
        finally:
            self.connection.view = None
            with contextlib.suppress(PyMongoError):
                # Nothing was written: an end that cannot be told loses nothing.
                view.end_session()

    def horizon(self) -> str | None:
        """No document tells here when it was written."""
        return None

    def renders(self) -> Sequence[str]:
        """Documents as they are; as rows, in whatever words their target has."""
        from dsp_airflow.engine.archive.wires import WIRES

        return (relay.WIRE, *WIRES)

    def read(self, what: Projection, within: KeyRange, wire: str, max_row_size: int) -> Stream:
        buffers = self._buffers(what, within)
        if not query.is_mapped(what):
            stream: Stream = relay.DocumentsOut(what, buffers, max_row_size)
        else:
            from dsp_airflow.engine.stores.mongodb.told import RowsOut

            words = self._words
            if words is None:
                raise ConfigError(f"{what.label}: no system takes its documents as {wire}")
            stream = RowsOut(buffers, what, words, wire, max_row_size)
        return TranslatedStream(stream, self._at, what.label)

    def _buffers(
        self, what: Projection, within: KeyRange
    ) -> Callable[[], Generator[bytes, None, None]]:
        spool = self._spool or Spool(self.connection)
        return lambda: spool.buffers(what, within)

    def arrow(
        self,
        what: Projection,
        within: KeyRange,
        forms: Sequence[Any],
        *,
        exact: bool,
        max_row_size: int,
    ) -> Generator[Any, None, None]:
        """See ``ports.ReadsArrow``."""
        from dsp_airflow.engine.stores.mongodb.told import record_batches

        with self._at(what.label):
            yield from record_batches(
                self._buffers(what, within), what, forms, exact=exact, max_row_size=max_row_size
            )

    def parts(
        self, what: Projection, within: KeyRange, expressions: Sequence[str], most: int
    ) -> list[tuple[tuple[str | None, ...], str]]:
        """See ``ports.ReadsArrow``."""
        raise ConfigError(
            f"{what.label}: partitions are SQL expressions, and MongoDB has none; leave them out"
        )

    def split(
        self, what: Projection, size: BatchSize, max_row_size: int
    ) -> tuple[Sequence[Batch], int]:
        with self._at(what.label):
            return split.split(self.connection, what, size, max_row_size)

    def prove_key(self, what: Projection) -> None:
        with self._at(what.label):
            split.prove_key(self.connection, what)

    def share_rows(self, table: str, other: str) -> bool:
        with self._at(table):
            if self.connection.split(table)[0] != self.connection.split(other)[0]:
                # A view reads collections of its own database; nobody needs to see the other one.
                return False
            return catalog.root(self.connection, table) == catalog.root(self.connection, other)

    def infer(self, table: str, where: str | None, most: int | None) -> Inferred:
        """See ``ports.Infers``."""
        what = Projection(table, table, (), (), where=where)
        matching = query.matching(what)
        with self._at(table):
            total = self.connection.count(table, matching)
            if most is None or total <= most:
                documents = proof.every(self.connection.find(table, matching))
            else:
                documents = self.connection.sample(table, matching, most)
            return infer.inferred(documents, total, table)

    # Digests

    def digest(
        self, what: Projection, within: KeyRange | None, keys: Sequence[Key] | None = None
    ) -> Digest:
        with self._at(what.label):
            self._proving(what.label)
            if self._spool is not None and within is not None and keys is None:
                return self._spool.digest(what, within)
            return proof.digest(self.connection, what, within, keys)

    def losses(self, what: Projection, within: KeyRange) -> tuple[LossCount, ...]:
        """Whole documents lose nothing."""
        if not what.losses:
            return ()
        rows = Rows(what)
        with self._at(what.label):
            found = (
                proof.found(self.connection, what, within, None)
                if self._spool is None
                else self._spool.kept(what, within)
            )
            for document in proof.every(found):
                rows.texts(document)
        return rows.counted()

    def count(self, what: Projection, within: KeyRange) -> int:
        with self._at(what.label):
            if self._spool is not None:
                return sum(map(raw.number_of, self._spool.kept(what, within)))
            return self.connection.count(what.table, query.matching(what, within))

    def holds_rows(self, what: Projection) -> bool:
        with self._at(what.label):
            matching = query.matching(what)
            found = self.connection.find(
                what.table, matching, projection={"_id": 1}, limit=1, ordered=False
            )
            return next(iter(found), None) is not None

    def hashes(
        self,
        what: Projection,
        within: KeyRange | None = None,
        keys: Sequence[Key] | None = None,
        mark: str | None = None,
    ) -> Iterator[RowHash]:
        with self._at(what.label):
            self._proving(what.label)
            yield from proof.hashes(self.connection, what, within, keys)

    def texts(self, what: Projection, keys: Sequence[Key]) -> dict[Key, tuple[str | None, ...]]:
        with self._at(what.label):
            return proof.texts(self.connection, what, keys)

    # Writes

    def design(
        self, table: str, columns: Sequence[Column], key: Sequence[str]
    ) -> tuple[Shape, tuple[str, ...]]:
        with self._at(table):
            return catalog.design(self.connection, table, columns, key)

    def create(self, table: str, ddl: Sequence[str]) -> None:
        with self._at(table):
            catalog.create(self.connection, table, ddl)

    def write_refusals(
        self, what: Projection, on_conflict: OnConflict, *, create: bool
    ) -> list[str]:
        with self._at(what.label):
            half = refusals.half_of_a_bucket(self.connection, what.table)
            why = refusals.write_refusals(self.connection, what, on_conflict, create=create)
            return why + half

    def loads(self) -> Sequence[str]:
        return (relay.WIRE, lines.WIRE)

    def prepare_markers(self, what: Projection) -> bool:
        with self._at(what.markers):
            return markers.prepare(self.connection, what)

    def move_sequences(self, what: Projection, *, dry: bool = False) -> list[str]:
        """There are none."""
        return []

    def forget_markers(self, what: Projection, run: str, job: str) -> None:
        with self._at(what.markers):
            markers.forget(self.connection, what, run, job)

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
        pieces = within in self._large
        with self._at(what.label), self._noted(within, on_conflict):
            return write.write(
                self.connection,
                what,
                within,
                stream,
                wire=wire,
                on_conflict=on_conflict,
                ordered_alike=ordered_alike,
                origin=origin,
                marker=marker,
                fence=fence,
                lease=self._leases.get(what.table),
                direct=direct,
                pieces=pieces,
            )

    def notes(self, what: Projection) -> Notes:
        """See ``notes.TakesNotes``."""
        set_back = partial(write.set_back, self.connection, what)
        return MongoNotes(self.connection, what, self._at, lambda: self._proof, set_back)

    def missing(self, what: Projection, stream: Stream, *, wire: str) -> Missing:
        """See ``missing.FindsMissing``."""
        with self._at(what.label):
            return missing.MongoMissing(self.connection, what, stream, wire=wire, at=self._at)

    def unsent(self, what: Projection, stream: Stream, *, wire: str) -> Removal:
        """See ``missing.CountsMissing``."""
        with self._at(what.label):
            return missing.unsent(self.connection, what, stream, wire=wire)

    def missing_refusals(self, what: Projection) -> list[str]:
        """See ``missing.FindsMissing``."""
        with self._at(what.label):
            sent = missing.sent_beside(self.connection, what)
            return refusals.lacking(self.connection, sent, missing.ACTIONS)

    @contextmanager
    def _noted(self, within: KeyRange, on_conflict: OnConflict) -> Iterator[None]:
        """A batch that was too large is cut up the next time, where that may be repeated."""
        try:
            yield
        except write.TooLargeError as error:
            if on_conflict != "update":
                raise Refused(f"{error}, or use on_conflict: update") from error
            self._large.add(within)
            raise

    @contextmanager
    def writing(self, what: Projection) -> Iterator[None]:
        # Only what taking and giving back do is this session's error, not what happens meanwhile.
        with ExitStack() as stack:
            if self.connection.transactions:
                with self._at(what.label):
                    held = leases.writing(self.connection, what, self.connection.name)
                    self._leases[what.table] = stack.enter_context(held)
                stack.callback(self._leases.pop, what.table)
            yield

    @contextmanager
    def proving(self, what: Projection) -> Iterator[None]:
        with ExitStack() as stack:
            with self._at(what.label):
                held = leases.proving(self.connection, what, self.connection.name)
                self._proof = stack.enter_context(held)
            stack.callback(self._proved)
            yield

    def require_proving(self, what: Projection) -> None:
        with self._at(what.label):
            self._proving(what.label)

    def _proved(self) -> None:
        self._proof = None

    def _proving(self, label: str) -> None:
        """Gives a sign where this session proves; ``Transient`` when who writes was let in."""
        if self._proof is not None:
            self._proof.renew(label)

    # Purges

    @contextmanager
    def purge(self) -> Iterator[Purge]:
        with self._at("purge"):
            # What is deleted here by a proof is fenced as what is written is.
            lease = next(iter(self._leases.values()), self._proof)
            work = purge.MongoPurge(self.connection, lease)
        try:
            yield TranslatedPurge(work, self._at)
        finally:
            with contextlib.suppress(PyMongoError):
                # A transaction that cannot be told ends by itself.
                work.close()

    def outcome(self, token: str) -> Outcome:
        with self._at("purge"):
            return purge.outcome(self.connection, token)

    def purge_refusals(
        self, table: str, accepted_triggers: Collection[str], beside: Collection[str] = ()
    ) -> list[str]:
        with self._at(table):
            return refusals.purge_refusals(self.connection, table)

    def target_refusals(self, table: str) -> list[str]:
        with self._at(table):
            return refusals.target_refusals(self.connection, table)

    def swaps(self) -> Swaps:
        """See ``swap.CanSwap``."""
        return TranslatedSwaps(swap.MongoSwaps(self.connection, self._proving), self._at)

    def fingerprint(self, table: str) -> str:
        """Of a proof that does not stand any more nothing is told."""
        with self._at(table):
            self._proving(table)
            return catalog.fingerprint(self.connection, table)

    def same_database(self, other: object) -> bool:
        """Whether both talk to one deployment: a name may be qualified by any of its databases."""
        if not isinstance(other, MongoSession):
            return False
        with self._at("identity"):
            return identity.same(self.connection.client, other.connection.client)

    def warnings(self) -> list[str]:
        with self._at("login"):
            return refusals.warnings(self.connection)

    def version(self) -> int:
        """Major version of the server."""
        with self._at("version"):
            return int(self.connection.client.server_info()["versionArray"][0])
