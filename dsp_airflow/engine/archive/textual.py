"""Columns of canonical texts: what CSV and JSON lines hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dsp_airflow.engine.archive import duck
from dsp_airflow.engine.archive.forms import Form
from dsp_airflow.engine.archive.prepared import prepared, texts_of
from dsp_airflow.engine.canon.duckdb import duckdb_text
from dsp_airflow.engine.canon.python import python_row_text
from dsp_airflow.engine.model import LogicalType
from dsp_airflow.engine.types import FLOATS, INTEGERS


def rows_schema(forms: Sequence[Form]) -> Any:
    """One column of texts each."""
    return pa.schema([pa.field(f"c{n}", pa.string()) for n in range(len(forms))])


def texts(forms: Sequence[Form]) -> list[str]:
    """They are the canonical ones already."""
    return [f"c{n}" for n in range(len(forms))]


def rendered(
    batches: Iterable[Any], forms: Sequence[Form], columns: Sequence[str]
) -> Iterator[Any]:
    """These expressions over the prepared batches: for each of them one of texts."""
    with duck.connect() as connection:
        for batch in prepared(batches, forms):
            # One by one: of a stream DuckDB would gather far more than a batch.
            connection.register(duck.ROWS, pa.Table.from_batches([batch]))
            yield from duck.selected(connection, columns)


def readable(forms: Sequence[Form]) -> list[str]:
    """SQL of what stands in a cell: the canonical text; of a list, JSON."""
    cells = texts_of(forms)
    for n, form in enumerate(forms):
        if is_list(form):
            cells[n] = listed(n, form)
    return cells


def listed(number: int, form: Form) -> str:
    """SQL of a list as JSON; where the column cannot hold it, its canonical text in quotes."""
    element = form.kind.element
    if element is None:
        raise ValueError(f"{form.name} is no list")
    item = element_json("dsp_i", element)
    made = f"'[' || array_to_string(list_transform(c{number}, lambda dsp_i: {item}), ',') || ']'"
    return f"coalesce({made}, to_json(x{number})::VARCHAR)"


def element_json(expression: str, kind: LogicalType) -> str:
    """SQL: a value's canonical text as JSON: numbers and truth values bare, NULL as null."""
    return f"coalesce({value_json(duckdb_text(expression, kind), kind)}, 'null')"


def value_json(text: str, kind: LogicalType) -> str:
    """SQL: a canonical text as JSON; NULL for NULL."""
    if kind.name in INTEGERS:
        return text
    if kind.name == "bool":
        return f"CASE {text} WHEN '1' THEN 'true' WHEN '0' THEN 'false' END"
    quoted = f"to_json({text})::VARCHAR"
    if kind.name in FLOATS:
        return f"CASE WHEN {text} IN ('NaN', 'Infinity', '-Infinity') THEN {quoted} ELSE {text} END"
    return quoted


def ends_of(texts: Any) -> Any:
    """Where each text of an array begins in its bytes, and where the last one ends."""
    offsets = texts.buffers()[1]
    if offsets is None:
        return np.zeros(1, np.int32)
    return np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]


def parsed(text: str) -> Any:
    """JSON whose numbers stay the texts they are."""
    return _DECODER.decode(text)


def canonical(value: Any, form: Form) -> str | None:
    """The canonical text of what ``parsed`` found in a cell."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, list) and is_list(form):
        items = [_scalar(item, form) for item in value]
        return f"{len(items)}:{python_row_text(items)}"
    raise ValueError(f"a {type(value).__name__} is no value of column {form.name}")


def is_list(form: Form) -> bool:
    """Whether a cell holds a list of values."""
    return not form.text and form.kind.name == "list"


def _scalar(value: Any, form: Form) -> str | None:
    if isinstance(value, list | dict):
        raise ValueError(  # noqa: TRY004
            f"a {type(value).__name__} is no element of column {form.name}"
        )
    return canonical(value, form)


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_no_constant)
