"""JSON lines: one object a row. Integers, floats and truth values bare, all else as texts."""

from __future__ import annotations

import io
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dsp_airflow.engine.archive import duck, textual
from dsp_airflow.engine.archive.compress import compressed, opened
from dsp_airflow.engine.archive.forms import Form
from dsp_airflow.engine.archive.textual import rows_schema, texts
from dsp_airflow.engine.errors import Mismatch
from dsp_airflow.engine.types import FLOATS, INTEGERS

EXACT_APART = False
CHUNK: Final = 4 * 1024 * 1024
"""Bytes of lines that are parsed at once."""
_ESCAPED: Final = re.compile(r'["\\\x00-\x1f]')
"""What a name is written with an escape for: the fast parser takes no such names."""
_SPECIAL: Final = {f'"{text}"'.encode(): text for text in ("NaN", "Infinity", "-Infinity")}
__all__ = ["EXACT_APART", "held", "read", "rows_schema", "texts", "write"]


def write(
    sink: BinaryIO, batches: Iterable[Any], forms: Sequence[Form], compression: str
) -> tuple[int, int]:
    """See ``formats.Format``."""
    rows = largest = 0
    with compressed(sink, compression) as out:
        for batch in textual.rendered(batches, forms, [_line(forms)]):
            lines = batch.column(0).cast(pa.string())
            rows += len(lines)
            largest = max(largest, pc.max(pc.binary_length(lines)).as_py() or 0)
            out.write(_joined(lines))
    return rows, largest


def _joined(lines: Any) -> Any:
    """The bytes of texts, one after the other as they lie there; none is NULL."""
    ends = textual.ends_of(lines)
    values = lines.buffers()[2]
    return values.slice(int(ends[0]), int(ends[-1] - ends[0])) if values is not None else b""


def _line(forms: Sequence[Form]) -> str:
    """SQL of a row as one line."""
    cells = textual.readable(forms)
    pieces = []
    for n, form in enumerate(forms):
        cell = cells[n] if textual.is_list(form) else textual.value_json(cells[n], form.kind)
        name = f"to_json({duck.literal(form.name)})::VARCHAR"
        pieces.append(f"{name}, ':', coalesce({cell}, 'null')")
    return "concat('{', " + ", ',', ".join(pieces) + ", '}', chr(10))"


# Reading


def read(path: Path, forms: Sequence[Form], compression: str, largest: int) -> Iterator[Any]:  # noqa: ARG001
    """See ``formats.Format``."""
    schema = rows_schema(forms)
    parse = _parser(forms)
    with opened(path, compression) as source:
        lines = io.BufferedReader(source)
        while chunk := lines.read(CHUNK):
            columns = parse(chunk + lines.readline())
            yield pa.RecordBatch.from_arrays(columns, schema=schema)


held = read


def _parser(forms: Sequence[Form]) -> Callable[[bytes], list[Any]]:
    """Makes columns of canonical texts of some lines; what is none raises ``ValueError``."""
    if any(_ESCAPED.search(form.name) for form in forms):
        return lambda chunk: _row_by_row(chunk, forms)
    names = [f"c{n}" for n in range(len(forms))]
    row = msgspec.defstruct(
        "Row",
        [(name, _held(form)) for name, form in zip(names, forms, strict=True)],
        rename=dict(zip(names, (form.name for form in forms), strict=True)),
        forbid_unknown_fields=True,
        gc=False,
    )
    decoder = msgspec.json.Decoder(row)
    cells = [operator.attrgetter(name) for name in names]

    def parse(chunk: bytes) -> list[Any]:
        rows = decoder.decode_lines(chunk)
        return [_column([*map(cell, rows)], form) for cell, form in zip(cells, forms, strict=True)]

    return parse


def _bare(form: Form) -> bool:
    """Whether numbers stand there without quotes."""
    return not form.text and (form.kind.name in INTEGERS or form.kind.name in FLOATS)


def _is_bool(form: Form) -> bool:
    return not form.text and form.kind.name == "bool"


def _held(form: Form) -> Any:
    """What the parser takes; numbers as they stand there, to the last digit."""
    if _bare(form) or textual.is_list(form):
        return msgspec.Raw
    return bool | None if _is_bool(form) else str | None


def _column(values: list[Any], form: Form) -> Any:
    """Canonical texts of what the parser found."""
    if _bare(form):
        return _numbers([*map(bytes, values)], form)
    if _is_bool(form):
        return pc.if_else(pa.array(values, pa.bool_()), "1", "0")
    if textual.is_list(form):
        values = [textual.canonical(textual.parsed(bytes(v).decode()), form) for v in values]
    return pa.array(values, pa.string())


def _numbers(values: list[bytes], form: Form) -> Any:
    """JSON's numbers are the texts; what is none is NULL, or a float in quotes."""
    found = pa.array(values, pa.string())
    plain = pc.match_substring_regex(found, "^[-0-9]").to_numpy(zero_copy_only=False)
    if plain.all():
        return found
    odd = [_no_number(values[n], form) for n in np.flatnonzero(~plain)]
    return pc.replace_with_mask(found, pa.array(~plain), pa.array(odd, pa.string()))


def _no_number(value: bytes, form: Form) -> str | None:
    if value == b"null":
        return None
    if form.kind.name in FLOATS and value in _SPECIAL:
        return _SPECIAL[value]
    raise Mismatch(f"a value is no number, in column {form.name}")


def _row_by_row(chunk: bytes, forms: Sequence[Form]) -> list[Any]:
    names = [form.name for form in forms]
    rows = [_row(line, forms, names) for line in chunk.split(b"\n") if line]
    return [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]


def _row(line: bytes, forms: Sequence[Form], names: list[str]) -> list[str | None]:
    value = textual.parsed(line.decode())
    if not isinstance(value, dict) or list(value) != names:
        raise Mismatch("a line has not the columns of the archive")
    return [textual.canonical(value[form.name], form) for form in forms]
