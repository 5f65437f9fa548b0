"""Which documents: ranges and lists of ids, and the job's own filter.

Comparisons in a query stay within the class of one type, so that a range of them would skip every
id of another. Those of an expression follow the order in which an index sorts all types, and are
served by it. They are used where the two ends of a range are of different classes, or one is open.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

from bson.errors import BSONError

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import Key, KeyRange, Projection
from dsp_airflow.engine.stores.mongodb import keys, raw, rows
from dsp_airflow.engine.stores.mongodb.raw import Query

_CLASSES: Final = {
    raw.DOUBLE: "number",
    raw.INT32: "number",
    raw.INT64: "number",
    raw.STRING: "string",
    raw.BINARY: "binary",
    raw.OBJECT_ID: "id",
    raw.DATE: "date",
}
LISTED: Final = 10_000
"""Ids in one query,"""
LISTED_BYTES: Final = 4 * 1024 * 1024
"""and their bytes: a query is a document, of 16 MiB at most."""


def matching(
    what: Projection, within: KeyRange | None = None, listed: Sequence[Key] | None = None
) -> Query:
    """Documents of the filter that are in the range, have one of the ids, or both."""
    parts: list[Any] = []
    if listed is not None:
        parts.append(by_ids(rows.ids_of(what, listed) if is_mapped(what) else ids(listed)))
    if within is not None:
        parts += bounds(within)
    if what.where is not None:
        parts.append(parsed(what.where))
    if len(parts) > 1:
        return {"$and": parts}
    return parts[0] if parts else {}


def bounds(within: KeyRange) -> list[Query]:
    """Conditions for ids in the range."""
    after, upto = (
        None if key is None else keys.value(key[0]) for key in (within.after, within.upto)
    )
    if after and upto and _class(after) is not None and _class(after) == _class(upto):
        # Whatever lies between them is of the class too. The index serves this alone, while an
        # expression is evaluated for each document once more.
        return [{"_id": raw.document([("$gt", after), ("$lte", upto)])}]
    return [
        {"$expr": {sign: ["$_id", raw.document([("$literal", value)])]}}
        for sign, value in (("$gt", after), ("$lte", upto))
        if value is not None
    ]


def _class(value: raw.Value) -> str | None:
    """The class of types in which a query compares as the index sorts; ``None`` for others.

    NaN is a number that is compared with nothing there.
    """
    if value.kind == raw.DOUBLE and math.isnan(struct.unpack("<d", value.data)[0]):
        return None
    return _CLASSES.get(value.kind)


def is_mapped(what: Projection) -> bool:
    """Whether its fields are readings, of documents as rows."""
    return any(field.expression.startswith("{") for field in what.fields)


def is_ids(what: Projection) -> bool:
    """Whether its only field is the id, of documents that are not mapped."""
    return len(what.fields) == len(what.key) == 1 and not is_mapped(what)


def ids(listed: Sequence[Key]) -> list[raw.Value]:
    """The ids of keys that are extended JSON."""
    return [keys.value(key[0]) for key in listed]


def by_ids(values: Sequence[raw.Value]) -> Query:
    """Documents of these ids."""
    return {"_id": raw.document([("$in", raw.array(values))])}


def by_id(value: raw.Value) -> Query:
    """The document of this id."""
    return {"_id": raw.document([("$eq", value)])}


def parsed(where: str) -> Query:
    """A filter's document."""
    try:
        found = keys.parse(where)
        raw.encoded(found)
    except (ValueError, TypeError, BSONError) as error:
        raise ConfigError(f"where: not extended JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError("where: must be a query document, such as {status: done}")
    return found


def chunks(listed: Sequence[Key]) -> Iterator[Sequence[Key]]:
    """As many keys as one query takes."""
    first = size = 0
    for n, key in enumerate(listed):
        size += sum(map(len, key))
        if n > first and (n - first >= LISTED or size > LISTED_BYTES):
            yield listed[first:n]
            first, size = n, sum(map(len, key))
    if first < len(listed):
        yield listed[first:]
