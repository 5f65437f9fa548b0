"""DuckDB, as this package uses it: in memory, alone, over Arrow batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from dsp_airflow.engine.errors import Mismatch, Transient

ROWS = "dsp_rows"
THREADS = 2
FETCHED = 8_192
"""Rows of a record batch that comes out."""


def connect() -> Any:
    """A connection of its own, which fetches nothing from anywhere."""
    # Whoever writes Parquet goes without.
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET autoload_known_extensions = false")
    connection.execute(f"SET threads = {THREADS}")
    return connection


@contextmanager
def over(batches: Iterable[Any], schema: Any, where: str) -> Iterator[Any]:
    """A connection that sees the batches as the table ``ROWS``, which can be read once.

    An error of whoever makes the batches comes out as it is. DuckDB's own become the engine's:
    rows that it cannot read are not what was written. ``where`` names them.
    """
    source = _Source(batches)
    with connect() as connection:
        connection.register(ROWS, pa.RecordBatchReader.from_batches(schema, source.batches()))
        try:
            with _translated(where):
                yield connection
        except (Mismatch, Transient):
            if source.error is not None:
                raise source.error from None
            raise


def each(batches: Iterable[Any], query: str, where: str, **tables: Any) -> Iterator[Any]:
    """The query's answer over each batch by itself, which it sees as ``ROWS``.

    So what comes out is about as large as what came in. ``tables`` are there beside it.
    """
    with connect() as connection:
        # More threads would hand the rows out in any order.
        connection.execute("SET threads = 1")
        for name, table in tables.items():
            connection.register(name, table)
        for batch in batches:
            with _translated(where):
                connection.register(ROWS, pa.Table.from_batches([batch]))
                found = connection.sql(query).to_arrow_table()
            yield from found.to_batches()


@contextmanager
def _translated(where: str) -> Iterator[None]:
    import duckdb

    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:
        first = str(error).split("\n", 1)[0]
        if isinstance(error, (duckdb.OutOfMemoryException, duckdb.IOException)):
            raise Transient(f"{where}: {first}") from error
        raise Mismatch(f"{where}: {first}") from error


class _Source:
    """Remembers what went wrong while batches were made; DuckDB would pass on its text only."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self.error: BaseException | None = None
        self._batches = batches

    def batches(self) -> Iterator[Any]:
        try:
            yield from self._batches
        except BaseException as error:
            self.error = error
            raise


def selected(connection: Any, columns: Sequence[str], relation: str = ROWS) -> Iterator[Any]:
    """Record batches of these expressions over ``ROWS``, in their order."""
    # More threads would hand the rows out in any order.
    connection.execute("SET threads = 1")
    query = f"SELECT {', '.join(columns)} FROM {relation}"  # noqa: S608
    yield from connection.sql(query).to_arrow_reader(FETCHED)


def quoted(name: str) -> str:
    """An identifier, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string constant."""
    return "'" + text.replace("'", "''") + "'"
