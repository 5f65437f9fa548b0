"""Cutting a collection into batches: a walk over the ids, in their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import bson

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import Batch, BatchSize, Key, KeyRange, Projection
from dsp_airflow.engine.stores.mongodb import keys, privileges, query, raw
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.relay import LARGEST, too_large

MOST: Final = BatchSize(20_000, 8 * 1024 * 1024)
"""Of a batch whose size is left to us: it is one transaction, which lasts a minute at most, and
which the server keeps in its cache."""
ONLY_ID: Final = {"_id": 1}
SAMPLED: Final = 1_000
"""Documents that tell the size of all."""


def split(
    connection: Connection, what: Projection, size: BatchSize, max_row_size: int
) -> tuple[Sequence[Batch], int]:
    """See ``ports.Splits``."""
    if what.loose:
        prove_key(connection, what)
    if max_row_size < LARGEST:
        _refuse_larger(connection, what, max_row_size)
    if size.bytes is not None and MOST.bytes is not None:
        size = BatchSize(min(size.rows, MOST.rows), min(size.bytes, MOST.bytes))
    if what.where is None and not what.loose:
        return _by_index(connection, what, size)
    return _by_documents(connection, what, size)


def _refuse_larger(connection: Connection, what: Projection, largest: int) -> None:
    found = connection.aggregate(
        what.table,
        [
            {"$match": query.matching(what)},
            {"$match": {"$expr": {"$gt": [{"$bsonSize": "$$ROOT"}, largest]}}},
            {"$limit": 1},
            {"$project": {"size": {"$bsonSize": "$$ROOT"}}},
        ],
    )
    if found:
        key = keys.text(raw.encoded(found[0]["_id"]))
        raise too_large(what, key, int(found[0]["size"]), largest)


def _by_index(
    connection: Connection, what: Projection, size: BatchSize
) -> tuple[Sequence[Batch], int]:
    """Without a filter the index on ids is enough, and nothing is sent but the bounds."""
    last = _id(connection, what, {}, descending=True)
    if last is None:
        return [], 0
    rows, average = size.rows, _average(connection, what)
    if size.bytes is not None:
        rows = max(1, min(rows, int(size.bytes / max(1, average))))
    batches: list[Batch] = []
    after: Key | None = None
    while True:
        beyond = query.matching(what, KeyRange(after, last))
        upto = _id(connection, what, beyond, skip=rows - 1)
        count = rows
        if upto is None or upto == last:
            upto, count = last, connection.count(what.table, beyond)
        if count:
            batches.append(Batch(len(batches) + 1, KeyRange(after, upto), count))
        if upto == last:
            return batches, int(average * sum(batch.rows for batch in batches))
        after = upto


def _id(
    connection: Connection,
    what: Projection,
    matching: raw.Query,
    *,
    skip: int = 0,
    descending: bool = False,
) -> Key | None:
    """The id of one document, by its place in the order of ids."""
    for buffer in connection.find(
        what.table, matching, projection=ONLY_ID, skip=skip, limit=1, descending=descending
    ):
        for document in raw.documents(buffer):
            return keys.of(document)
    return None


def _average(connection: Connection, what: Projection) -> float:
    """Bytes of a document, as the server keeps count of them, or as some tell that may be read."""
    if privileges.missing(connection, what.table, ["collStats"]):
        group = {"$group": {"_id": None, "size": {"$avg": {"$bsonSize": "$$ROOT"}}}}
        found = connection.aggregate(what.table, [{"$sample": {"size": SAMPLED}}, group])
        return float(found[0]["size"]) if found else 0.0
    found = connection.aggregate(what.table, [{"$collStats": {"storageStats": {}}}])
    count = sum(int(part["storageStats"].get("count", 0)) for part in found)
    size = sum(int(part["storageStats"].get("size", 0)) for part in found)
    return size / count if count else 0.0


def _by_documents(
    connection: Connection, what: Projection, size: BatchSize
) -> tuple[Sequence[Batch], int]:
    """With a filter every matching document is looked at once, and its id and size sent."""
    batches: list[Batch] = []
    after: Key | None = None
    rows = filled = total = 0
    last = b""
    for document, length in _sizes(connection, what):
        rows, filled, total, last = rows + 1, filled + length, total + length, document
        if rows >= size.rows or (size.bytes is not None and filled >= size.bytes):
            upto = keys.of(document)
            batches.append(Batch(len(batches) + 1, KeyRange(after, upto), rows))
            after, rows, filled = upto, 0, 0
    if rows:
        batches.append(Batch(len(batches) + 1, KeyRange(after, keys.of(last)), rows))
    return batches, total


def _sizes(connection: Connection, what: Projection) -> Iterator[tuple[bytes, int]]:
    """A document with the id, and the bytes of the whole one, in the order of ids."""
    projection: dict[str, Any] = {"_id": 1, "size": {"$bsonSize": "$$ROOT"}}
    for buffer in connection.find(what.table, query.matching(what), projection=projection):
        for document in raw.documents(buffer):
            yield document, int(bson.decode(_without_id(document))["size"])


def _without_id(document: bytes) -> bytes:
    return raw.assembled(pair for pair in raw.elements(document) if pair[0] != b"_id")


def prove_key(connection: Connection, what: Projection) -> None:
    """See ``ports.Splits``: a view may show one id in several documents."""
    found = connection.aggregate(
        what.table,
        [
            {"$match": query.matching(what)},
            {"$group": {"_id": "$_id", "n": {"$sum": 1}}},
            {"$match": {"n": {"$gt": 1}}},
            {"$limit": 3},
        ],
    )
    if found:
        twins = ", ".join(keys.text(raw.encoded(group["_id"])) for group in found)
        raise ConfigError(
            f"{what.label} shows _id {twins} in several documents; copy the collection that it "
            "reads, or make it show each once"
        )
