"""Reads rules from what YAML gives, and tells everything that is wrong with them at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from dsp_airflow.config.errors import listed, nearest
from dsp_airflow.config.findings import Finding, Location, invalid, invalid_together
from dsp_airflow.config.rules import (
    BARE,
    GROUPS,
    KEYS,
    LISTS,
    MAX_DEPTH,
    MOST_RULES,
    MOST_VALUES,
    OPERATORS,
    TELLING,
    Group,
    Named,
    Not,
    Rule,
    Rules,
    Value,
    Word,
    check_value,
)

_VARIABLE: Final = re.compile(r":([A-Za-z_][A-Za-z0-9_]*)")
_MEANT: Final = {
    "==": "=",
    "<>": "!=",
    "=<": "<=",
    "=>": ">=",
    "eq": "=",
    "equals": "=",
    "ne": "!=",
    "lt": "<",
    "lte": "<=",
    "le": "<=",
    "gt": ">",
    "gte": ">=",
    "ge": ">=",
    "nin": "not_in",
    "not in": "not_in",
    "is null": "is_null",
    "is not null": "is_not_null",
    "startswith": "starts_with",
    "prefix": "starts_with",
    "includes": "contains",
}
_AS_FIELD: Final = (
    "to compare a field of documents that is called so, put it under $and: {$and: [{%s: ...}]}"
)
_ONE: Final = "must be one value; for a list of them use in"
_MANY: Final = {
    "in": "must be a list of values, such as [open, paid]",
    "not_in": "must be a list of values, such as [open, paid]",
    "between": "must be a list of two values, the lower and the upper one",
}


def are_rules(value: Mapping[Any, Any]) -> bool:
    """Whether a mapping under `where` is rules, and not a query document of MongoDB.

    One that has keys of both is refused, for nobody could tell what it means.
    """
    telling = [key for key in value if key in TELLING]
    signs = [key for key in value if isinstance(key, str) and key.startswith("$")]
    if telling and signs:
        raise invalid(
            f"has {telling[0]}, as rules do, and {signs[0]}, as query documents do; write one of "
            f"the two, and {_AS_FIELD % telling[0]}"
        )
    return bool(telling)


def parse_rules(value: Mapping[Any, Any]) -> Rules:
    """The rules, or everything that is wrong with them."""
    reader = _Reader(next(key for key in value if key in TELLING))
    try:
        return reader.read(value, (), 0)
    except _Wrong as error:
        raise invalid_together(error.findings) from None


class _Wrong(Exception):
    def __init__(self, *findings: Finding) -> None:
        super().__init__(findings)
        self.findings = findings


def _wrong(place: Location, message: str, value: object = None, near: str | None = None) -> _Wrong:
    return _Wrong(Finding(place, message, _told(value), near, involves=frozenset({"where"})))


class _Reader:
    def __init__(self, first: str) -> None:
        self._rules = 0
        self._as_field = f"; {_AS_FIELD % first}"

    def read(self, value: Any, place: Location, depth: int) -> Rules:
        if depth > MAX_DEPTH:
            raise _wrong(place, f"is nested more than {MAX_DEPTH} levels deep")
        if not isinstance(value, Mapping):
            hint = self._as_field if place == ("not",) else ""
            message = f"must be a rule, such as {{column: status, operator: is_null}}{hint}"
            raise _wrong(place, message)
        if not value:
            raise _wrong(place, "is empty; write a rule, or remove it")
        self._refuse_unknown(value, place)
        groups = [key for key in GROUPS if key in value]
        if not groups:
            return self._rule(value, place)
        if len(value) > 1:
            raise _wrong(
                place,
                f"has {' and '.join(map(str, value))}; {groups[0]} stands alone, and rules are "
                "joined inside of all or any",
            )
        if "all" in value:
            return self._group("all", value["all"], place, depth)
        if "any" in value:
            return self._group("any", value["any"], place, depth)
        return Not(self.read(value["not"], (*place, "not"), depth + 1))

    def _refuse_unknown(self, value: Mapping[Any, Any], place: Location) -> None:
        words = (*GROUPS, *KEYS)
        found: list[Finding] = []
        for key in value:
            if key in words:
                continue
            near = nearest(key, words)
            hint = "" if near else f"; rules have {listed(words)}"
            if not place or str(key).startswith("$"):
                hint += self._as_field
            wrong = _wrong((*place, str(key)), f"is not a key of a rule{hint}", key, near)
            found += wrong.findings
        if found:
            raise _Wrong(*found)

    def _group(self, word: Word, value: Any, place: Location, depth: int) -> Group:
        hint = "" if place else self._as_field
        place = (*place, word)
        if not isinstance(value, list | tuple) or not value:
            raise _wrong(place, f"must be a list of rules, of at least one{hint}")
        parts: list[Rules] = []
        found: list[Finding] = []
        for number, part in enumerate(value):
            try:
                parts.append(self.read(part, (*place, number), depth + 1))
            except _Wrong as error:
                found += error.findings
        if found:
            raise _Wrong(*found)
        return Group(word, tuple(parts))

    def _rule(self, value: Mapping[Any, Any], place: Location) -> Rule:
        self._rules += 1
        if self._rules == MOST_RULES + 1:
            raise _wrong(place, f"is one rule more than the {MOST_RULES:,} that are accepted")
        for key in ("column", "operator"):
            if key not in value:
                hint = "" if place else self._as_field
                raise _wrong(place, f"the key {key} is missing{hint}")
        column, operator = value["column"], value["operator"]
        found: list[Finding] = []
        if not isinstance(column, str) or not column:
            wrong = _wrong((*place, "column"), "must be the name of a column, as text", column)
            found += wrong.findings
        if not isinstance(operator, str) or operator not in OPERATORS:
            near = _MEANT.get(str(operator).lower()) or nearest(operator, OPERATORS)
            # A lone > begins a text of several lines.
            hint = '; a sign goes in quotes: ">"' if operator == "" else ""
            message = f"must be {listed(OPERATORS)}{hint}"
            found += _wrong((*place, "operator"), message, operator, near).findings
        if found:
            raise _Wrong(*found)
        return Rule(column, operator, _values(operator, value, place), place)


def _values(operator: str, rule: Mapping[Any, Any], place: Location) -> tuple[Value, ...]:
    if operator in BARE:
        if "value" in rule:
            raise _wrong((*place, "value"), f"is not used with {operator}; remove it")
        return ()
    if "value" not in rule:
        raise _wrong(place, f"the key value is missing, which {operator} compares with")
    given, place = rule["value"], (*place, "value")
    many = operator in _MANY
    if many is not isinstance(given, list | tuple):
        raise _wrong(place, _MANY[operator] if many else _ONE, given)
    if not many:
        return (_value(operator, given, place),)
    if operator == "between" and len(given) != 2:
        raise _wrong(place, _MANY[operator])
    if operator in LISTS and not 1 <= len(given) <= MOST_VALUES:
        raise _wrong(place, f"must have from 1 to {MOST_VALUES:,} values")
    return tuple(_value(operator, entry, (*place, n)) for n, entry in enumerate(given))


def _value(operator: str, value: Any, place: Location) -> Value:
    if value is None:
        raise _wrong(place, "must not be null, which equals nothing; use is_null")
    if not isinstance(value, str | int | float | bool | date):
        raise _wrong(place, "must be text, a number, true, false, a date or :name")
    if isinstance(value, str):
        if match := _VARIABLE.fullmatch(value):
            return Named(match[1])
        value = value[1:] if value.startswith("::") else value
    try:
        check_value(operator, value)
    except ValueError as error:
        raise _wrong(place, str(error), value) from None
    constant: Value = value
    return constant


def _told(value: object) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return None if isinstance(value, Mapping | list | tuple) or value is None else str(value)
