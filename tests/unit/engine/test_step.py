"""Steps through a column: no gap, no overlap, whatever calendar and clocks do."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dsp_airflow.config.stepping import Size
from dsp_airflow.engine.step import NoBoundError, OutOfReachError, Scale, Steps

UNIVERSAL, VIENNA = ZoneInfo("UTC"), ZoneInfo("Europe/Vienna")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")


def steps(scale: Scale, size: str, zone: ZoneInfo = UNIVERSAL) -> Steps:
    amount, unit = (size[:-1], size[-1]) if size[-1].isalpha() else (size, None)
    number = Decimal(amount) if "." in amount else int(amount)
    return Steps(scale, Size(number, unit), zone)  # type: ignore[arg-type]


def walked(way: Steps, start: Any, count: int) -> list[str]:
    """Bounds as the state database keeps them from one run to the next."""
    found = [way.text(way.at(start))]
    while len(found) <= count:
        found.append(way.text(way.after(way.read(found[-1]))))
    return found


@pytest.mark.parametrize(
    ("scale", "size", "start", "third"),
    [
        ("number", "1000", 1, "3001"),
        ("number", "0.25", Decimal("-0.5"), "0.25"),
        ("number", "10000000000", 18_446_744_073_709_551_615, "18446744103709551615"),
        ("date", "1M", date(2023, 12, 28), "2024-03-28"),
        ("date", "2w", date(2024, 2, 20), "2024-04-02"),
        ("date", "4y", date(2000, 2, 28), "2012-02-28"),
        ("timestamp", "1M", date(2024, 1, 1), "2024-04-01 00:00:00"),
        (
            "timestamp",
            "90m",
            datetime.fromisoformat("2024-02-29 23:00:00.000005"),
            "2024-03-01 03:30:00.000005",
        ),
        ("timestamptz", "1y", date(2024, 1, 1), "2027-01-01 00:00:00+00:00"),
        ("timestamptz", "6h", datetime(2024, 1, 1, 1, tzinfo=VIENNA), "2024-01-01 18:00:00+00:00"),
    ],
)
def test_three_steps(scale: Scale, size: str, start: Any, third: str) -> None:
    assert walked(steps(scale, size), start, 3)[-1] == third


def test_days_follow_the_clocks_of_their_zone() -> None:
    way = steps("timestamptz", "1d", VIENNA)
    bounds = walked(way, date(2026, 3, 28), 3)
    assert bounds[1] == "2026-03-29 00:00:00 Europe/Vienna"
    moments: list[Any] = [way.value(way.read(text)) for text in bounds]
    hours = [(b - a) / timedelta(hours=1) for a, b in pairwise(moments)]
    assert hours == [24, 23, 24]
    assert moments[1] == datetime(2026, 3, 28, 23, tzinfo=UTC)
    # Of hours there are as many as ever.
    way = steps("timestamptz", "1h", VIENNA)
    bounds = walked(way, datetime.fromisoformat("2026-03-29 01:00"), 2)
    assert bounds[-1] == "2026-03-29 02:00:00+00:00"


@pytest.mark.parametrize("zone", [VIENNA, LORD_HOWE, ZoneInfo("America/Sao_Paulo")])
@pytest.mark.parametrize("hour", [0, 2])
def test_what_the_clocks_leave_out_or_repeat_moves_no_later_beginning(
    zone: ZoneInfo, hour: int
) -> None:
    """A step never goes back, nor does one of them last two days."""
    way = steps("timestamptz", "1d", zone)
    bounds = walked(way, datetime.fromisoformat(f"2017-01-01 {hour:02}:30"), 800)
    assert all(f" {hour:02}:30:00 {zone.key}" in text for text in bounds)
    moments: list[Any] = [way.value(way.read(text)) for text in bounds]
    lengths = {b - a for a, b in pairwise(moments)}
    assert min(lengths) >= timedelta(hours=22)
    assert max(lengths) <= timedelta(hours=26)


def test_the_end_is_compared_as_a_moment() -> None:
    way = steps("timestamptz", "1d", VIENNA)
    bound = way.at(datetime.fromisoformat("2026-10-25 02:30"))
    late = way.limit(datetime(2026, 10, 25, 1, 0, tzinfo=UTC))
    # By the clock it is 2:30 and 2:00, the second time.
    assert not way.exceeds(bound, late)
    day = steps("date", "1d", VIENNA)
    assert day.limit(datetime(2026, 10, 24, 22, tzinfo=UTC)) == date(2026, 10, 25)
    clock = steps("timestamp", "1d", VIENNA)
    assert clock.limit(datetime(2026, 7, 1, 22, tzinfo=UTC)) == datetime.fromisoformat("2026-07-02")


def test_a_bound_of_other_sizes_and_zones_is_the_same_moment() -> None:
    before = steps("timestamptz", "1d", VIENNA)
    text = walked(before, date(2026, 3, 28), 1)[-1]
    for size, zone in (("6h", VIENNA), ("1M", ZoneInfo("UTC")), ("1w", LORD_HOWE)):
        way = steps("timestamptz", size, zone)
        assert way.value(way.read(text)) == before.value(before.read(text))


@pytest.mark.parametrize("scale", ["number", "date", "timestamp", "timestamptz"])
@pytest.mark.parametrize("text", ["", "soon", "NaN", "2024-13-01", "2024-01-01 00:00 Mars/Olympus"])
def test_what_is_no_bound(scale: Scale, text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        steps(scale, "1" if scale == "number" else "1d").read(text)


def test_the_end_of_the_calendar() -> None:
    with pytest.raises(OutOfReachError, match="9999"):
        steps("date", "1y").after(date(9999, 2, 1))
    with pytest.raises(OutOfReachError, match="9999"):
        steps("timestamp", "1d").after(datetime.fromisoformat("9999-12-31"))
    with pytest.raises(NoBoundError):
        steps("date", "1d").at(datetime.fromisoformat("2024-01-01 01:00"))
