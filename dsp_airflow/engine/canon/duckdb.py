"""The canonical texts as SQL of DuckDB, over the rows of archive files.

Columns come as ``archive.prepared`` gives them: floats as their canonical text already
(DuckDB's own is not always the shortest), times as timestamps of one day, zoned timestamps as
timestamps in UTC; dates and timestamps between the years 1 and 9999.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from dsp_airflow.engine.model import LogicalType
from dsp_airflow.engine.types import INTEGERS

_FIRST_BIT: Final = 2**63


def duckdb_text(expression: str, kind: LogicalType) -> str:
    """SQL that yields the canonical text of ``expression``; NULL for NULL."""
    if kind.name == "list" and kind.element is not None:
        return _list(expression, kind.element)
    render = _RENDERS.get(kind.name)
    return expression if render is None else render(expression)


def duckdb_row_text(texts: Sequence[str]) -> str:
    """SQL that yields the row text of these canonical texts (SQL, too)."""
    if not texts:
        return "''"
    # ``concat`` makes the row at once, and skips NULL; ``||`` would copy it at every column.
    return f"concat({', '.join(f'{_length(text)}, {text}' for text in texts)})"


def duckdb_row_hash_md5(texts: Sequence[str]) -> str:
    """SQL that yields the md5 of the row text, 32 hex digits."""
    return f"md5({duckdb_row_text(texts)})"


def duckdb_digest_md5(texts: Sequence[str]) -> str:
    """SQL that yields the sum of the first 64 bits of every row's md5, as signed numbers."""
    part = f"('0x' || substr({duckdb_row_hash_md5(texts)}, 1, 16))::UBIGINT"
    # A signed number is the unsigned one with its first bit turned, less 2^63: said so the hash
    # stands there once, and is computed once.
    return (
        f"coalesce(sum(xor({part}, {_FIRST_BIT}::UBIGINT)::HUGEINT) "
        f"- {_FIRST_BIT}::HUGEINT * count(*), 0)"
    )


def _length(text: str) -> str:
    return f"coalesce(strlen({text}) || ':', 'N')"


def _field(text: str) -> str:
    return f"coalesce(strlen({text}) || ':' || {text}, 'N')"


def _own(expression: str) -> str:
    return f"{expression}::VARCHAR"


def _bool(expression: str) -> str:
    return f"CASE WHEN {expression} THEN '1' WHEN NOT {expression} THEN '0' END"


def _bytes(expression: str) -> str:
    return f"lower(hex({expression}))"


def _date(expression: str) -> str:
    return f"strftime({expression}, '%Y-%m-%d')"


def _time(expression: str) -> str:
    return f"strftime({expression}, '%H:%M:%S.%f')"


def _timestamp(expression: str) -> str:
    return f"strftime({expression}, '%Y-%m-%dT%H:%M:%S.%f')"


def _timestamptz(expression: str) -> str:
    return f"strftime({expression}, '%Y-%m-%dT%H:%M:%S.%fZ')"


def _list(expression: str, element: LogicalType) -> str:
    fields = f"list_transform({expression}, lambda dsp_e: {_field(duckdb_text('dsp_e', element))})"
    return f"len({expression}) || ':' || array_to_string({fields}, '')"


_RENDERS: Final[dict[str, Callable[[str], str]]] = {
    **dict.fromkeys((*INTEGERS, "decimal", "uuid", "json"), _own),
    "bool": _bool,
    "bytes": _bytes,
    "date": _date,
    "time": _time,
    "timestamp": _timestamp,
    "timestamptz": _timestamptz,
}
"""Of the rest (strings, enums, floats, and what is held as text) the column is the text."""
