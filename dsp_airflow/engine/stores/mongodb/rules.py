"""Rules as MongoDB says them: query documents, in extended JSON.

A comparison there holds for values of one type only, and is never true of others. The opposite of
one is true of everything else, and is held to the same type here. A field that holds a list is
compared by each of its elements, as the server does it: a rule is true when it is of one of them,
its opposite when it is of none and one has the type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from dsp_airflow.config.rules import BARE, LISTS, PATTERNS, Wild, pattern
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import Column
from dsp_airflow.engine.rules import Typed, kind_of
from dsp_airflow.engine.stores.mongodb.literals import literal

_TYPES: Final = {
    "bool": "bool",
    "number": "number",
    "date": "date",
    "uuid": "binData",
    "text": "string",
}
_SIGNS: Final = {"<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte", "=": "$eq"}
_SHORTENED: Final = {"<": "<=", ">=": ">"}
"""What is true of milliseconds and a moment without its microseconds, where the sign was true of
that moment. The other two signs stay."""
_NAN: Final = {"$numberDouble": "NaN"}


def every(conditions: Sequence[str]) -> str:
    """See ``rules.Ruled``."""
    return f'{{"$and": [{", ".join(conditions)}]}}'


def either(conditions: Sequence[str]) -> str:
    """See ``rules.Ruled``."""
    return f'{{"$or": [{", ".join(conditions)}]}}'


def test(
    column: Column, subject: str, operator: str, values: Sequence[Typed], *, opposite: bool
) -> str:
    """See ``rules.Ruled``. ``subject`` is no part of a query."""
    del subject
    if operator in BARE:
        return json.dumps({column.name: _there(operator, opposite=opposite)})
    if operator in ("!=", "not_in"):
        operator, opposite = ("=" if operator == "!=" else "in"), not opposite
    kind = "objectId" if column.type.name == "objectid" else _TYPES[kind_of(values[0])]
    if kind == "string" and column.collation is not None:
        raise ConfigError(
            f"where: {column.name}: the collection compares texts by a collation of its own "
            f"({column.collation}), and rules do by characters; write where as a query document"
        )
    found = _true(column, operator, values)
    if opposite:
        found = {"$and": [{column.name: {"$type": kind}}, {"$nor": [found]}]}
    return json.dumps(found)


def _there(operator: str, *, opposite: bool) -> dict[str, Any]:
    if operator == "exists":
        return {"$exists": not opposite}
    return {"$eq": None} if (operator == "is_null") is not opposite else {"$ne": None}


def _true(column: Column, operator: str, values: Sequence[Typed]) -> dict[str, Any]:
    path, first = column.name, values[0]
    if operator in PATTERNS:
        return {path: {"$regex": _regex(operator, str(first)), "$options": "s"}}
    if operator in LISTS or operator == "=":
        # No date of milliseconds equals one that has microseconds.
        held = [_json(column, one) for one in values if not _shortened(one)]
        return {path: {"$eq": held[0]} if operator == "=" and held else {"$in": held}}
    if operator == "between":
        return {path: {**_beyond(column, ">=", first), **_beyond(column, "<=", values[1])}}
    found = {path: _beyond(column, operator, first)}
    if operator in (">", ">=") and kind_of(first) == "number":
        # PostgreSQL sorts NaN above all numbers; here it compares with itself alone.
        return {"$or": [found, {path: {"$eq": _NAN}}]}
    return found


def _beyond(column: Column, operator: str, value: Typed) -> dict[str, Any]:
    if _shortened(value):
        operator = _SHORTENED.get(operator, operator)
    return {_SIGNS[operator]: _json(column, value)}


def _shortened(value: Typed) -> bool:
    """Whether a moment has more digits than dates have here."""
    return isinstance(value, datetime) and value.microsecond % 1000 != 0


def _json(column: Column, value: Typed) -> Any:
    if column.type.name == "objectid":
        return {"$oid": value}
    return json.loads(literal(value))


def _regex(operator: str, text: str) -> str:
    """Anchors stand only where the pattern has an end, so that an index serves what begins so."""
    pieces = pattern(operator, text)
    found = "" if _any(pieces[0]) else "^"
    for n, piece in enumerate(pieces):
        if not isinstance(piece, Wild):
            found += re.escape(piece)
        elif not piece.many:
            found += "."
        elif 0 < n < len(pieces) - 1:
            found += ".*"
    return found if _any(pieces[-1]) else found + r"\z"


def _any(piece: str | Wild) -> bool:
    return isinstance(piece, Wild) and piece.many
