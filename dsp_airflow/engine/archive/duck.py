"""DuckDB, as this package uses it: in memory, alone, over Arrow batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from dsp_airflow.engine.errors import Mismatch, Transient

ROWS = "dsp_rows"
THREADS = 2


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
    import duckdb

    source = _Source(batches)
    with connect() as connection:
        connection.register(ROWS, pa.RecordBatchReader.from_batches(schema, source.batches()))
        try:
            yield connection
        except (duckdb.Error, pa.ArrowException) as error:
            if source.error is not None:
                raise source.error from None
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


def selected(connection: Any, columns: Sequence[str]) -> Iterator[Any]:
    """Record batches of these expressions over ``ROWS``, in their order."""
    # More threads would hand the rows out in any order.
    connection.execute("SET threads = 1")
    query = f"SELECT {', '.join(columns)} FROM {ROWS}"  # noqa: S608
    yield from connection.sql(query).to_arrow_reader()


def quoted(name: str) -> str:
    """An identifier, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string constant."""
    return "'" + text.replace("'", "''") + "'"
