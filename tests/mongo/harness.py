"""A task between two MongoDB databases, driven through the steps, and documents of every kind."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import bson
from bson import (
    Binary,
    Code,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)
from bson.raw_bson import RawBSONDocument

from dsp_airflow.engine.model import Field, KeyColumn, Projection
from dsp_airflow.engine.ports import Store
from dsp_airflow.engine.stores.mongodb import catalog, dialect, names
from dsp_airflow.engine.stores.mongodb.store import MongoStore
from tests.engine.harness import Bench
from tests.servers import MongoDatabase

TIMESTAMP = re.compile(rb"\x11[^\0]*\0{9}")


@dataclass
class MongoBench(Bench[MongoDatabase]):
    """Two databases of one replica set."""

    def store(self, conn_id: str) -> Store:
        database = {"source": self.source, "target": self.target}[conn_id]
        return MongoStore(conn_id, {"host": database.server.uri()}, database.name)

    def job(self, name: str = "copy", table: str = "t", **more: Any) -> dict[str, Any]:
        return super().job(name, table, **{"check": {"percent": 100}, **more})

    def both(self, table: str = "t") -> tuple[list[bytes], list[bytes]]:
        """The documents of both sides, as bytes."""
        return self.source.raw(table), self.target.raw(table)


BIG = 64 * 1024 * 1024


def projection(database: str, collection: str, where: str | None = None) -> Projection:
    """A collection's documents, as a plan has them."""
    fields = tuple(
        Field(column.name, column.type, column.native, dialect.quote(column.name))
        for column in catalog.columns(None, ())
    )
    return Projection(
        table=names.qualified(database, collection),
        label=f"{database}.{collection}",
        fields=fields,
        key=(KeyColumn('"_id"', "bson"),),
        where=where,
        markers=names.qualified(database, names.MARKERS),
        method="bson",
    )


def put(database: MongoDatabase, table: str, given: Sequence[bytes]) -> None:
    """Stores documents byte by byte, also those in which an insert would set the time."""
    zero = [one for one in given if TIMESTAMP.search(one)]
    database.insert_raw(table, [one for one in given if one not in zero])
    for one in zero:
        own = RawBSONDocument(one)
        database.insert_raw(table, [bson.encode({"_id": own["_id"]})])
        database[table].update_one({"_id": own["_id"]}, [{"$replaceWith": {"$literal": own}}])


def element(kind: int, name: bytes, data: bytes) -> bytes:
    return bytes([kind]) + name + b"\0" + data


def document(*elements: bytes) -> bytes:
    inner = b"".join(elements)
    return struct.pack("<i", len(inner) + 5) + inner + b"\0"


def numbered(number: int, *elements: bytes) -> bytes:
    """A document of this id and these fields, which no driver would write so."""
    return document(element(0x10, b"_id", struct.pack("<i", number)), *elements)


def text(value: bytes) -> bytes:
    return struct.pack("<i", len(value) + 1) + value + b"\0"


def deep(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = {"end": 1}
    for n in range(levels):
        found = {f"l{n % 3}": found}
    return found


IDS: Sequence[Any] = (
    *(MinKey(), MaxKey(), None, False, True, "", "a", "A", "ä", "😀", "a\0b", "7", 7, -1, 2.5),
    *(Int64(2**40), Decimal128("1E+400"), Decimal128("1.10"), -0.0, float("inf"), float("-inf")),
    *(float("nan"), ObjectId("6553f1c20000000000000001")),
    *(
        Binary(b"x", 0),
        Binary(b"x", 5),
        Binary(bytes(16), 4),
        Binary(bytes(16), 3),
        Binary(b"", 128),
    ),
    *({}, {"a": 1}, {"a": 1.0, "b": 2}, {"b": {"c": [1, None]}}, {"$oid": "no"} and {"oid": "x"}),
    *(datetime(2024, 2, 29, 12, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC), Timestamp(1, 2)),
    *(Code("f()"), Code("f()", {"x": 1}), DBRef("c", 1)),
)
"""Ids of every type and none equal to another."""

VALUES: Sequence[Any] = (
    *(1, 1.0, Int64(1), Decimal128("1"), Decimal128("1.0"), True, "1", None, 0, 0.0, -0.0),
    *(float("nan"), Decimal128("NaN"), Decimal128("-NaN"), Decimal128("sNaN")),
    *(Decimal128("Infinity"), Decimal128("-0E-6176"), float("inf"), 5e-324, 1.7976931348623157e308),
    *(2**31 - 1, Int64(2**63 - 1), Int64(-(2**63))),
    *("", "ü€😀", "a\0b", "$", "x" * 70_000, [], {}, [[[]]], {"": {"": ""}}, [None, [1, "a"]]),
    *(Binary(bytes(range(n)), subtype) for n, subtype in enumerate((0, 1, 5, 6, 7, 128, 255))),
    *(Binary(bytes(16), 3), Binary(bytes(16), 4), MinKey(), MaxKey(), ObjectId(bytes(12))),
    *(Timestamp(0, 0), Timestamp(2**32 - 1, 2**32 - 1), Regex("^a.*", "imsx"), Regex("/", "")),
    *(Code("function() {}"), Code("x", {"y": {"z": 1}}), DBRef("c", ObjectId(bytes(12)), "d")),
    *(datetime(9999, 12, 31, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC), deep(100)),
)


def nasty() -> list[bytes]:
    """Documents of every type of BSON and every shape that a server takes."""
    found = [bson.encode({"_id": own, "n": n}) for n, own in enumerate(IDS)]
    found += [bson.encode({"_id": {"v": n}, "v": v}) for n, v in enumerate(VALUES)]
    shapes: list[dict[str, Any]] = [
        {"a.b": 1, "$c": 2, "": 3, "d": {"$e": 1, "f.g": 2, "": 3}},
        {"$set": {"x": 1}, "at": Timestamp(0, 0), "$at": Timestamp(0, 0)},
        {"b": 1, "a": 2, "c": {"z": 1, "y": 2}},
        {"at": Timestamp(0, 0), "inner": {"at": Timestamp(0, 0)}, "zeros": [0, Int64(0), 0.0]},
        {"large": "x" * (15 * 1024 * 1024)},
        {f"field {n}": n for n in range(2000)},
    ]
    found += [bson.encode({"_id": {"s": n}, **shape}) for n, shape in enumerate(shapes)]
    one, two = element(0x10, b"a", b"\1\0\0\0"), element(0x10, b"a", b"\2\0\0\0")
    found += [
        numbered(-1001, one, two),
        numbered(-1002, two, one),
        numbered(-1003, element(0x02, b"s", text(b"\xff\xfe"))),
        numbered(-1004, element(0x02, b"\xff\xfe", text(b"x"))),
        numbered(-1005, element(0x01, b"nan", bytes.fromhex("010000000000f87f"))),
        numbered(-1006, element(0x06, b"undefined", b"")),
        numbered(-1007, element(0x0E, b"symbol", text(b"s"))),
        numbered(-1008, element(0x0C, b"pointer", text(b"c") + bytes(12))),
        numbered(-1009, element(0x09, b"date", struct.pack("<q", -(2**63)))),
        numbered(-1010, element(0x09, b"date", struct.pack("<q", 2**63 - 1))),
        numbered(-1011, element(0x05, b"old", struct.pack("<i", 6) + b"\2\2\0\0\0ab")),
        numbered(-1012, element(0x13, b"odd", b"\xff" * 16)),
        # Two elements of one array have one number, and a gap.
        numbered(-1013, element(0x04, b"array", document(one, two))),
        document(element(0x0E, b"_id", text(b"a symbol as id"))),
        document(element(0x02, b"_id", text(b"\xff\xfe as id"))),
    ]
    return found
