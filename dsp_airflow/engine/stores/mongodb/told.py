"""Documents on their way to another system: as rows in its wire format, or as Arrow."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Any, Final

import pyarrow as pa

from dsp_airflow.engine.ahead import ahead
from dsp_airflow.engine.archive import typed
from dsp_airflow.engine.archive.bounds import too_large
from dsp_airflow.engine.archive.forms import Form, schema_of
from dsp_airflow.engine.archive.wires import WIRES
from dsp_airflow.engine.model import Projection
from dsp_airflow.engine.ports import Restores
from dsp_airflow.engine.stores.mongodb import raw
from dsp_airflow.engine.stores.mongodb.rows import Rows, is_whole

AHEAD: Final = 16 * 1024 * 1024
"""Bytes that are read while the ones before are told."""
AT_ONCE: Final = 4 * 1024 * 1024
"""Bytes of documents that are told at once; a larger one comes alone."""

Buffers = Callable[[], Generator[bytes, None, None]]


class RowsOut:
    """See ``ports.Stream``. The words are those of the system that takes the rows."""

    def __init__(
        self, buffers: Buffers, what: Projection, words: Restores, wire: str, max_row_size: int
    ) -> None:
        self.rows = -1
        self.size = 0
        self._buffers = buffers
        self._what = what
        self._words = words
        self._joined = WIRES[wire]
        self._largest = max_row_size

    def __iter__(self) -> Iterator[bytes | memoryview]:
        self.rows, self.size = -1, 0
        count = 0
        reading = Rows(self._what)
        for documents in _gathered(self._buffers, self._largest):
            columns = _columns([reading.texts(document) for document in documents], self._what)
            cells = [
                self._words.own_cells(column, field.type)
                for column, field in zip(columns, self._what.fields, strict=True)
            ]
            buffer = self._joined(cells)
            count += len(documents)
            self.size += len(buffer)
            yield buffer
        self.rows = count


def record_batches(
    buffers: Buffers,
    what: Projection,
    forms: Sequence[Form],
    *,
    exact: bool,
    max_row_size: int,
) -> Generator[Any, None, None]:
    """See ``ports.ReadsArrow``."""
    gathered = _gathered(buffers, max_row_size)
    with closing(gathered):
        if is_whole(what):
            yield from _whole(gathered, what, schema_of(forms, exact=exact))
            return
        reading = Rows(what)
        texts = (_batch([reading.texts(d) for d in documents], what) for documents in gathered)
        yield from typed.valued(texts, forms, exact=exact)


def _whole(gathered: Iterator[list[bytes]], what: Projection, schema: Any) -> Iterator[Any]:
    """The id as a text, and the bytes as they are: nothing is decoded."""
    reading = Rows(what)
    for documents in gathered:
        told = {"string": [reading.id_text(d) for d in documents], "bytes": documents}
        columns = [
            pa.array(told[field.type.name], schema.field(n).type)
            for n, field in enumerate(what.fields)
        ]
        columns += [pa.nulls(len(documents), f.type) for f in list(schema)[len(columns) :]]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _gathered(buffers: Buffers, largest: int) -> Generator[list[bytes], None, None]:
    """Documents, some megabytes of them at once."""
    with closing(ahead(buffers(), len, AHEAD)) as found:
        for buffer in found:
            documents: list[bytes] = []
            size = 0
            for document in raw.documents(buffer):
                if len(document) > largest:
                    raise too_large(len(document), largest)
                if documents and size + len(document) > AT_ONCE:
                    yield documents
                    documents, size = [], 0
                documents.append(document)
                size += len(document)
            if documents:
                yield documents


def _columns(rows: Sequence[Sequence[str | None]], what: Projection) -> list[Any]:
    return [pa.array([row[n] for row in rows], pa.string()) for n in range(len(what.fields))]


def _batch(rows: Sequence[Sequence[str | None]], what: Projection) -> Any:
    columns = _columns(rows, what)
    return pa.RecordBatch.from_arrays(columns, names=[f"c{n}" for n in range(len(columns))])
