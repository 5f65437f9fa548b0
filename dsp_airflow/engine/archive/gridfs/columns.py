"""The columns of an index of files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dsp_airflow.engine.archive.forms import form_of
from dsp_airflow.engine.model import LogicalType

_TEXT: Final = LogicalType("string")
_BYTES: Final = LogicalType("bytes")
_COLUMNS: Final = (
    # Name, type, the source's own name of it, whether it may be missing.
    ("_id", _TEXT, "extended json", False),
    ("filename", _TEXT, "string", True),
    ("uploadDate", _TEXT, "date", True),
    ("contentType", _TEXT, "string", True),
    ("length", LogicalType("int64"), "int64", False),
    ("object", _TEXT, "key", True),
    ("version", _TEXT, "version", True),
    ("etag", _TEXT, "etag", True),
    ("sha256", _TEXT, "hex", True),
    ("kept_back", _TEXT, "reason", True),
    ("document", _BYTES, "bson", False),
    ("chunks", _BYTES, "chunks", True),
)
FORMS: Final = tuple(form_of(name, kind, native) for name, kind, native, _ in _COLUMNS)
"""How an index holds its columns."""
NULLABLE: Final[Mapping[str, bool]] = {name: nullable for name, _, _, nullable in _COLUMNS}
