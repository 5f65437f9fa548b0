"""Rows of texts in the wire formats that a restore writes them in."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from dsp_airflow.engine.archive.textual import ends_of
from dsp_airflow.engine.canon import lines

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
    escaped = [pc.fill_null(_escaped(cell, _ESCAPES), "\\N") for cell in cells]
    return _lines(pc.binary_join_element_wise(*escaped, "\t"))


def canonical(cells: Sequence[Any]) -> memoryview:
    """Lines of row texts (``canon.lines``)."""
    fields = []
    for cell in cells:
        length = pc.binary_length(cell).cast(pa.string())
        fields.append(pc.fill_null(pc.binary_join_element_wise(length, cell, ":"), "N"))
    rows = pc.binary_join_element_wise(*fields, "")
    return _lines(_escaped(rows, (("\\", "\\\\"), ("\n", "\\n"))))


def _lines(rows: Any) -> memoryview:
    ended = pc.binary_join_element_wise(rows, "\n", "")
    ends = ends_of(ended)
    values = ended.buffers()[2]
    if values is None:
        return memoryview(b"")
    return memoryview(values)[int(ends[0]) : int(ends[-1])]


def _escaped(cell: Any, escapes: Sequence[tuple[str, str]]) -> Any:
    for raw, instead in escapes:
        cell = pc.replace_substring(cell, pattern=raw, replacement=instead)
    return cell


WIRES: Final[Mapping[str, Callable[[Sequence[Any]], memoryview]]] = {
    "csv": csv,
    "mysql text": tabbed,
    lines.WIRE: canonical,
}
"""By name: what makes a buffer of columns of cells."""
