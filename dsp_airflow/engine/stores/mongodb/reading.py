"""How a column is read from documents, and what becomes of a value that it cannot hold.

A reading is the ``expression`` of a ``Field``: JSON, so that a plan can be stored.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Final, TypeAlias

from bson import Decimal128
from bson.datetime_ms import DatetimeMS
from pydantic import TypeAdapter

from dsp_airflow.engine.canon.mongodb import (
    Misfit,
    json_text,
    moment_text,
    mongodb_text,
    type_name,
)
from dsp_airflow.engine.keeps import Keeps, changed
from dsp_airflow.engine.model import Absent, LogicalType, OnLoss
from dsp_airflow.engine.types import FLOATS, INTEGERS

MISSING: Final = object()
"""What is found where a document has no such field."""
WHOLE: Final = "document"
"""Name of the column that holds a document as it is, all of its bytes."""
KEY: Final = "_id"


@dataclass(frozen=True, slots=True)
class Reading:
    """A path into documents; ``declared`` is the type that its values are meant to have.

    ``absent``: what is read where there is no such field. ``whole``: not a field but the bytes of
    the document (``declared`` bytes), or its key as extended JSON (``declared`` string).
    ``keeps``: what the column keeps of the type's values, where that is not all.
    """

    path: str
    declared: LogicalType | None = None
    absent: Absent = "null"
    on_loss: OnLoss = "error"
    whole: bool = False
    keeps: Keeps | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The names on the way."""
        return tuple(self.path.split("."))

    def text(self) -> str:
        """As the expression of a field."""
        return json.dumps(asdict(self), sort_keys=True)


_READINGS: Final = TypeAdapter(Reading)


def reading_of(expression: str) -> Reading:
    """The inverse of ``Reading.text``."""
    return _READINGS.validate_json(expression)


@dataclass(frozen=True, slots=True)
class Used:
    """What a policy made of a field: the text, and the rule that it took."""

    text: str | None
    rule: str


def read(
    document: Mapping[str, Any], reading: Reading, parts: Sequence[str], kind: LogicalType
) -> str | Used | None:
    """The field's canonical text at ``kind``, ``parts`` being those of the path.

    Raises ``Misfit`` where the policy is an error.
    """
    try:
        value = found_at(document, parts)
    except Misfit:
        if reading.on_loss == "error":
            raise
        return _instead(_first(document, parts), reading, kind)
    if value is None:
        return None
    if value is MISSING:
        if reading.absent == "error":
            raise Misfit("the document has no such field")
        return Used(None, "missing")
    try:
        return _kept(_text(value, reading.declared or kind, kind), kind, reading)
    except Misfit:
        if reading.on_loss == "error":
            raise
        return _instead(value, reading, kind)


def read_text(document: Mapping[str, Any], reading: Reading, kind: LogicalType) -> str | None:
    """The same, whatever it took."""
    made = read(document, reading, reading.parts, kind)
    return made.text if isinstance(made, Used) else made


def found_at(document: Any, parts: Sequence[str]) -> Any:
    """The value at the end of a path, or ``MISSING``; ``Misfit`` where the way is barred.

    A number leads into a list. Through null leads no way, and nothing bars it.
    """
    if len(parts) == 1:
        return document.get(parts[0], MISSING)
    value = document
    for n, part in enumerate(parts):
        if isinstance(value, dict):
            value = value.get(part, MISSING)
        elif isinstance(value, list) and part.isdecimal():
            value = value[int(part)] if int(part) < len(value) else MISSING
        else:
            at = ".".join(parts[:n])
            raise Misfit(f"{at} is of type {type_name(value)}, and has no fields")
        if value is MISSING or (value is None and n < len(parts) - 1):
            return MISSING
    return value


def _first(document: Mapping[str, Any], parts: Sequence[str]) -> Any:
    """The last value that can be reached on a path that is barred."""
    for n in range(len(parts) - 1, 0, -1):
        try:
            return found_at(document, parts[:n])
        except Misfit:
            continue
    return None


def reads(declared: LogicalType, kind: LogicalType) -> bool:
    """Whether values of the one type can be read at the other."""
    if declared.name == kind.name:
        return declared.element == kind.element
    if kind.name == "string":
        return True
    if declared.name == "objectid":
        return kind.name == "bytes"
    if declared.name == "bool":
        return kind.name in INTEGERS
    numbers = (*INTEGERS, *FLOATS, "decimal")
    moments = ("date", "timestamp", "timestamptz")
    groups = (numbers, moments, ("enum", "set", "string"))
    return any(declared.name in group and kind.name in group for group in groups)


def _kept(text: str | None, kind: LogicalType, reading: Reading) -> str | None:
    """The text, if the column keeps it as it is."""
    keeps = reading.keeps
    if keeps is not None and text is not None and (why := changed(text, kind, keeps)):
        raise Misfit(why)
    return text


def _text(value: Any, declared: LogicalType, kind: LogicalType) -> str | None:
    if declared.name == kind.name:
        return mongodb_text(value, kind)
    if kind.name == "string":
        text = mongodb_text(value, declared)
        return text if text is None else mongodb_text(text, kind)
    if declared.name in ("objectid", "bool"):
        text = mongodb_text(value, declared)
        if text is None or declared.name == "bool":
            # A truth value is told as the number that it is elsewhere.
            return text
        return mongodb_text(bytes.fromhex(text), kind)
    return mongodb_text(value, kind)


def _instead(value: Any, reading: Reading, kind: LogicalType) -> Used:
    rule = reading.on_loss
    if rule == "null":
        return Used(None, rule)
    if rule == "text":
        return Used(plain_text(value), rule)
    near = _nearest(value, kind)
    if reading.keeps is not None and not reading.keeps.blanks:
        near = near.rstrip(" ")
    return Used(_kept(near, kind, reading), rule)


def plain_text(value: Any) -> str:
    """A value of any type as a text: itself, or JSON."""
    if isinstance(value, str) and type_name(value) == "string":
        return value
    for name in ("bool", "objectid", "uuid", "timestamptz"):
        try:
            text = mongodb_text(value, LogicalType(name))
        except Misfit:
            continue
        if text is not None:
            return text if name != "bool" else json_text(value)
    return json_text(value)


CLAMPED: Final = frozenset({*INTEGERS, "bytes", "date", "string"})
"""Types that have a value nearest to what they do not hold."""


def _nearest(value: Any, kind: LogicalType) -> str:
    """Numbers are rounded and cut off, moments lose their time, bytes their subtype."""
    if kind.name in INTEGERS and not isinstance(value, bool):
        low, high = INTEGERS[kind.name]
        if isinstance(value, int | float | Decimal128):
            number = Decimal(str(value))
            if not number.is_nan():
                inside = low if number < low else high if number > high else number
                return str(int(Decimal(inside).to_integral_value()))
    if kind.name == "bytes" and isinstance(value, bytes):
        return bytes(value)[: kind.length].hex()
    if kind.name == "date" and isinstance(value, DatetimeMS):
        return moment_text(int(value)).partition("T")[0]
    if kind.name == "string" and type_name(value) == "string":
        return str(value)[: kind.length]
    raise Misfit(f"{kind} has no value that is nearest to one of type {type_name(value)}")


# What no column holds


Tree: TypeAlias = "dict[str, Tree | None]"
"""Names of mapped fields; ``None`` where a column holds all that is there."""


def tree_of(paths: Collection[Sequence[str]]) -> Tree:
    """The paths by their first names."""
    found: Tree = {}
    for parts in paths:
        at: Tree | None = found
        for part in parts[:-1]:
            if at is None:
                break
            at = at.setdefault(part, {})
        if at is not None:
            at[parts[-1]] = None
    return found


def unmapped(value: Any, tree: Tree, before: str = "") -> Iterator[str]:
    """Paths of a document that no column holds."""
    items = value.items() if isinstance(value, dict) else ((str(n), v) for n, v in enumerate(value))
    empty = True
    for name, inner in items:
        empty = False
        path = before + name
        beneath = tree.get(name, {})
        if beneath is None:
            continue
        if not beneath or (inner is not None and not isinstance(inner, dict | list)):
            yield path
        elif inner is not None:
            yield from unmapped(inner, beneath, f"{path}.")
    if empty and before:
        yield before[:-1]


def is_accepted(path: str, accepted: Collection[str]) -> bool:
    """Whether the loss of this field was accepted, by its name or that of what it is part of."""
    parts = path.split(".")
    return "*" in accepted or any(".".join(parts[:n]) in accepted for n in range(1, len(parts) + 1))
