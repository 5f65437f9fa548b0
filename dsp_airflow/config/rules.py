"""Filters as rules: column, operator and value, joined by `all`, `any` and `not`.

They mean the same on every system. A rule is true for a value that is there, of the rule's own
type, and matches; its `not` for one that is there, of that type, and does not. So neither is true
of NULL. Texts are compared character by character, by code point.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final, Literal, TypeAlias

from dsp_airflow.config.findings import Location
from dsp_airflow.config.variables import Constant

Word: TypeAlias = Literal["all", "any"]

COMPARISONS: Final = ("=", "!=", "<", "<=", ">", ">=")
LISTS: Final = ("in", "not_in")
PATTERNS: Final = ("like", "starts_with", "contains")
BARE: Final = ("is_null", "is_not_null", "exists")
"""Operators without a value."""
OPERATORS: Final = (*COMPARISONS, *LISTS, "between", *PATTERNS, *BARE)
MAX_DEPTH: Final = 50
MOST_RULES: Final = 1_000
MOST_VALUES: Final = 1_000
"""In the list of one rule."""
LONGEST_PATTERN: Final = 1_000

GROUPS: Final = ("all", "any", "not")
KEYS: Final = ("column", "operator", "value")
TELLING: Final = (*GROUPS, "column", "operator")
"""Keys by which a mapping is rules. A field of documents may well be called value."""


@dataclass(frozen=True, slots=True)
class Named:
    """The value that a variable has in the run."""

    name: str


Value: TypeAlias = Constant | Named


@dataclass(frozen=True, slots=True)
class Rule:
    """One column, compared. `place` is where it stands below `where`."""

    column: str
    operator: str
    values: tuple[Value, ...]
    place: Location = ()


@dataclass(frozen=True, slots=True)
class Not:
    """True where its part is false."""

    part: Rules


@dataclass(frozen=True, slots=True)
class Group:
    """Several, joined."""

    word: Word
    parts: tuple[Rules, ...]


Rules: TypeAlias = Rule | Not | Group


def check_value(operator: str, value: Constant) -> None:
    """``ValueError`` for a value that the operator cannot mean, whatever the column."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a number that is finite")
    if isinstance(value, str) and "\0" in value:
        raise ValueError("must not hold the character NUL, which texts of PostgreSQL cannot")
    if operator not in PATTERNS:
        return
    text = value if isinstance(value, str) else None
    if text is None:
        raise ValueError(f"must be text, as {operator} looks at texts")
    if len(text) > LONGEST_PATTERN:
        raise ValueError(f"must not be longer than {LONGEST_PATTERN:,} characters")
    if not text:
        raise ValueError("must not be empty; for empty texts use =, for all of them is_not_null")
    pattern(operator, text)


@dataclass(frozen=True, slots=True)
class Wild:
    """A place in a pattern that any character fills, or any number of them."""

    many: bool


def pattern(operator: str, text: str) -> list[str | Wild]:
    """What a text must look like, as pieces of text and places between them.

    ``ValueError`` for a backslash at the end, which systems read in different ways.
    """
    if operator == "starts_with":
        return [text, Wild(many=True)]
    if operator == "contains":
        return [Wild(many=True), text, Wild(many=True)]
    found: list[str | Wild] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char in "%_":
            found.append(Wild(many=char == "%"))
        else:
            if char == "\\":
                at += 1
                if at == len(text):
                    raise ValueError(r"must not end with a single \, which stands before a sign")
                char = text[at]
            if found and isinstance(found[-1], str):
                char = found.pop() + char  # type: ignore[operator]
            found.append(char)
        at += 1
    return found


def every_rule(rules: Rules) -> Iterator[Rule]:
    """The rules without what joins them, in the order in which they stand."""
    match rules:
        case Rule():
            yield rules
        case Not():
            yield from every_rule(rules.part)
        case Group():
            for part in rules.parts:
                yield from every_rule(part)


def placeholders(rules: Rules) -> dict[str, Location]:
    """The variables that stand in them, each with the first place."""
    found: dict[str, Location] = {}
    for rule in every_rule(rules):
        many = rule.operator in LISTS or rule.operator == "between"
        for n, value in enumerate(rule.values):
            if isinstance(value, Named):
                place = (*rule.place, "value", n) if many else (*rule.place, "value")
                found.setdefault(value.name, place)
    return found


def columns(rules: Rules) -> list[str]:
    """The columns that are looked at."""
    return sorted({rule.column for rule in every_rule(rules)})


def text(rules: Rules) -> str:
    """For the definition: values keep their types, variables their names."""
    return json.dumps({"rules": _plain(rules)}, ensure_ascii=False)


def _plain(rules: Rules) -> Any:
    match rules:
        case Rule():
            return [rules.column, rules.operator, [_typed(value) for value in rules.values]]
        case Not():
            return {"not": _plain(rules.part)}
        case Group():
            return {rules.word: [_plain(part) for part in rules.parts]}


def _typed(value: Value) -> Any:
    match value:
        case Named():
            return {"variable": value.name}
        case datetime():
            aware = value.astimezone(UTC) if value.utcoffset() is not None else value
            return {"datetime": aware.isoformat()}
        case date():
            return {"date": value.isoformat()}
        case float():
            return {"float": repr(value)}
        case _:
            return value
