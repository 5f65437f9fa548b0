"""PostgreSQL: the store and its sessions."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import psycopg

from dsp_airflow.engine.errors import ConfigError, Denied, DspError, Transient
from dsp_airflow.engine.model import (
    Batch,
    BatchSize,
    Column,
    Digest,
    Key,
    KeyRange,
    OnConflict,
    Origin,
    Projection,
    RowHash,
    Shape,
    Window,
    Written,
)
from dsp_airflow.engine.ports import Dialect, Outcome, Session, Stream
from dsp_airflow.engine.stores.postgres import (
    catalog,
    cursor,
    dialect,
    proof,
    purge,
    refusals,
    relay,
    split,
    translate,
    write,
)
from dsp_airflow.engine.stores.postgres.query import Connection, one

# Text of keys and canonical values depends on these; the rest keeps a session harmless.
SETTINGS = """
SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres';
SET extra_float_digits = 1; SET bytea_output = 'hex'; SET standard_conforming_strings = on;
SET client_encoding = 'UTF8'; SET row_security = off; SET lock_timeout = '30s';
SET default_transaction_isolation = 'read committed'; SET default_transaction_deferrable = off;
SET statement_timeout = 0; SET idle_in_transaction_session_timeout = '1h'; SET jit = off;
SET client_min_messages = warning; SET default_transaction_read_only = off;
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') IN ('off', 'local');
SELECT set_config(name, '0', false) FROM pg_settings
WHERE name IN ('idle_session_timeout', 'transaction_timeout')
"""
PATIENCE = 300
"""Seconds to wait for batches and proofs of others on the same target table."""
CONNECT = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "application_name": "dsp_airflow",
}


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
        self._renew = renew or (lambda: conninfo)
        service = f"service {conninfo['service']}" if conninfo.get("service") else ""
        host = conninfo.get("host") or conninfo.get("hostaddr") or service or "localhost"
        port = conninfo.get("port") or 5432
        self.identity = f"{host}:{port}/{conninfo.get('dbname') or ''}"

    def __repr__(self) -> str:
        return f"PostgresStore({self.name!r}, {self.identity!r})"

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Opens one connection; closing it rolls back what is open."""
        connection = self._connect()
        try:
            with contextlib.closing(PostgresSession(connection, self.name, self._renew)) as session:
                yield session
        finally:
            connection.close()

    def _connect(self) -> Connection:
        where = f"connection {self.name} ({self.identity})"
        try:
            connection: Connection = psycopg.connect(
                **{**CONNECT, **self._renew()}, autocommit=True, prepare_threshold=None
            )
        except psycopg.Error as error:
            raise self._unreachable(error, where) from error
        with translate.translating(where):
            connection.execute(SETTINGS)
        return connection

    def _unreachable(self, error: psycopg.Error, where: str) -> DspError:
        # libpq reports a failed login as text only: the server's code is not passed on.
        text = " ".join(str(error).split())
        lowered = text.lower()
        if "password authentication failed" in lowered or "no password supplied" in lowered:
            return Denied(f"{where}: {text}; correct login and password of the Airflow connection")
        if "pg_hba.conf" in lowered or "permission denied" in lowered:
            return Denied(f"{where}: {text}; allow this client on the server")
        if "does not exist" in lowered:
            return ConfigError(f"{where}: {text}; correct the Airflow connection")
        return Transient(
            f"{where}: cannot connect: {text}; check host, port and network, and that it is running"
        )


class PostgresSession:
    """One connection. Every driver error leaves it translated, naming connection and object."""

    def __init__(
        self,
        connection: Connection,
        name: str,
        conninfo: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self.connection = connection
        self._name = name
        self._conninfo = conninfo
        self._arrow: Any = None

    def _at(self, label: str) -> AbstractContextManager[None]:
        return translate.translating(f"{self._name}: {label}")

    def close(self) -> None:
        if self._arrow is not None:
            self._arrow.close()
        self.connection.close()

    # Reads

    def describe(self, table: str) -> Shape | None:
        with self._at(table):
            return catalog.describe(self.connection, table)

    def nearest(self, table: str) -> list[str]:
        with self._at(table):
            return catalog.nearest(self.connection, table)

    def typed(self, shape: Shape, expressions: Sequence[str]) -> list[Column]:
        with self._at(shape.table):
            return catalog.typed(self.connection, shape, expressions)

    @contextmanager
    def snapshot(self) -> Iterator[str | None]:
        with self._at("snapshot"):
            self.connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            row = one(self.connection, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text")
        try:
            yield str(row[0])
        finally:
            if not self.connection.closed:
                with contextlib.suppress(psycopg.OperationalError):
                    # Nothing was written: a rollback that cannot be sent loses nothing.
                    self.connection.execute("ROLLBACK")

    def read(self, what: Projection, within: KeyRange, wire: str, max_row_size: int) -> Stream:
        columns = ", ".join(f.expression for f in what.fields)
        select = f"SELECT {columns} FROM {what.table} WHERE {proof.condition(what, within)}"
        return _Translated(
            relay.CopyOut(
                self.connection, f"COPY ({select}) TO STDOUT (FORMAT {wire})", max_row_size
            ),
            f"{self._name}: {what.label}",
        )

    def arrow(
        self,
        what: Projection,
        within: KeyRange,
        forms: Sequence[Any],
        *,
        exact: bool,
        max_row_size: int,
    ) -> Iterator[Any]:
        if self._arrow is None:
            from dsp_airflow.engine.stores.postgres.arrow import ArrowReader

            self._arrow = ArrowReader(self._conninfo, self._name)
        with self._at(what.label):
            yield from self._arrow.batches(
                self.connection, what, within, forms, exact=exact, max_row_size=max_row_size
            )

    def split(
        self, what: Projection, size: BatchSize, max_row_size: int
    ) -> tuple[Sequence[Batch], int]:
        with self._at(what.label):
            return split.split(self.connection, what, size, max_row_size)

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

    def write_refusals(
        self, what: Projection, on_conflict: OnConflict, *, create: bool
    ) -> list[str]:
        with self._at(what.label):
            return refusals.write_refusals(self.connection, what, on_conflict, create=create)

    def prepare_markers(self, what: Projection) -> bool:
        with self._at(what.markers):
            return write.prepare_markers(self.connection, what)

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

    @contextmanager
    def writing(self, what: Projection) -> Iterator[None]:
        with self._held(what, "pg_advisory_lock_shared", "pg_advisory_unlock_shared"):
            yield

    @contextmanager
    def proving(self, what: Projection) -> Iterator[None]:
        with self._held(what, "pg_advisory_lock", "pg_advisory_unlock"):
            yield

    @contextmanager
    def _held(self, what: Projection, lock: str, unlock: str) -> Iterator[None]:
        key = f"(hashtextextended({dialect.text_literal(f'dsp_airflow {what.table}')}, 0))"
        with self._at(what.label):
            try:
                # One message is one transaction: the timeout ends with it, the lock does not.
                self.connection.execute(
                    f"SET LOCAL lock_timeout = '{PATIENCE}s'; SELECT {lock}{key}".encode()
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
    def purge(self) -> Iterator[_Purge]:
        with self._at("purge"):
            work = _Purge(self.connection, self._name)
        try:
            yield work
        finally:
            if not self.connection.closed and not work.committed:
                with contextlib.suppress(psycopg.OperationalError):
                    # A connection that cannot be told has rolled back by itself.
                    self.connection.execute("ROLLBACK")

    def outcome(self, token: str) -> Outcome:
        with self._at("purge"):
            return purge.outcome(self.connection, token)

    def purge_refusals(self, table: str, accepted_triggers: Collection[str]) -> list[str]:
        with self._at(table):
            return refusals.purge_refusals(self.connection, table, accepted_triggers)

    def target_refusals(self, table: str) -> list[str]:
        with self._at(table):
            return refusals.target_refusals(self.connection, table)

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

    def version(self) -> int:
        """Major version of the server; row hashes are comparable within one."""
        return self.connection.info.server_version // 10_000


class _Translated:
    """A stream whose driver errors are the engine's."""

    def __init__(self, inner: relay.CopyOut, where: str) -> None:
        self._inner = inner
        self._where = where

    @property
    def rows(self) -> int:
        return self._inner.rows

    @property
    def size(self) -> int:
        return self._inner.size

    def __iter__(self) -> Iterator[bytes]:
        with translate.translating(self._where):
            yield from self._inner


class _Purge(purge.PostgresPurge):
    """A purge whose driver errors are the engine's."""

    def __init__(self, connection: Connection, name: str) -> None:
        super().__init__(connection)
        self.committed = False
        self._name = name

    def take(self, what: Projection, within: KeyRange) -> Digest | None:
        with translate.translating(f"{self._name}: {what.label}"):
            return super().take(what, within)

    def undo(self) -> None:
        with translate.translating(f"{self._name}: purge"):
            super().undo()

    def take_keys(self, what: Projection, keys: Sequence[Key]) -> list[RowHash]:
        with translate.translating(f"{self._name}: {what.label}"):
            return super().take_keys(what, keys)

    def settle(self) -> None:
        with translate.translating(f"{self._name}: purge"):
            super().settle()

    def token(self) -> str:
        with translate.translating(f"{self._name}: purge"):
            return super().token()

    def commit(self) -> None:
        with translate.translating(f"{self._name}: purge"):
            super().commit()
            self.committed = True


__all__ = ["PostgresSession", "PostgresStore"]
