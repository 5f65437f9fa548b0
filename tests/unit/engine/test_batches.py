"""Batch numbers as people write them."""

from __future__ import annotations

import pytest

from dsp_airflow.engine.batches import MOST, parse_batches
from dsp_airflow.engine.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("3", {3}),
        ("1-5,8", {1, 2, 3, 4, 5, 8}),
        ("1,4-6", {1, 4, 5, 6}),
        (" 2 - 3 , 7 ", {2, 3, 7}),
        ("8,1-2,2", {1, 2, 8}),
        ("4-4", {4}),
        ("999999999", {999_999_999}),
    ],
)
def test_numbers_and_ranges(text: str, numbers: set[int]) -> None:
    assert parse_batches(text) == frozenset(numbers)


@pytest.mark.parametrize("text", ["all", " all ", "ALL"])
def test_all_is_no_number(text: str) -> None:
    assert parse_batches(text) is None


def test_a_range_has_an_end() -> None:
    found = parse_batches(f"1-{MOST}")
    assert found is not None
    assert len(found) == MOST
    with pytest.raises(ConfigError, match="more than 1,000,000"):
        parse_batches(f"1-{MOST + 1}")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' is no number"),
        ("1-", "'1-' is no number and no range"),
        ("1,,2", "'1,,2': '' is no number"),
        ("1,x", "'1,x': 'x' is no number"),
        ("all,1", "'all' is no number"),
        ("-1", "'-1' is no number"),
        ("1.5", "'1.5' is no number"),
        ("٣", "is no number"),
        ("1000000000", "is no number"),
        ("5-1", "'5-1' does not count up"),
        ("0", "'0' does not count up from 1"),
        ("1,0-3", "'0-3' does not count up from 1"),
    ],
)
def test_what_names_no_batches(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        parse_batches(text)
    assert str(caught.value).startswith(f"batches {text!r}: ")
    assert str(caught.value).endswith("write all, or numbers such as 1-5,8")
