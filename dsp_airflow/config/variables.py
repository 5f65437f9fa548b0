"""Variables of a job: constants, and times relative to the run."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, TypeAlias, cast

from dsp_airflow.config.errors import listed, nearest
from dsp_airflow.config.findings import invalid

Anchor: TypeAlias = Literal[
    "now", "data_interval_start", "data_interval_end", "logical_date", "run_date"
]
Unit: TypeAlias = Literal["s", "m", "h", "d", "w", "M", "y"]
Constant: TypeAlias = str | int | float | bool | date | datetime

ANCHORS: tuple[str, ...] = (
    "now",
    "data_interval_start",
    "data_interval_end",
    "logical_date",
    "run_date",
)
UNITS = ("s", "m", "h", "d", "w", "M", "y")

_OFFSET = re.compile(r"\s*([+-])\s*(\d{1,9})([smhdwMy])(?!\w)", re.ASCII)
_ANCHOR = re.compile(r"[a-z_]+(?![\w:.])", re.ASCII)
# Text that looks like a time variable; a slip of the pen in it must not become a constant.
_LOOKS_LIKE = re.compile(r"([A-Za-z_]+)\s*[+-]\s*\d+\s*[A-Za-z]*(\s*[+-]\s*\d+\s*[A-Za-z]*)*")
_LENGTHS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


@dataclass(frozen=True, slots=True)
class TimeVariable:
    """A moment relative to the run, such as `now-90d` or `data_interval_start-1M`.

    `offsets` are signed amounts, applied from left to right. `run_date` gives a date, every
    other anchor an aware datetime.
    """

    anchor: Anchor
    offsets: tuple[tuple[int, Unit], ...] = ()

    def __str__(self) -> str:
        return self.anchor + "".join(f"{amount:+d}{unit}" for amount, unit in self.offsets)


Variable: TypeAlias = Constant | TimeVariable


class UnresolvedVariableError(ValueError):
    """A variable has no value in this run; the message names it and the remedy."""


def parse_variable(value: object) -> Variable:
    """Text that reads as a time variable becomes one; every other scalar is a constant.

    Raises when text looks like a time variable and is none.
    """
    if isinstance(value, bool | int | float | date | TimeVariable):
        return value
    if not isinstance(value, str):
        raise invalid("must be text, a number, true, false, a date or a time such as now-90d")
    anchor = _ANCHOR.match(value)
    if anchor and anchor[0] in ANCHORS:
        return _time_variable(cast(Anchor, anchor[0]), value, anchor.end())
    looks = _LOOKS_LIKE.fullmatch(value)
    near = nearest(looks[1], ANCHORS) if looks else None
    if looks and near:
        raise invalid(
            "looks like a time variable, and a time variable begins with " + listed(ANCHORS),
            value.replace(looks[1], near, 1),
        )
    return value


def resolve_variables(
    variables: Mapping[str, Variable],
    *,
    now: datetime,
    data_interval_start: datetime | None = None,
    data_interval_end: datetime | None = None,
    logical_date: datetime | None = None,
) -> dict[str, Constant]:
    """Every variable's value in one run.

    `now` is the start of the execution, with its zone; `run_date` is its date in UTC. Times come
    back in UTC. Months and years keep the day of the month, or take the month's last day where it
    is shorter. Raises `UnresolvedVariableError` when a variable needs an interval or a logical date
    that the run does not have, or falls outside the years 1 to 9999.
    """
    anchors = {
        "now": now,
        "data_interval_start": data_interval_start,
        "data_interval_end": data_interval_end,
        "logical_date": logical_date,
    }
    for name, moment in anchors.items():
        if moment is not None and moment.utcoffset() is None:
            raise ValueError(f"{name} must have a time zone")
    return {
        name: _resolve(name, value, anchors) if isinstance(value, TimeVariable) else value
        for name, value in variables.items()
    }


def _time_variable(anchor: Anchor, text: str, end: int) -> TimeVariable:
    offsets: list[tuple[int, Unit]] = []
    while match := _OFFSET.match(text, end):
        unit = cast(Unit, match[3])
        if anchor == "run_date" and unit in ("s", "m", "h"):
            raise invalid("run_date is a date and moves by d, w, M or y only; use now for times")
        offsets.append((int(match[1] + match[2]), unit))
        end = match.end()
    if text[end:].strip():
        raise invalid(
            f"must be {anchor} with offsets such as -90d, +1h or -1M "
            f"(units {', '.join(UNITS)}; m is minutes, M is months)",
            offset=end,
        )
    return TimeVariable(anchor, tuple(offsets))


def _resolve(
    name: str, variable: TimeVariable, anchors: Mapping[str, datetime | None]
) -> datetime | date:
    is_date = variable.anchor == "run_date"
    moment = anchors["now" if is_date else variable.anchor]
    if moment is None:
        raise UnresolvedVariableError(
            f"variable '{name}' needs {variable.anchor} and this run has none, as it was started "
            f"by hand or without a schedule; start it with a logical date, or use now or run_date"
        )
    moment = moment.astimezone(UTC)
    if is_date:
        moment = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        for amount, unit in variable.offsets:
            moment = _moved(moment, amount, unit)
    except (OverflowError, ValueError) as error:
        raise UnresolvedVariableError(
            f"variable '{name}' ({variable}) falls outside the years 1 to 9999"
        ) from error
    return moment.date() if is_date else moment


def _moved(moment: datetime, amount: int, unit: Unit) -> datetime:
    if unit not in ("M", "y"):
        return moment + amount * _LENGTHS[unit]
    months = moment.year * 12 + moment.month - 1 + amount * (12 if unit == "y" else 1)
    year, month = divmod(months, 12)
    if not 1 <= year <= 9999:
        raise OverflowError
    last_day = monthrange(year, month + 1)[1]
    return moment.replace(year=year, month=month + 1, day=min(moment.day, last_day))
