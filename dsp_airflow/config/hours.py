"""Times of day in which a job may work: `22:00-06:00 Europe/Vienna`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from dsp_airflow.config.findings import invalid

_TIME = "([01][0-9]|2[0-3]):[0-5][0-9]"
WINDOW_PATTERN = f"^{_TIME}-{_TIME}( [A-Za-z0-9_+/-]+)?$"
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class DailyWindow:
    """From one time of the day to another, maybe of the next day, by the clocks of a zone.

    A time that a change of the clocks leaves out comes by the old clock, an hour later by the new
    one; of a time that comes twice, the first counts.
    """

    opens: time
    closes: time
    zone: ZoneInfo

    def __str__(self) -> str:
        return f"{self.opens:%H:%M}-{self.closes:%H:%M} {self.zone.key}"

    def is_open(self, now: datetime) -> bool:
        """Whether a batch may begin."""
        return any(start <= now < end for start, end in self._around(now, now))

    def next_opening(self, now: datetime) -> datetime:
        """When it opens the next time, in the window's zone."""
        later = self._around(now, now + 2 * _DAY)
        return next(start for start, _ in later if start > now).astimezone(self.zone)

    def closed_between(self, start: datetime, end: datetime) -> timedelta:
        """How much of that time the window was closed."""
        parts = (min(end, shut) - max(start, begun) for begun, shut in self._around(start, end))
        opened = sum((part for part in parts if part > timedelta()), timedelta())
        return max(timedelta(), end - start - opened)

    def longest(self, worked: timedelta) -> timedelta:
        """What that much time in the window takes at most, with what lies between."""
        return worked + self._closed_a_day() * (worked // (_DAY - self._closed_a_day()) + 2)

    def _closed_a_day(self) -> timedelta:
        minutes = (self.opens.hour - self.closes.hour) * 60 + self.opens.minute - self.closes.minute
        return timedelta(minutes=minutes % (24 * 60))

    def _around(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Every opening of the days that these moments are in, and of those beside them, in UTC."""
        day = start.astimezone(self.zone).date() - _DAY
        last = end.astimezone(self.zone).date() + _DAY
        while day <= last:
            until = day if self.opens < self.closes else day + _DAY
            yield (
                datetime.combine(day, self.opens, self.zone).astimezone(UTC),
                datetime.combine(until, self.closes, self.zone).astimezone(UTC),
            )
            day += _DAY


def parse_window(value: object) -> DailyWindow:
    """`22:00-06:00`, in UTC, or with the name of a time zone behind a blank."""
    if isinstance(value, DailyWindow):
        return value
    if not isinstance(value, str) or re.fullmatch(WINDOW_PATTERN, value) is None:
        raise invalid(
            "must be two times of the day, and a time zone unless they are in UTC, such as "
            "22:00-06:00 or 22:00-06:00 Europe/Vienna"
        )
    times, _, name = value.partition(" ")
    opens, closes = map(time.fromisoformat, times.split("-"))
    if opens == closes:
        raise invalid("must not open and close at one time; without window it is always open")
    return DailyWindow(opens, closes, zone_named(name or "UTC"))


def zone_named(name: str) -> ZoneInfo:
    """The time zone of this name."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:
        raise invalid(f"{name} is no time zone that is known here") from error
