"""The store of a MySQL or MariaDB endpoint, and its sessions."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import MySQLdb

from dsp_airflow.engine.missing import Missing
from dsp_airflow.engine.model import (
    Batch,
    BatchSize,
    Column,
    Digest,
    Isolation,
    Key,
    KeyRange,
    Lag,
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
from dsp_airflow.engine.ports import Dialect, Outcome, Purge, Session, Stream
from dsp_airflow.engine.references import Name, Reference
from dsp_airflow.engine.resolved import Resolved
from dsp_airflow.engine.stores.mysql import (
    catalog,
    cursor,
    design,
    dialect,
    keys,
    load,
    locks,
    login,
    markers,
    parts,
    proof,
    purge,
    references,
    refusals,
    relay,
    replication,
    sequences,
    split,
    swap,
    tables,
    translate,
    write,
)
from dsp_airflow.engine.stores.mysql.missing import MySqlMissing
from dsp_airflow.engine.stores.mysql.notes import MySqlNotes
from dsp_airflow.engine.stores.mysql.query import Connection, execute, rows
from dsp_airflow.engine.swap import Swaps
from dsp_airflow.engine.translated import TranslatedPurge, TranslatedStream, TranslatedSwaps


class MySqlStore:
    """An endpoint. ``arguments`` are mysqlclient's; they hold the secret and are never shown.

    Where a login does not last, such as a token of a cloud's identity service, ``renew`` gives
    the arguments anew for every session.
    """

    system = "mysql"
    dialect: Dialect = dialect

    def __init__(
        self,
        name: str,
        arguments: Mapping[str, Any],
        renew: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        self.name = name
        self.options = SessionOptions()
        self._renew = renew or (lambda: arguments)
        self.identity = login.identity(arguments)

    def __repr__(self) -> str:
        return f"MySqlStore({self.name!r}, {self.identity!r})"

    def having(self, options: SessionOptions) -> MySqlStore:
        other = copy.copy(self)
        other.options = options
        return other

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Opens one connection; closing it rolls back what is open."""
        where = f"connection {self.name} ({self.identity})"
        connection = login.connect(self._renew(), self.options, where)
        session = MySqlSession(connection, self.name, self.options, self._renew)
        try:
            yield session
        finally:
            session.close()


class MySqlSession:
    """One connection. Every driver error leaves it translated, naming connection and object."""

    def __init__(
        self,
        connection: Connection,
        name: str,
        options: SessionOptions,
        arguments: Callable[[], Mapping[str, Any]],
    ) -> None:
        self.connection = connection
        self._name = name
        self._options = options
        self._arguments = arguments
        # The driver refuses to be asked while another thread works.
        self._thread_id = int(connection.thread_id())

    def _at(self, label: str) -> AbstractContextManager[None]:
        return translate.translating(f"{self._name}: {label}", self._options)

    def close(self) -> None:
        # Closed already where a stream was left in the middle.
        with contextlib.suppress(MySQLdb.Error):
            self.connection.close()

    def unblock(self) -> None:
        """See ``interrupt.Unblocks``."""
        where = f"connection {self._name}"
        with (
            contextlib.closing(login.connect(self._arguments(), self._options, where)) as beside,
            translate.translating(where),
        ):
            locks.unblock(beside, self._thread_id)

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
            return refusals.read_refusals(self.connection, table)

    def nearest(self, table: str) -> list[str]:
        with self._at(table):
            return catalog.nearest(self.connection, table)

    def typed(self, shape: Shape, expressions: Sequence[str]) -> list[Column]:
        with self._at(shape.table):
            return catalog.typed(self.connection, shape, expressions)

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
        from dsp_airflow.engine.stores.mysql import arrow

        rows = f"FROM {what.table} WHERE {proof.condition(what, within)}"
        with self._at(what.label):
            yield from arrow.batches(
                self.connection, rows, what.fields, forms, exact=exact, max_row_size=max_row_size
            )

    def parts(
        self, what: Projection, within: KeyRange, expressions: Sequence[str], most: int
    ) -> list[tuple[tuple[str | None, ...], str]]:
        """See ``ports.ReadsArrow``."""
        rows = f"FROM {what.table} WHERE {proof.condition(what, within)}"
        with self._at(what.label):
            return parts.parts(self.connection, what.label, rows, expressions, most)

    @contextmanager
    def snapshot(self, isolation: Isolation = "repeatable_read") -> Iterator[str | None]:
        with self._at("snapshot"):
            level = isolation.replace("_", " ")
            execute(self.connection, f"SET TRANSACTION ISOLATION LEVEL {level}")
            view = "WITH CONSISTENT SNAPSHOT, " if isolation == "repeatable_read" else ""
            execute(self.connection, f"START TRANSACTION {view}READ ONLY")
        try:
            yield None
        finally:
            with contextlib.suppress(MySQLdb.Error):
                # Nothing was written: a rollback that cannot be sent loses nothing.
                execute(self.connection, "ROLLBACK")

    def horizon(self) -> str | None:
        """No row tells here which transaction wrote it."""
        return None

    def renders(self) -> Sequence[str]:
        return relay.RENDERS

    def read(self, what: Projection, within: KeyRange, wire: str, max_row_size: int) -> Stream:
        row = relay.rendered_row(what.fields, wire)
        select = f"SELECT {row} FROM {what.table} WHERE {proof.condition(what, within)}"
        stream = relay.RowsOut(self.connection, select, wire, max_row_size)
        return TranslatedStream(stream, self._at, what.label)

    def split(
        self, what: Projection, size: BatchSize, max_row_size: int
    ) -> tuple[Sequence[Batch], int]:
        with self._at(what.label):
            return split.split(self.connection, what, size, max_row_size)

    def prove_key(self, what: Projection) -> None:
        with self._at(what.label):
            keys.refuse_unproved(self.connection, what, proof.condition(what, None))

    def window(
        self, shape: Shape, column: Column, since: str | None, overlap: timedelta | int
    ) -> Window:
        with self._at(shape.table):
            return cursor.window(self.connection, shape, column, since, overlap)

    def typed_value(self, column: Column, text: str) -> str:
        with self._at(f"column {column.name}"):
            return cursor.typed_value(self.connection, column, text)

    def share_rows(self, table: str, other: str) -> bool:
        with self._at(table):
            return catalog.share_rows(self.connection, table, other)

    def twins(
        self, table: str, key: Sequence[str], column: str, collation: str
    ) -> tuple[str, str] | None:
        """See ``ports.FindsTwins``."""
        with self._at(table):
            shape = catalog.describe(self.connection, table)
            if shape is None:
                return None
            return keys.twins(self.connection, dialect.qualified(shape), key, column, collation)

    def read_warnings(self, table: str) -> list[str]:
        with self._at(table):
            return refusals.read_warnings(self.connection, table)

    # Digests

    def digest(
        self, what: Projection, within: KeyRange | None, keys: Sequence[Key] | None = None
    ) -> Digest:
        with self._at(what.label):
            return proof.digest(self.connection, what, within, keys)

    def losses(self, what: Projection, within: KeyRange) -> tuple[LossCount, ...]:
        with self._at(what.label):
            return proof.losses(self.connection, what, within)

    def count(self, what: Projection, within: KeyRange) -> int:
        with self._at(what.label):
            return proof.count(self.connection, what, within)

    def holds_rows(self, what: Projection) -> bool:
        with self._at(what.label):
            matching = proof.condition(what, None)
            return bool(
                rows(self.connection, f"SELECT 1 FROM {what.table} WHERE {matching} LIMIT 1")
            )

    def hashes(
        self,
        what: Projection,
        within: KeyRange | None = None,
        keys: Sequence[Key] | None = None,
        mark: str | None = None,
    ) -> Iterator[RowHash]:
        with self._at(what.label):
            yield from proof.hashes(self.connection, what, within, keys, mark)

    def texts(self, what: Projection, keys: Sequence[Key]) -> dict[Key, tuple[str | None, ...]]:
        with self._at(what.label):
            return proof.field_texts(self.connection, what, keys)

    # Writes

    def design(
        self, table: str, columns: Sequence[Column], key: Sequence[str]
    ) -> tuple[Shape, tuple[str, ...]]:
        with self._at(table):
            return design.design(self.connection, table, columns, key)

    def create(self, table: str, ddl: Sequence[str]) -> None:
        with self._at(table):
            write.create(self.connection, list(ddl), table)

    def design_columns(
        self, table: Shape, columns: Sequence[Column]
    ) -> tuple[tuple[Column, ...], tuple[str, ...]]:
        """See ``adding.AddsColumns``."""
        with self._at(table.table):
            made, _ = design.design(self.connection, dialect.qualified(table), columns, ())
            return made.columns, dialect.add_columns(table, made.columns)

    def adding_refusals(self, table: Shape) -> list[str]:
        """See ``adding.AddsColumns``."""
        with self._at(table.table):
            return refusals.adding_refusals(self.connection, table)

    def add_columns(self, table: str, ddl: Sequence[str]) -> None:
        """See ``adding.AddsColumns``."""
        with self._at(table):
            write.add_columns(self.connection, table, ddl)

    def write_refusals(
        self, what: Projection, on_conflict: OnConflict, *, create: bool
    ) -> list[str]:
        with self._at(what.label):
            return refusals.write_refusals(self.connection, what, on_conflict, create=create)

    def loads(self) -> Sequence[str]:
        with self._at("local_infile"):
            return load.wires(self.connection)

    def prepare_markers(self, what: Projection) -> bool:
        with self._at(what.markers):
            return markers.prepare(self.connection, what)

    def move_sequences(self, what: Projection, *, dry: bool = False) -> list[str]:
        with self._at(what.label):
            return sequences.move(self.connection, what, dry=dry)

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
        with self._at(what.label):
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
                direct=direct,
            )

    def notes(self, what: Projection) -> Notes:
        """See ``notes.TakesNotes``."""
        return MySqlNotes(self.connection, what, self._at)

    def missing(self, what: Projection, stream: Stream, *, wire: str) -> Missing:
        """See ``missing.FindsMissing``."""
        with self._at(what.label):
            return MySqlMissing(self.connection, what, stream, wire=wire)

    def missing_refusals(self, what: Projection) -> list[str]:  # noqa: ARG002
        """See ``missing.FindsMissing``: rows are staged in temporary tables for any merge."""
        return []

    def matching(self, what: Projection, stream: Stream, *, wire: str) -> list[Key]:
        with self._at(what.label):
            return write.matching(self.connection, what, stream, wire=wire)

    @contextmanager
    def writing(self, what: Projection) -> Iterator[None]:
        with self._held(what, locks.writing):
            yield

    @contextmanager
    def proving(self, what: Projection) -> Iterator[None]:
        with self._held(what, locks.proving):
            yield

    def require_proving(self, what: Projection) -> None:
        # The locks stand as long as the session does.
        with self._at(what.label):
            execute(self.connection, "DO 1")

    @contextmanager
    def _held(
        self,
        what: Projection,
        lock: Callable[[Connection, Projection, str], AbstractContextManager[None]],
    ) -> Iterator[None]:
        # Only what taking and giving back do is this session's error, not what happens meanwhile.
        with contextlib.ExitStack() as stack:
            with self._at(what.label):
                stack.enter_context(lock(self.connection, what, self._name))
            yield

    # Purges

    @contextmanager
    def purge(self) -> Iterator[Purge]:
        with self._at("purge"):
            work = purge.MySQLPurge(self.connection)
        try:
            yield TranslatedPurge(work, self._at)
        finally:
            with contextlib.suppress(MySQLdb.Error):
                # A connection that cannot be told has rolled back by itself.
                work.close()

    def outcome(self, token: str) -> Outcome:
        with self._at("purge"):
            return purge.outcome(self.connection, token)

    def purge_refusals(
        self, table: str, accepted_triggers: Collection[str], beside: Collection[str] = ()
    ) -> list[str]:
        with self._at(table):
            return refusals.purge_refusals(self.connection, table, accepted_triggers, beside)

    def target_refusals(self, table: str) -> list[str]:
        with self._at(table):
            return refusals.target_refusals(self.connection, table)

    def named(self, table: str) -> Name | None:
        """See ``references.Refers``."""
        with self._at(table):
            return references.named(self.connection, table)

    def references(self, table: Name) -> Sequence[Reference]:
        """See ``references.Refers``."""
        with self._at(".".join(table)):
            return references.references(self.connection, table)

    def swaps(self) -> Swaps:
        """See ``swap.CanSwap``."""
        return TranslatedSwaps(swap.MySqlSwaps(self.connection, self._options.lock), self._at)

    def fingerprint(self, table: str) -> str:
        with self._at(table):
            return tables.fingerprint(self.connection, table)

    def same_database(self, other: object) -> bool:
        """Whether both talk to one server: a name may be qualified by any of its schemas."""
        if not isinstance(other, MySqlSession):
            return False
        with self._at("identity"):
            return locks.same_database(self.connection, other.connection)

    def warnings(self) -> list[str]:
        with self._at("login"):
            return refusals.warnings(self.connection)

    def lags(self) -> list[Lag]:
        """See ``ports.TellsLoad``."""
        with self._at("replication"):
            return replication.lags(self.connection)

    def threads_running(self) -> int:
        """See ``ports.TellsLoad``."""
        with self._at("threads"):
            return replication.threads_running(self.connection)

    def version(self) -> int:
        """Major version of the server."""
        found = rows(self.connection, "SELECT VERSION()")[0][0] or b"0"
        return int(found.decode().partition(".")[0])
