"""Documents without the order of their fields: the same fields, sorted by name at every depth.

What stands in an array keeps its place, and of two fields of one name the first stays the first.
"""

from __future__ import annotations

import struct
from typing import Final

from dsp_airflow.engine.stores.mongodb import raw
from dsp_airflow.engine.stores.mongodb.raw import Value

_LENGTH: Final = struct.Struct("<i")


def normal(document: bytes) -> bytes:
    """The document that stands for all that differ from this one in the order of fields only."""
    fields = [(name, _normal(value)) for name, value in raw.elements(document)]
    fields.sort(key=lambda field: field[0])
    return raw.assembled(fields)


def _normal(value: Value) -> Value:
    if value.kind == raw.DOCUMENT:
        return Value(value.kind, normal(value.data))
    if value.kind == raw.ARRAY:
        items = [(name, _normal(item)) for name, item in raw.elements(value.data)]
        return Value(value.kind, raw.assembled(items))
    if value.kind == raw.SCOPED:
        # Code comes first, a text after the length of both, and then the scope.
        scope = 2 * _LENGTH.size + _LENGTH.unpack_from(value.data, _LENGTH.size)[0]
        return Value(value.kind, value.data[:scope] + normal(value.data[scope:]))
    return value
