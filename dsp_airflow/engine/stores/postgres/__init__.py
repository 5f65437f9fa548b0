"""PostgreSQL: the store and its sessions."""

from __future__ import annotations

import contextlib
import copy
import secrets
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import psycopg

from dsp_airflow.engine.canon import lines
from dsp_airflow.engine.errors import Transient
from dsp_airflow.engine.missing import Missing
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
from dsp_airflow.engine.notes import Notes
from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.ports import Dialect, Outcome, Purge, Session, Stream
from dsp_airflow.engine.references import Name, Reference
from dsp_airflow.engine.resolved import Resolved
from dsp_airflow.engine.stores.postgres import (
    catalog,
    cursor,
    dialect,
    keys,
    login,
    parts,
    proof,
    purge,
    references,
    refusals,
    relay,
    sequences,
    split,
    swap,
    translate,
    tree,
    write,
)
from dsp_airflow.engine.stores.postgres.missing import PostgresMissing
from dsp_airflow.engine.stores.postgres.notes import PostgresNotes
from dsp_airflow.engine.stores.postgres.query import Connection, one
from dsp_airflow.engine.swap import Swaps
from dsp_airflow.engine.translated import TranslatedPurge, TranslatedStream, TranslatedSwaps

PATIENCE = 300
"""Seconds to wait for batches and proofs of others on the same target table."""
RENDERS = ("binary", "text", relay.CSV, lines.WIRE)
LOADS = ("binary", "text", "csv")


class PostgresStore:
    """An endpoint. ``conninfo`` are libpq parameters; they hold the secret and are never shown.

    Where a login does not last, such as a token of a cloud's identity service, ``renew`` gives
    the parameters anew for every session.
    """

    system = "postgres"
    dialect: Dialect = dialect

    def __init__(
        self,
        name: str,
        conninfo: Mapping[str, Any],
        renew: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        self.name = name
        self.options = SessionOptions()
        self._renew = renew or (lambda: conninfo)
        service = f"service {conninfo['service']}" if conninfo.get("service") else ""
        host = conninfo.get("host") or conninfo.get("hostaddr") or service or "localhost"
        port = conninfo.get("port") or 5432
        self.identity = f"{host}:{port}/{conninfo.get('dbname') or ''}"

    def __repr__(self) -> str:
        return f"PostgresStore({self.name!r}, {self.identity!r})"

    def having(self, options: SessionOptions) -> PostgresStore:
        other = copy.copy(self)
        other.options = options
        return other

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Opens one connection; closing it rolls back what is open."""
        where = f"connection {self.name} ({self.identity})"
        connection = login.connect(self._renew(), self.options, where)
        try:
            session = PostgresSession(connection, self.name, self.options, self._renew)
            with contextlib.closing(session):
                yield session
        finally:
            connection.close()


class PostgresSession:
    """One connection. Every driver error leaves it translated, naming connection and object."""

    def __init__(
        self,
        connection: Connection,
        name: str,
        options: SessionOptions,
        conninfo: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self.connection = connection
        self._name = name
        self._options = options
        self._conninfo = conninfo
        self._arrow: Any = None

    def _at(self, label: str) -> AbstractContextManager[None]:
        return translate.translating(f"{self._name}: {label}", self._options)

    def close(self) -> None:
        if self._arrow is not None:
            self._arrow.close()
        self.connection.close()

    def unblock(self) -> None:
        """See ``interrupt.Unblocks``. A lock that is had meanwhile may cost its statement too."""
        where = f"connection {self._name}"
        with (
            contextlib.closing(login.connect(self._conninfo(), self._options, where)) as beside,
            translate.translating(where),
        ):
            beside.execute(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
                "WHERE pid = %s AND wait_event_type = 'Lock'",
                (self.connection.info.backend_pid,),
            )

    # Reads

    def describe(self, table: str) -> Shape | None:
        with self._at(table):
            return catalog.describe(self.connection, table)

    def renders(self) -> Sequence[str]:
        return RENDERS

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

    @contextmanager
    def snapshot(self, isolation: Isolation = "repeatable_read") -> Iterator[str | None]:
        with self._at("snapshot"):
            level = isolation.replace("_", " ")
            self.connection.execute(f"BEGIN ISOLATION LEVEL {level} READ ONLY".encode())
            mark = self._horizon()
        try:
            yield mark
        finally:
            if not self.connection.closed:
                with contextlib.suppress(psycopg.OperationalError):
                    # Nothing was written: a rollback that cannot be sent loses nothing.
                    self.connection.execute("ROLLBACK")

    def horizon(self) -> str | None:
        with self._at("snapshot"):
            return self._horizon()

    def _horizon(self) -> str:
        row = one(self.connection, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text")
        return str(row[0])

    def read(self, what: Projection, within: KeyRange, wire: str, max_row_size: int) -> Stream:
        columns = relay.rendered_row(what.fields, wire)
        select = f"SELECT {columns} FROM {what.table} WHERE {proof.condition(what, within)}"
        statement = f"COPY ({select}) TO STDOUT ({relay.options(wire)})"
        stream = relay.CopyOut(self.connection, statement, max_row_size)
        return TranslatedStream(stream, self._at, what.label)

    def arrow(
        self,
        what: Projection,
        within: KeyRange,
        forms: Sequence[Any],
        *,
        exact: bool,
        max_row_size: int,
    ) -> Generator[Any, None, None]:
        if self._arrow is None:
            from dsp_airflow.engine.stores.postgres.arrow import ArrowReader

            self._arrow = ArrowReader(self._conninfo, self._options, self._name)
        with self._at(what.label):
            yield from self._arrow.batches(
                self.connection, what, within, forms, exact=exact, max_row_size=max_row_size
            )

    def parts(
        self, what: Projection, within: KeyRange, expressions: Sequence[str], most: int
    ) -> list[tuple[tuple[str | None, ...], str]]:
        with self._at(what.label):
            return parts.parts(self.connection, what, within, expressions, most)

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
            found = self.connection.execute(
                f"SELECT 1 FROM {what.table} WHERE {matching} LIMIT 1".encode()
            ).fetchone()
        return found is not None

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
            return proof.texts(self.connection, what, keys)

    # Writes

    def design(
        self, table: str, columns: Sequence[Column], key: Sequence[str]
    ) -> tuple[Shape, tuple[str, ...]]:
        with self._at(table):
            return catalog.design(self.connection, table, columns, key)

    def create(self, table: str, ddl: Sequence[str]) -> None:
        with self._at(table):
            write.create(self.connection, list(ddl), table)

    def design_columns(
        self, table: Shape, columns: Sequence[Column]
    ) -> tuple[tuple[Column, ...], tuple[str, ...]]:
        """See ``adding.AddsColumns``."""
        with self._at(table.table):
            return catalog.design_columns(self.connection, table, columns)

    def adding_refusals(self, table: Shape) -> list[str]:
        """See ``adding.AddsColumns``."""
        with self._at(table.table):
            return refusals.adding_refusals(self.connection, table)

    def add_columns(self, table: str, ddl: Sequence[str]) -> None:
        """See ``adding.AddsColumns``."""
        with self._at(table):
            write.add_columns(self.connection, ddl)

    def write_refusals(
        self, what: Projection, on_conflict: OnConflict, *, create: bool
    ) -> list[str]:
        with self._at(what.label):
            return refusals.write_refusals(self.connection, what, on_conflict, create=create)

    def loads(self) -> Sequence[str]:
        return LOADS

    def prepare_markers(self, what: Projection) -> bool:
        with self._at(what.markers):
            return write.prepare_markers(self.connection, what)

    def move_sequences(self, what: Projection, *, dry: bool = False) -> list[str]:
        with self._at(what.label):
            return sequences.move(self.connection, what, dry=dry)

    def forget_markers(self, what: Projection, run: str, job: str) -> None:
        with self._at(what.markers):
            write.forget_markers(self.connection, what, run, job)

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
        return PostgresNotes(self.connection, what, self._at)

    def missing(self, what: Projection, stream: Stream, *, wire: str) -> Missing:
        """See ``missing.FindsMissing``."""
        with self._at(what.label):
            return PostgresMissing(self.connection, what, stream, wire=wire)

    def missing_refusals(self, what: Projection) -> list[str]:  # noqa: ARG002
        """See ``missing.FindsMissing``: rows are staged in temporary tables for any merge."""
        return []

    def matching(self, what: Projection, stream: Stream, *, wire: str) -> list[Key]:
        with self._at(what.label):
            return write.matching(self.connection, what, stream, wire=wire)

    @contextmanager
    def writing(self, what: Projection) -> Iterator[None]:
        with self._held(what, "pg_advisory_lock_shared", "pg_advisory_unlock_shared"):
            yield

    @contextmanager
    def proving(self, what: Projection) -> Iterator[None]:
        with self._held(what, "pg_advisory_lock", "pg_advisory_unlock"):
            yield

    def require_proving(self, what: Projection) -> None:
        # The lock stands as long as the session does.
        with self._at(what.label):
            self.connection.execute(b"SELECT 1")

    @contextmanager
    def _held(self, what: Projection, lock: str, unlock: str) -> Iterator[None]:
        with self._at(what.label):
            # Who writes into a partition must meet who proves by the whole.
            name = dialect.text_literal(f"dsp_airflow {tree.topmost(self.connection, what.table)}")
            key = f"(hashtextextended({name}, 0))"
            try:
                # One message is one transaction: the timeouts end with it, the lock does not.
                self.connection.execute(
                    f"SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '{PATIENCE}s'; "
                    f"SELECT {lock}{key}".encode()
                )
            except psycopg.errors.LockNotAvailable as error:
                raise Transient(
                    f"{self._name}: other runs have been copying into {what.label}, or purging by "
                    f"it, for {PATIENCE} seconds; retry when they are through"
                ) from error
        try:
            yield
        finally:
            if not self.connection.closed:
                with contextlib.suppress(psycopg.OperationalError):
                    # A session that cannot be told holds nothing any more.
                    self.connection.execute(f"SELECT {unlock}{key}".encode())

    # Purges

    @contextmanager
    def purge(self) -> Iterator[Purge]:
        with self._at("purge"):
            work = purge.PostgresPurge(self.connection)
        try:
            yield TranslatedPurge(work, self._at)
        finally:
            if not self.connection.closed and not work.committed:
                with contextlib.suppress(psycopg.OperationalError):
                    # A connection that cannot be told has rolled back by itself.
                    self.connection.execute("ROLLBACK")

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
        return TranslatedSwaps(swap.PostgresSwaps(self.connection, self._options.lock), self._at)

    def fingerprint(self, table: str) -> str:
        with self._at(table):
            return refusals.fingerprint(self.connection, table)

    def same_database(self, other: object) -> bool:
        """Takes a random lock here and looks whether the other session sees it."""
        if not isinstance(other, PostgresSession):
            return False
        high, low = secrets.randbits(31), secrets.randbits(31)
        with self._at("identity"), self.connection.transaction():
            self.connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", (high, low))
            row = other.connection.execute(
                "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
                "AND classid = %s AND objid = %s)",
                (high, low),
            ).fetchone()
        return bool(row and row[0])

    def warnings(self) -> list[str]:
        with self._at("login"):
            return refusals.warnings(self.connection)

    def share_rows(self, table: str, other: str) -> bool:
        with self._at(table):
            return catalog.share_rows(self.connection, table, other)

    def read_warnings(self, table: str) -> list[str]:
        with self._at(table):
            return tree.warnings(self.connection, table)

    def version(self) -> int:
        """Major version of the server; row hashes are comparable within one."""
        return self.connection.info.server_version // 10_000


__all__ = ["PostgresSession", "PostgresStore"]
