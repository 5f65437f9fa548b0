"""Archived values read as another type that has all of them, maybe under another canonical text."""

from __future__ import annotations

from typing import Final

from dsp_airflow.engine.model import LogicalType
from dsp_airflow.engine.types import CLOCK, INTEGERS, fit

_TEXTS: Final = frozenset({"enum", "set", "uuid", "objectid"})
"""Types whose canonical text, as a text, is the value."""
_MOMENTS: Final = ("timestamp", "timestamptz")


def reads_as(archived: LogicalType, kind: LogicalType) -> bool:
    """Whether ``kind`` holds every archived value, and ``reread`` tells it."""
    verdict, _ = fit(archived, kind)
    mine, other = archived.name, kind.name
    if {mine, other} == set(_MOMENTS):
        digits = [6 if k.digits is None else k.digits for k in (archived, kind)]
        return digits[0] <= digits[1]
    if verdict == "exact":
        return mine != "duration" or archived.identity == CLOCK or kind.identity != CLOCK
    if verdict != "widening":
        return False
    if other in INTEGERS:
        return mine in INTEGERS or mine == "bool"
    if other == "decimal":
        if mine == "decimal":
            return kind.precision is None or kind.scale == archived.scale
        return mine in INTEGERS and not kind.scale
    if other == "string":
        return mine == "string" or mine in _TEXTS
    if (mine, other) in (("time", "duration"), ("objectid", "bytes")):
        return True
    return mine == other and mine not in ("list", "other")


def reread(text: str, archived: LogicalType, kind: LogicalType) -> str:
    """SQL of DuckDB: the canonical text at ``kind`` of a canonical text at ``archived``."""
    match archived.name, kind.name:
        case "timestamptz", "timestamp":
            # Infinity has no zone.
            return f"rtrim({text}, 'Z')"
        case "timestamp", "timestamptz":
            return f"CASE WHEN {text} LIKE '%infinity' THEN {text} ELSE {text} || 'Z' END"
        case "time", "duration":
            hours, minutes = f"substr({text}, 1, 2)::BIGINT", f"substr({text}, 4, 2)::BIGINT"
            micros = f"(substr({text}, 7, 2) || substr({text}, 10))::BIGINT"
            return f"'0/0/' || (({hours} * 60 + {minutes}) * 60000000 + {micros})"
    return text
