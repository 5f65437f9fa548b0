"""What a job goes by that takes its table step by step: where it begins, how far, up to where."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, TypeAlias, cast
from zoneinfo import ZoneInfo

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from dsp_airflow.config.base import Model
from dsp_airflow.config.findings import Finding, invalid, invalid_together
from dsp_airflow.config.hours import zone_named
from dsp_airflow.config.variables import TimeVariable, Unit, parse_variable

Point: TypeAlias = int | Decimal | date | datetime
"""A place in the column: a number, a day or a time."""

_SIZE = re.compile(r"([1-9][0-9]{0,8})([smhdwMy])", re.ASCII)
_LAST_DAY = 28
"""That every month has."""


@dataclass(frozen=True, slots=True)
class Size:
    """How far a step goes: so many, or so many units of time."""

    amount: int | Decimal
    unit: Unit | None = None

    def __str__(self) -> str:
        return f"{self.amount}{self.unit or ''}"


def point_text(point: Point | TimeVariable) -> str:
    """As it may stand in a task file."""
    return point.isoformat() if isinstance(point, date) else str(point)


def _number(value: int | float | Decimal) -> int | Decimal:
    number = value if isinstance(value, int | Decimal) else Decimal(repr(value))
    if isinstance(number, Decimal) and not number.is_finite():
        raise invalid("must be a finite number")
    return number


def parse_point(value: object) -> Point:
    """A number, or a day or time as YAML or ISO 8601 has it."""
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return _number(value)
    if isinstance(value, date):
        return value
    if isinstance(value, str):
        for parse in (date.fromisoformat, datetime.fromisoformat):
            try:
                return parse(value)
            except ValueError:
                continue
    raise invalid("must be a number, a day such as 2024-01-01, or a time such as 2024-01-01T06:00Z")


def _size(value: object) -> Size:
    if isinstance(value, Size):
        return value
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        amount = _number(value)
        if amount > 0:
            return Size(amount)
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise invalid(
            "must be a number above 0, or a whole number and a unit s, m (minutes), h, d, w, M "
            "(months) or y, such as 1d or 1M"
        )
    return Size(int(match[1]), cast("Unit", match[2]))


def _end(value: object) -> Point | TimeVariable:
    found = parse_variable(value) if isinstance(value, str) else value
    return found if isinstance(found, TimeVariable) else parse_point(found)


def _zone(value: object) -> ZoneInfo:
    if isinstance(value, ZoneInfo):
        return value
    if not isinstance(value, str):
        raise invalid("must be the name of a time zone, such as Europe/Vienna")
    return zone_named(value)


_POINT = {"anyOf": [{"type": "string"}, {"type": "number"}]}


class Step(Model):
    """The part of a table that one run takes, and the next one goes on behind it."""

    column: Annotated[str, Field(min_length=1)] = Field(
        description=(
            "Source column that rows are told apart by, and that stays as it is once a row is "
            "there: a time, a date, a whole number or a decimal. Of MongoDB's documents the path "
            "of a field with dates or numbers. An index on it keeps a run as short as its step."
        ),
        examples=["created_at"],
    )
    start: Annotated[Point, PlainValidator(parse_point), WithJsonSchema(_POINT)] = Field(
        description=(
            "Where the first step begins: a number, a day or a time. Once a step is through, the "
            "next one begins where it ended; dsp cursor shows that, sets it and forgets it."
        ),
        examples=["2024-01-01"],
    )
    size: Annotated[
        Size,
        PlainValidator(_size),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "pattern": "^[1-9][0-9]{0,8}[smhdwMy]$"},
                    {"type": "number", "exclusiveMinimum": 0},
                ]
            }
        ),
    ] = Field(
        description=(
            "How far a step goes, from its beginning to just before the next one's: a number, or "
            "an amount of time with units s, m (minutes), h, d, w, M (months) or y. From days on "
            "they are those of the calendar, whatever the clocks do meanwhile."
        ),
        examples=["1M", "1d", 10000],
    )
    end: Annotated[Point | TimeVariable, PlainValidator(_end), WithJsonSchema(_POINT)] | None = (
        Field(
            default=None,
            description=(
                "What no step goes beyond: a number, a day, a time, or a time relative to the run "
                "such as now-90d. A step that would waits: the run succeeds with nothing to do. "
                "Default: of times now, of numbers the largest that is there."
            ),
            examples=["now-90d"],
        )
    )
    zone: Annotated[ZoneInfo, PlainValidator(_zone), WithJsonSchema({"type": "string"})] = Field(
        default=ZoneInfo("UTC"),
        description=(
            "Time zone in which days, weeks, months and years begin, and whose time a column "
            "without a zone has, such as Europe/Vienna."
        ),
        examples=["Europe/Vienna"],
    )

    @property
    def is_timed(self) -> bool:
        """Whether it goes by time, and not by number."""
        return isinstance(self.start, date)

    @model_validator(mode="after")
    def _consistent(self) -> Step:
        found = list(_findings(self))
        if found:
            raise invalid_together(found)
        return self


def _findings(step: Step) -> Iterator[Finding]:
    kind, example = ("an amount of time", "1d") if step.is_timed else ("a number", "10000")
    if (step.size.unit is not None) != step.is_timed:
        yield Finding(
            ("size",),
            f"must be {kind} such as {example}, as start is {point_text(step.start)}",
            str(step.size),
        )
    if step.end is not None and isinstance(step.end, date | TimeVariable) != step.is_timed:
        word = "a day, or a time such as now-90d" if step.is_timed else "a number"
        why = f"must be {word}, as start is {point_text(step.start)}"
        yield Finding(("end",), why, point_text(step.end))
    elif step.end is not None and _ends_before_it_starts(step.start, step.end):
        why = f"must be above start, {point_text(step.start)}: no step would ever begin"
        yield Finding(("end",), why, point_text(step.end))
    if not step.is_timed and "zone" in step.model_fields_set:
        yield Finding(("zone",), "is only used with times; leave it out", step.zone.key)
    if isinstance(step.start, date) and step.size.unit in ("M", "y") and step.start.day > _LAST_DAY:
        yield Finding(
            ("start",),
            f"must be a day from 1 to {_LAST_DAY} with size: {step.size}, as not every month has "
            "the others",
            point_text(step.start),
        )


def _ends_before_it_starts(start: Point, end: Point | TimeVariable) -> bool:
    """As far as that is known here: of numbers, and of two days."""
    if isinstance(start, date) and isinstance(end, date):
        days = not isinstance(start, datetime) and not isinstance(end, datetime)
        return days and end <= start
    numbers = not isinstance(start, date) and not isinstance(end, date | TimeVariable)
    return numbers and end <= start  # type: ignore[operator] # both are numbers
