"""The state database: opening it, its transactions and its clock.

SQLite (WAL) serves the processes of one machine, PostgreSQL any number of machines. Every
writing transaction is short; on SQLite it takes the write lock at its start, so it never
fails half way for want of it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.engine import URL
from sqlalchemy.pool import QueuePool

from dsp_airflow.engine.errors import ConfigError, Denied
from dsp_airflow.state import schema
from dsp_airflow.state.clock import server_now
from dsp_airflow.state.faults import translated
from dsp_airflow.state.location import label, state_url

BUSY_SECONDS = 30
_WRITES = "dsp_writes"
_STEPS = 10_000
"""Of SQLite's machine, between two looks at the clock: some tenths of a millisecond."""


class StateDatabase:
    """An open state database. Usable by all threads, and by processes forked later.

    ``seconds``: what a transaction may take on SQLite, and a statement on PostgreSQL; ``Transient``
    is raised beyond. Without it they take what they take.
    """

    def __init__(self, url: URL, *, seconds: int | None = None) -> None:
        self.url = url
        self.label = label(url)
        self.is_sqlite = url.get_backend_name() == "sqlite"
        engine = _sqlite_engine if self.is_sqlite else _postgres_engine
        self._engine = engine(url, seconds)
        self._pid = os.getpid()
        self._inherited: list[object] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the idle connections; a later use opens new ones."""
        self.engine.dispose()

    @property
    def engine(self) -> Engine:
        """The engine of this process; connections made before a fork stay the parent's."""
        if self._pid != os.getpid():
            # Kept alive on purpose: closing them here would disturb the parent's.
            self._inherited.append(self._engine.pool)
            self._engine.dispose(close=False)
            self._pid = os.getpid()
        return self._engine

    @contextmanager
    def read(self, *, snapshot: bool = False) -> Iterator[Connection]:
        """A transaction that only reads; ``snapshot``: all of it sees one moment."""
        options: dict[str, Any] = {}
        if snapshot and not self.is_sqlite:
            options["isolation_level"] = "REPEATABLE READ"
        with self._begin(options) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that writes; committed at the end, rolled back by any exception."""
        with self._begin({_WRITES: True}) as connection:
            yield connection

    @contextmanager
    def _begin(self, options: dict[str, Any]) -> Iterator[Connection]:
        with (
            translated(self.label),
            self.engine.connect() as connection,
        ):
            connection.execution_options(**options)
            with connection.begin():
                yield connection

    def now(self) -> datetime:
        """The state database's clock, in UTC."""
        with self.read() as connection:
            return clock(connection)


def clock(connection: Connection) -> datetime:
    """The state database's clock, in UTC, inside a transaction."""
    return connection.execute(select(server_now())).scalar_one()


def open_state(
    url: str | None = None, *, create: bool = False, seconds: int | None = None
) -> StateDatabase:
    """Opens the state database at ``url`` (default: ``[dsp] sql_alchemy_conn``).

    Raises ``ConfigError`` when its schema is missing, older or newer than this package,
    ``Transient`` when it cannot be reached and ``Denied`` when it refuses the login.
    ``create``: a missing SQLite file is made, and an older one brought up to date.
    ``seconds``: see ``StateDatabase``.
    """
    database = StateDatabase(state_url(url), seconds=seconds)
    try:
        if database.is_sqlite and create:
            _create(database)
        _require_schema(database)
    except BaseException:
        database.close()
        raise
    return database


def upgrade(url: str | None = None) -> str:
    """Creates the state database's tables or brings them up to date; returns the revision.

    Safe to run by several processes at once.
    """
    where = state_url(url)
    database = StateDatabase(where)
    if database.is_sqlite:
        make_file(where)
    with database:
        return upgrade_state(database)


def upgrade_state(database: StateDatabase) -> str:
    """Migrates in one transaction that no other migration can overlap."""
    with database.write() as connection:
        problem = schema.upgrade(connection)
    if problem is not None:
        raise ConfigError(f"{database.label} {problem}")
    return schema.HEAD


def make_file(url: URL) -> None:
    """Creates an empty SQLite file that only its owner may read."""
    path = Path(url.database or "")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise Denied(f"{label(url)} cannot be created: {error.strerror}") from error


def _create(database: StateDatabase) -> None:
    make_file(database.url)
    with database.read() as connection:
        behind = schema.is_behind(schema.version(connection))
    if behind:
        upgrade_state(database)


def _require_schema(database: StateDatabase) -> None:
    if database.is_sqlite and not Path(database.url.database or "").is_file():
        raise ConfigError(f"{database.label} does not exist; run `dsp db upgrade`")
    with database.read() as connection:
        problem = schema.problem(schema.version(connection))
    if problem is not None:
        raise ConfigError(f"{database.label} {problem}")


def _sqlite_engine(url: URL, seconds: int | None) -> Engine:
    # mode=rw: a file that was removed is an error, never an empty database.
    file = f"file:{quote(url.database or '')}?mode=rw"

    def connect() -> sqlite3.Connection:
        # isolation_level=None: the driver begins nothing by itself, see `begin` below.
        connection = sqlite3.connect(
            file, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            connection.close()
            raise
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, hide_parameters=True)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        if seconds is not None:
            _bound(connection, seconds)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switches to WAL. SQLite does not wait for the lock here, so this does."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _bound(connection: Connection, seconds: int) -> None:
    """SQLite knows no such limit, but asks now and then whether it should go on."""
    deadline = time.monotonic() + seconds
    raw: Any = connection.connection.driver_connection
    raw.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)


def _postgres_engine(url: URL, seconds: int | None) -> Engine:
    arguments = {"connect_timeout": 10, "application_name": "dsp:state"}
    engine = create_engine(
        url,
        connect_args={k: v for k, v in arguments.items() if k not in url.query},
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        try:
            connection.execute(
                "SET SESSION TimeZone = 'UTC';"
                f" SET SESSION lock_timeout = '{BUSY_SECONDS}s';"
                f" SET SESSION idle_in_transaction_session_timeout = '{2 * BUSY_SECONDS}s'"
            )
            if seconds is not None:
                connection.execute(f"SET SESSION statement_timeout = '{seconds}s'")
            connection.commit()
        except BaseException:
            connection.close()
            raise

    return engine
