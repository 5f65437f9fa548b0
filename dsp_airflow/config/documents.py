"""Filters of MongoDB: query documents, checked operator by operator, with variables put in.

What is accepted gives the same answer each time and runs no code on the server. Values that YAML
has no words for are extended JSON: ``{$oid: ...}``, ``{$date: ...}``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Final, Literal, Protocol, TypeAlias

from pydantic import Field

from dsp_airflow.config.errors import nearest
from dsp_airflow.config.findings import invalid

Query: TypeAlias = Mapping[str, Any]
FieldOrder: TypeAlias = Literal["count", "ignore"]
FieldOrderOption = Annotated[
    FieldOrder,
    Field(
        description=(
            "MongoDB to MongoDB, whole documents: whether fields in another order are a "
            "difference, for check and purge. ignore: at no depth; the order of arrays always "
            "counts. A copy keeps the source's order either way."
        )
    ),
]
Buckets = Annotated[
    bool,
    Field(
        description=(
            "MongoDB to MongoDB: the tables are buckets of GridFS, and a row is a file with all "
            "its chunks. where is a query document over the bucket's files."
        )
    ),
]

MAX_DEPTH: Final = 50
OPERATORS: Final = frozenset(
    [
        *("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin"),
        *("$and", "$or", "$nor", "$not", "$expr", "$exists", "$type", "$mod", "$regex", "$options"),
        *("$all", "$elemMatch", "$size", "$jsonSchema"),
        *("$bitsAllClear", "$bitsAllSet", "$bitsAnyClear", "$bitsAnySet"),
        *("$geoWithin", "$geoIntersects", "$geometry", "$box", "$center", "$centerSphere"),
        "$polygon",
    ]
)
EXTENDED: Final = frozenset(
    [
        *("$oid", "$date", "$numberInt", "$numberLong", "$numberDouble", "$numberDecimal"),
        *("$binary", "$uuid", "$timestamp", "$regularExpression", "$minKey", "$maxKey"),
    ]
)
_CODE: Final = frozenset(["$where", "$function", "$accumulator", "$code", "$scope"])
_FICKLE: Final = frozenset(["$rand", "$sampleRate"])
_MOMENTS: Final = ("$$NOW", "$$CLUSTER_TIME", "$$USER_ROLES")
_VARIABLE: Final = re.compile(r":([A-Za-z_][A-Za-z0-9_]*)")


def check_query(value: Mapping[Any, Any]) -> Query:
    """The query document as it is, or the error that says what is not accepted."""
    if not value:
        raise invalid("must not be empty; leave where out to copy every document")
    _check(value, 0, inside=False)
    return dict(value)


def _check(value: object, depth: int, *, inside: bool) -> None:
    """``inside``: of an expression, whose operators are many and mostly harmless."""
    if depth > MAX_DEPTH:
        raise invalid(f"is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        for name, part in value.items():
            _check_name(name, value, inside=inside)
            _check(part, depth + 1, inside=inside or name == "$expr")
    elif isinstance(value, list | tuple):
        for part in value:
            _check(part, depth + 1, inside=inside)
    elif isinstance(value, str):
        if inside and value.startswith(_MOMENTS):
            raise invalid(f"{value} is another each time; name a variable such as :cutoff instead")
    elif not isinstance(value, int | float | bool | date | None):
        raise invalid(f"cannot hold a value of type {type(value).__name__}")


def _check_name(name: object, beside: Mapping[Any, Any], *, inside: bool) -> None:
    if not isinstance(name, str):
        raise invalid(f"the name {name!r} must be text; put it in quotes")
    if not name.startswith("$"):
        return
    if name in _CODE:
        raise invalid(f"{name} runs code on the server, which is not accepted")
    if name in _FICKLE:
        raise invalid(f"{name} gives another answer each time")
    if name == "$regex" and beside.keys() - {"$regex", "$options"}:
        raise invalid("$regex stands alone, beside $options; put other conditions under $and")
    if not inside and name not in OPERATORS and name not in EXTENDED:
        raise invalid(
            f"{name} is not an operator that is accepted", nearest(name, sorted(OPERATORS))
        )


def placeholders(query: Query) -> frozenset[str]:
    """The variables that stand in it: texts that are ``:name`` as a whole."""
    found = (_VARIABLE.fullmatch(text) for text in _texts(query))
    return frozenset(match[1] for match in found if match)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, str):
        yield value


def fields(query: Query) -> list[str]:
    """The fields at the top that it compares, those under ``$and`` among them."""
    found: list[str] = []
    for name, part in query.items():
        if name == "$and":
            found += [field for one in part for field in fields(one)]
        elif not name.startswith("$"):
            found.append(name)
    return found


def render(query: Query, literals: Mapping[str, str]) -> str:
    """Extended JSON, with the variables' values in place; ``literals`` are extended JSON, too.

    A text that begins with a colon and is no variable is written with two.
    """

    def put(text: str, *, inside: bool) -> Any:
        if match := _VARIABLE.fullmatch(text):
            value = json.loads(literals[match[1]])
            # The server would take it for a field, or for the time.
            named = inside and isinstance(value, str) and value.startswith("$")
            return {"$literal": value} if named else value
        return text[1:] if text.startswith("::") else text

    return json.dumps(_plain(query, put))


def escaped(value: Any) -> Any:
    """A query in which every text means itself."""

    def put(text: str, *, inside: bool) -> str:  # noqa: ARG001
        return f":{text}" if text.startswith(":") else text

    return _plain(value, put)


def text(query: Query) -> str:
    """The same for the eyes, and for the definition: variables by their names."""

    def put(text: str, *, inside: bool) -> str:  # noqa: ARG001
        return text

    return json.dumps(_plain(query, put), ensure_ascii=False)


class _Put(Protocol):
    def __call__(self, text: str, *, inside: bool) -> Any: ...


def _plain(value: Any, put: _Put, *, inside: bool = False) -> Any:
    """``inside``: of an expression, where texts that begin with ``$`` are no texts."""
    if isinstance(value, Mapping):
        return {
            name: _plain(part, put, inside=inside or name == "$expr")
            for name, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(part, put, inside=inside) for part in value]
    if isinstance(value, datetime):
        return {"$date": _moment(value)}
    if isinstance(value, date):
        return {"$date": _moment(datetime.combine(value, time(), UTC))}
    return put(value, inside=inside) if isinstance(value, str) else value


def _moment(value: datetime) -> str:
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
