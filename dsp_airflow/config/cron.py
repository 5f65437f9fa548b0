"""Cron expressions of five fields: minute, hour, day of month, month, day of week."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from dsp_airflow.config.findings import invalid

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST_DAY = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_LEAP_YEARS = 8 * 366 + 1
"""Days within which every date comes, also the 29th of February."""
_PART = re.compile(r"(\*|\w+)(?:-(\w+))?(?:/(\d+))?")


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    first_name: int = 0


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS, 1),
    _Field("day of week", 0, 7, _DAYS, 0),
)


def check_cron(text: str) -> str:
    """Returns the expression with single blanks; raises when a field is wrong or it never fires."""
    if text in _PRESETS:
        raise invalid("must be written as five cron fields", _PRESETS[text])
    fields = text.split()
    if len(fields) != len(_FIELDS):
        raise invalid(
            "must be manual, {once: <time with zone>}, or five cron fields "
            f"(minute, hour, day of month, month, day of week), not {len(fields)}",
            "manual" if text.lower().startswith("man") else None,
        )
    values = [_values(part, field) for part, field in zip(fields, _FIELDS, strict=True)]
    _, _, days, months, _ = values
    longest = max(_LONGEST_DAY[month - 1] for month in months)
    if fields[4] == "*" and min(days) > longest:
        raise invalid(f"never fires: the months given have at most {longest} days")
    return " ".join(fields)


def next_time(text: str, after: datetime, zone: ZoneInfo) -> datetime | None:
    """When a valid expression comes the next time, by the clocks of the zone."""
    fields = text.split()
    minutes, hours, days, months, weekdays = (
        _values(part, field) for part, field in zip(fields, _FIELDS, strict=True)
    )
    weekdays = {day % 7 for day in weekdays}

    def comes(day: date) -> bool:
        by_month, by_week = day.day in days, day.isoweekday() % 7 in weekdays
        # Where both are given, either is enough.
        either = "*" not in (fields[2], fields[4])
        return day.month in months and (by_month or by_week if either else by_month and by_week)

    first = after.astimezone(zone).date()
    for day in (first + timedelta(days=number) for number in range(_LEAP_YEARS)):
        if comes(day):
            times = (
                moment
                for hour in hours
                for minute in minutes
                for moment in _moments(
                    datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone),
                    every_hour="*" in fields[1],
                )
                if moment > after
            )
            found = min(times, default=None)
            if found is not None:
                return found.astimezone(zone)
    return None


def _moments(time: datetime, *, every_hour: bool) -> set[datetime]:
    """As Airflow has it: a time that is left out comes later; of one that comes twice the second
    counts, and both do where the expression names no hour.
    """
    both = [time.replace(fold=fold).astimezone(UTC) for fold in (0, 1)]
    return {max(both), both[0]} if every_hour else {max(both)}


def _values(text: str, field: _Field) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None or (match[1] == "*" and match[2]):
            raise invalid(f"cannot be read at the field {field.name}: '{part}'")
        if match[1] == "*":
            low, high = field.low, field.high
        else:
            low = _number(match[1], field)
            # `5/15` means from 5 to the end in steps of 15.
            high = _number(match[2], field) if match[2] else field.high if match[3] else low
        step = int(match[3]) if match[3] else 1
        if step < 1 or low > high:
            raise invalid(f"has an empty range of {field.name}: '{part}'")
        found.update(range(low, high + 1, step))
    return found


def _number(text: str, field: _Field) -> int:
    if text.lower() in field.names:
        return field.names.index(text.lower()) + field.first_name
    # `isdecimal` alone would let digits of other scripts through.
    if not (text.isascii() and text.isdecimal()) or not field.low <= int(text) <= field.high:
        raise invalid(f"must have {field.name} within {field.low} to {field.high}, not '{text}'")
    return int(text)
