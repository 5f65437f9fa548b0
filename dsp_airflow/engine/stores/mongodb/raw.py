"""BSON as bytes: documents cut out of buffers, ids out of documents. Nothing is decoded.

What the driver decodes it may write otherwise: NaN loses its payload, a symbol becomes a string,
of two fields of one name the first is gone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument

Query: TypeAlias = dict[str, Any]

DOUBLE: Final = 0x01
STRING: Final = 0x02
DOCUMENT: Final = 0x03
ARRAY: Final = 0x04
BINARY: Final = 0x05
OBJECT_ID: Final = 0x07
DATE: Final = 0x09
SCOPED: Final = 0x0F
"""Code with a scope."""
INT32: Final = 0x10
TIMESTAMP: Final = 0x11
INT64: Final = 0x12
DECIMAL: Final = 0x13
OPTIONS: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    # Dates beyond the year 9999 are numbers.
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    tz_aware=True,
)
_ID: Final = b"_id"
_FIXED: Final = {
    0x01: 8,  # double
    0x06: 0,  # undefined
    0x07: 12,  # ObjectId
    0x08: 1,  # bool
    0x09: 8,  # date
    0x0A: 0,  # null
    0x10: 4,  # int32
    0x11: 8,  # timestamp
    0x12: 8,  # int64
    0x13: 16,  # decimal128
    0xFF: 0,  # MinKey
    0x7F: 0,  # MaxKey
}
_LENGTH: Final = struct.Struct("<i").unpack_from
# Beside the length in front: string, document, array, binary (a subtype), code, symbol, code with
# scope, DBPointer (an id).
_BEYOND: Final = {0x02: 4, 0x03: 0, 0x04: 0, 0x05: 5, 0x0D: 4, 0x0E: 4, 0x0F: 0, 0x0C: 16}


class Value(NamedTuple):
    """One BSON value: its type and its bytes."""

    kind: int
    data: bytes


class Documents(RawBSONDocument):
    """Documents that follow each other, where the driver sends a list of them.

    It writes the bytes of each ``RawBSONDocument`` as they are, and the server tells them apart by
    their own lengths: so all of a buffer goes out at the cost of one.
    """

    __slots__ = ("raw",)

    raw: bytes

    def __init__(self, buffer: bytes) -> None:
        self.raw = buffer


def documents(buffer: bytes | memoryview) -> Iterator[bytes]:
    """The documents that follow each other in a buffer."""
    at, end = 0, len(buffer)
    data = bytes(buffer)
    while at < end:
        (size,) = _LENGTH(data, at)
        yield data[at : at + size]
        at += size


def number_of(buffer: bytes | memoryview) -> int:
    """How many documents a buffer holds."""
    at, end, count = 0, len(buffer), 0
    while at < end:
        at += _LENGTH(buffer, at)[0]
        count += 1
    return count


def cut(buffer: bytes, most: int, most_bytes: int) -> Iterator[bytes]:
    """The buffer in pieces of so many documents and bytes, or of one document that is larger."""
    first = at = count = 0
    while at < len(buffer):
        size = _LENGTH(buffer, at)[0]
        if count and (count == most or at + size - first > most_bytes):
            yield buffer[first:at]
            first, count = at, 0
        at += size
        count += 1
    if first < at:
        yield buffer[first:at]


def elements(document: bytes) -> Iterator[tuple[bytes, Value]]:
    """The fields of a document at its top level, in order."""
    at, end = 4, len(document) - 1
    while at < end:
        kind = document[at]
        stop = document.index(0, at + 1)
        first = stop + 1
        size = _size(kind, document, first)
        yield document[at + 1 : stop], Value(kind, document[first : first + size])
        at = first + size


def id_of(document: bytes) -> Value:
    """The value of ``_id``, which the server keeps in front; ``KeyError`` when there is none."""
    for name, value in elements(document):
        if name == _ID:
            return value
    raise KeyError("_id")


def _size(kind: int, data: bytes, at: int) -> int:
    fixed = _FIXED.get(kind)
    if fixed is not None:
        return fixed
    if kind == 0x0B:  # a regular expression: two texts that end in a zero
        stop = data.index(0, data.index(0, at) + 1)
        return stop + 1 - at
    if kind not in _BEYOND:
        raise ValueError(f"BSON has no type {kind:#x}")
    return int(_LENGTH(data, at)[0]) + _BEYOND[kind]


def document(fields: Iterable[tuple[str, Value]]) -> RawBSONDocument:
    """The same, as the driver sends it untouched."""
    return RawBSONDocument(assembled((name.encode(), value) for name, value in fields))


def array(values: Iterable[Value]) -> Value:
    """An array of values."""
    return Value(ARRAY, assembled((b"%d" % n, value) for n, value in enumerate(values)))


def text(given: bytes) -> bytes:
    """The bytes of a text's value."""
    return struct.pack("<i", len(given) + 1) + given + b"\0"


def assembled(fields: Iterable[tuple[bytes, Value]]) -> bytes:
    """A document of these fields."""
    inner = b"".join(b"%c%b\0%b" % (value.kind, name, value.data) for name, value in fields)
    return struct.pack("<i", len(inner) + 5) + inner + b"\0"


def encoded(value: Any) -> Value:
    """A Python value as the driver writes it."""
    ((_, found),) = elements(bson.encode({"": value}, codec_options=OPTIONS))
    return found


def decoded(value: Value) -> Any:
    """A Python value as the driver reads it."""
    return bson.decode(assembled([(b"", value)]), codec_options=OPTIONS)[""]
