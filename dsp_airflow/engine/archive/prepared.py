"""Record batches of an archive as DuckDB gets them, so that its SQL renders the canonical text.

Here, and on the way of plain values to and from Parquet, neither ``to_numpy`` nor ``pa.array`` nor
a Python value in a function of Arrow's is used: each would import pandas, half a second and 40 MB.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dsp_airflow.engine.archive.forms import EXACT, Form, exact_texts
from dsp_airflow.engine.canon.duckdb import duckdb_text
from dsp_airflow.engine.canon.python import python_text
from dsp_airflow.engine.errors import Mismatch
from dsp_airflow.engine.model import LogicalType

POSITIONAL = {"float32": 1e6, "float64": 1e9}
"""Below these (and from 1e-4 on) Arrow's text of a float is the canonical one."""

_MYSQL = re.compile(r"(?:float|double)(?:\(\d+(?:,\d+)?\))?(?: unsigned)?(?: zerofill)?")
"""Its shortest digits may lie midway between two floats, as Python's may: 1e+23."""


def texts_of(forms: Sequence[Form]) -> list[str]:
    """SQL of DuckDB for every column's canonical text, over the columns of ``prepared``."""
    found = []
    for n, form in enumerate(forms):
        text = f"c{n}" if form.text else duckdb_text(f"c{n}", form.kind)
        found.append(f"coalesce({text}, x{n})" if form.bounded else text)
    return found


def prepared_schema(forms: Sequence[Form]) -> Any:
    """Of what ``prepared`` yields: a column ``c<n>`` each, and ``x<n>`` for what lies beyond."""
    fields = [
        pa.field(f"c{n}", pa.string() if form.text else _prepared_type(form.arrow))
        for n, form in enumerate(forms)
    ]
    fields += [pa.field(f"x{n}", pa.string()) for n, form in enumerate(forms) if form.bounded]
    return pa.schema(fields)


def prepared(batches: Iterable[Any], forms: Sequence[Form]) -> Iterator[Any]:
    """The record batches of an archive, column by column as DuckDB gets them."""
    schema = prepared_schema(forms)
    for batch in batches:
        exact = _exact(batch, forms)
        columns = [
            batch.column(n) if form.text else _prepared(batch.column(n), form.kind, form.native)
            for n, form in enumerate(forms)
        ]
        columns += [exact[n] for n, form in enumerate(forms) if form.bounded]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _exact(batch: Any, forms: Sequence[Form]) -> dict[int, Any]:
    """By bounded column: the canonical texts of the values that it cannot hold."""
    bounded = {form.name: n for n, form in enumerate(forms) if form.bounded}
    found: dict[int, list[str | None]] = {}
    at = batch.schema.get_field_index(EXACT)
    if at >= 0 and batch.column(at).null_count < batch.num_rows:
        column = batch.column(at)
        for row in pc.indices_nonzero(column.is_valid()).to_pylist():
            for name, text in exact_texts(column[row].as_py()).items():
                n = bounded.get(name, -1)
                if n < 0 or batch.column(n)[row].is_valid:
                    raise Mismatch(f"column {EXACT} has a value of {name}, which has its own")
                found.setdefault(n, [None] * batch.num_rows)[row] = text
    return {
        n: pa.array(found[n], pa.string()) if n in found else pa.nulls(batch.num_rows, pa.string())
        for n in bounded.values()
    }


def _prepared_type(kind: Any) -> Any:
    if pa.types.is_floating(kind):
        return pa.string()
    if pa.types.is_time(kind) or pa.types.is_timestamp(kind):
        return pa.timestamp("us")
    if pa.types.is_list(kind):
        return pa.list_(_prepared_type(kind.value_type))
    return kind


def _prepared(column: Any, kind: LogicalType, native: str) -> Any:
    arrow = column.type
    if pa.types.is_list(arrow) and kind.element is not None:
        values = _prepared(column.values, kind.element, native)
        return pa.ListArray.from_buffers(
            pa.list_(values.type),
            len(column),
            column.buffers()[:2],
            null_count=column.null_count,
            offset=column.offset,
            children=[values],
        )
    if pa.types.is_floating(arrow):
        return float_texts(column, kind, native)
    if pa.types.is_time(arrow):
        return column.cast(pa.int64()).cast(pa.timestamp("us"))
    if pa.types.is_timestamp(arrow):
        return column.cast(pa.timestamp("us"))
    return column


def float_texts(column: Any, kind: LogicalType, native: str = "") -> Any:
    """Canonical texts of a float array. Arrow renders most, Python those of another notation."""
    texts = pc.cast(column, pa.string())
    if not len(column):
        return texts
    size = np.abs(_numbers(column))
    plain = (size == 0) | ((size >= 1e-4) & (size < POSITIONAL[kind.name]))
    if column.null_count:
        plain |= _flags(column.is_null())
    if bool(plain.all()):
        return texts
    odd = [_float_text(column[n].as_py(), kind, native) for n in np.flatnonzero(~plain).tolist()]
    return pc.replace_with_mask(texts, pa.array(~plain), pa.array(odd, pa.string()))


def _numbers(column: Any) -> Any:
    """The values as they lie there; where there is none, anything."""
    width = column.type.bit_width // 8
    start = column.offset * width
    kind = np.float64 if width == 8 else np.float32
    return np.frombuffer(column.buffers()[1], kind, len(column), start)


def _flags(column: Any) -> Any:
    """Truth values without NULL."""
    bits = np.frombuffer(column.buffers()[1], np.uint8)
    flags = np.unpackbits(bits, count=column.offset + len(column), bitorder="little")
    return flags[column.offset :].astype(bool)


def _float_text(value: float, kind: LogicalType, native: str) -> str | None:
    size = abs(value)
    if kind.name == "float64" and 1e15 <= size < math.inf and _MYSQL.fullmatch(native):
        return f"{Decimal(repr(value)).normalize():e}"
    if kind.name == "float32" or not math.isfinite(value) or size >= 1e15:
        return python_text(value, kind)
    # Python's digits are PostgreSQL's where no short decimal lies midway between two floats.
    return repr(value).removesuffix(".0")
