"""The index of a batch: a row for each of its files, with what the file's object does not hold."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dsp_airflow.engine.archive.formats import File
from dsp_airflow.engine.archive.forms import schema_of
from dsp_airflow.engine.archive.gridfs.columns import FORMS
from dsp_airflow.engine.errors import Mismatch
from dsp_airflow.engine.model import ArchivedObject, Key
from dsp_airflow.engine.stores.mongodb import raw
from dsp_airflow.engine.stores.mongodb.raw import Value

_DOCUMENT: Final = 0x03
AT_ONCE: Final = 4 * 1024 * 1024
"""Bytes of rows that are written at once; a larger one comes alone."""
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a batch.

    ``stored`` is its object, ``None`` for a file that was kept back, and ``kept_back`` says why.
    ``chunks`` is what ``chunks.Kept`` has packed.
    """

    id: str
    """As extended JSON, which gives the very bytes back."""
    length: int
    document: bytes
    stored: ArchivedObject | None = None
    chunks: bytes = b""
    kept_back: str = ""

    @property
    def key(self) -> Key:
        """As the source has it."""
        return (self.id,)


def told(document: bytes) -> dict[str, str | None]:
    """What a file's document says that people look for: texts, as far as they are such."""
    fields = dict(raw.elements(document))
    return {
        "filename": _text(fields.get(b"filename")),
        "uploadDate": _date(fields.get(b"uploadDate")),
        "contentType": content_type_of(fields),
    }


def content_type_of(fields: Mapping[bytes, Value]) -> str | None:
    """At the top of the document, as drivers once wrote it, or in its metadata."""
    found = _text(fields.get(b"contentType"))
    metadata = fields.get(b"metadata")
    if found is None and metadata is not None and metadata.kind == _DOCUMENT:
        found = _text(dict(raw.elements(metadata.data)).get(b"contentType"))
    return found


def _text(value: Value | None) -> str | None:
    if value is None or value.kind != raw.STRING:
        return None
    return value.data[4:-1].decode(errors="replace")


def _date(value: Value | None) -> str | None:
    if value is None or value.kind != raw.DATE:
        return None
    (milliseconds,) = struct.unpack("<q", value.data)
    try:
        moment = _BEGINNING + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def batches(entries: Iterable[Entry]) -> Iterator[Any]:
    """The rows as record batches, which any format of archives takes."""
    some: list[tuple[Any, ...]] = []
    size = 0
    for entry in entries:
        some.append(_row(entry))
        size += len(entry.document) + len(entry.chunks)
        if size >= AT_ONCE:
            yield _batch(some)
            some, size = [], 0
    if some:
        yield _batch(some)


def _row(entry: Entry) -> tuple[Any, ...]:
    stored, shown = entry.stored, told(entry.document)
    return (
        entry.id,
        *(shown[name] for name in ("filename", "uploadDate", "contentType")),
        entry.length,
        *((None,) * 4 if stored is None else _place(stored)),
        entry.kept_back or None,
        entry.document,
        None if stored is None else entry.chunks,
    )


def _place(stored: ArchivedObject) -> tuple[str | None, ...]:
    return stored.key, stored.version, stored.etag, stored.sha256


def _batch(rows: list[tuple[Any, ...]]) -> Any:
    schema = schema_of(FORMS, exact=False)
    columns = [_array([row[n] for row in rows], field.type) for n, field in enumerate(schema)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _array(values: Sequence[Any], kind: Any) -> Any:
    """Texts, bytes or integers. Arrow's own way would import pandas (``archive.prepared``)."""
    there = np.array([value is not None for value in values], np.bool_)
    valid = pa.py_buffer(np.packbits(there, bitorder="little"))
    if pa.types.is_integer(kind):
        numbers = np.array([value or 0 for value in values], np.int64)
        return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(numbers)])
    data = [v.encode() if isinstance(v, str) else v or b"" for v in values]
    ends = np.cumsum([0, *map(len, data)], dtype=np.int32)
    buffers = [valid, pa.py_buffer(ends), pa.py_buffer(b"".join(data))]
    return pa.Array.from_buffers(kind, len(values), buffers)


def entries(file: File) -> Iterator[Entry]:
    """The rows of an index, read from its file; ``Mismatch`` for what is none."""
    for batch in file.held():
        for n in range(batch.num_rows):
            row = {form.name: batch.column(at)[n].as_py() for at, form in enumerate(FORMS)}
            try:
                yield _entry(row)
            except (TypeError, ValueError) as error:
                raise Mismatch(f"{file.label} is no index of files: {error}") from error


def _entry(row: Mapping[str, Any]) -> Entry:
    length, stored = int(row["length"]), None
    if row["object"] is not None:
        key, sha256, etag = (_required(row[name]) for name in ("object", "sha256", "etag"))
        stored = ArchivedObject(key, length, sha256, etag, row["version"], 1)
    return Entry(
        _required(row["_id"]),
        length,
        _bytes(row["document"]),
        stored,
        _bytes(row["chunks"] or b""),
        row["kept_back"] or "",
    )


def _required(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is no text")
    return text


def _bytes(value: bytes | str) -> bytes:
    """Of a text file they are hex."""
    return bytes.fromhex(value) if isinstance(value, str) else value
