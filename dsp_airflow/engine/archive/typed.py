"""The rows of any archive file as values of their own types, as SQL of DuckDB.

Parquet holds them so. Of CSV and JSON lines each canonical text is cast; what its type cannot
hold is NULL and stands in ``EXACT``, just as in a Parquet file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import pyarrow as pa

from dsp_airflow.engine.archive import duck
from dsp_airflow.engine.archive.formats import File, format_of
from dsp_airflow.engine.archive.forms import EXACT, Beyond, Form, schema_of
from dsp_airflow.engine.canon.python import python_elements
from dsp_airflow.engine.model import LogicalType
from dsp_airflow.engine.types import CARRIERS

_INTEGERS: Final = {
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "uint8": "UTINYINT",
    "uint16": "USMALLINT",
    "uint32": "UINTEGER",
    "uint64": "UBIGINT",
}
_CASTS = {
    **_INTEGERS,
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "uuid": "UUID",
}
_CASTS |= {name: _CASTS[carrier] for name, carrier in CARRIERS.items() if carrier in _CASTS}
_DATED: Final = {"date": "DATE", "timestamp": "TIMESTAMP", "timestamptz": "TIMESTAMPTZ"}


def schema(file_format: str, forms: Sequence[Form]) -> Any:
    """Of what ``rows`` yields."""
    if format_of(file_format).EXACT_APART:
        return schema_of(forms, exact=True).remove_metadata()
    fields = [pa.field(f"c{n}", pa.string()) for n in range(len(forms))]
    fields += [pa.field(f"l{n}", pa.list_(pa.string())) for n in _lists(forms)]
    return pa.schema(fields)


def rows(file: File) -> Iterator[Any]:
    """Its rows for the SQL of ``columns``."""
    wanted = schema(file.format, file.forms)
    if format_of(file.format).EXACT_APART:
        for batch in file.held():
            arrays = list(batch.columns)
            if len(arrays) < len(wanted):
                arrays.append(pa.nulls(batch.num_rows, pa.string()))
            yield pa.RecordBatch.from_arrays(arrays, schema=wanted)
        return
    for batch in file.held():
        yield _with_lists(batch, file.forms)


def _with_lists(batch: Any, forms: Sequence[Form]) -> Any:
    """Columns of canonical texts, and those of lists taken apart."""
    names = [f"c{n}" for n in range(len(forms))] + [f"l{n}" for n in _lists(forms)]
    lists = [
        pa.array(
            [None if text is None else python_elements(text) for text in column.to_pylist()],
            pa.list_(pa.string()),
        )
        for column in (batch.column(n) for n in _lists(forms))
    ]
    return pa.RecordBatch.from_arrays([*batch.columns, *lists], names=names)


def _lists(forms: Sequence[Form]) -> list[int]:
    return [n for n, form in enumerate(forms) if not form.text and form.kind.name == "list"]


def columns(file_format: str, forms: Sequence[Form]) -> list[str]:
    """Of a SELECT over ``rows``: every column under its name, and ``EXACT``."""
    if format_of(file_format).EXACT_APART:
        return [duck.quoted(name) for name in (*(form.name for form in forms), EXACT)]
    values = [_value(n, form) for n, form in enumerate(forms)]
    named = [f"{v} AS {duck.quoted(f.name)}" for v, f in zip(values, forms, strict=True)]
    return [*named, f"{_exact(values, forms)} AS {duck.quoted(EXACT)}"]


def _value(number: int, form: Form) -> str:
    text = f"c{number}"
    if form.text:
        return text
    if form.kind.name != "list" or form.kind.element is None:
        return value_of(text, form.kind)
    element = "dsp_x"
    if not pa.types.is_string(form.arrow.value_type):
        element = value_of("dsp_x", form.kind.element)
    beyond = f"list_filter(l{number}, lambda dsp_x: dsp_x IS NOT NULL AND ({element}) IS NULL)"
    made = f"list_transform(l{number}, lambda dsp_x: {element})"
    return f"CASE WHEN len({beyond}) = 0 THEN {made} END"


def value_of(text: str, kind: LogicalType) -> str:
    """SQL: a canonical text as a value of its type; NULL where that cannot hold it."""
    if kind.name in _CASTS:
        return f"CAST({text} AS {_CASTS[kind.name]})"
    if kind.name in _DATED:
        # Infinities, years beyond four digits, which begin with a sign, and the year 0.
        made = f"TRY_CAST({text} AS {_DATED[kind.name]})"
        return f"CASE WHEN {text} BETWEEN '0001' AND ':' THEN {made} END"
    if kind.name == "time":
        return f"CASE WHEN {text} < '24' THEN TRY_CAST({text} AS TIME) END"
    if kind.name == "decimal":
        return f"TRY_CAST({text} AS DECIMAL({kind.precision}, {kind.scale or 0}))"
    if kind.name == "json":
        # PostgreSQL's json takes texts that DuckDB does not, such as half a surrogate pair.
        return f"TRY_CAST({text} AS JSON)"
    if kind.name == "bool":
        return f"({text} = '1')"
    if kind.name == "bytes":
        return f"unhex({text})"
    return text


def _exact(values: Sequence[str], forms: Sequence[Form]) -> str:
    """SQL: a JSON object of the texts that no value could be made of; NULL without any."""
    beyond = {
        form.name: f"c{n} IS NOT NULL AND ({value}) IS NULL"
        for n, (value, form) in enumerate(zip(values, forms, strict=True))
        if form.bounded or form.kind.name == "json"
    }
    if not beyond:
        return "NULL::VARCHAR"
    numbers = {form.name: n for n, form in enumerate(forms)}
    pairs = [
        f"CASE WHEN {test} THEN concat(to_json({duck.literal(name)})::VARCHAR, ': ', "
        f"to_json(c{numbers[name]})::VARCHAR) END"
        for name, test in beyond.items()
    ]
    made = f"'{{' || concat_ws(', ', {', '.join(pairs)}) || '}}'"
    return f"CASE WHEN {' OR '.join(f'({test})' for test in beyond.values())} THEN {made} END"


def valued(texts: Iterable[Any], forms: Sequence[Form], *, exact: bool) -> Iterator[Any]:
    """Record batches of ``schema_of(forms, exact=exact)``, of batches of ``textual.rows_schema``.

    Raises ``Beyond`` when a value needs the column ``EXACT`` and ``exact`` is false.
    """
    wanted = schema_of(forms, exact=exact)
    values = [_stored(n, form) for n, form in enumerate(forms)]
    told = [*values, _exact(values, forms)]
    query = f"SELECT {', '.join(told)} FROM {duck.ROWS}"  # noqa: S608
    batches = (_with_lists(batch, forms) for batch in texts)
    for batch in duck.each(batches, query, "documents"):
        beyond = batch.column(len(forms))
        if not exact and beyond.null_count < len(beyond):
            raise Beyond
        columns = [_held(batch.column(n), field.type) for n, field in enumerate(wanted)]
        yield pa.RecordBatch.from_arrays(columns, schema=wanted)


def _stored(number: int, form: Form) -> str:
    """SQL of a value as Arrow stores it."""
    if not form.text and form.kind.name == "json":
        return f"c{number}"
    if not form.text and form.kind.name == "uuid":
        return f"unhex(replace(c{number}, '-', ''))"
    return _value(number, form)


def _held(column: Any, wanted: Any) -> Any:
    if isinstance(wanted, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(wanted, _held(column, wanted.storage_type))
    return column if column.type == wanted else column.cast(wanted)
