"""The table that is copied and purged while things break, in the words of every system."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import MySQLdb
import psycopg
from bson import Decimal128, Int64

from tests.mysql.pairs import Pair
from tests.servers import Database, MongoDatabase, MySQLDatabase

AnyDatabase = Database | MySQLDatabase
Row = tuple[Any, ...]

COLUMNS = "id, name, amount, at, data"
LOCKED = (psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable)
"""Who changes rows beside a purge may lose against it."""
MYSQL_LOCKED = (1205, 1213)

POSTGRES = (
    """CREATE TABLE t (id bigint PRIMARY KEY, name varchar(100), amount numeric(12,2),
       at timestamp, data bytea)""",
    """INSERT INTO t SELECT n, 'name ' || n, n / 7.0, timestamp '2020-01-01' + n * interval '1s',
       decode(md5(n::text), 'hex') FROM generate_series(1, {rows}) n""",
)
MYSQL = (
    """CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR(100), amount DECIMAL(12,2),
       at DATETIME(6), data VARBINARY(16)) {options}""",
    """INSERT INTO t SELECT n, CONCAT('name ', n), n / 7.0,
       TIMESTAMP'2020-01-01 00:00:00' + INTERVAL n SECOND, UNHEX(MD5(CONCAT(n)))
       FROM (SELECT 1 + {number} AS n FROM {digits}) AS numbers WHERE n <= {rows}""",
)
_NUMBER = " + ".join(f"{10**n} * {name}.d" for n, name in enumerate("abcdef"))
_DIGIT = "SELECT 0 AS d" + "".join(f" UNION ALL SELECT {n}" for n in range(1, 10))
_DIGITS = ", ".join(f"({_DIGIT}) AS {name}" for name in "abcdef")

REMEMBERED = {
    Database: (
        "CREATE TABLE deleted (LIKE t)",
        """CREATE FUNCTION log_deleted() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN INSERT INTO deleted SELECT OLD.*; RETURN OLD; END'""",
        """CREATE TRIGGER log_deleted BEFORE DELETE ON t FOR EACH ROW
           EXECUTE FUNCTION log_deleted()""",
    ),
    MySQLDatabase: (
        "CREATE TABLE deleted AS SELECT * FROM t LIMIT 0",
        """CREATE TRIGGER log_deleted BEFORE DELETE ON t FOR EACH ROW INSERT INTO deleted
           VALUES (OLD.id, OLD.name, OLD.amount, OLD.at, OLD.data)""",
    ),
}


DOCUMENTS = (
    {"source": "_id", "target": "id", "type": "int64"},
    {"source": "name", "type": "string"},
    {"source": "amount", "type": "decimal(12,2)"},
    {"source": "at", "type": "timestamp"},
    {"source": "data", "type": "bytes"},
)
"""The ``columns`` of a job that makes rows of documents."""


def document(number: int) -> dict[str, Any]:
    """A row of the table as a document."""
    return {
        "_id": Int64(number),
        "name": f"name {number}",
        "amount": Decimal128((Decimal(number) / 7).quantize(Decimal("0.01"))),
        "at": datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
        "data": hashlib.md5(str(number).encode(), usedforsecurity=False).digest(),
    }


def job_of(pair: Pair, **more: Any) -> dict[str, Any]:
    """A job from ``t`` to ``t`` that purges."""
    documents = [isinstance(side, MongoDatabase) for side in (pair.source, pair.target)]
    if documents == [True, False]:
        more["columns"] = list(DOCUMENTS)
    if documents == [False, True]:
        # Moments have milliseconds there.
        more["accept_loss"] = ["at"]
    return pair.job(purge="system", **more)


def fill(database: AnyDatabase | MongoDatabase, rows: int, options: str = "") -> None:
    """Makes the table ``t`` with that many rows, fewer than a million."""
    if isinstance(database, MongoDatabase):
        database.database.create_collection("t")
        if rows:
            database["t"].insert_many(map(document, range(1, rows + 1)))
        return
    statements = MYSQL if isinstance(database, MySQLDatabase) else POSTGRES
    words = {"rows": rows, "number": _NUMBER, "digits": _DIGITS, "options": options}
    database.execute(*(text.format(**words) for text in statements))


def remember(database: AnyDatabase) -> None:
    """Every row that is deleted from ``t`` is written down in ``deleted``, by a trigger."""
    database.execute(*REMEMBERED[type(database)])


def rows_of(database: AnyDatabase | MongoDatabase, table: str = "t") -> list[Row]:
    """All rows as Python has them, which is the same for every system."""
    if isinstance(database, MongoDatabase):
        return [
            (one["_id"], one["name"], one["amount"].to_decimal(), one["at"], one["data"])
            for one in database[table].find().sort("_id")
        ]
    return database.rows(f"SELECT {COLUMNS} FROM {table} ORDER BY id")


class Changing:
    """A session that changes rows beside others; it is told when it lost a lock to them."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def change(self, statement: str, *values: Any) -> bool:
        """Whether it came through. A purge and this lock rows in their own orders."""
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(statement, values or None)
        except LOCKED:
            return False
        except MySQLdb.OperationalError as error:
            if error.args[0] not in MYSQL_LOCKED:
                raise
            return False
        return True

    def rename(self, ids: Sequence[int], name: str) -> bool:
        """Gives rows another name."""
        marks = ", ".join(["%s"] * len(ids))
        return self.change(f"UPDATE t SET name = %s WHERE id IN ({marks})", name, *ids)


@contextmanager
def changing(database: AnyDatabase, *, impatient: bool = False) -> Iterator[Changing]:
    """One that commits every statement; ``impatient``: it waits a second for a lock."""
    connection: Any = database.connect()
    if impatient:
        mine = isinstance(database, MySQLDatabase)
        wait = "innodb_lock_wait_timeout = 1" if mine else "lock_timeout = '1s'"
        with connection.cursor() as cursor:
            cursor.execute(f"SET {wait}")
    try:
        yield Changing(connection)
    finally:
        connection.close()
