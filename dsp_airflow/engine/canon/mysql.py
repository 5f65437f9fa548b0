"""The canonical texts as SQL of MySQL and MariaDB, and their md5.

It relies on a session in UTC that talks utf8mb4, and on a ``sql_mode`` that lets dates stand as
they are. ``CONCAT`` yields NULL when a text outgrows ``max_allowed_packet``: no NULL here is
ever rendered as one of the row's own, so that such a row has no hash at all, which is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from dsp_airflow.engine.model import Field, LogicalType
from dsp_airflow.engine.types import INTEGERS

_Render: TypeAlias = Callable[[str, LogicalType, str], str]


def mysql_text(expression: str, kind: LogicalType, native: str) -> str:
    """SQL that yields the canonical text of ``expression``, which has ``kind``; NULL for NULL.

    ``native`` is MySQL's name of the expression's type.
    """
    return _RENDERS.get(kind.name, _other)(f"({expression})", kind, native)


def mysql_row_text(fields: Sequence[Field]) -> str:
    """SQL that yields the row text of ``fields``."""
    return f"CONCAT({', '.join(map(_field, fields))})"


def mysql_row_hash_md5(fields: Sequence[Field]) -> str:
    """SQL that yields the md5 of the row text, 32 hex digits."""
    return f"MD5({mysql_row_text(fields)})"


def mysql_digest_md5(fields: Sequence[Field]) -> str:
    """SQL that yields the first 64 bits of the row text's md5, as a signed bigint."""
    return f"CAST(CONV(LEFT({mysql_row_hash_md5(fields)}, 16), 16, -10) AS SIGNED)"


def mysql_key_text(expression: str, native: str) -> str:
    """SQL that yields a key's text: what PostgreSQL prints of an equal value."""
    word = native.partition("(")[0].partition(" ")[0]
    if word == "bit":
        width = native.removeprefix("bit(").removesuffix(")")
        return f"LPAD(BIN({expression} + 0), {width if width.isdigit() else 1}, '0')"
    if word in ("enum", "set"):
        listed = native.partition("(")[2].removesuffix(")").replace("\\", "\\\\")
        shown = "ELT" if word == "enum" else "MAKE_SET"
        return f"CONVERT(COALESCE({shown}({expression} + 0, {listed}), '') USING utf8mb4)"
    if "zerofill" in native:
        return mysql_key_text(f"({expression} * 1)", word)
    if word == "bit":
        length = native.partition("(")[2].rstrip(")") or "1"
        return f"LPAD(BIN({expression} + 0), {length}, '0')"
    if word in _BYTES:
        return f"CONCAT('\\\\x', LOWER(HEX({expression})))"
    if word in ("datetime", "timestamp", "time"):
        # A fraction loses its zeros.
        shown = f"DATE_FORMAT({expression}, '%Y-%m-%d %H:%i:%s.%f')"
        if word == "time":
            shown = f"TIME_FORMAT({expression}, '{_CLOCK}')"
        trimmed = f"TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM {shown}))"
        return f"CONCAT({trimmed}, '+00')" if word == "timestamp" else trimmed
    if word in ("float", "double"):
        return _float(f"({expression})", LogicalType("float64"), native)
    return f"CONVERT({expression} USING utf8mb4)"


_BYTES: Final = frozenset(
    ["binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "geometry", "vector"]
)
_CLOCK: Final = "%H:%i:%s.%f"


def _field(field: Field) -> str:
    """One field of a row text."""
    text = mysql_text(field.expression, field.type, field.native)
    fixed = _FIXED.get(field.type.name)
    length = f"'{fixed}:'" if fixed else f"LENGTH({text}), ':'"
    if field.type.name == "bytes":
        length = f"LENGTH({field.expression}) * 2, ':'"
    return f"IF(({field.expression}) IS NULL, 'N', CONCAT({length}, {text}))"


_FIXED: Final = {"date": 10, "time": 15, "timestamp": 26, "timestamptz": 27, "uuid": 36}
"""Octets of texts that all have the same."""


def _plain(expression: str, _kind: LogicalType, native: str) -> str:
    return f"CAST({_unpadded(expression, native)} AS CHAR)"


def _unpadded(expression: str, native: str) -> str:
    """A number that would be printed with zeros before it, without them."""
    return f"({expression} * 1)" if "zerofill" in native else expression


def _string(expression: str, _kind: LogicalType, _native: str) -> str:
    return f"CONVERT({expression} USING utf8mb4)"


def _number(expression: str, kind: LogicalType, native: str) -> str:
    # A year prints four digits, even of zero.
    return _plain(f"({expression} + 0)" if native.startswith("year") else expression, kind, native)


def _float(expression: str, _kind: LogicalType, native: str) -> str:
    """MySQL's shortest digits in PostgreSQL's notation."""
    expression = _unpadded(expression, native)
    own = f"CAST({expression} AS CHAR)"
    power = f"SUBSTRING_INDEX({own}, 'e', -1)"
    large = (
        f"CONCAT(SUBSTRING_INDEX({own}, 'e', 1), "
        f"IF({power} LIKE '-%', CONCAT('e-', LPAD(SUBSTR({power}, 2), "
        f"GREATEST(2, LENGTH({power}) - 1), '0')), "
        f"CONCAT('e+', {power})))"
    )
    # What PostgreSQL shows with an exponent and MySQL without: 0.000012 is 1.2e-05.
    digits = f"SUBSTRING_INDEX({own}, '.', -1)"
    bare = f"TRIM(LEADING '0' FROM {digits})"
    small = (
        f"CONCAT(IF({expression} < 0, '-', ''), LEFT({bare}, 1), "
        f"IF(LENGTH({bare}) > 1, CONCAT('.', SUBSTR({bare}, 2)), ''), "
        f"'e-', LPAD(LENGTH({digits}) - LENGTH({bare}) + 1, 2, '0'))"
    )
    # And the other way round: 3301126940684084.5 is 3.3011269406840845e+15.
    whole = f"SUBSTRING_INDEX(REPLACE({own}, '-', ''), '.', 1)"
    figures = f"TRIM(TRAILING '0' FROM REPLACE(REPLACE({own}, '-', ''), '.', ''))"
    wide = (
        f"CONCAT(IF({expression} < 0, '-', ''), LEFT({figures}, 1), "
        f"IF(LENGTH({figures}) > 1, CONCAT('.', SUBSTR({figures}, 2)), ''), "
        f"'e+', LENGTH({whole}) - 1)"
    )
    usual = f"ABS({expression}) >= 0.0001 AND ABS({expression}) < 1e15"
    return (
        f"CASE WHEN {expression} = 0 OR ({usual}) THEN {own} "
        f"WHEN {own} LIKE '%e%' THEN {large} "
        f"WHEN ABS({expression}) < 1 THEN {small} ELSE {wide} END"
    )


def _bytes(expression: str, _kind: LogicalType, _native: str) -> str:
    return f"LOWER(HEX({expression}))"


def _time(expression: str, _kind: LogicalType, _native: str) -> str:
    return f"TIME_FORMAT({expression}, '{_CLOCK}')"


def _timestamp(expression: str, _kind: LogicalType, _native: str) -> str:
    return f"DATE_FORMAT({expression}, '%Y-%m-%dT{_CLOCK}')"


def _timestamptz(expression: str, _kind: LogicalType, _native: str) -> str:
    return f"DATE_FORMAT({expression}, '%Y-%m-%dT{_CLOCK}Z')"


def _duration(expression: str, _kind: LogicalType, _native: str) -> str:
    # Of TIME_TO_SEC some servers keep the fraction.
    seconds = f"CAST(TRUNCATE(TIME_TO_SEC({expression}), 0) AS SIGNED)"
    sign = f"IF({expression} < CAST('00:00:00' AS TIME), -1, 1)"
    return f"CONCAT('0/0/', {seconds} * 1000000 + {sign} * MICROSECOND({expression}))"


def _uuid(expression: str, _kind: LogicalType, _native: str) -> str:
    return f"LOWER(CAST({expression} AS CHAR))"


def _other(expression: str, kind: LogicalType, native: str) -> str:
    if kind.identity == "bit":
        return f"LPAD(BIN({expression} + 0), {kind.length or 1}, '0')"
    if native.partition("(")[0] in _BYTES or kind.identity in ("geometry", "vector"):
        return f"LOWER(HEX({expression}))"
    return f"CAST({expression} AS CHAR)"


_RENDERS: Final[dict[str, _Render]] = {
    **dict.fromkeys(INTEGERS, _number),
    **dict.fromkeys(("bool", "decimal", "json"), _plain),
    **dict.fromkeys(("string", "enum", "set"), _string),
    **dict.fromkeys(("float32", "float64"), _float),
    "bytes": _bytes,
    "date": _plain,
    "time": _time,
    "timestamp": _timestamp,
    "timestamptz": _timestamptz,
    "duration": _duration,
    "uuid": _uuid,
}
