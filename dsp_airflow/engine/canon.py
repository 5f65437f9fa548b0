"""The one definition of equal: a canonical text per value, rendered by PostgreSQL and by Python.

Two values of a type are equal when their canonical texts are. A rendering may be finer than
the value (equal values with different texts cost a second look), never coarser.

Row text
    The fields in mapped order, each ``N`` for NULL, else ``<octets>:<text>``; UTF-8.

bool ``0`` ``1``. Integers: digits, ``-``.
decimal(p,s)
    All ``s`` digits after the point, no exponent; ``NaN``.
decimal, unbounded
    The value's own digits, so that ``1.0`` and ``1.00`` are told apart: PostgreSQL keeps the
    scale of each value and a copy has to, too. ``NaN``, ``Infinity``, ``-Infinity``.
float32, float64
    PostgreSQL's shortest text: the fewest digits that lie *inside* the rounding interval (its
    bounds excluded: 1e23 is ``9.999999999999999e+22``), positional for exponents from -4 to 5
    (float32) or 14 (float64), else ``d.ddde+XX``. ``-0``, ``NaN`` (one), ``Infinity``.
string
    The code points. PostgreSQL's ``char(n)`` loses the blanks at its end.
bytes
    Lower hex.
date, timestamp, timestamptz
    ``YYYY-MM-DD``, then ``THH:MM:SS.ffffff``, then ``Z`` (in UTC). Years are astronomical
    (1 BC is 0); outside 0001 to 9999 they carry a sign: ``+12345-01-01``, ``-0043-03-15``,
    ``+0000-12-31``. ``infinity``, ``-infinity`` alone.
time
    ``HH:MM:SS.ffffff``, ``24:00:00.000000`` included.
duration
    ``months/days/microseconds``, each with its own sign; ``infinity``.
uuid lower with hyphens. enum the label.
json
    By value: keys sorted by code point, no spaces, numbers exact and without needless zeros,
    of equal keys the last. That is what Python renders; PostgreSQL renders its own text (of
    ``jsonb`` normalised but for numbers, of ``json`` as it came), which is finer.
list
    ``<count>:`` and the elements as fields of a row. PostgreSQL's arrays of several dimensions
    or with other lower bounds: ``A`` and the array's own text.
other
    Its system's own text.

The SQL relies on DateStyle ISO, extra_float_digits 1, bytea_output hex and a server encoding
of UTF8, which the store fixes or requires; not on the time zone.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, TypeAlias
from uuid import UUID

from dsp_airflow.engine.model import Field, LogicalType
from dsp_airflow.engine.types import INTEGERS

CANON_VERSION: Final = 1
"""Part of every receipt: grows when any text here changes."""

# PostgreSQL


def postgres_text(expression: str, kind: LogicalType, native: str) -> str:
    """SQL that yields the canonical text of ``expression``, which has ``kind``; NULL for NULL.

    ``native`` is PostgreSQL's name of the expression's type.
    """
    render = _POSTGRES.get(kind.name, _own_text)
    return render(f"({expression})", kind, native)


def postgres_row_text(fields: Sequence[Field]) -> str:
    """SQL that yields the row text of ``fields``."""
    parts: list[str] = []
    short: list[str] = []
    for field in fields:
        if _is_short(field.type):
            short.append(_short_field(field))
            continue
        # Joining long texts pairwise would keep a copy of the whole at every step.
        parts += [*_joined(short), *_long_field(field)]
        short = []
    parts += _joined(short)
    return _concatenated(parts)


def postgres_row_hash_md5(fields: Sequence[Field]) -> str:
    """SQL that yields the md5 of the row text, 32 hex digits."""
    return f"md5({postgres_row_text(fields)})"


def postgres_digest_md5(fields: Sequence[Field]) -> str:
    """SQL that yields the first 64 bits of the row text's md5, as a signed bigint."""
    return f"('x'||substr({postgres_row_hash_md5(fields)},1,16))::bit(64)::int8"


def postgres_identity(expression: str, kind: LogicalType, native: str) -> str | None:
    """SQL whose hash inside ``hash_record_extended(ROW(...), 0)`` stands for the value itself.

    ``None`` for a type this module does not know. Both servers have to be of one major
    version. Plain columns would not do, beyond the types whose equality is loose: 64-bit
    integers and timestamps are folded to 32 bits (-1 and 4294967295 meet), numeric drops the
    sign (-5 and 5 meet), enums hash their OID, arrays ignore their bounds.
    """
    if kind.name not in _POSTGRES:
        return None
    return _identity(f"({expression})", kind, native)


_Render: TypeAlias = Callable[[str, LogicalType, str], str]

_DAY: Final = "YYYY-MM-DD"
_CLOCK: Final = "HH24:MI:SS.US"

_SHORT: Final = frozenset(
    {"bool", *INTEGERS, "float32", "float64", "date", "time", "timestamp", "timestamptz"}
    | {"duration", "uuid"}
)
"""Types of a few dozen octets at most: their text may be rendered twice and joined pairwise."""


def _own_text(expression: str, _kind: LogicalType, _native: str) -> str:
    return f"{expression}::text"


def _bool(expression: str, _kind: LogicalType, _native: str) -> str:
    return f"CASE WHEN {expression} THEN '1' WHEN NOT {expression} THEN '0' END"


def _bytes(expression: str, _kind: LogicalType, _native: str) -> str:
    return f"encode({expression},'hex')"


def _once(expression: str, use: str) -> str:
    """SQL of ``use`` with ``dsp_value`` for an expression too dear to be evaluated twice."""
    return f"(SELECT {use} FROM (SELECT {expression} AS dsp_value OFFSET 0) AS dsp_o)"  # noqa: S608


def _date(expression: str, _kind: LogicalType, _native: str) -> str:
    # In the common range PostgreSQL's own text is the canonical one, and the cheapest. Beyond
    # it, nothing that turns the date into a timestamp will do: dates go further.
    return (
        f"CASE WHEN {expression} BETWEEN date '0001-01-01' AND date '9999-12-31'"
        f" OR NOT isfinite({expression}) THEN {expression}::text"
        f" WHEN {expression} > date '9999-12-31' THEN '+'||{expression}::text"
        f" ELSE {_year_before_one(expression)}||substr({expression}::text,5,6) END"
    )


def _year_before_one(moment: str) -> str:
    """Astronomical and signed. PostgreSQL has no year 0: -1 is the one before 1."""
    return f"to_char(extract(year FROM {moment}) + 1, 'FMSG0000')"


def _time(expression: str, _kind: LogicalType, _native: str) -> str:
    return f"to_char({expression},'{_CLOCK}')"


def _timestamp(expression: str, _kind: LogicalType, _native: str) -> str:
    return _moment(expression, "")


def _timestamptz(expression: str, _kind: LogicalType, _native: str) -> str:
    return _moment(f"({expression} AT TIME ZONE 'UTC')", "Z")


def _moment(expression: str, zone: str) -> str:
    clock = f'"T"{_CLOCK}"{zone}"' if zone else f'"T"{_CLOCK}'
    return (
        f"CASE WHEN {expression} BETWEEN timestamp '0001-01-01'"
        " AND timestamp '9999-12-31 23:59:59.999999'"
        f" THEN to_char({expression},'{_DAY}{clock}')"
        f" WHEN NOT isfinite({expression}) THEN {expression}::text"
        f" WHEN {expression} > timestamp '9999-12-31'"
        f" THEN '+'||to_char({expression},'{_DAY}{clock}')"
        f" ELSE {_year_before_one(expression)}||to_char({expression},'-MM-DD{clock}') END"
    )


def _duration(expression: str, _kind: LogicalType, _native: str) -> str:
    def part(name: str) -> str:
        return f"extract({name} FROM {expression})"

    months = f"({part('year')}*12+{part('month')})::int8"
    micros = f"(({part('hour')}*60+{part('minute')})*60000000+{part('microseconds')})::int8"
    return (
        f"CASE WHEN isfinite({expression}) THEN {months}||'/'||{part('day')}::int8||'/'||{micros}"
        f" ELSE {expression}::text END"
    )


def _list(expression: str, kind: LogicalType, native: str) -> str:
    if kind.element is None:
        return _own_text(expression, kind, native)
    element = Field("", kind.element, native.removesuffix("[]"), "dsp_element")
    fields = _concatenated(
        [_short_field(element)] if _is_short(element.type) else _long_field(element)
    )
    # unnest keeps the array's order.
    elements = f"SELECT string_agg({fields},'') FROM unnest(dsp_value) AS dsp_u(dsp_element)"  # noqa: S608
    return _once(
        expression,
        "CASE WHEN array_ndims(dsp_value) > 1 OR array_lower(dsp_value,1) <> 1"
        " THEN 'A'||dsp_value::text"
        f" ELSE cardinality(dsp_value)||':'||coalesce(({elements}),'') END",
    )


_POSTGRES: Final[dict[str, _Render]] = {
    **dict.fromkeys((*INTEGERS, "decimal", "float32", "float64", "string"), _own_text),
    **dict.fromkeys(("uuid", "json", "enum", "other"), _own_text),
    "bool": _bool,
    "bytes": _bytes,
    "date": _date,
    "time": _time,
    "timestamp": _timestamp,
    "timestamptz": _timestamptz,
    "duration": _duration,
    "list": _list,
}


def _is_short(kind: LogicalType) -> bool:
    return kind.name in _SHORT or (kind.name == "decimal" and kind.precision is not None)


def _short_field(field: Field) -> str:
    """One field of a row text."""
    text = postgres_text(field.expression, field.type, field.native)
    fixed = {"bool": 1, "uuid": 36, "time": 15}.get(field.type.name)
    length = f"'{fixed}:'" if fixed is not None else f"octet_length({text})||':'"
    return f"coalesce({length}||{text},'N')"


def _long_field(field: Field) -> list[str]:
    """One field of a row text, as pieces for ``concat``, which takes NULL for nothing."""
    text = postgres_text(field.expression, field.type, field.native)
    if field.type.name == "bytes":
        return [f"coalesce(octet_length({field.expression})*2||':','N')", text]
    if field.type.name in {"string", "decimal", "enum"}:
        return [f"coalesce(octet_length({text})||':','N')", text]
    sized = _once(text, "octet_length(dsp_value)||':'||dsp_value")
    return [f"coalesce({sized},'N')"]


def _joined(short: list[str]) -> list[str]:
    return ["||".join(short)] if short else []


def _concatenated(parts: list[str], at_once: int = 90) -> str:
    """Functions take at most 100 arguments."""
    while len(parts) > at_once:
        groups = [parts[i : i + at_once] for i in range(0, len(parts), at_once)]
        parts = [f"concat({','.join(group)})" for group in groups]
    return parts[0] if len(parts) == 1 else f"concat({','.join(parts)})"


_SENDS: Final = {
    "int64": "int8send",
    "decimal": "numeric_send",
    "float32": "float4send",
    "float64": "float8send",
    "time": "time_send",
    "timestamp": "timestamp_send",
    "timestamptz": "timestamptz_send",
    "duration": "interval_send",
}
"""The exact bits, where the type's own hash forgets some of them."""

_PLAIN: Final = frozenset({"bool", "int8", "int16", "int32", "bytes", "date", "uuid"})

_ARRAY_SENDS: Final = frozenset({"bool", "int16", "int32", "int64", "float32", "float64"}) | {
    *("decimal", "date", "time", "timestamp", "timestamptz", "uuid")
}
"""Elements of one built-in type each, so that ``array_send`` (bounds included) is comparable."""


def _identity(expression: str, kind: LogicalType, native: str) -> str:
    if kind.name in _PLAIN:
        return expression
    if kind.name in _SENDS:
        return f"{_SENDS[kind.name]}({expression})"
    if kind.name == "list" and kind.element is not None and kind.element.name in _ARRAY_SENDS:
        return f"array_send({expression})"
    text = expression if native == "text" else f"{expression}::text"
    # Under a collation that is not deterministic, different texts may hash alike.
    return f'{text} COLLATE "C"'


# Python


def python_row_text(texts: Iterable[str | None]) -> str:
    """The row text of canonical texts."""
    return "".join("N" if text is None else f"{len(text.encode())}:{text}" for text in texts)


def python_row_hash_md5(texts: Iterable[str | None]) -> str:
    """What ``postgres_row_hash_md5`` yields."""
    row = python_row_text(texts).encode()
    return hashlib.md5(row, usedforsecurity=False).hexdigest()


def python_digest_md5(texts: Iterable[str | None]) -> int:
    """What ``postgres_digest_md5`` yields."""
    number = int(python_row_hash_md5(texts)[:16], 16)
    return number - 2**64 if number >= 2**63 else number


def python_text(value: Any, kind: LogicalType) -> str | None:
    """The canonical text of a Python value; ``None`` for ``None``.

    Dates and timestamps that Python has no value for (infinity, before year 1, after 9999)
    are given as their canonical text. Raises ``TypeError`` or ``ValueError`` for a value that
    is none of this type.
    """
    if value is None:
        return None
    render = _PYTHON.get(kind.name)
    if render is None:
        raise TypeError(f"no canonical text in Python for type {kind}")
    return render(value, kind)


def _wrong(value: Any, kind: LogicalType) -> TypeError:
    return TypeError(f"{value!r} ({type(value).__name__}) is no value of type {kind}")


def _python_bool(value: Any, kind: LogicalType) -> str:
    if not isinstance(value, bool):
        raise _wrong(value, kind)
    return "1" if value else "0"


def _python_integer(value: Any, kind: LogicalType) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(value, kind)
    low, high = INTEGERS[kind.name]
    if not low <= value <= high:
        raise ValueError(f"{value} is outside {low} to {high}, the range of {kind}")
    return str(value)


def _python_decimal(value: Any, kind: LogicalType) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value)
    if not isinstance(value, Decimal):
        raise _wrong(value, kind)
    if value.is_nan():
        return "NaN"
    if value.is_infinite():
        if kind.precision is not None:
            raise ValueError(f"{value} does not fit {kind}")
        return "-Infinity" if value < 0 else "Infinity"
    if value.is_zero():
        value = value.copy_abs()  # PostgreSQL has no negative zero among decimals.
    if kind.precision is None:
        return f"{value:f}"
    return _at_scale(value, kind, kind.precision, kind.scale or 0)


def _at_scale(value: Decimal, kind: LogicalType, precision: int, scale: int) -> str:
    """Exact integer arithmetic: a decimal context would round long numbers."""
    sign, digits, exponent = value.as_tuple()
    number = int("".join(map(str, digits)))
    shift = int(exponent) + scale
    scaled, lost = (number * 10**shift, 0) if shift >= 0 else divmod(number, 10**-shift)
    if lost or scaled >= 10**precision:
        raise ValueError(f"{value} does not fit {kind}")
    return f"{Decimal((sign, tuple(map(int, str(scaled))), -scale)):f}"


def _python_float(value: Any, kind: LogicalType) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, float):
        raise _wrong(value, kind)
    if math.isnan(value):
        return "NaN"
    sign = "-" if math.copysign(1, value) < 0 else ""
    if math.isinf(value):
        return f"{sign}Infinity"
    return sign + (_shortest(abs(value), kind) if value else "0")


def _shortest(value: float, kind: LogicalType) -> str:
    """The fewest digits strictly between the midpoints to both neighbours, nearest first."""
    exact, below, above = Fraction(value), *_neighbours(value, kind)
    low, high = (exact + below) / 2, (exact + above) / 2
    digits, exponent = _digits(Decimal(repr(value)))
    # Python takes a midpoint itself when it rounds to even; PostgreSQL never does.
    if kind.name == "float32" or not low < Fraction(repr(value)) < high:
        digits, exponent = _fewest_digits(exact, low, high)
    return _notation(digits, exponent, 6 if kind.name == "float32" else 15)


def _neighbours(value: float, kind: LogicalType) -> tuple[Fraction, Fraction]:
    if kind.name == "float64":
        above = math.nextafter(value, math.inf)
        top = Fraction(value) * 2 - Fraction(math.nextafter(value, 0))
        return Fraction(math.nextafter(value, 0)), top if math.isinf(above) else Fraction(above)
    packed = struct.pack(">f", value)
    if struct.unpack(">f", packed)[0] != value:
        raise ValueError(f"{value!r} does not fit float32")
    bits = int.from_bytes(packed, "big")
    below, above = (struct.unpack(">f", (bits + i).to_bytes(4, "big"))[0] for i in (-1, 1))
    top = Fraction(value) * 2 - Fraction(below)
    return Fraction(below), top if math.isinf(above) else Fraction(above)


def _digits(number: Decimal) -> tuple[str, int]:
    """Significant digits without zeros at either end, and the exponent of the first."""
    parts = number.as_tuple()
    digits = "".join(map(str, parts.digits))
    exponent = len(digits) - 1 + int(parts.exponent)
    return digits.rstrip("0"), exponent


def _fewest_digits(exact: Fraction, low: Fraction, high: Fraction) -> tuple[str, int]:
    exponent = len(str(exact.numerator)) - len(str(exact.denominator))
    if exact < Fraction(10) ** exponent:
        exponent -= 1
    for count in range(18):
        unit = Fraction(10) ** (exponent - count)
        floor = exact // unit
        inside = [n for n in (floor, floor + 1) if low < n * unit < high]
        if inside:
            best = min(inside, key=lambda n: (abs(n * unit - exact), n % 2))
            return _digits(Decimal((0, tuple(map(int, str(best))), exponent - count)))
    raise AssertionError("17 digits always do")


def _notation(digits: str, exponent: int, positional_below: int) -> str:
    if not -4 <= exponent < positional_below:
        rest = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{digits[0]}{rest}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    if exponent < 0:
        return f"0.{'0' * (-exponent - 1)}{digits}"
    whole = digits[: exponent + 1].ljust(exponent + 1, "0")
    rest = digits[exponent + 1 :]
    return f"{whole}.{rest}" if rest else whole


def _python_string(value: Any, kind: LogicalType) -> str:
    if not isinstance(value, str):
        raise _wrong(value, kind)
    return value


def _python_bytes(value: Any, kind: LogicalType) -> str:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise _wrong(value, kind)
    return bytes(value).hex()


_YEAR: Final = r"(?:(?!0000)\d{4}|\+0000|-\d{4,}|\+\d{5,})"
_BEYOND: Final = {
    "date": re.compile(rf"-?infinity|{_YEAR}-\d\d-\d\d"),
    "timestamp": re.compile(rf"-?infinity|{_YEAR}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{6}}"),
    "timestamptz": re.compile(rf"-?infinity|{_YEAR}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{6}}Z"),
    "time": re.compile(r"\d\d:\d\d:\d\d\.\d{6}"),
    "duration": re.compile(r"-?infinity|(?:-?\d+/){2}-?\d+"),
}


def _beyond_python(value: str, kind: LogicalType) -> str:
    if _BEYOND[kind.name].fullmatch(value) is None:
        raise ValueError(f"{value!r} is no canonical text of type {kind}")
    return value


def _python_date(value: Any, kind: LogicalType) -> str:
    if isinstance(value, str):
        return _beyond_python(value, kind)
    if not isinstance(value, date) or isinstance(value, datetime):
        raise _wrong(value, kind)
    return value.isoformat()


def _python_time(value: Any, kind: LogicalType) -> str:
    if isinstance(value, str):
        return _beyond_python(value, kind)
    if not isinstance(value, time) or value.tzinfo is not None:
        raise _wrong(value, kind)
    return value.isoformat(timespec="microseconds")


def _python_timestamp(value: Any, kind: LogicalType) -> str:
    if isinstance(value, str):
        return _beyond_python(value, kind)
    zoned = kind.name == "timestamptz"
    if not isinstance(value, datetime) or (value.tzinfo is not None) != zoned:
        raise _wrong(value, kind)
    if not zoned:
        return value.isoformat(timespec="microseconds")
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _python_duration(value: Any, kind: LogicalType) -> str:
    if isinstance(value, str):
        return _beyond_python(value, kind)
    if not isinstance(value, timedelta):
        raise _wrong(value, kind)
    return f"0/{value.days}/{value.seconds * 1_000_000 + value.microseconds}"


def _python_uuid(value: Any, kind: LogicalType) -> str:
    if not isinstance(value, UUID):
        raise _wrong(value, kind)
    return str(value)


def _python_json(value: Any, kind: LogicalType) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float | Decimal):
        return _json_number(Decimal(repr(value)) if isinstance(value, float) else Decimal(value))
    if isinstance(value, list | tuple):
        return f"[{','.join(_python_json(item, kind) for item in value)}]"
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        # Python compares texts by code point.
        items = (f"{_python_json(k, kind)}:{_python_json(value[k], kind)}" for k in sorted(value))
        return f"{{{','.join(items)}}}"
    raise _wrong(value, kind)


def _json_number(number: Decimal) -> str:
    """By value: 1.0 and 1 are one number."""
    if not number.is_finite():
        raise ValueError(f"{number} is no JSON number")
    if number.is_zero():
        return "0"
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _python_list(value: Any, kind: LogicalType) -> str:
    if not isinstance(value, list | tuple) or kind.element is None:
        raise _wrong(value, kind)
    element = kind.element
    return f"{len(value)}:{python_row_text(python_text(item, element) for item in value)}"


_PYTHON: Final[dict[str, Callable[[Any, LogicalType], str]]] = {
    "bool": _python_bool,
    **dict.fromkeys(INTEGERS, _python_integer),
    "decimal": _python_decimal,
    "float32": _python_float,
    "float64": _python_float,
    "string": _python_string,
    "bytes": _python_bytes,
    "date": _python_date,
    "time": _python_time,
    "timestamp": _python_timestamp,
    "timestamptz": _python_timestamp,
    "duration": _python_duration,
    "uuid": _python_uuid,
    "json": _python_json,
    "enum": _python_string,
    "other": _python_string,
    "list": _python_list,
}
