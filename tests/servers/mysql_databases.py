"""Databases on MariaDB and MySQL."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from MySQLdb.connections import Connection

from dsp_airflow.demo.mariadb import MySQLFamilyServer, Row

_numbers = itertools.count(1)


@dataclass(frozen=True)
class MySQLDatabase:
    """One database of a running server, seen by root."""

    server: MySQLFamilyServer
    name: str

    @property
    def uri(self) -> str:
        """An Airflow connection to it."""
        return self.server.uri(self.name)

    @property
    def arguments(self) -> dict[str, Any]:
        """What MySQLdb.connect takes."""
        return self.server.arguments(self.name)

    def connect(self, **changed: Any) -> Connection:
        """Return an autocommit connection in utf8mb4; the caller closes it (`with` does)."""
        return self.server.connect(self.name, **changed)

    def run(self, *statements: str) -> list[Row]:
        """Run statements and return the rows of the last, as the text the server sent."""
        return self.server.run(*statements, database=self.name)

    def execute(self, *statements: str) -> None:
        self.run(*statements)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """As the driver gives them by default."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(query, values or None)
            return list(cursor.fetchall())

    def value(self, query: str, *values: Any) -> Any:
        [(value,)] = self.rows(query, *values)
        return value


@contextmanager
def fresh_mysql_database(
    server: MySQLFamilyServer, prefix: str = "test"
) -> Iterator[MySQLDatabase]:
    """An empty database with a name of its own, dropped at the end."""
    name = f"{prefix}_{next(_numbers)}"
    server.run(f"CREATE DATABASE `{name}`")
    try:
        yield MySQLDatabase(server, name)
    finally:
        server.drop_database(name)
