"""The words: names, literals, and filters, which compare columns with literals, joined by AND."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any, Final, TypeAlias

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import (
    Column,
    Converted,
    Fit,
    KeyColumn,
    LogicalType,
    OnLoss,
    Shape,
    Window,
)
from dsp_airflow.engine.stores.memory.values import Row, from_text
from dsp_airflow.engine.types import INTEGERS

Name: TypeAlias = tuple[str, str]

_PART: Final = r'"(?:[^"]|"")+"|[^".]+'


def quote(identifier: str) -> str:
    """A quoted identifier."""
    return '"' + identifier.replace('"', '""') + '"'


def unquoted(text: str) -> str:
    """The identifier that a word of this dialect names."""
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def split_name(table: str) -> Name:
    """Schema and name of ``schema.name``, quoted or not; the schema is ``main`` when left out."""
    match = re.fullmatch(rf"(?:({_PART})\.)?({_PART})", table)
    if match is None:
        raise ConfigError(f"table {table!r} is not a name: write table or schema.table")
    return unquoted(match[1] or "main"), unquoted(match[2])


class MemoryDialect:
    """See ``ports.Dialect``."""

    name = "postgres"
    documents = False

    def quote(self, identifier: str) -> str:
        return quote(identifier)

    def literal(self, value: object) -> str:
        if value is None:
            return "NULL"
        if isinstance(value, bool | int | Decimal | float):
            return str(value)
        text = value.isoformat() if isinstance(value, date) else str(value)
        return "'" + text.replace("'", "''") + "'"

    def qualified(self, shape: Shape) -> str:
        return f"{quote(shape.schema)}.{quote(shape.name)}"

    def in_window(self, column: Column, window: Window, *, endless: bool) -> str:
        if endless:
            raise ConfigError("the memory store cannot include rows without a cursor")
        name = quote(column.name)
        bounds = [(">=", window.after), ("<=", window.upto)]
        parts = [f"{name} {sign} {self._bound(column, at)}" for sign, at in bounds if at]
        return " AND ".join(parts) if window.upto else f"{name} IS NULL AND {name} IS NOT NULL"

    def _bound(self, column: Column, text: str) -> str:
        return text if column.type.name in INTEGERS else self.literal(text)

    def without_cursor(self, column: Column) -> str:
        return f"{quote(column.name)} IS NULL"

    def markers(self, shape: Shape) -> str:
        return f'{quote(shape.schema)}."dsp_commits"'

    def key_column(self, column: Column) -> KeyColumn:
        return KeyColumn(quote(column.name), column.native)

    def native(self, kind: LogicalType) -> str:
        return str(kind)

    def held(self, kind: LogicalType) -> LogicalType:
        return kind

    def said(self, column: Column) -> str:
        return str(column.type)

    def compared(self, kind: LogicalType) -> LogicalType:
        return kind

    def at(self, expression: str, kind: LogicalType) -> str:
        return f"({expression})::{kind}"

    def typed(self, expression: str, native_type: str) -> str:
        return f"({expression})::{native_type}"

    def as_text(self, expression: str) -> str:
        return f"{expression}::text"

    def caveat(self, source: Column, target: Column) -> str:
        del source, target
        return ""

    def plain(self, column: Column) -> str:
        return quote(column.name)

    def utf8(self, column: Column) -> bool:
        del column
        return False

    def binary(self, source: Column, target: Column) -> bool:
        del source, target
        return True

    def across(self, made: Converted, _target: Column, _key: str, _system: str) -> Converted:
        return made

    def converted(
        self, expression: str, source: Column, target: Column, fit: Fit, on_loss: OnLoss, key: str
    ) -> Converted:
        # A value is converted when it is read, and refused if it does not fit.
        del source, fit, on_loss, key
        return Converted(expression, target.native)

    def policy_refusal(self, source: Column, target: Column, on_loss: OnLoss) -> str:
        del source, target
        return f"the memory store knows no on_loss: {on_loss}" if on_loss != "error" else ""


_LITERAL: Final = re.compile(r"'((?:[^']|'')*)'|(-?\d+(?:\.\d+)?)|(true|false)|(null)", re.I)
_CONDITION: Final = re.compile(
    r"\(*\s*(\"(?:[^\"]|\"\")+\"|\w+)\s*(?:"
    rf"(<=|>=|<>|!=|=|<|>)\s*\(?({_LITERAL.pattern})\)?"
    r"|(is\s+not\s+null|is\s+null))\s*\)*",
    re.I,
)
_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def literal_value(text: str) -> Any:
    """The value of a literal of this dialect."""
    match = _LITERAL.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is no literal that the memory store knows")
    quoted, number, flag, _ = match.groups()
    if quoted is not None:
        return quoted.replace("''", "'")
    if number is not None:
        return Decimal(number) if "." in number else int(number)
    return flag.lower() == "true" if flag else None


def row_filter(where: str | None, shape: Shape) -> Callable[[Row], bool]:
    """The rows that a condition keeps: comparisons of a column with a literal, joined by AND."""
    parts = re.split(r"\s+and\s+", where or "", flags=re.I) if where else []
    tests = [_condition(part, shape) for part in parts]
    return lambda row: all(test(row) for test in tests)


def _condition(text: str, shape: Shape) -> Callable[[Row], bool]:
    match = _CONDITION.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is no condition that the memory store knows")
    at = position(shape, unquoted(match[1]))
    if match[8] is not None:
        wanted = "not" in match[8].lower()
        return lambda row: (row[at] is not None) is wanted
    compare, value = _OPERATORS[match[2]], literal_value(match[3])
    if isinstance(value, str):
        value = from_text(value, shape.columns[at].type)
    return lambda row: row[at] is not None and compare(row[at], value)


def position(shape: Shape, column: str) -> int:
    """Where in a row the column is."""
    for n, candidate in enumerate(shape.columns):
        if candidate.name == column:
            return n
    raise ConfigError(f"{shape.table} has no column {column!r}")
