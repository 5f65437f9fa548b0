"""JSON lines: one object a row. Integers, floats and truth values bare, all else as texts."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc

from dsp_airflow.engine.archive import duck, textual
from dsp_airflow.engine.archive.compress import compressed, opened
from dsp_airflow.engine.archive.forms import Form
from dsp_airflow.engine.archive.textual import rows_schema, texts
from dsp_airflow.engine.errors import Mismatch

EXACT_APART = False
CHUNK_ROWS: Final = 2_000
CHUNK_BYTES: Final = 4 * 1024 * 1024
__all__ = ["EXACT_APART", "held", "read", "rows_schema", "texts", "write"]


def write(
    sink: BinaryIO, batches: Iterable[Any], forms: Sequence[Form], compression: str
) -> tuple[int, int]:
    """See ``formats.Format``."""
    rows = largest = 0
    with compressed(sink, compression) as out:
        for batch in textual.rendered(batches, forms, [_line(forms)]):
            rows += batch.num_rows
            lines = batch.column(0)
            largest = max(largest, pc.max(pc.binary_length(lines)).as_py() or 0)
            for line in lines:
                out.write(line.as_buffer())
    return rows, largest


def _line(forms: Sequence[Form]) -> str:
    """SQL of a row as one line."""
    cells = textual.readable(forms)
    pieces = []
    for n, form in enumerate(forms):
        cell = cells[n] if textual.is_list(form) else textual.value_json(cells[n], form.kind)
        name = f"to_json({duck.literal(form.name)})::VARCHAR"
        pieces.append(f"{name}, ':', coalesce({cell}, 'null')")
    return "concat('{', " + ", ',', ".join(pieces) + ", '}', chr(10))"


def read(path: Path, forms: Sequence[Form], compression: str, largest: int) -> Iterator[Any]:  # noqa: ARG001
    """See ``formats.Format``."""
    schema = rows_schema(forms)
    with opened(path, compression) as source:
        lines = io.BufferedReader(source)
        names = [form.name for form in forms]
        while chunk := _chunk(lines):
            columns = zip(*(_row(line, forms, names) for line in chunk), strict=True)
            yield pa.RecordBatch.from_arrays(
                [pa.array(column, pa.string()) for column in columns], schema=schema
            )


held = read


def _chunk(lines: Iterable[bytes]) -> list[bytes]:
    """Lines of some megabytes."""
    found: list[bytes] = []
    size = 0
    for line in itertools.islice(lines, CHUNK_ROWS):
        found.append(line)
        size += len(line)
        if size >= CHUNK_BYTES:
            break
    return found


def _row(line: bytes, forms: Sequence[Form], names: list[str]) -> list[str | None]:
    value = textual.parsed(line.decode())
    if not isinstance(value, dict) or list(value) != names:
        raise Mismatch(f"the line {line[:80]!r} has not the columns of the archive")
    return [textual.canonical(value[form.name], form) for form in forms]
