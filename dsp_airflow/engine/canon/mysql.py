"""The canonical texts as SQL of MySQL and MariaDB, and their md5; and a cheaper hash of their own.

It relies on a session in UTC that talks utf8mb4, and on a ``sql_mode`` that lets dates stand as
they are. ``CONCAT`` yields NULL when a text outgrows ``max_allowed_packet``: no NULL here is
ever rendered as one of the row's own, so that such a row has no hash at all, which is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from dsp_airflow.engine.keeps import digits_kept
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
    return _leading(mysql_row_hash_md5(fields))


def mysql_digest_sha1(fields: Sequence[Field]) -> str:
    """SQL that yields 64 bits of a hash that MySQL and MariaDB have in common, as a signed bigint.

    Numbers and moments are hashed as these servers print them, each up to a comma, bytes as they
    are, all else in its canonical text. What is printed how depends on the logical types alone,
    which both sides share, so that no two rows have one text. MariaDB computes this hash in a
    third of md5's time.
    """
    comma = f", {_octets(',')}, "
    return _leading(f"SHA1(CONCAT({comma.join(map(_own_field, fields))}))")


def _leading(digits: str) -> str:
    """The first 64 bits of a hash in hex."""
    return f"CAST(CONV(LEFT({digits}, 16), 16, -10) AS SIGNED)"


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
    name, x = field.type.name, f"({field.expression})"
    if name in _NUMBERS:
        # Printed by CONCAT itself, and never too long for a packet.
        number = _digits(x, field.native)
        return f"IFNULL(CONCAT(LENGTH({number}), ':', {number}), 'N')"
    if name in _TEXTS and field.utf8:
        return f"IF({x} IS NULL, 'N', CONCAT(LENGTH({x}), {_octets(':')}, {x}))"
    if name in _MOMENTS and _whole(field.native):
        zone = ", 'Z'" if name == "timestamptz" else ""
        return f"IFNULL(CONCAT('{_FIXED[name]}:', INSERT({x}, 11, 1, 'T'){zone}), 'N')"
    text = mysql_text(field.expression, field.type, field.native)
    fixed = _FIXED.get(name)
    length = f"'{fixed}:'" if fixed else f"LENGTH({text}), ':'"
    if name == "bytes":
        length = f"LENGTH({x}) * 2, ':'"
    return f"IF({x} IS NULL, 'N', CONCAT({length}, {text}))"


def _own_field(field: Field) -> str:
    """One field as ``mysql_digest_sha1`` has it: ``N``, or what is printed without a comma."""
    name, x = field.type.name, f"({field.expression})"
    if name in _NUMBERS or name in _FLOATS:
        return f"IFNULL({_digits(x, field.native)}, 'N')"
    if name == "date":
        return f"IFNULL({x}, 'N')"
    if name in _MOMENTS or name in _CLOCKS:
        if _whole(field.native):
            return f"IFNULL({x}, 'N')"
        native = "DATETIME" if name in _MOMENTS else "TIME"
        return f"IF({x} IS NULL, 'N', CAST({x} AS {native}(6)))"
    if name == "bytes":
        return f"IF({x} IS NULL, 'N', CONCAT(LENGTH({x}), {_octets(':')}, {x}))"
    return _field(field)


_NUMBERS: Final = frozenset({*INTEGERS, "bool", "decimal"})
_FLOATS: Final = frozenset({"float32", "float64"})
_TEXTS: Final = frozenset({"string", "enum", "set"})
_MOMENTS: Final = frozenset({"timestamp", "timestamptz"})
_CLOCKS: Final = frozenset({"time", "duration"})


def _octets(text: str) -> str:
    """A literal beside which texts are taken as the octets that they are: none is converted."""
    return f"_binary'{text}' COLLATE `binary`"


def _digits(x: str, native: str) -> str:
    """A number that is printed as it ought to be."""
    # A year prints four digits, even of zero.
    return f"({x} + 0)" if native.startswith("year") else _unpadded(x, native)


def _whole(native: str) -> bool:
    """Whether a moment is printed with all six digits of its fraction."""
    return native in ("datetime(6)", "timestamp(6)", "time(6)")


_FIXED: Final = {"date": 10, "time": 15, "timestamp": 26, "timestamptz": 27, "uuid": 36}
"""Octets of texts that all have the same."""


def _plain(expression: str, _kind: LogicalType, native: str) -> str:
    return f"CAST({_unpadded(expression, native)} AS CHAR)"


def _unpadded(expression: str, native: str) -> str:
    """A number that would be printed with zeros before it or behind its digits, without them."""
    if digits_kept(native) is not None:
        return f"({expression} * 1e0)"
    return f"({expression} * 1)" if "zerofill" in native else expression


def _string(expression: str, _kind: LogicalType, _native: str) -> str:
    return f"CONVERT({expression} USING utf8mb4)"


def _number(expression: str, _kind: LogicalType, native: str) -> str:
    return f"CAST({_digits(expression, native)} AS CHAR)"


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
    **dict.fromkeys(_NUMBERS, _number),
    "json": _plain,
    **dict.fromkeys(_TEXTS, _string),
    **dict.fromkeys(_FLOATS, _float),
    "bytes": _bytes,
    "date": _plain,
    "time": _time,
    "timestamp": _timestamp,
    "timestamptz": _timestamptz,
    "duration": _duration,
    "uuid": _uuid,
}
