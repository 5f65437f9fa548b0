"""How far a field of documents has come.

A cursor has one class of types, within which the server compares values by what they mean: a
number of whatever type, a date, a Timestamp, an ObjectId, a text. Its values are kept as extended
JSON. What is of no class, or of another one, stands before or behind all of the class in the order
in which an index sorts all types, so that two ranges of the index find it.
"""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Context, Decimal
from typing import Any, Final

import bson
from bson import Decimal128, Int64, ObjectId, Timestamp
from bson.datetime_ms import DatetimeMS
from pymongo.read_preferences import ReadPreference

from dsp_airflow.engine import numbered_texts
from dsp_airflow.engine.documents import EXACT
from dsp_airflow.engine.errors import BadValue, ConfigError
from dsp_airflow.engine.model import Column, LogicalType, Projection, Window
from dsp_airflow.engine.stores.mongodb import keys, query, raw
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.raw import Query, Value

_OTHER: Final = "other"
_LARGEST: Final = 2**63 - 1
_UNSIGNED: Final = 2**32 - 1
_FLOOR: Final = Context(prec=34, rounding=ROUND_FLOOR)


@dataclass(frozen=True, slots=True)
class Class:
    """Types that are compared with each other.

    ``below`` and ``above`` are comparisons that are true for what sorts before and behind them,
    and for infinite numbers, each an operator and a bound in extended JSON.
    """

    name: str
    kind: LogicalType
    types: tuple[str, ...]
    """As ``$type`` names them."""
    below: tuple[str, Any]
    above: tuple[str, Any]


CLASSES: Final = (
    Class(
        "number",
        LogicalType("decimal"),
        ("int", "long", "double", "decimal"),
        ("$lte", {"$numberDouble": "-Infinity"}),
        ("$gte", {"$numberDouble": "Infinity"}),
    ),
    # All texts stand before the empty object.
    Class("string", LogicalType("string"), ("string",), ("$lt", ""), ("$gte", {})),
    Class(
        "objectId",
        LogicalType("objectid"),
        ("objectId",),
        ("$lt", {"$oid": "0" * 24}),
        ("$gt", {"$oid": "f" * 24}),
    ),
    Class(
        "date",
        LogicalType("timestamptz", digits=3),
        ("date",),
        ("$lt", {"$date": {"$numberLong": str(-_LARGEST - 1)}}),
        ("$gt", {"$date": {"$numberLong": str(_LARGEST)}}),
    ),
    Class(
        "timestamp",
        LogicalType("timestamptz", digits=0),
        ("timestamp",),
        ("$lt", {"$timestamp": {"t": 0, "i": 0}}),
        ("$gt", {"$timestamp": {"t": _UNSIGNED, "i": _UNSIGNED}}),
    ),
)
_KINDS: Final = {
    raw.DOUBLE: "number",
    raw.INT32: "number",
    raw.INT64: "number",
    raw.DECIMAL: "number",
    raw.STRING: "string",
    raw.OBJECT_ID: "objectId",
    raw.DATE: "date",
    raw.TIMESTAMP: "timestamp",
}
_NAMED: Final = {one.name: one for one in CLASSES}
_ABSENT: Final = frozenset(["missing", "null", "undefined"])


# Which type it has


def column(
    connection: Connection, table: str, name: str, since: str | None, where: str | None
) -> Column:
    """See ``ports.FindsCursors``. A cursor without any value yet has no class."""
    if since is not None:
        return _column(name, _class_of(keys.value(since)))
    every = [kind for one in CLASSES for kind in one.types]
    matching = [] if where is None else [query.parsed(where)]
    found = _last(connection, table, name, {"$and": [*matching, _of_types(name, every)]})
    return _column(name, None if found is None else _class_of(found))


def _column(name: str, known: Class | None) -> Column:
    if known is None:
        return Column(name, LogicalType(_OTHER, identity="bson"), "no type that tells what is new")
    return Column(name, known.kind, known.name)


def _class_of(value: Value) -> Class:
    return _NAMED[_KINDS[value.kind]]


def of_other_types(connection: Connection, what: Projection, column: Column) -> dict[str, int]:
    """See ``ports.FindsCursors``. Those without a value have no other type, and neither has NaN."""
    parts = [query.matching(what), query.parsed(without_cursor(column))]
    grouped = connection.aggregate(
        what.table,
        [
            {"$match": {"$and": parts}},
            {"$group": {"_id": {"$type": f"${column.name}"}, "n": {"$sum": 1}}},
            {"$sort": {"_id": 1}},
        ],
    )
    known = _NAMED.get(column.native)
    fine = _ABSENT.union(() if known is None else known.types)
    return {group["_id"]: int(group["n"]) for group in grouped if group["_id"] not in fine}


def _of_types(name: str, types: list[str]) -> Query:
    """Of the value itself: of a list, ``$type`` in a query would tell what is in it."""
    return {"$expr": {"$in": [{"$type": f"${name}"}, types]}}


# What is to be read


def window(
    connection: Connection,
    table: str,
    column: Column,
    since: str | None,
    overlap: timedelta | int,
) -> Window:
    """See ``ports.Reads``."""
    known = _NAMED.get(column.native)
    if known is None:
        return Window(column.name, None, None)
    _refuse_laggards(connection, table)
    found = _last(connection, table, column.name, _from(column.name, known, since))
    upto = since if found is None else text(found)
    if upto is None:
        return Window(column.name, None, None)
    if known.name == "string":
        _refuse_numbers(connection, table, column, json.loads(upto))
    after = None if since is None else _earlier(since, overlap)
    return Window(column.name, after, upto, _reached(connection, known, since, upto))


def _refuse_laggards(connection: Connection, table: str) -> None:
    if connection.client.read_preference != ReadPreference.PRIMARY:
        raise ConfigError(
            f"{table}: connection {connection.name} reads batches from secondaries "
            "(readPreference); what one of them has not got yet would be passed over by mode: "
            "incremental. Remove readPreference from the extra field"
        )


def _from(name: str, known: Class, since: str | None) -> Query:
    """Documents with a value that a cursor may have, from the end of the last run on."""
    bounds: dict[str, Any] = {"$gt": -math.inf, "$lt": math.inf} if known.name == "number" else {}
    if since is not None:
        bounds["$gte"] = keys.parse(since)
    own = _of_types(name, list(known.types))
    return {"$and": [own, {name: bounds}]} if bounds else own


def _last(connection: Connection, table: str, name: str, matching: Query) -> Value | None:
    """The largest value of the field among these documents."""
    projection = {"_id": 0, "v": f"${name}"}
    for buffer in connection.find(
        table, matching, projection=projection, order={name: -1}, limit=1
    ):
        for document in raw.documents(buffer):
            return dict(raw.elements(document))[b"v"]
    return None


def text(value: Value) -> str:
    """Extended JSON of a cursor's value; dates in words where there are some."""
    if value.kind == raw.DATE:
        found = raw.decoded(value)
        if isinstance(found, datetime) and found.year >= 1970:
            shown = found.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            return json.dumps({"$date": shown})
    told = keys.text(value)
    if EXACT in told:
        raise ConfigError(f"a cursor has the value {told}, which is no text in UTF-8")
    return told


def _earlier(since: str, overlap: timedelta | int) -> str:
    """Where the overlap begins. ObjectIds of one second have no order among each other."""
    value = keys.value(since)
    if value.kind == raw.OBJECT_ID:
        return _id_at(_seconds(value) - _whole(overlap))
    if not overlap or value.kind == raw.STRING:
        return since
    if value.kind == raw.DATE:
        earlier = max(-_LARGEST - 1, _moment(value) - _over(overlap, timedelta(milliseconds=1)))
        return text(Value(raw.DATE, struct.pack("<q", earlier)))
    if value.kind == raw.TIMESTAMP:
        return keys.text(raw.encoded(Timestamp(max(0, _seconds(value) - _whole(overlap)), 0)))
    return _less(value, overlap)


def _less(value: Value, overlap: timedelta | int) -> str:
    """A number less another, rounded down where it has too many digits."""
    found = raw.decoded(value)
    number = found.to_decimal() if isinstance(found, Decimal128) else Decimal(found)
    less = _FLOOR.subtract(number, Decimal(int(overlap) if isinstance(overlap, int) else 0))
    if less == less.to_integral_value() and -_LARGEST <= less <= _LARGEST:
        return keys.text(raw.encoded(Int64(int(less))))
    return keys.text(raw.encoded(Decimal128(less)))


def _whole(overlap: timedelta | int) -> int:
    """In seconds, and one more where a part of one is left."""
    return _over(overlap, timedelta(seconds=1))


def _over(overlap: timedelta | int, unit: timedelta) -> int:
    return -(-overlap // unit) if isinstance(overlap, timedelta) else 0


def _seconds(value: Value) -> int:
    """The seconds since 1970 that an ObjectId or a Timestamp has in it."""
    if value.kind == raw.OBJECT_ID:
        return int.from_bytes(value.data[:4], "big")
    return int.from_bytes(value.data[4:], "little")


def _id_at(seconds: int) -> str:
    return keys.text(raw.encoded(ObjectId(max(0, seconds).to_bytes(4, "big") + bytes(8))))


def _reached(connection: Connection, known: Class, since: str | None, upto: str) -> str | None:
    """See ``Window``: ``None`` unless the end is beyond the server's clock."""
    if known.name not in ("date", "timestamp", "objectId"):
        return None
    now = connection.client.admin.command("hello")["localTime"]
    moment = int(DatetimeMS(now)) if isinstance(now, datetime) else int(now)
    ends = [keys.value(upto), _clock(known.name, moment)]
    if since is not None:
        ends.append(keys.value(since))
    end, clock, *before = ends
    if _moment(end) <= _moment(clock):
        return None
    return text(max([clock, *before], key=_moment))


def _clock(name: str, moment: int) -> Value:
    """The first value of that millisecond."""
    if name == "date":
        return Value(raw.DATE, struct.pack("<q", moment))
    if name == "timestamp":
        return raw.encoded(Timestamp(moment // 1000, 0))
    return keys.value(_id_at(moment // 1000))


def _moment(value: Value) -> int:
    """What of a value is its time, in its own unit."""
    if value.kind == raw.DATE:
        return int(struct.unpack("<q", value.data)[0])
    return _seconds(value)


# Conditions


def in_window(column: Column, window: Window, *, endless: bool) -> str:
    """See ``ports.Dialect``."""
    if window.upto is None:
        missing = _without(column.name, None)
        return json.dumps(missing if endless else {"$nor": [missing]})
    known = _class_of(keys.value(window.upto))
    bounds: dict[str, Any] = {"$lte": json.loads(window.upto)}
    if window.after is not None:
        bounds["$gte"] = json.loads(window.after)
    elif known.name == "number":
        bounds["$gt"] = known.below[1]
    inside = {column.name: bounds}
    return json.dumps({"$or": [inside, _without(column.name, known)]} if endless else inside)


def without_cursor(column: Column) -> str:
    """See ``ports.Dialect``: no value, one of another type, NaN or infinity."""
    return json.dumps(_without(column.name, _NAMED.get(column.native)))


def _without(name: str, known: Class | None) -> dict[str, Any]:
    if known is None:
        return {"_id": {"$exists": True}}
    beyond = [
        {"$expr": {sign: [f"${name}", {"$literal": bound}]}}
        for sign, bound in (known.below, known.above)
    ]
    return {"$or": beyond}


def _refuse_numbers(connection: Connection, table: str, column: Column, upto: str) -> None:
    parted = numbered_texts.parted(upto)
    if parted is None:
        return
    before, digits = parted
    beginning = "^" + re.escape(before)
    length = {"$strLenCP": f"${column.name}"}
    longer = {"$gt": [length, len(before) + len(digits)]}
    found = _last(
        connection,
        table,
        column.name,
        {
            "$and": [
                _of_types(column.name, ["string"]),
                {column.name: {"$regex": f"{beginning}[0-9]+$"}},
                {"$expr": longer},
            ]
        },
    )
    if found is not None:
        raise numbered_texts.refusal(table, column.name, raw.decoded(found), upto)


# By hand


_NUMBER: Final = re.compile(r"[+-]?\d+(\.\d+)?")


def typed_value(column: Column, given: str) -> str:
    """See ``ports.Reads``. Extended JSON, or a time, a number or an id as one writes it."""
    plain = given.strip()
    wrong = BadValue(
        f"{given!r} is no value of {column.name}: a time, a number, an ObjectId's 24 digits, or "
        'extended JSON such as "text" or {"$timestamp": {"t": 1, "i": 0}} is'
    )
    try:
        value = _parsed(plain)
    except (ValueError, TypeError, ArithmeticError, bson.errors.BSONError) as error:
        raise wrong from error
    if value.kind not in _KINDS:
        raise wrong
    return text(value)


def _parsed(given: str) -> Value:
    if given[:1] in ("{", '"'):
        return keys.value(given)
    if ObjectId.is_valid(given):
        return raw.encoded(ObjectId(given))
    if _NUMBER.fullmatch(given):
        number = Decimal(given)
        whole = number == number.to_integral_value() and abs(number) <= _LARGEST
        return raw.encoded(Int64(int(number)) if whole else Decimal128(number))
    found = datetime.fromisoformat(given)
    return raw.encoded(found if found.tzinfo else found.replace(tzinfo=UTC))
