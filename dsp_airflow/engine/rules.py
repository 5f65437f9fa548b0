"""Rules of a job, as a condition of one system.

The columns are looked up, the values made ones of the columns' types, and each rule is said in the
system's words. What joins them is pushed down to the rules, so that `not` is one of them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from dsp_airflow.config.jobs import TableJob
from dsp_airflow.config.messages import joined
from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.config.rules import (
    LISTS,
    PATTERNS,
    Group,
    Named,
    Not,
    Rule,
    Rules,
    check_value,
)
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import Column, LogicalType, Shape
from dsp_airflow.engine.near import near
from dsp_airflow.engine.ports import Dialect
from dsp_airflow.engine.types import FLOATS, INTEGERS, parse_type

Typed: TypeAlias = bool | int | float | Decimal | str | date | datetime | uuid.UUID
"""A value as a column of its type has it; moments of columns without a zone have none either."""
UNKNOWN: Final = "unknown"
"""Identity of the type of a field that no job says anything of."""
EXACT: Final = ("bool", "uuid")
"""Types that systems sort in different ways."""
TEXTS: Final = ("string", "enum", "set")
MOMENTS: Final = ("date", "timestamp", "timestamptz")
_FREELY: Final = (*TEXTS, *MOMENTS, *INTEGERS, "decimal", *FLOATS, "objectid", *EXACT)
_LONGEST_NUMBER: Final = 34
"""Digits of a whole number that every system compares exactly,"""
_LONGEST_FRACTION: Final = 30
"""and of what is after the point."""
_FLAG: Final = "tinyint(1)"
"""What MySQL has for bool."""


class WrongRule(ConfigError):
    """A rule does not fit its table; `place` is where it stands below the job."""

    def __init__(self, message: str, place: tuple[str | int, ...]) -> None:
        super().__init__(message)
        self.place = place


@runtime_checkable
class Ruled(Protocol):
    """A dialect that rules can be said in."""

    def test(
        self,
        column: Column,
        subject: str,
        operator: str,
        values: Sequence[Typed],
        *,
        opposite: bool,
    ) -> str:
        """The condition that a rule is true, or with ``opposite`` that it is false.

        ``subject`` is the column as the condition names it. Of NULL neither is true, but of
        ``is_null``, ``is_not_null`` and ``exists`` one always is.
        """
        ...

    def either(self, conditions: Sequence[str]) -> str:
        """The condition that one of several is true."""
        ...

    def every(self, conditions: Sequence[str]) -> str:
        """The condition that all of several are true."""
        ...


@dataclass(frozen=True, slots=True)
class Words:
    """What rules are said with: of a job, over a table, in a dialect."""

    job: TableJob | RestoreJob
    shape: Shape
    dialect: Dialect
    variables: Mapping[str, Any]
    """As the run resolved them."""
    subject: Callable[[Column], str]
    """How a condition names a column."""


def said(rules: Rules, words: Words) -> str:
    """The rules as a condition. ``WrongRule`` for one that does not fit the table."""
    dialect = words.dialect
    if not isinstance(dialect, Ruled):
        raise ConfigError(f"job {words.job.name}: where: rules are not for {dialect.name}")
    return _said(rules, words, dialect, opposite=False)


def _said(rules: Rules, words: Words, dialect: Ruled, *, opposite: bool) -> str:
    match rules:
        case Rule():
            column = _column(rules, words)
            values = _values(rules, column, words)
            subject = words.subject(column)
            return dialect.test(column, subject, rules.operator, values, opposite=opposite)
        case Not():
            return _said(rules.part, words, dialect, opposite=not opposite)
        case Group():
            parts = [_said(part, words, dialect, opposite=opposite) for part in rules.parts]
            # Not all is some not.
            every = (rules.word == "all") is not opposite
            return dialect.every(parts) if every else dialect.either(parts)


def _column(rule: Rule, words: Words) -> Column:
    if words.dialect.documents:
        return _field(rule, words)
    if rule.operator == "exists":
        why = "exists is for fields of documents; a column always does: use is_not_null"
        raise _wrong(rule, words, "operator", why)
    found = words.shape.column(rule.column)
    if found is None:
        names = [c.name for c in words.shape.columns]
        why = f"{words.shape.table} has no column {rule.column!r}{near(rule.column, names)}"
        raise _wrong(rule, words, "column", why)
    return found


def _field(rule: Rule, words: Words) -> Column:
    """A field of documents: of the type that the job gives it, or of any."""
    parts = rule.column.split(".")
    if not all(parts) or any(part.startswith("$") or "\0" in part for part in parts):
        why = (
            f"{rule.column!r} is no path of fields; names between the dots are not empty and begin "
            "with no $"
        )
        raise _wrong(rule, words, "column", why)
    columns = words.job.columns if isinstance(words.job, TableJob) else None
    declared = next((c.type for c in columns or () if c.source == rule.column and c.type), None)
    kind = LogicalType("other", identity=UNKNOWN) if declared is None else parse_type(str(declared))
    return Column(
        rule.column,
        kind,
        str(kind) if declared else "a field of any type",
        collation=words.shape.columns[0].collation,
    )


def _refuse_operator(rule: Rule, column: Column, values: Sequence[Typed], words: Words) -> None:
    """What values of this type are not compared by."""
    kind, why = column.type.name, ""
    if _unknown(column):
        kind = kind_of(values[0])
    elif kind not in _FREELY:
        why = (
            "whose values rules do not compare; look for NULL with is_null, or write where as SQL, "
            "or as a query document"
        )
    elif rule.operator in PATTERNS and kind not in TEXTS:
        why = f"and {rule.operator} is for texts"
    if rule.operator not in ("=", "!=", *LISTS) and kind in EXACT:
        why = "which systems sort in different ways; use =, !=, in or not_in"
    if why:
        raise _wrong(rule, words, "operator", f"{rule.column} is {column.native}, {why}")


def _values(rule: Rule, column: Column, words: Words) -> list[Typed]:
    if not rule.values:
        return []
    if not _unknown(column):
        _refuse_operator(rule, column, (), words)
    values = [_value(rule, n, column, words) for n in range(len(rule.values))]
    if _unknown(column):
        _refuse_operator(rule, column, values, words)
    _refuse_mixed(rule, values, words)
    return values


def _value(rule: Rule, number: int, column: Column, words: Words) -> Typed:
    value: Any = rule.values[number]
    many = len(rule.values) > 1 or rule.operator in LISTS
    place = ("value", number) if many else ("value",)
    told = ""
    if isinstance(value, Named):
        told, value = f":{value.name} is ", words.variables[value.name]
    try:
        check_value(rule.operator, value)
        return typed(value, column)
    except ValueError as error:
        why = f"{told}{value!r}, and {error}" if told else f"{value!r}: {error}"
        raise _wrong(rule, words, place, why) from error


def typed(value: Any, column: Column) -> Typed:
    """The value as one of the column's type. ``ValueError`` when it is none."""
    kind = column.type.name
    match value:
        case bool():
            if kind == "bool" or _unknown(column) or column.native.startswith(_FLAG):
                return value
        case int() | float() | Decimal():
            if kind in INTEGERS or kind in ("decimal", *FLOATS) or _unknown(column):
                return _number(value, column)
        case datetime() | date():
            if kind in MOMENTS or _unknown(column):
                return _moment(value, kind)
        case str():
            if kind in TEXTS or _unknown(column):
                return value
            if kind in ("uuid", "objectid"):
                return _identifier(value, kind)
    wanted = _WANTED.get(kind, "number" if kind in INTEGERS or kind in FLOATS else kind)
    raise ValueError(f"{column.name} is {column.native}: write a {wanted}")


_WANTED: Final = {
    **dict.fromkeys(TEXTS, "text (in quotes, where YAML would read a number or a date)"),
    **dict.fromkeys(MOMENTS, "date or time without quotes, or a variable such as now-90d"),
    "bool": "truth value, true or false",
    "decimal": "number",
    "uuid": "text such as 01234567-89ab-cdef-0123-456789abcdef",
    "objectid": "text of 24 hex digits",
}


def _unknown(column: Column) -> bool:
    return column.type.identity == UNKNOWN


def _number(value: float | Decimal, column: Column) -> Typed:
    if column.type.name in FLOATS:
        return float(value)
    if isinstance(value, int) and len(str(abs(value))) > _LONGEST_NUMBER:
        raise ValueError(f"a number has {_LONGEST_NUMBER} digits at most")
    if isinstance(value, float) and not _unknown(column):
        # As it was written: 0.1 is a tenth.
        exact = Decimal(repr(value))
        if exact.adjusted() >= _LONGEST_NUMBER or exact.as_tuple().exponent < -_LONGEST_FRACTION:  # type: ignore[operator]
            raise ValueError(
                f"a number has {_LONGEST_NUMBER} digits at most, and {_LONGEST_FRACTION} after the "
                "point"
            )
        return exact
    return value


def _moment(value: date, kind: str) -> Typed:
    if not isinstance(value, datetime):
        if kind == "date":
            return value
        value = datetime.combine(value, time())
    aware = value if value.utcoffset() is not None else value.replace(tzinfo=UTC)
    aware = aware.astimezone(UTC)
    return aware.replace(tzinfo=None) if kind in ("date", "timestamp") else aware


def _identifier(value: str, kind: str) -> Typed:
    if kind == "uuid":
        try:
            return uuid.UUID(value)
        except ValueError:
            raise ValueError(f"write a {_WANTED['uuid']}") from None
    if len(value) != 24 or set(value.lower()) - set("0123456789abcdef"):
        raise ValueError(f"write a {_WANTED['objectid']}")
    return value.lower()


def kind_of(value: Typed) -> str:
    """What kind of value it is: those of one kind are compared with each other."""
    match value:
        case bool():
            return "bool"
        case int() | float() | Decimal():
            return "number"
        case date():
            return "date"
        case uuid.UUID():
            return "uuid"
        case _:
            return "text"


def _refuse_mixed(rule: Rule, values: Sequence[Typed], words: Words) -> None:
    """A rule looks at values of one type, so that its opposite is known."""
    kinds = list(dict.fromkeys(kind_of(value) for value in values))
    if len(kinds) > 1:
        raise _wrong(
            rule,
            words,
            "value",
            f"has a {kinds[0]} and a {kinds[1]}; a rule compares with values "
            "of one type: write one for each, under any",
        )


def _wrong(rule: Rule, words: Words, where: str | tuple[str | int, ...], message: str) -> WrongRule:
    place = ("where", *rule.place, *((where,) if isinstance(where, str) else where))
    path = ""
    for step in place:
        path = joined(path, step)
    return WrongRule(f"job {words.job.name}: {path}: {message}", place)
