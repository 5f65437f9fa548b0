"""Steps through a column: where one ends and the next one begins."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

from dsp_airflow.config.stepping import Point, Size

Scale: TypeAlias = Literal["number", "date", "timestamp", "timestamptz"]
"""What a column measures: numbers, days, times of some clock, or moments."""
Bound: TypeAlias = Decimal | date | datetime
"""Where a step begins: of a ``timestamp`` without a zone, of a ``timestamptz`` with one."""

_LENGTHS: Final = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_CALENDAR: Final = ("d", "w", "M", "y")
"""Units that are as long as the calendar has them."""


class NoBoundError(ValueError):
    """What was given is no place in the column."""


class OutOfReachError(ValueError):
    """A bound falls outside of the years 1 to 9999."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a run reads of a column: ``at_least <= column < below``.

    Bounds are texts as ``Steps`` writes them.
    """

    column: str
    at_least: str
    below: str
    next_below: str
    """Where the step behind it ends."""
    since: str | None = None
    """What the state database had as the beginning; ``None`` for the first step of all."""
    waits: str = ""
    """Why this run leaves it to a later one; empty when it does not."""

    def __str__(self) -> str:
        return f"{self.column} >= {self.at_least} and < {self.below}"

    @property
    def following(self) -> str:
        """The step behind it, as a condition."""
        return f"{self.column} >= {self.below} and < {self.next_below}"


@dataclass(frozen=True, slots=True)
class Steps:
    """All steps of a size. Those of a day and more begin at one time of the clocks of ``zone``.

    A time that a change of the clocks leaves out comes by the old clock, an hour later by the new
    one; of a time that comes twice, the first counts. Each step begins where the one before ended.
    """

    scale: Scale
    size: Size
    zone: ZoneInfo

    def at(self, point: Point) -> Bound:
        """A place that somebody wrote, as a bound. ``ValueError`` when it is none."""
        if self.scale == "number":
            if isinstance(point, date):
                raise NoBoundError("a number is needed")
            return Decimal(point)
        if not isinstance(point, date):
            raise NoBoundError("a day or a time is needed")
        if self.scale == "date":
            return self._day(point)
        if not isinstance(point, datetime):
            point = datetime.combine(point, time())
        if self.scale == "timestamp":
            return point if point.tzinfo is None else self._on_the_clock(point)
        return self._moment(point)

    def limit(self, point: Point) -> Bound:
        """What no step goes beyond: a moment counts as the day or time that it is in the zone."""
        if self.scale == "date" and isinstance(point, datetime):
            return self._on_the_clock(point).date()
        bound = self.at(point)
        if isinstance(bound, datetime) and bound.tzinfo is not None and isinstance(point, datetime):
            return (point if point.tzinfo else bound).astimezone(UTC)
        return bound

    def read(self, text: str) -> Bound:
        """A bound from its text. ``ValueError`` when it is none."""
        if self.scale == "number":
            try:
                number = Decimal(text.strip())
            except ArithmeticError as error:
                raise ValueError(f"{text!r} is no number") from error
            if not number.is_finite():
                raise ValueError(f"{text!r} is no finite number")
            return number
        plain, _, name = text.strip().rpartition(" ")
        if plain and name[:1].isalpha():
            return self.at(datetime.fromisoformat(plain).replace(tzinfo=_zone(name)))
        if len(text.strip()) == len("2024-01-01"):
            return self.at(date.fromisoformat(text.strip()))
        return self.at(datetime.fromisoformat(text.strip()))

    def text(self, bound: Bound) -> str:
        """The bound as ``read`` takes it, and as people do."""
        if isinstance(bound, Decimal):
            return f"{bound:f}"
        if not isinstance(bound, datetime):
            return bound.isoformat()
        if isinstance(bound.tzinfo, ZoneInfo):
            return f"{bound.replace(tzinfo=None).isoformat(' ')} {bound.tzinfo.key}"
        return bound.isoformat(" ")

    def after(self, bound: Bound) -> Bound:
        """Where the step that begins there ends. ``OutOfReachError`` beyond the calendar."""
        if isinstance(bound, Decimal):
            return bound + self.size.amount
        amount, unit = int(self.size.amount), self.size.unit
        try:
            if unit in ("M", "y"):
                return _months_later(bound, amount * (12 if unit == "y" else 1))
            return bound + amount * _LENGTHS[unit or "d"]
        except (OverflowError, ValueError) as error:
            raise OutOfReachError(
                f"a step of {self.size} from {self.text(bound)} ends beyond the year 9999"
            ) from error

    def value(self, bound: Bound) -> object:
        """What a database compares the column with."""
        if isinstance(bound, Decimal):
            return int(bound) if bound == bound.to_integral_value() else bound
        if isinstance(bound, datetime) and bound.tzinfo is not None:
            return bound.astimezone(UTC)
        return bound

    def exceeds(self, bound: Bound, limit: Bound) -> bool:
        """Whether it lies beyond. Two times of one zone would be compared by their clock."""
        return bool(self.value(bound) > self.value(limit))  # type: ignore[operator]

    def _moment(self, point: datetime) -> datetime:
        """Whoever counts in days counts by the clocks of a zone, and everybody else in UTC."""
        aware = point if point.tzinfo else point.replace(tzinfo=self.zone)
        if self.size.unit not in _CALENDAR or self.zone.key == "UTC":
            return aware.astimezone(UTC)
        if isinstance(aware.tzinfo, ZoneInfo) and aware.tzinfo.key == self.zone.key:
            # What the clocks leave out on one day is a beginning on every other one.
            return aware.replace(tzinfo=self.zone, fold=0)
        return aware.astimezone(UTC).astimezone(self.zone).replace(fold=0)

    def _on_the_clock(self, point: datetime) -> datetime:
        aware = point if point.tzinfo else point.replace(tzinfo=self.zone)
        return aware.astimezone(self.zone).replace(tzinfo=None)

    def _day(self, point: date) -> date:
        if not isinstance(point, datetime):
            return point
        if point.tzinfo is not None or point.time() != time():
            raise NoBoundError("a day is needed, without a time")
        return point.date()


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (OSError, KeyError) as error:
        raise ValueError(f"{name} is no time zone that is known here") from error


def _months_later(bound: date, months: int) -> date:
    year, month = divmod(bound.year * 12 + bound.month - 1 + months, 12)
    if year > date.max.year:
        raise OverflowError
    # A beginning that somebody set by hand may be a day that not every month has.
    day = min(bound.day, monthrange(year, month + 1)[1])
    return bound.replace(year=year, month=month + 1, day=day)
