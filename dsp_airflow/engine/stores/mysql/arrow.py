"""A range of a table as Arrow record batches, read in the session's own snapshot.

The server renders each row as one record of CSV, which Arrow parses into typed columns: the driver
hands over bytes, and Python never sees a value. Texts and bytes are quoted, so that NULL, an empty
cell without quotes, is none of them. Those that may be long come beside the record, as they are,
for a server's REPLACE takes minutes where a long text is full of quotes.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv

from dsp_airflow.engine import canon
from dsp_airflow.engine.ahead import ahead
from dsp_airflow.engine.archive.bounds import BOUNDS, outside, too_large
from dsp_airflow.engine.archive.forms import Beyond, Form, schema_of
from dsp_airflow.engine.errors import BadValue, Refused
from dsp_airflow.engine.model import Field, LogicalType
from dsp_airflow.engine.stores.mysql.names import text_literal
from dsp_airflow.engine.stores.mysql.query import Connection
from dsp_airflow.engine.types import INTEGERS

HINT: Final = 4 * 1024 * 1024
"""Bytes of records that are parsed at once; a larger row comes alone."""
AHEAD: Final = 8 * 1024 * 1024
"""Bytes read while others are encoded."""
FETCH: Final = 16
"""Rows that the driver hands over at once, as long as they are small."""
SMALL: Final = 64 * 1024
LONGEST: Final = 1024
"""Characters of a text, or bytes, up to which it stands in the record."""

_DAYS: Final = (31, "{february}", 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LEAP: Final = "(YEAR({x}) % 4 = 0 AND (YEAR({x}) % 100 <> 0 OR YEAR({x}) % 400 = 0))"
_Row: TypeAlias = "tuple[bytes | None, ...]"
_FAILED: Final = re.compile(r"In CSV column #(\d+)")


def batches(
    connection: Connection,
    rows: str,
    fields: Sequence[Field],
    forms: Sequence[Form],
    *,
    exact: bool,
    max_row_size: int,
) -> Generator[Any, None, None]:
    """Record batches of ``schema_of(forms, exact=exact)``; ``rows`` is the rest of the SELECT.

    They are read in a thread of their own, which ends with the generator; until then nobody else
    may use the connection. See ``ports.ReadsArrow`` for what is raised.
    """
    columns = [_record(fields, forms, exact=exact)]
    columns += [_plain(f, m) for f, m in zip(fields, forms, strict=True) if _beside(m)]
    select = f"SELECT {', '.join(columns)} {rows}"
    reading = _read(connection, select, forms, exact, max_row_size)
    with contextlib.closing(ahead(reading, _size, AHEAD)) as found:
        yield from found


def _size(batch: Any) -> int:
    size: int = batch.nbytes
    return size


def _read(
    connection: Connection, select: str, forms: Sequence[Form], exact: bool, max_row_size: int
) -> Generator[Any, None, None]:
    parse = _Parser(forms, exact=exact)
    gathered: list[_Row] = []
    size = 0
    for row, length in _rows(connection, select):
        if length > max_row_size:
            raise too_large(length, max_row_size)
        if gathered and size + length > HINT:
            yield parse(gathered)
            gathered, size = [], 0
        gathered.append(row)
        size += length
    if gathered:
        yield parse(gathered)


def _rows(connection: Connection, select: str) -> Iterator[tuple[_Row, int]]:
    """Each row: the record, and what comes beside it; and its bytes."""
    connection.query(select)
    result = connection.use_result()
    try:
        wanted = FETCH
        while found := result.fetch_row(wanted):
            for row in found:
                length = sum(map(len, filter(None, row)))
                # A row may be large, and so may those that are handed over with it.
                wanted = 1 if length > SMALL else FETCH
                yield row, length
    finally:
        # What nobody wants any more is read away: the snapshot may be read once more.
        result.discard()


def _outgrown() -> Refused:
    return Refused(
        "a row is larger than max_allowed_packet lets the server render it; raise "
        "max_allowed_packet on the server above the largest row"
    )


# SQL


def _record(fields: Sequence[Field], forms: Sequence[Form], *, exact: bool) -> str:
    """SQL of a row as one record."""
    both = list(zip(fields, forms, strict=True))
    beyond = {
        form.name: (_beyond(f"({field.expression})", form.kind), field)
        for field, form in both
        if exact and form.kind.name in BOUNDS and not form.text
    }
    cells = [
        _cell(field, form, beyond[form.name][0] if form.name in beyond else None)
        for field, form in both
    ]
    if beyond:
        cells.append(_exact(beyond))
    return "CONCAT(" + ", ',', ".join(cells) + ")"


def _cell(field: Field, form: Form, beyond: str | None) -> str:
    none = f"({field.expression}) IS NULL" + (f" OR {beyond}" if beyond else "")
    there = "'1'" if _beside(form) else _value(field, form)
    return f"IF({none}, '', {there})"


def _beside(form: Form) -> bool:
    """Whether the values come beside the record, which tells only that there is one."""
    kind = form.kind
    long = kind.length is None or kind.length > LONGEST
    return not form.text and kind.name in ("string", "bytes", "json") and long


def _value(field: Field, form: Form) -> str:
    """SQL of a value that is not NULL, as Arrow reads it."""
    x, kind, native = f"({field.expression})", form.kind, field.native
    if kind.name in BOUNDS:
        return x
    number = kind.name in INTEGERS or kind.name in ("bool", "decimal")
    if kind.name in ("float32", "float64") or (number and not form.text):
        # CONCAT prints it as it ought to be, but for zeros before it and a year's four digits.
        odd = "zerofill" in native or native.startswith("year")
        return f"({x} + 0)" if odd else x
    # As bytes: in another collation one letter may pass for another.
    return f"""CONCAT('"', REPLACE(CAST({_plain(field, form)} AS BINARY), '"', '""'), '"')"""


def _plain(field: Field, form: Form) -> str:
    """SQL of a text or bytes as they are."""
    x = f"({field.expression})"
    if form.kind.name == "bytes":
        return x
    if form.kind.name == "uuid":
        return f"UNHEX(REPLACE(CAST({x} AS CHAR), '-', ''))"
    return x if field.utf8 else canon.mysql_text(field.expression, form.kind, field.native)


def _beyond(x: str, kind: LogicalType) -> str:
    """SQL: whether a value that is not NULL is none that the column holds."""
    if kind.name == "time":
        return f"{x} NOT BETWEEN CAST('00:00:00' AS TIME) AND CAST('23:59:59.999999' AS TIME(6))"
    february = f"28 + {_LEAP.format(x=x)}"
    days = ", ".join(str(day).format(february=february) for day in _DAYS)
    # Without a month there is no last day of it.
    last = f"COALESCE(ELT(MONTH({x}), {days}), 0)"
    return f"(YEAR({x}) = 0 OR DAYOFMONTH({x}) = 0 OR DAYOFMONTH({x}) > {last})"


def _exact(beyond: Mapping[str, tuple[str, Field]]) -> str:
    """SQL of a JSON object of the texts that lie beyond; they hold nothing to be escaped."""
    pairs = []
    for name, (test, field) in beyond.items():
        text = canon.mysql_text(field.expression, field.type, field.native)
        # As CSV, in which quotes are doubled.
        key = text_literal(f", {json.dumps(name, ensure_ascii=False)}: ".replace('"', '""'))
        there = f"({field.expression}) IS NOT NULL AND {test}"
        pairs.append(f"""IF({there}, CONCAT({key}, '""', {text}, '""'), '')""")
    tests = " OR ".join(
        f"(({field.expression}) IS NOT NULL AND {test})" for test, field in beyond.values()
    )
    made = f"""CONCAT('"{{', SUBSTR(CONCAT({", ".join(pairs)}), 3), '}}"')"""
    return f"IF({tests}, {made}, '')"


# Arrow


class _Parser:
    """Makes a record batch of rows."""

    def __init__(self, forms: Sequence[Form], *, exact: bool) -> None:
        self._forms = forms
        self._exact = exact
        self._schema = schema_of(forms, exact=exact)
        types = [
            pa.bool_() if _beside(form) else _parsed(self._schema.field(n).type)
            for n, form in enumerate(forms)
        ]
        if exact and any(f.kind.name in BOUNDS and not f.text for f in forms):
            types.append(pa.string())
        self._names = [f"c{n}" for n in range(len(types))]
        self._options = pcsv.ConvertOptions(
            column_types=dict(zip(self._names, types, strict=True)),
            null_values=[""],
            true_values=["1"],
            false_values=["0"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        self._parsing = pcsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)

    def __call__(self, rows: Sequence[_Row]) -> Any:
        """Raises ``Beyond``, ``BadValue`` and ``Refused``."""
        records, *beside = zip(*rows, strict=True)
        if None in records:
            raise _outgrown()
        table = self._table(b"\n".join([*records, b""]))
        if table.num_rows != len(rows):
            raise BadValue(f"the server sent {len(rows):,} rows, and {table.num_rows:,} arrived")
        columns = []
        for n, field in enumerate(self._schema):
            if n >= table.num_columns:
                columns.append(pa.nulls(len(rows), field.type))
                continue
            array = table.column(n).combine_chunks()
            if n < len(self._forms) and _beside(self._forms[n]):
                array = _joined(beside.pop(0), array, _parsed(field.type))
            columns.append(_cast(array, field.type))
        if not self._exact:
            for column, form in zip(columns, self._forms, strict=True):
                if form.kind.name in BOUNDS and not form.text and outside(column, form.kind.name):
                    raise Beyond
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)

    def _table(self, data: bytes) -> Any:
        # One block: a record may have any size.
        reading = pcsv.ReadOptions(
            use_threads=False, column_names=self._names, block_size=len(data) + 1
        )
        try:
            return pcsv.read_csv(
                pa.BufferReader(pa.py_buffer(data)), reading, self._parsing, self._options
            )
        except pa.ArrowInvalid as error:
            raise self._failed(str(error)) from None

    def _failed(self, text: str) -> Exception:
        """Arrow shows the value, which nobody is to read in a log."""
        found = _FAILED.search(text)
        form = self._forms[int(found[1])] if found and int(found[1]) < len(self._forms) else None
        if form is None:
            return BadValue("the rows that the server rendered cannot be read as such")
        if form.kind.name in BOUNDS and not self._exact:
            return Beyond()
        return BadValue(f"column {form.name}: a value is none of {form.kind}")


def _parsed(wanted: Any) -> Any:
    """What the parser makes of the cells of a column."""
    if isinstance(wanted, pa.BaseExtensionType):
        return wanted.storage_type
    return pa.timestamp("us") if pa.types.is_timestamp(wanted) else wanted


def _joined(values: Sequence[bytes | None], there: Any, wanted: Any) -> Any:
    """An array of what came beside the records; ``there`` is NULL where the value is."""
    if values.count(None) != there.null_count:
        raise _outgrown()
    ends = np.zeros(len(values) + 1, np.int32)
    np.cumsum([0 if value is None else len(value) for value in values], out=ends[1:])
    valid = there.is_valid().buffers()[1] if there.null_count else None
    data = pa.py_buffer(b"".join(filter(None, values)))
    buffers = [valid, pa.py_buffer(ends), data]
    array = pa.Array.from_buffers(wanted, len(values), buffers, there.null_count)
    array.validate(full=True)
    return array


def _cast(array: Any, wanted: Any) -> Any:
    if isinstance(wanted, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(wanted, array)
    return array if array.type == wanted else array.cast(wanted)
