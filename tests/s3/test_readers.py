"""Parquet files as others read them: pyarrow, pandas and DuckDB, beside what the source says."""

from __future__ import annotations

import datetime as dt
import io
import json
import struct
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd  # type: ignore[import-untyped]
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dsp_airflow.engine import canon
from dsp_airflow.engine.archive.forms import EXACT
from dsp_airflow.engine.model import Field
from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.stores.postgres import login
from tests.s3.harness import Archives
from tests.s3.test_types import filled, through, typed

__all__ = ["typed"]

HELD = {
    "boolean": "bool",
    "smallint": "int16",
    "integer": "int32",
    "bigint": "int64",
    "numeric(12,2)": "decimal128(12, 2)",
    "real": "float",
    "double precision": "double",
    "bytea": "binary",
    "date": "date32[day]",
    "time": "time64[us]",
    "time(0)": "time64[us]",
    "timestamp": "timestamp[us]",
    "timestamp(3)": "timestamp[us]",
    "timestamp with time zone": "timestamp[us, tz=UTC]",
    "uuid": "extension<arrow.uuid>",
    "json": "extension<arrow.json>",
    "jsonb": "extension<arrow.json>",
    "app.positive": "int32",
    "app.price": "decimal128(8, 2)",
    "app.ids": "list<element: int64>",
    "integer[]": "list<element: int32>",
    "text[]": "list<element: string>",
    "numeric[]": "list<element: string>",
    "numeric(5,1)[]": "list<element: decimal128(5, 1)>",
    "double precision[]": "list<element: double>",
    "timestamp with time zone[]": "list<element: timestamp[us, tz=UTC]>",
    "bytea[]": "list<element: binary>",
    "jsonb[]": "list<element: extension<arrow.json>>",
    "json[]": "list<element: extension<arrow.json>>",
    "character(3)[]": "list<element: string>",
    "uuid[]": "list<element: extension<arrow.uuid>>",
    "date[]": "list<element: date32[day]>",
    "boolean[]": "list<element: bool>",
    "citext[]": "list<element: string>",
    "app.mood[]": "list<element: string>",
    "app.positive[]": "list<element: int32>",
    "app.price[]": "list<element: decimal128(8, 2)>",
    "app.email[]": "list<element: string>",
}
"""Arrow types by PostgreSQL's; all others are held as text."""
DUCKDB = {
    "bool": "BOOLEAN",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "decimal128(12, 2)": "DECIMAL(12,2)",
    "decimal128(8, 2)": "DECIMAL(8,2)",
    "decimal128(5, 1)": "DECIMAL(5,1)",
    "float": "FLOAT",
    "double": "DOUBLE",
    "binary": "BLOB",
    "date32[day]": "DATE",
    "time64[us]": "TIME",
    "timestamp[us]": "TIMESTAMP",
    "timestamp[us, tz=UTC]": "TIMESTAMP WITH TIME ZONE",
    "extension<arrow.uuid>": "UUID",
    "extension<arrow.json>": "JSON",
    "string": "VARCHAR",
}


def duckdb_type(arrow: str) -> str:
    if arrow.startswith("list<"):
        return DUCKDB[arrow.removeprefix("list<element: ").removesuffix(">")] + "[]"
    return DUCKDB[arrow]


def plain(value: Any) -> Any:
    """As every reader can say it; floats by their shortest text, which tells -0."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, pd.Timestamp):
        value = value.to_pydatetime()
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(dt.UTC)
    return value


def of_source(jobs: Archives, fields: Iterable[Field], arrows: list[str]) -> list[list[Any]]:
    """Column by column what psycopg reads, and ``None`` where it, or the file, has no value."""
    found = []
    with psycopg.connect(jobs.source.uri, autocommit=True) as connection:
        connection.execute(login.settings(SessionOptions()).encode())
        rows = connection.execute("SELECT id FROM t ORDER BY id").fetchall()
        for field, arrow in zip(fields, arrows, strict=True):
            value = f"({field.expression})"
            if arrow == "string":
                value = canon.postgres_text(field.expression, field.type, field.native)
            elif "string" in arrow or "json" in arrow:
                value += "::text[]" if arrow.startswith("list") else "::text"
            if arrow.startswith("list"):
                simple = f"array_ndims({value}) > 1 OR array_lower({value}, 1) <> 1"
                value = f"CASE WHEN {simple} THEN NULL ELSE {value} END"
            select = f"SELECT {value} FROM t WHERE id = %s"
            found.append([_cell(connection, select, number, arrow) for (number,) in rows])
    return found


def _cell(connection: psycopg.Connection, select: str, number: int, arrow: str) -> Any:
    try:
        ((value,),) = connection.execute(select.encode(), (number,)).fetchall()
    except psycopg.DataError:
        # Infinite, before the year 1, after 9999, or 24:00.
        return None
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, Decimal) and item.is_nan() for item in items):
        return None
    if arrow == "float" and value is not None:
        return plain(struct.unpack("<f", struct.pack("<f", value))[0])
    return plain(value)


def of_arrow(table: pa.Table) -> list[list[Any]]:
    return [[plain(v) for v in column.to_pylist()] for column in table.columns]


@pytest.fixture
def archived(typed: Archives) -> tuple[Archives, list[str], Path, list[Field]]:
    """Every value of every type in one file, its types, and how the source reads them."""
    kinds = filled(typed)
    run = through(typed)
    fields = list(run.plan("copy").source.fields)
    (body,) = [v for k, v in typed.objects().items() if "/batch=" in k]
    path = typed.folder / "all.parquet"
    path.write_bytes(body)
    return typed, kinds, path, fields


def test_pyarrow_pandas_and_duckdb_read_every_type(
    archived: tuple[Archives, list[str], Path, list[Field]],
) -> None:
    jobs, kinds, path, fields = archived
    arrows = ["int32", *(HELD.get(kind, "string") for kind in kinds)]
    names = [field.column for field in fields]
    source = of_source(jobs, fields, arrows)

    table = pq.read_table(io.BytesIO(path.read_bytes())).sort_by("id")
    assert [str(f.type) for f in table.schema] == [*arrows, "string"]
    assert table.schema.names == [*names, EXACT]
    for name, mine, theirs in zip(names, source, of_arrow(table), strict=False):
        assert theirs == mine, name

    frame = pd.read_parquet(path, dtype_backend="pyarrow").sort_values("id")
    for name, mine in zip(names, source, strict=True):
        assert [plain(v) for v in frame[name].tolist()] == mine, name

    with duckdb.connect() as connection:
        told = connection.execute(f"DESCRIBE SELECT * FROM '{path}'").fetchall()
        assert [row[1] for row in told] == [*map(duckdb_type, arrows), "VARCHAR"]
        rows = connection.execute(f"SELECT * FROM '{path}' ORDER BY id").fetchall()
    for n, (name, mine) in enumerate(zip(names, source, strict=True)):
        assert [plain(row[n]) for row in rows] == mine, name


def test_what_lies_beyond_stands_apart(
    archived: tuple[Archives, list[str], Path, list[Field]],
) -> None:
    """Where a column is NULL and the source is not, its canonical text is in ``EXACT``."""
    jobs, _, path, fields = archived
    table = pq.read_table(path).sort_by("id")
    texts = ", ".join(canon.postgres_text(f.expression, f.type, f.native) for f in fields)
    with jobs.source.connect() as connection:
        connection.execute(login.settings(SessionOptions()).encode())
        source = connection.execute(f"SELECT {texts} FROM t ORDER BY id".encode()).fetchall()
    for row, mine in zip(table.to_pylist(), source, strict=True):
        apart = {
            field.column: text
            for field, text in zip(fields, mine, strict=True)
            if text is not None and row[field.column] is None
        }
        assert json.loads(row[EXACT] or "{}") == apart
