"""Where the contract is tried: each store with the means to fill its tables from outside."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import MySQLdb
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from dsp_airflow.engine.errors import Transient
from dsp_airflow.engine.model import (
    Column,
    Digest,
    Field,
    KeyRange,
    LogicalType,
    OnConflict,
    Origin,
    Projection,
    Shape,
    Written,
)
from dsp_airflow.engine.ports import Session, Store, Stream
from dsp_airflow.engine.stores.memory import MemoryStore
from dsp_airflow.engine.stores.mysql.store import MySqlStore
from dsp_airflow.engine.stores.postgres import PostgresStore
from tests.servers import Database, MariaDBServer, MySQLDatabase

Row = tuple[Any, ...]
ALL = KeyRange()
BIG = 64 * 1024 * 1024

BIGINT = LogicalType("int64")
TEXT = LogicalType("string")
INTEGER = LogicalType("int32")


@dataclass(frozen=True)
class Table:
    """A table to be made: columns with their types, those that take no NULL, keys."""

    name: str
    columns: dict[str, LogicalType]
    key: tuple[str, ...]
    required: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()


ITEMS = Table("items", {"id": BIGINT, "name": TEXT, "size": INTEGER}, ("id",))


def items(*numbers: int) -> list[Row]:
    return [(n, f"item {n}", n * 10) for n in numbers]


class Place(ABC):
    """One store, and a way around it."""

    system: str
    schema: str
    wires: tuple[str, ...]
    methods: tuple[str, ...]
    store: Store
    dates_rows = True
    """Whether a row tells if it is older than a mark."""
    tells_outcomes = True
    """Whether it is known later what became of a purge."""
    tells_scales = True
    """Whether it keeps 1.0 and 1.00 apart."""

    @abstractmethod
    def make(self, table: Table, rows: Iterable[Row] = ()) -> None: ...

    @abstractmethod
    def insert(self, table: str, rows: Iterable[Row]) -> None: ...

    @abstractmethod
    def rows(self, table: Table) -> list[Row]: ...

    @abstractmethod
    def change(self, table: Table, key: Row, column: str, value: Any) -> None: ...

    @abstractmethod
    def remove(self, table: Table, key: Row) -> None: ...

    @abstractmethod
    def may_change(self, table: Table, key: Row, column: str, value: Any) -> bool:
        """Tries to change a row; False when somebody holds it."""

    @abstractmethod
    def alter(self, table: Table) -> None:
        """Adds a column."""

    def told(self, kind: LogicalType) -> LogicalType:
        """The type that a column made for this one has."""
        return kind

    def other(self, value: Any) -> Any:
        """A value that this store tells from those it looks like."""
        return value

    def label(self, table: str) -> str:
        return f'"{self.schema}".' + '"' + table.replace('"', '""') + '"'

    @contextmanager
    def session(self) -> Iterator[Session]:
        with self.store.session() as session:
            yield session

    def shape(self, table: Table | str) -> Shape:
        name = table if isinstance(table, str) else table.name
        with self.session() as session:
            shape = session.describe(self.label(name))
        assert shape is not None
        return shape

    def project(
        self, table: Table | str, *, where: str | None = None, method: str = "md5"
    ) -> Projection:
        """All columns, the key's first, as a plan has them."""
        shape, dialect = self.shape(table), self.store.dialect
        by_name = {column.name: column for column in shape.columns}
        key = [by_name[name] for name in shape.key]
        ordered = [*key, *(column for column in shape.columns if column not in key)]
        return Projection(
            table=dialect.qualified(shape),
            label=shape.table,
            fields=tuple(
                Field(c.name, dialect.compared(c.type), c.native, dialect.plain(c)) for c in ordered
            ),
            key=tuple(dialect.key_column(column) for column in key),
            where=where,
            markers=dialect.markers(shape),
            method=method,
        )


class MemoryPlace(Place):
    system = "memory"
    schema = "main"
    wires = ("text",)
    methods = ("md5",)

    def __init__(self, name: str = "memory") -> None:
        self.memory = MemoryStore(name)
        self.store = self.memory

    def make(self, table: Table, rows: Iterable[Row] = ()) -> None:
        columns = tuple(
            Column(name, kind, str(kind), nullable=name not in (*table.key, *table.required))
            for name, kind in table.columns.items()
        )
        unique = (table.key, *table.unique) if table.key else table.unique
        self.memory.add_table(Shape(self.schema, table.name, columns, table.key, unique), rows)

    def insert(self, table: str, rows: Iterable[Row]) -> None:
        self.memory.insert(self.label(table), rows)

    def rows(self, table: Table) -> list[Row]:
        return self.memory.rows(self.label(table.name))

    def change(self, table: Table, key: Row, column: str, value: Any) -> None:
        self.memory.update(self.label(table.name), key, **{column: value})

    def remove(self, table: Table, key: Row) -> None:
        self.memory.delete(self.label(table.name), key)

    def may_change(self, table: Table, key: Row, column: str, value: Any) -> bool:
        try:
            self.change(table, key, column, value)
        except Transient:
            return False
        return True

    def alter(self, table: Table) -> None:
        found = self.memory.tables[self.schema, table.name]
        extra = Column("extra", TEXT, "string")
        found.shape = replace(found.shape, columns=(*found.shape.columns, extra))


class PostgresPlace(Place):
    system = "postgres"
    schema = "public"
    wires = ("binary", "text")
    methods: tuple[str, ...] = ("md5", "record")

    def __init__(self, database: Database) -> None:
        self.database = database
        if database.value("SELECT current_setting('server_version_num')::int >= 180000"):
            self.methods = ("md5", "record", "fields")
        self.store: Store = PostgresStore(database.name, conninfo_to_dict(database.uri))

    def make(self, table: Table, rows: Iterable[Row] = ()) -> None:
        quote, native = self.store.dialect.quote, self.store.dialect.native
        lines = [
            f"{quote(name)} {native(kind)}" + (" NOT NULL" if name in table.required else "")
            for name, kind in table.columns.items()
        ]
        if table.key:
            lines.append(f"PRIMARY KEY ({', '.join(map(quote, table.key))})")
        lines += [f"UNIQUE ({', '.join(map(quote, columns))})" for columns in table.unique]
        self.database.execute(f"CREATE TABLE {self.label(table.name)} ({', '.join(lines)})")
        self.insert(table.name, rows)

    def insert(self, table: str, rows: Iterable[Row]) -> None:
        given = list(rows)
        if not given:
            return
        marks = ", ".join(["%s"] * len(given[0]))
        statement = f"INSERT INTO {self.label(table).replace('%', '%%')} VALUES ({marks})"
        with self.database.connect() as connection, connection.cursor() as cursor:
            cursor.executemany(statement.encode(), given)

    def rows(self, table: Table) -> list[Row]:
        order = ", ".join(map(self.store.dialect.quote, table.key)) or "1"
        return self.database.rows(f"SELECT * FROM {self.label(table.name)} ORDER BY {order}")

    def change(self, table: Table, key: Row, column: str, value: Any) -> None:
        with self.database.connect() as connection:
            self._change(connection, table, key, column, value)

    def remove(self, table: Table, key: Row) -> None:
        with self.database.connect() as connection:
            connection.execute(
                f"DELETE FROM {self.label(table.name)} WHERE {self._is(table)}".encode(), key
            )

    def may_change(self, table: Table, key: Row, column: str, value: Any) -> bool:
        with self.database.connect() as connection:
            connection.execute("SET lock_timeout = '300ms'")
            try:
                self._change(connection, table, key, column, value)
            except psycopg.errors.LockNotAvailable:
                return False
        return True

    def alter(self, table: Table) -> None:
        self.database.execute(f"ALTER TABLE {self.label(table.name)} ADD COLUMN extra text")

    def _change(
        self, connection: psycopg.Connection, table: Table, key: Row, column: str, value: Any
    ) -> None:
        statement = f"UPDATE {self.label(table.name)} SET {{}} = %s WHERE {self._is(table)}"
        connection.execute(sql.SQL(statement).format(sql.Identifier(column)), (value, *key))

    def _is(self, table: Table) -> str:
        return " AND ".join(f"{self.store.dialect.quote(name)} = %s" for name in table.key)


class MySqlPlace(Place):
    system = "mysql"
    wires = ("mysql text",)
    methods = ("md5",)
    dates_rows = tells_outcomes = tells_scales = False

    def __init__(self, database: MySQLDatabase) -> None:
        self.database = database
        self.schema = database.name
        self.store: Store = MySqlStore(database.name, database.arguments)
        mariadb = isinstance(database.server, MariaDBServer)
        exact = "utf8mb4_nopad_bin" if mariadb else "utf8mb4_0900_bin"
        # What a key can have of types that know no bounds.
        self._bounded = {"string": f"varchar(80) COLLATE {exact}", "bytes": "varbinary(80)"}

    def project(
        self, table: Table | str, *, where: str | None = None, method: str = "md5"
    ) -> Projection:
        return super().project(table, where=where and where.replace('"', "`"), method=method)

    def label(self, table: str) -> str:
        return f"`{self.schema}`.`{table}`"

    def told(self, kind: LogicalType) -> LogicalType:
        return kind if kind.name == "timestamptz" else self.store.dialect.held(kind)

    def other(self, value: Any) -> Any:
        # A decimal without a scale of its own has the column's.
        return Decimal("1.01") if str(value) == "1.00" else value

    def _native(self, kind: LogicalType) -> str:
        if kind.name == "timestamptz":
            return f"timestamp({6 if kind.digits is None else kind.digits})"
        return self.store.dialect.native(kind)

    def make(self, table: Table, rows: Iterable[Row] = ()) -> None:
        quote, native = self.store.dialect.quote, self._native
        lines = []
        for name, kind in table.columns.items():
            bounded = any(name in u for u in (table.key, *table.unique))
            made = self._bounded.get(kind.name, "") if bounded and kind.length is None else ""
            # A TIMESTAMP takes no NULL unless it is told to.
            kept = " NOT NULL" if name in (*table.key, *table.required) else " NULL"
            lines.append(f"{quote(name)} {made or native(kind)}{kept}")
        if table.key:
            lines.append(f"PRIMARY KEY ({', '.join(map(quote, table.key))})")
        lines += [f"UNIQUE ({', '.join(map(quote, columns))})" for columns in table.unique]
        self.database.execute(f"CREATE TABLE {quote(table.name)} ({', '.join(lines)})")
        self.insert(table.name, rows)

    def insert(self, table: str, rows: Iterable[Row]) -> None:
        given = list(rows)
        if not given:
            return
        marks = ", ".join(["%s"] * len(given[0]))
        name = self.store.dialect.quote(table).replace("%", "%%")
        with closing(self.database.connect()) as connection:
            connection.query("SET time_zone = '+00:00'")
            adapted = [tuple(map(_adapted, row)) for row in given]
            connection.cursor().executemany(f"INSERT INTO {name} VALUES ({marks})", adapted)

    def rows(self, table: Table) -> list[Row]:
        order = ", ".join(map(self.store.dialect.quote, table.key)) or "1"
        name = self.store.dialect.quote(table.name)
        return list(self.database.rows(f"SELECT * FROM {name} ORDER BY {order}"))

    def change(self, table: Table, key: Row, column: str, value: Any) -> None:
        with closing(self.database.connect()) as connection:
            self._change(connection.cursor(), table, key, column, value)

    def remove(self, table: Table, key: Row) -> None:
        with closing(self.database.connect()) as connection:
            name = self.store.dialect.quote(table.name)
            connection.cursor().execute(f"DELETE FROM {name} WHERE {self._is(table)}", key)

    def may_change(self, table: Table, key: Row, column: str, value: Any) -> bool:
        with closing(self.database.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute("SET innodb_lock_wait_timeout = 1")
            try:
                self._change(cursor, table, key, column, value)
            except MySQLdb.OperationalError as error:
                if error.args[0] != LOCK_WAIT:
                    raise
                return False
        return True

    def alter(self, table: Table) -> None:
        name = self.store.dialect.quote(table.name)
        self.database.execute(f"ALTER TABLE {name} ADD COLUMN extra text")

    def _change(self, cursor: Any, table: Table, key: Row, column: str, value: Any) -> None:
        name, quote = self.store.dialect.quote(table.name), self.store.dialect.quote
        cursor.execute("SET time_zone = '+00:00'")
        statement = f"UPDATE {name} SET {quote(column)} = %s WHERE {self._is(table)}"
        cursor.execute(statement, (_adapted(value), *key))

    def _is(self, table: Table) -> str:
        return " AND ".join(f"{self.store.dialect.quote(name)} = %s" for name in table.key)


LOCK_WAIT = 1205


def _adapted(value: Any) -> Any:
    """As the driver takes it."""
    if isinstance(value, list):
        return json.dumps(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value


class Handed:
    """A stream, as a test wants it: with something happening on the way, or a false count."""

    def __init__(self, inner: Stream, *, on_start: Any = None, lie: int = 0) -> None:
        self._inner = inner
        self._on_start = on_start
        self._lie = lie
        self.started = False

    @property
    def rows(self) -> int:
        return self._inner.rows + self._lie

    @property
    def size(self) -> int:
        return self._inner.size

    def __iter__(self) -> Iterator[bytes | memoryview]:
        self.started = True
        if self._on_start is not None:
            self._on_start()
        yield from self._inner


@dataclass(frozen=True)
class Leg:
    """A source and a target of one kind, and the copy of a range between them."""

    source: Place
    target: Place
    wire: str

    def copy(
        self,
        table: Table,
        *,
        within: KeyRange = ALL,
        where: str | None = None,
        on_conflict: OnConflict = "update",
        marker: tuple[str, str, int] | None = None,
        digest: bool = True,
        direct: bool = True,
        ordered_alike: bool = True,
        method: str = "md5",
        on_start: Any = None,
        lie: int = 0,
        max_row_size: int = BIG,
        fence: Callable[[], None] | None = None,
    ) -> tuple[Written, Digest]:
        """Copies; returns what was written and the source's digest of it."""
        ours = self.source.project(table, where=where, method=method)
        theirs = self.target.project(table, method=method)
        with self.source.session() as source, self.target.session() as target:
            if marker is not None:
                assert target.prepare_markers(theirs)
            with source.snapshot() as mark:
                found = source.digest(ours, within)
                stream = source.read(ours, within, self.wire, max_row_size)
                written = target.write(
                    theirs,
                    within,
                    Handed(stream, on_start=on_start, lie=lie),
                    wire=self.wire,
                    on_conflict=on_conflict,
                    ordered_alike=ordered_alike,
                    origin=Origin(found if digest else None, mark),
                    marker=marker,
                    fence=fence or nothing,
                    direct=direct,
                )
        return written, found


def nothing() -> None:
    """A fence that holds."""


def keys_of(rows: Sequence[Any]) -> list[tuple[str, ...]]:
    return [row.key for row in rows]
