"""Documents that have broken somebody's copy, as bytes."""

from __future__ import annotations

import struct
from typing import Any

import bson
from bson import Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS

from dsp_airflow.engine.canon.mongodb import OPTIONS

OID = ObjectId("0123456789abcdef01234567")
TWICE = b"\x10a\x00\x01\x00\x00\x00\x10a\x00\x02\x00\x00\x00"
UNDEFINED = b"\x06u\x00"
SYMBOL = b"\x0es\x00\x02\x00\x00\x00x\x00"
NAN = b"\x01n\x00" + struct.pack("<Q", 0x7FF8000000000123)


def document(key: Any, **fields: Any) -> bytes:
    """A document of these fields."""
    return bson.encode({"_id": key, **fields}, codec_options=OPTIONS)


def with_elements(key: Any, elements: bytes) -> bytes:
    """One with elements that no driver writes."""
    plain = document(key)
    return (len(plain) + len(elements)).to_bytes(4, "little") + plain[4:-1] + elements + b"\0"


def deep(levels: int) -> dict[str, Any]:
    """A document inside of others."""
    made: dict[str, Any] = {"end": Int64(1)}
    for _ in range(levels):
        made = {"in": made}
    return made


IDS = [
    *(OID, "text", "", "é😀", Int64(5), 2.5, Decimal128("7.00"), True, None, DatetimeMS(1), b"\0"),
    *(
        Binary(b"x" * 16, 4),
        {"b": 1, "a": 2},
        MinKey(),
        MaxKey(),
        Timestamp(1, 2),
        DatetimeMS(-(2**62)),
    ),
]
VALUES = {
    "numbers": [1, 1.0, Int64(1), Decimal128("1"), -0.0, 0.0, float("nan"), Decimal128("NaN")],
    "odd": [Regex("a", "im"), Code("x"), Code("y", {"z": 1}), MinKey(), MaxKey(), Timestamp(5, 6)],
    "names": {"": 1, "a.b": 2, "$c": 3, "é": 4},
    "binary": [Binary(b"x", n) for n in (0, 5, 128)] + [Binary(b"y" * 16, n) for n in (3, 4)],
    "ref": {"$ref": "c", "$id": OID},
}
WHOLE = [
    *(document(key, n=n) for n, key in enumerate(IDS)),
    *(with_elements(f"raw {n}", e) for n, e in enumerate((TWICE, UNDEFINED, SYMBOL, NAN))),
    document("all", **VALUES),
    document("order", b=1, a=2),
    document("deep", **deep(90)),
    document("large", text="é" * 1_000_000),
]
