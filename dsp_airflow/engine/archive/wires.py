"""Rows of texts in the wire formats that a restore writes them in."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from dsp_airflow.engine.archive.textual import ends_of

_OPTIONS: Final = pcsv.WriteOptions(include_header=False, quoting_style="all_valid")
_ESCAPES: Final = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))


def csv(cells: Sequence[Any]) -> memoryview:
    """CSV without a header; NULL is an empty cell, an empty text is ``""``."""
    sink = io.BytesIO()
    names = [f"c{n}" for n in range(len(cells))]
    pcsv.write_csv(pa.RecordBatch.from_arrays(cells, names=names), sink, _OPTIONS)
    return sink.getbuffer()


def tabbed(cells: Sequence[Any]) -> memoryview:
    """Cells apart by tabs; NULL is a backslash and N, and only what has to be is escaped."""
    escaped = [pc.fill_null(_escaped(cell), "\\N") for cell in cells]
    rows = pc.binary_join_element_wise(*escaped, "\t")
    lines = pc.binary_join_element_wise(rows, "\n", "")
    ends = ends_of(lines)
    values = lines.buffers()[2]
    if values is None:
        return memoryview(b"")
    return memoryview(values)[int(ends[0]) : int(ends[-1])]


def _escaped(cell: Any) -> Any:
    for raw, instead in _ESCAPES:
        cell = pc.replace_substring(cell, pattern=raw, replacement=instead)
    return cell


WIRES: Final[Mapping[str, Callable[[Sequence[Any]], memoryview]]] = {
    "csv": csv,
    "mysql text": tabbed,
}
"""By name: what makes a buffer of columns of cells."""
