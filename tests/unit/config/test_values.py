"""Durations, sizes, types, names, cron expressions."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from dsp_airflow.config.cron import check_cron
from dsp_airflow.config.errors import Problem, nearest
from dsp_airflow.config.names import split_table
from dsp_airflow.config.scalars import format_duration, parse_duration, parse_size
from dsp_airflow.config.typenames import TypeName, parse_type


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("24h", 86400), ("1d", 86400), ("2w", 1209600)]
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "5", 5, "5 m", "1.5h", "-5m", "5M", "٣s", "9999w", None, True]
)
def test_wrong_durations(text: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_duration(text)


@given(st.integers(0, 10_000_000))
def test_duration_round_trip(seconds: int) -> None:
    duration = timedelta(seconds=seconds)
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "size"),
    [("512B", 512), ("1kB", 1000), ("1KiB", 1024), ("64MB", 64_000_000), ("64MiB", 67108864)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "64", "64M", "64mb", "1.5MiB", "-1MB", "1TB", None, 1.5, True]
)
def test_wrong_sizes(text: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("integer", "int64"),
        ("number", "float64"),
        ("text", "string"),
        ("decimal( 6 , 1 )", "decimal(6,1)"),
    ],
)
def test_types(text: str, shown: str) -> None:
    assert str(parse_type(text)) == shown
    assert parse_type(parse_type(text)) == parse_type(shown)


def test_decimal_holds_its_arguments() -> None:
    assert parse_type("decimal(10,2)") == TypeName("decimal", (10, 2))


@pytest.mark.parametrize(
    "text", ["", "Int64", "varchar", "decimal", "decimal(2,3)", "decimal(0,0)", 1]
)
def test_wrong_types(text: object) -> None:
    with pytest.raises(PydanticCustomError):
        parse_type(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("flights", ("flights",)),
        ("public.Flights", ("public", "Flights")),
        ('"odd.schema"."a ""b"""', ("odd.schema", 'a "b"')),
        ("größe.x", ("größe", "x")),
    ],
)
def test_tables(text: str, parts: tuple[str, ...]) -> None:
    assert split_table(text) == parts


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a.b.c", "a b", '"a', 'a"b', '""', "a\0"])
def test_wrong_tables(text: str) -> None:
    with pytest.raises(PydanticCustomError):
        split_table(text)


@pytest.mark.parametrize(
    "text",
    [
        "* * * * *",
        "0 2 * * *",
        "*/15 0-6,22 1,15 jan-mar MON-fri",
        "5/15 * * * 7",
        "0 0 29 2 *",
        "0 0 31 2 1",
    ],
)
def test_cron(text: str) -> None:
    assert check_cron(f" {text} ") == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "9-5 * * * *",
        "a * * * *",
        "*-5 * * * *",
        "1, * * * *",
        "0 0 30 feb *",
        "@daily",
        "٣ * * * *",
    ],
)
def test_wrong_cron(text: str) -> None:
    with pytest.raises(PydanticCustomError):
        check_cron(text)


def test_a_problem_reads_well() -> None:
    problem = Problem("a.yaml", 3, 7, "jobs[0].purge", "must be none", "sytem", "system")
    assert str(problem) == (
        "a.yaml:3:7: jobs[0].purge: must be none (got 'sytem'); did you mean 'system'?"
    )
    assert str(Problem("a.yaml", 1, 1, "", "the file is empty")) == "a.yaml:1:1: the file is empty"
    assert "(got 'a\\nb')" in str(Problem("a.yaml", 1, 1, "x", "is wrong", "a\nb"))


def test_nearest_ignores_case() -> None:
    assert nearest("PURGE", ["purge", "check"]) == "purge"
    assert nearest("zzz", ["purge", "check"]) is None
