"""A small table with a cursor, in the words of every system: ``id``, ``at`` and ``v``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Protocol, TypeAlias
from uuid import UUID

import MySQLdb
import psycopg
import pymongo
from bson import Decimal128, Int64
from pymongo.errors import OperationFailure, PyMongoError

from tests.servers import Database, MongoDatabase, MySQLDatabase

AnyDatabase: TypeAlias = Database | MySQLDatabase | MongoDatabase
Row: TypeAlias = tuple[int, Any, str]
"""Its id, the cursor, and a text that no other version of any row has."""
MISSING = object()
"""Of a cursor: a document has no such field, a row has NULL."""

POSTGRES = {
    "moment": "timestamptz",
    "local": "timestamp",
    "date": "date",
    "number": "bigint",
    "decimal": "numeric(20,4)",
    "double": "float8",
    "text": 'text COLLATE "C"',
    "uuid": "uuid",
}
MYSQL = {
    "moment": "TIMESTAMP(6) NULL",
    "local": "DATETIME(6)",
    "date": "DATE",
    "number": "BIGINT",
    "decimal": "DECIMAL(20,4)",
    "double": "DOUBLE",
    "text": "VARCHAR(50) CHARACTER SET latin1",
    "uuid": "UUID",
}


OFFSETS = {"UTC": "+00:00", "Europe/Berlin": "+02:00"}
"""Of zones on a server that has no tables of them."""


class LockedError(Exception):
    """Somebody else has the row."""


class Change(Protocol):
    """A transaction of the application."""

    def put(self, rows: Sequence[Row]) -> None:
        """Inserts rows, or replaces them by their ids. Raises ``LockedError``."""

    def remove(self, number: int) -> None:
        """Deletes a row. Raises ``LockedError``."""

    def commit(self) -> None:
        """What was changed. Raises ``LockedError`` where the server has given it up."""

    def close(self) -> None:
        """Rolls back what is not committed, and ends the session."""


@dataclass(frozen=True)
class Table:
    """``name`` in a database of any kind."""

    database: AnyDatabase
    name: str = "t"

    def make(self, kind: str) -> Table:
        """Creates it, with an index on the cursor."""
        if isinstance(self.database, MongoDatabase):
            self.database.database.create_collection(self.name)
            self.database[self.name].create_index("at")
            return self
        mysql = isinstance(self.database, MySQLDatabase)
        native, text = (MYSQL[kind], "VARCHAR(50)") if mysql else (POSTGRES[kind], "text")
        self.database.execute(
            f"CREATE TABLE {self.name} (id int PRIMARY KEY, at {native}, v {text})",
            f"CREATE INDEX {self.name}_at ON {self.name} (at)",
        )
        return self

    def begin(self, zone: str = "UTC") -> Change:
        """``zone``: the time zone of the session; what is written is the same moment."""
        if isinstance(self.database, MongoDatabase):
            return _Documents(self)
        return _Rows(self, zone)

    def put(self, rows: Iterable[Row], zone: str = "UTC") -> None:
        """Inserts rows, or replaces them by their ids."""
        with closing(self.begin(zone)) as change:
            change.put(list(rows))
            change.commit()

    def remove(self, number: int) -> None:
        with closing(self.begin()) as change:
            change.remove(number)
            change.commit()

    def read(self) -> dict[int, str]:
        """What each row says."""
        if isinstance(self.database, MongoDatabase):
            return {row["_id"]: row["v"] for row in self.database[self.name].find()}
        return dict(self.database.rows(f"SELECT id, v FROM {self.name}"))


class _Rows:
    def __init__(self, table: Table, zone: str) -> None:
        self._table = table
        hours = int(OFFSETS[zone][:3])
        self._zone = timezone(timedelta(hours=hours))
        self._mysql = isinstance(table.database, MySQLDatabase)
        assert not isinstance(table.database, MongoDatabase)
        self._connection: Any = table.database.connect()
        self._cursor = self._connection.cursor()
        if self._mysql:
            self._run(f"SET time_zone = '{OFFSETS[zone]}', innodb_lock_wait_timeout = 1")
            self._run("SET sql_mode = 'ALLOW_INVALID_DATES'")
            self._run("BEGIN")
        else:
            self._run(f"SET TimeZone = '{zone}'")
            self._run("BEGIN")
            self._run("SET LOCAL lock_timeout = '50ms'")

    def _run(self, statement: str, values: Sequence[Any] | None = None) -> None:
        self._cursor.execute(statement, values)

    def put(self, rows: Sequence[Row]) -> None:
        clash = "ON CONFLICT (id) DO UPDATE SET v = EXCLUDED.v, at = EXCLUDED.at"
        if self._mysql:
            clash = "ON DUPLICATE KEY UPDATE v = VALUES(v), at = VALUES(at)"
        statement = f"INSERT INTO {self._table.name} (id, at, v) VALUES (%s, %s, %s) {clash}"
        adapted = [(number, self._adapted(at), text) for number, at, text in rows]
        try:
            self._cursor.executemany(statement, adapted)
        except (psycopg.errors.LockNotAvailable, MySQLdb.OperationalError) as error:
            self._refuse(error)

    def _adapted(self, at: Any) -> Any:
        if at is MISSING:
            return None
        if self._mysql and isinstance(at, datetime) and at.tzinfo:
            return at.astimezone(self._zone).replace(tzinfo=None)
        return str(at) if self._mysql and isinstance(at, UUID) else at

    def remove(self, number: int) -> None:
        try:
            self._run(f"DELETE FROM {self._table.name} WHERE id = %s", (number,))
        except (psycopg.errors.LockNotAvailable, MySQLdb.OperationalError) as error:
            self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        self.close()
        if isinstance(error, MySQLdb.OperationalError) and error.args[0] not in (1205, 1213):
            raise error
        raise LockedError from error

    def commit(self) -> None:
        self._run("COMMIT")

    def close(self) -> None:
        self._connection.close()


class _Documents:
    def __init__(self, table: Table) -> None:
        assert isinstance(table.database, MongoDatabase)
        self._collection = table.database[table.name]
        self._session = table.database.client.start_session()
        self._session.start_transaction()

    def put(self, rows: Sequence[Row]) -> None:
        writes = [
            pymongo.ReplaceOne({"_id": number}, _document(number, at, text), upsert=True)
            for number, at, text in rows
        ]
        try:
            self._collection.bulk_write(writes, session=self._session)
        except (OperationFailure, PyMongoError) as error:
            self._refuse(error)

    def remove(self, number: int) -> None:
        try:
            self._collection.delete_one({"_id": number}, session=self._session)
        except (OperationFailure, PyMongoError) as error:
            self._refuse(error)

    def _refuse(self, error: PyMongoError) -> None:
        self.close()
        if not error.has_error_label("TransientTransactionError"):
            raise error
        raise LockedError from error

    def commit(self) -> None:
        try:
            self._session.commit_transaction()
        except PyMongoError as error:
            self._refuse(error)

    def close(self) -> None:
        self._session.end_session()


def _document(number: int, at: Any, text: str) -> dict[str, Any]:
    if isinstance(at, Decimal):
        at = Decimal128(at)
    if isinstance(at, int) and not isinstance(at, bool | Int64):
        at = Int64(at)
    return {"_id": number, **({} if at is MISSING else {"at": at}), "v": text}
