"""Values of the types of ``canon``: read from canonical texts, converted from type to type."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeAlias
from uuid import UUID

from dsp_airflow.engine import canon
from dsp_airflow.engine.errors import BadValue
from dsp_airflow.engine.model import LogicalType
from dsp_airflow.engine.types import FLOATS, INTEGERS

Row: TypeAlias = tuple[Any, ...]


def from_text(text: str, kind: LogicalType) -> Any:
    """The value of a canonical text; ``ValueError`` when it is none of this type."""
    if kind.name in INTEGERS:
        return int(text)
    if kind.name in FLOATS:
        pattern = "f" if kind.name == "float32" else "d"
        return struct.unpack(pattern, struct.pack(pattern, float(text)))[0]
    parse = _PARSERS.get(kind.name)
    if parse is None:
        raise ValueError(f"no values of type {kind} here")
    return parse(text, kind)


def _moment(parse: Callable[[str], Any]) -> Callable[[str, LogicalType], Any]:
    def parsed(text: str, _kind: LogicalType) -> Any:
        try:
            return parse(text)
        except ValueError:
            return text  # Infinity, and years that Python has no value for.

    return parsed


def _list_of(text: str, kind: LogicalType) -> list[Any]:
    if kind.element is None:
        raise ValueError(f"no values of type {kind} here")
    count, _, rest = text.partition(":")
    values: list[Any] = []
    for _ in range(int(count)):
        if rest.startswith("N"):
            values.append(None)
            rest = rest[1:]
            continue
        octets, _, rest = rest.partition(":")
        value = rest.encode()[: int(octets)].decode()
        values.append(from_text(value, kind.element))
        rest = rest[len(value) :]
    return values


def _flag(text: str, _kind: LogicalType) -> bool:
    return {"0": False, "1": True}[text]


_PARSERS: Final[dict[str, Callable[[str, LogicalType], Any]]] = {
    "bool": _flag,
    "decimal": lambda text, _: Decimal(text),
    "string": lambda text, _: text,
    "enum": lambda text, _: text,
    "bytes": lambda text, _: bytes.fromhex(text),
    "date": _moment(date.fromisoformat),
    "time": _moment(time.fromisoformat),
    "timestamp": _moment(datetime.fromisoformat),
    "timestamptz": _moment(datetime.fromisoformat),
    "duration": lambda text, _: text,
    "uuid": lambda text, _: UUID(text),
    "json": lambda text, _: json.loads(text, parse_float=Decimal),
    "list": _list_of,
}


def converted(value: Any, source: LogicalType, target: LogicalType, label: str) -> Any:
    """The value at the target's type; ``BadValue`` when it does not fit."""
    if value is None:
        return None
    try:
        text = canon.python_text(value, source) or ""
        found = value if source == target else from_text(_plain(text, source, target), target)
        kept = canon.python_text(found, target) or ""
    except (ValueError, TypeError, KeyError, InvalidOperation) as error:
        raise BadValue(f"{label}: value {value!r} does not fit type {target}") from error
    if target.length is not None and len(kept) > target.length * (
        2 if isinstance(found, bytes) else 1
    ):
        raise BadValue(f"{label}: value {value!r} is longer than {target}")
    return found


def _plain(text: str, source: LogicalType, target: LogicalType) -> str:
    whole = target.name in INTEGERS and source.name == "decimal" and "." in text
    return text.rstrip("0").rstrip(".") if whole else text
