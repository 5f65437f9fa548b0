"""The window in which batches may begin, also on the days on which the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsp_airflow.config.hours import DailyWindow, parse_window


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def hours(window: DailyWindow, start: str, end: str) -> float:
    return window.closed_between(at(start), at(end)) / timedelta(hours=1)


@pytest.mark.parametrize(
    ("text", "moment", "opened"),
    [
        ("22:00-06:00", "2026-03-01T21:59:59", False),
        ("22:00-06:00", "2026-03-01T22:00", True),
        ("22:00-06:00", "2026-03-02T05:59:59", True),
        ("22:00-06:00", "2026-03-02T06:00", False),
        ("06:00-22:00", "2026-03-02T06:00", True),
        ("06:00-22:00", "2026-03-02T22:00", False),
        ("22:00-06:00 Europe/Vienna", "2026-03-01T21:00", True),
        ("22:00-06:00 Europe/Vienna", "2026-03-02T05:00", False),
        # On Sunday the clocks go forward at 02:00, and the night is an hour shorter.
        ("22:00-06:00 Europe/Vienna", "2026-03-29T03:59", True),
        ("22:00-06:00 Europe/Vienna", "2026-03-29T04:00", False),
        # 02:30 is left out: it comes by the old clock.
        ("02:30-06:00 Europe/Vienna", "2026-03-29T01:29", False),
        ("02:30-06:00 Europe/Vienna", "2026-03-29T01:30", True),
        # 02:30 comes twice in October, and the first counts.
        ("22:00-02:30 Europe/Vienna", "2026-10-25T00:29", True),
        ("22:00-02:30 Europe/Vienna", "2026-10-25T00:30", False),
        ("22:00-02:30 Europe/Vienna", "2026-10-25T01:15", False),
        ("22:00-06:00 Europe/Vienna", "2026-10-25T04:59", True),
        ("09:00-17:00 Pacific/Auckland", "2026-03-01T20:00", True),
        ("09:00-17:00 America/Los_Angeles", "2026-03-01T16:59", False),
    ],
)
def test_when_it_is_open(text: str, moment: str, opened: bool) -> None:
    window = parse_window(text)
    assert window.is_open(at(moment)) is opened
    assert str(parse_window(str(window))) == str(window)


def test_when_it_opens_next() -> None:
    vienna = parse_window("22:00-06:00 Europe/Vienna")
    assert vienna.next_opening(at("2026-03-29T04:00")) == at("2026-03-29T20:00")
    assert vienna.next_opening(at("2026-03-28T06:00")) == at("2026-03-28T21:00")
    assert f"{vienna.next_opening(at('2026-03-28T06:00')):%H:%M}" == "22:00"
    assert parse_window("10:00-11:00").next_opening(at("2026-03-28T10:30")) == at(
        "2026-03-29T10:00"
    )


def test_how_long_it_was_closed() -> None:
    window = parse_window("22:00-06:00")
    assert hours(window, "2026-03-01T23:00", "2026-03-02T05:00") == 0
    assert hours(window, "2026-03-01T23:00", "2026-03-02T12:00") == 6
    assert hours(window, "2026-03-01T12:00", "2026-03-01T13:00") == 1
    assert hours(window, "2026-03-01T22:00", "2026-03-08T22:00") == 7 * 16
    vienna = parse_window("22:00-06:00 Europe/Vienna")
    assert hours(vienna, "2026-03-28T21:00", "2026-03-29T20:00") == 16
    assert hours(vienna, "2026-10-24T20:00", "2026-10-25T20:00") == 15
    assert hours(window, "2026-03-02T12:00", "2026-03-01T12:00") == 0


moments = st.integers(0, 2 * 365 * 24 * 60).map(
    lambda minutes: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
)
times = st.from_regex(r"([01][0-9]|2[0-3]):[0-5][0-9]", fullmatch=True)
zones = st.sampled_from(["UTC", "Europe/Vienna", "America/New_York", "Australia/Lord_Howe"])


@given(times, times, zones, moments, st.integers(1, 60 * 24 * 4))
def test_it_agrees_with_itself(
    opens: str, closes: str, zone: str, start: datetime, minutes: int
) -> None:
    if opens == closes:
        return
    window = parse_window(f"{opens}-{closes} {zone}")
    end = start + timedelta(minutes=minutes)
    middle = start + (end - start) / 2
    parts = window.closed_between(start, middle) + window.closed_between(middle, end)
    assert window.closed_between(start, end) == parts
    assert window.is_open(start) or window.closed_between(start, end) > timedelta()
    opening = window.next_opening(start)
    assert start < opening <= start + timedelta(hours=50)
    # Work of that long, begun at any time, is over by then.
    worked = end - start - window.closed_between(start, end)
    assert end - start <= window.longest(worked) + timedelta(hours=2)


@pytest.mark.parametrize(
    "text",
    ["22-06", "22:00", "24:00-06:00", "22:00-22:00", "22:00-06:00 Mars", "22:00-06:00 ../../x", 5],
)
def test_what_is_no_window(text: object) -> None:
    with pytest.raises(ValueError, match=r"must be two times|must not open|is no time zone"):
        parse_window(text)
