"""Batch numbers as people write them."""

from __future__ import annotations

import re

from dsp_airflow.engine.errors import ConfigError

_PART = re.compile(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", re.ASCII)
MOST = 1_000_000


def parse_batches(text: str) -> list[int] | None:
    """``1-5,8`` -> [1, 2, 3, 4, 5, 8]; ``all`` -> ``None``."""
    if text.strip().lower() == "all":
        return None
    numbers: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last or last - first > MOST:
            raise ConfigError(
                f"{text!r} does not name batches; write all, or numbers such as 1-5,8"
            )
        numbers.update(range(first, last + 1))
    return sorted(numbers)
