"""Numbers that are kept as texts, and sort as such: 10 comes before 9."""

from __future__ import annotations

import re
from typing import Final

from dsp_airflow.engine.errors import ConfigError

_NUMBERED: Final = re.compile(r"(\D*)([0-9]+)")


def parted(text: str) -> tuple[str, str] | None:
    """What stands before the number at the end of a text, and its digits; ``None`` without one."""
    found = _NUMBERED.fullmatch(text)
    return None if found is None else (found[1], found[2])


def refusal(table: str, column: str, one: str, other: str) -> ConfigError:
    """The error where numbers of several lengths follow the same beginning."""
    return ConfigError(
        f"{table}: {column} holds numbers as texts, {one!r} and {other!r}: texts sort by their "
        "characters, 10 before 9, so that rows with the larger number would never be read; name a "
        "column of numbers, or fill the texts up with zeros"
    )
