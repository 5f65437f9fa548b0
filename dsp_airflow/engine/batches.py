"""Batch numbers as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from dsp_airflow.engine.errors import ConfigError

_PART: Final = re.compile(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", re.ASCII)
MOST: Final = 1_000_000
"""Numbers in one range."""


def parse_batches(text: str) -> frozenset[int] | None:
    """``1-5,8`` as numbers; ``all`` as ``None``, every batch not purged yet.

    ``ConfigError`` for anything else.
    """
    if text.strip().lower() == "all":
        return None
    return frozenset(number for part in text.split(",") for number in _range(part, text))


def said(numbers: Iterable[int]) -> str:
    """The inverse of ``parse_batches``: ``1-5,8``."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)


def _range(part: str, text: str) -> range:
    match = _PART.fullmatch(part)
    if match is None:
        raise _unclear(text, part, "is no number and no range")
    first, last = int(match[1]), int(match[2] or match[1])
    if not 1 <= first <= last:
        raise _unclear(text, part, "does not count up from 1 or more")
    if last - first >= MOST:
        raise _unclear(text, part, f"is more than {MOST:,} batches")
    return range(first, last + 1)


def _unclear(text: str, part: str, why: str) -> ConfigError:
    return ConfigError(
        f"batches {text!r}: {part.strip()!r} {why}; write all, or numbers such as 1-5,8"
    )
