"""Variables: which text is a time, and what it is in a run."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from dsp_airflow.config.variables import (
    TimeVariable,
    UnresolvedVariableError,
    Variable,
    parse_variable,
    resolve_variables,
)

NOW = datetime(2026, 3, 31, 10, 30, tzinfo=UTC)


def value(text: str, now: datetime = NOW, **moments: datetime) -> object:
    return resolve_variables({"x": parse_variable(text)}, now=now, **moments)["x"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("now-90s", NOW - timedelta(seconds=90)),
        ("now-5m", NOW - timedelta(minutes=5)),
        ("now+2h", NOW + timedelta(hours=2)),
        ("now - 90d", NOW - timedelta(days=90)),
        ("now-2w", NOW - timedelta(weeks=2)),
        ("now-1M", datetime(2026, 2, 28, 10, 30, tzinfo=UTC)),
        ("now+1M", datetime(2026, 4, 30, 10, 30, tzinfo=UTC)),
        ("now-3M", datetime(2025, 12, 31, 10, 30, tzinfo=UTC)),
        ("now-2y", datetime(2024, 3, 31, 10, 30, tzinfo=UTC)),
        ("now-1M-1d", datetime(2026, 2, 27, 10, 30, tzinfo=UTC)),
        ("run_date", date(2026, 3, 31)),
        ("run_date-1M", date(2026, 2, 28)),
    ],
)
def test_times(text: str, expected: object) -> None:
    assert value(text) == expected


def test_leap_day() -> None:
    assert value("now-1y", datetime(2024, 2, 29, tzinfo=UTC)) == datetime(2023, 2, 28, tzinfo=UTC)


def test_interval_and_logical_date() -> None:
    start = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=7)))
    assert value("data_interval_start-1M", data_interval_start=start) == datetime(
        2025, 11, 30, 17, tzinfo=UTC
    )
    assert value("data_interval_end", data_interval_end=NOW) == NOW
    assert value("logical_date", logical_date=NOW) == NOW


def test_run_date_is_the_date_in_utc() -> None:
    evening = datetime(2026, 3, 31, 1, tzinfo=timezone(timedelta(hours=7)))
    assert value("run_date", evening) == date(2026, 3, 30)


@pytest.mark.parametrize("name", ["data_interval_start", "data_interval_end", "logical_date"])
def test_a_run_without_the_moment(name: str) -> None:
    with pytest.raises(UnresolvedVariableError, match=f"variable 'x' needs {name}"):
        value(f"{name}-1d")


@pytest.mark.parametrize("text", ["now-9999y", "now+9999y", "now-99999999d", "now-999999999w"])
def test_beyond_the_calendar(text: str) -> None:
    with pytest.raises(UnresolvedVariableError, match="outside the years 1 to 9999"):
        value(text)


def test_now_needs_a_zone() -> None:
    with pytest.raises(ValueError, match="now must have a time zone"):
        value("now", datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point


@pytest.mark.parametrize(
    "constant",
    [
        "",
        "x",
        "nowhere",
        "now90d-1d",
        "2013-07-01T00:00:00+00:00",
        "AB-12",
        "knot-1d",
        1,
        1.5,
        True,
        date(2026, 1, 1),
        NOW,
    ],
)
def test_constants(constant: Variable) -> None:
    assert parse_variable(constant) == constant


@pytest.mark.parametrize(
    "text",
    ["now-90", "now-90x", "now-", "now-1D", "nwo-90d", "now or never", "run_date-1h", "Now-1d"],
)
def test_slips_are_errors(text: str) -> None:
    with pytest.raises(PydanticCustomError):
        parse_variable(text)


OFFSETS = st.lists(
    st.tuples(st.integers(-500, 500), st.sampled_from(["s", "m", "h", "d", "w", "M", "y"])),
    max_size=3,
)


@given(OFFSETS)
def test_text_round_trip(offsets: list[tuple[int, str]]) -> None:
    variable = TimeVariable("now", tuple(offsets))  # type: ignore[arg-type]
    assert parse_variable(str(variable)) == variable


@given(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)), st.integers(-600, 600))  # noqa: DTZ001
def test_months_move_months(moment: datetime, months: int) -> None:
    moment = moment.replace(tzinfo=UTC)
    moved = value(f"now{months:+d}M", moment)
    assert isinstance(moved, datetime)
    assert (moved.year - moment.year) * 12 + moved.month - moment.month == months
    assert moved.day <= moment.day
    assert moved.timetz() == moment.timetz()
