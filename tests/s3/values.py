"""Tables of values, read into archive files as an S3 job would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg.conninfo

from dsp_airflow.engine.archive import duck
from dsp_airflow.engine.archive.formats import File, format_of
from dsp_airflow.engine.archive.forms import Beyond, Form, form_of
from dsp_airflow.engine.canon.duckdb import duckdb_digest_md5, duckdb_row_text
from dsp_airflow.engine.model import Digest, Field, KeyRange, LogicalType, Projection
from dsp_airflow.engine.ports import ReadsArrow, Session
from dsp_airflow.engine.stores.postgres import PostgresStore
from tests.servers import Database

FORMATS = [
    *(("parquet", "zstd"), ("parquet", "gzip"), ("parquet", "none")),
    *(("csv", "zstd"), ("csv", "gzip"), ("csv", "none")),
    *(("jsonl", "zstd"), ("jsonl", "gzip"), ("jsonl", "none")),
]
MAX_ROW = 64 * 1024 * 1024


@dataclass(frozen=True)
class Table:
    """Columns of a table ``t``; the first is its key ``id``."""

    columns: tuple[tuple[str, LogicalType, str], ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        return tuple(Field(name, kind, native, f'"{name}"') for name, kind, native in self.columns)

    @property
    def forms(self) -> tuple[Form, ...]:
        return tuple(form_of(f.column, f.type, f.native) for f in self.fields)

    @property
    def projection(self) -> Projection:
        return Projection('"t"', "t", self.fields, ())


@contextmanager
def snapshot(database: Database) -> Iterator[Session]:
    store = PostgresStore("source", psycopg.conninfo.conninfo_to_dict(database.uri))
    with store.session() as session, session.snapshot():
        yield session


def archived(session: Session, table: Table, path: Path, name: str, compression: str) -> File:
    """The whole table in a file."""
    chosen = format_of(name)
    try:
        return _written(session, table, path, name, compression, exact=not chosen.EXACT_APART)
    except Beyond:
        return _written(session, table, path, name, compression, exact=True)


def _written(
    session: Session, table: Table, path: Path, name: str, compression: str, *, exact: bool
) -> File:
    assert isinstance(session, ReadsArrow)
    batches = session.arrow(
        table.projection, KeyRange(), table.forms, exact=exact, max_row_size=MAX_ROW
    )
    with path.open("wb") as sink:
        _, largest = format_of(name).write(sink, batches, table.forms, compression)
    return File(path, str(path), name, compression, table.forms, largest)


def ask(file: File, select: str) -> list[tuple[Any, ...]]:
    """DuckDB's answer; ``{n}`` is the canonical text of a column, ``{row}`` that of the row."""
    chosen = format_of(file.format)
    texts = chosen.texts(file.forms)
    schema = chosen.rows_schema(file.forms)
    with duck.over(file.batches(), schema, file.label) as connection:
        query = select.format(*texts, row=duckdb_row_text(texts), digest=duckdb_digest_md5(texts))
        found: list[tuple[Any, ...]] = connection.execute(
            f"SELECT {query} FROM {duck.ROWS}"
        ).fetchall()
    return found


def digest(file: File) -> Digest:
    ((rows, total),) = ask(file, "count(*), {digest}")
    return Digest(int(rows), int(total), "md5")


def texts(file: File, columns: Sequence[int]) -> list[tuple[str | None, ...]]:
    return sorted(ask(file, ", ".join(f"{{{n}}}" for n in columns)), key=lambda row: int(row[0]))
