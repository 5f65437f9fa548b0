"""The store of a MongoDB endpoint, and its sessions."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from datetime import timedelta
from typing import Any

from pymongo.errors import PyMongoError

from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.engine.model import (
    Batch,
    BatchSize,
    Column,
    Digest,
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
from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.ports import Dialect, Outcome, Purge, Session, Stream
from dsp_airflow.engine.stores.mongodb import (
    catalog,
    dialect,
    identity,
    leases,
    login,
    markers,
    proof,
    purge,
    query,
    refusals,
    relay,
    split,
    translate,
    write,
)
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.leases import Lease
from dsp_airflow.engine.stores.mongodb.spool import Spool


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
        self.identity = identity.of(arguments, database)

    def __repr__(self) -> str:
        return f"MongoStore({self.name!r}, {self.identity!r})"

    def having(self, options: SessionOptions) -> MongoStore:
        other = copy.copy(self)
        other.options = options
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
            return MongoSession(connection)
        from dsp_airflow.engine.stores.mongodb.gridfs.session import FilesSession

        return FilesSession(connection)


class MongoSession:
    """One client. Every driver error leaves it translated, naming connection and object."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._leases: dict[str, Lease] = {}
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
        raise dialect.no_cursor()

    def window(
        self, shape: Shape, column: Column, since: str | None, overlap: timedelta | int
    ) -> Window:
        raise dialect.no_cursor()

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
        return (relay.WIRE,)

    def read(self, what: Projection, within: KeyRange, wire: str, max_row_size: int) -> Stream:
        del wire  # There is one.
        spool = self._spool or Spool(self.connection)
        stream = relay.DocumentsOut(what, lambda: spool.buffers(what, within), max_row_size)
        return Translated(stream, lambda: self._at(what.label))

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
            return catalog.root(self.connection, table) == catalog.root(self.connection, other)

    # Digests

    def digest(
        self, what: Projection, within: KeyRange | None, keys: Sequence[Key] | None = None
    ) -> Digest:
        with self._at(what.label):
            if self._spool is not None and within is not None and keys is None:
                return self._spool.digest(what, within)
            return proof.digest(self.connection, what, within, keys)

    def losses(self, what: Projection, within: KeyRange) -> tuple[LossCount, ...]:
        """Whole documents lose nothing."""
        return ()

    def count(self, what: Projection, within: KeyRange) -> int:
        with self._at(what.label):
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
            yield from proof.hashes(self.connection, what, within, keys)

    def texts(self, what: Projection, keys: Sequence[Key]) -> dict[Key, tuple[str | None, ...]]:
        with self._at(what.label):
            return proof.texts(self.connection, what, keys)

    # Writes

    def design(
        self, table: str, columns: Sequence[Column], key: Sequence[str]
    ) -> tuple[Shape, tuple[str, ...]]:
        with self._at(table):
            return catalog.design(self.connection, table, columns)

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
        return (relay.WIRE,)

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
        del wire  # There is one.
        pieces = within in self._large
        with self._at(what.label), self._noted(within, on_conflict):
            return write.write(
                self.connection,
                what,
                within,
                stream,
                on_conflict=on_conflict,
                ordered_alike=ordered_alike,
                origin=origin,
                marker=marker,
                fence=fence,
                lease=self._leases.get(what.table),
                direct=direct,
                pieces=pieces,
            )

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
                stack.enter_context(leases.proving(self.connection, what, self.connection.name))
            yield

    # Purges

    @contextmanager
    def purge(self) -> Iterator[Purge]:
        with self._at("purge"):
            lease = next(iter(self._leases.values()), None)
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

    def purge_refusals(self, table: str, accepted_triggers: Collection[str]) -> list[str]:
        with self._at(table):
            return refusals.purge_refusals(self.connection, table)

    def target_refusals(self, table: str) -> list[str]:
        with self._at(table):
            return refusals.target_refusals(self.connection, table)

    def fingerprint(self, table: str) -> str:
        with self._at(table):
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


class Translated:
    """A stream whose driver errors are the engine's."""

    def __init__(self, inner: Stream, at: Callable[[], AbstractContextManager[None]]) -> None:
        self._inner = inner
        self._at = at

    @property
    def rows(self) -> int:
        return self._inner.rows

    @property
    def size(self) -> int:
        return self._inner.size

    def __iter__(self) -> Iterator[bytes | memoryview]:
        with self._at():
            yield from self._inner


class TranslatedPurge:
    """A purge transaction whose driver errors are the engine's."""

    def __init__(
        self, inner: purge.MongoPurge, at: Callable[[str], AbstractContextManager[None]]
    ) -> None:
        self._inner = inner
        self._at = at

    def take(self, what: Projection, within: KeyRange) -> Digest | None:
        with self._at(what.label):
            return self._inner.take(what, within)

    def undo(self) -> None:
        with self._at("purge"):
            self._inner.undo()

    def take_keys(self, what: Projection, keys: Sequence[Key]) -> list[RowHash]:
        with self._at(what.label):
            return self._inner.take_keys(what, keys)

    def settle(self) -> None:
        self._inner.settle()

    def token(self) -> str:
        with self._at("purge"):
            return self._inner.token()

    def commit(self) -> None:
        with self._at("purge"):
            self._inner.commit()
