"""Durations and sizes as people write them: `24h`, `5m`, `32MiB`."""

from __future__ import annotations

import re
from datetime import timedelta

from dsp_airflow.config.errors import listed
from dsp_airflow.config.findings import invalid

_DURATION = re.compile(r"([0-9]{1,12})(s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
# Timedeltas beyond this overflow when they are added to a date.
_LONGEST_SECONDS = 3650 * 86_400

_SIZE = re.compile(r"([0-9]{1,12})(B|kB|MB|GB|KiB|MiB|GiB)")
_BYTES = {
    "B": 1,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}


def parse_duration(value: object) -> timedelta:
    """`90s`, `5m`, `24h`, `1d` or `2w` as a timedelta; `m` means minutes.

    Raises an error that says how to write it.
    """
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        hint = f"{value}s" if isinstance(value, int) and not isinstance(value, bool) else None
        raise invalid(
            "must be a duration: a whole number and a unit s, m, h, d or w, such as 90s or 24h",
            hint,
        )
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > _LONGEST_SECONDS:
        raise invalid("must not be longer than 3650d")
    return timedelta(seconds=seconds)


def format_duration(value: timedelta) -> str:
    """The shortest exact text, so that `24h` and `1d` read the same: `1d`."""
    seconds = int(value.total_seconds())
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds // _SECONDS[unit]}{unit}"
    return f"{seconds}s"


def parse_size(value: object) -> int:
    """`64MiB`, `64MB`, `100kB` or `512B` as bytes. Raises an error that says how to write it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise invalid(
            f"must be a size: a whole number and a unit {listed(list(_BYTES))}, such as 64MiB"
        )
    return int(match[1]) * _BYTES[match[2]]
