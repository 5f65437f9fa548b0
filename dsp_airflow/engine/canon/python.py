"""The canonical texts of Python's values, and their digests."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from dsp_airflow.engine.canon.floats import shortest
from dsp_airflow.engine.model import LogicalType
from dsp_airflow.engine.types import INTEGERS


def python_row_text(texts: Iterable[str | None]) -> str:
    """The row text of canonical texts."""
    return "".join("N" if text is None else f"{len(text.encode())}:{text}" for text in texts)


def python_elements(text: str) -> list[str | None] | None:
    """The elements' texts of a list's canonical text; ``None`` for an array of other bounds."""
    count, colon, rest = text.partition(":")
    if not colon or not count.isdigit():
        return None
    data, at = rest.encode(), 0
    found: list[str | None] = []
    while at < len(data):
        if data.startswith(b"N", at):
            found.append(None)
            at += 1
            continue
        start = data.index(b":", at) + 1
        end = start + int(data[at : start - 1])
        found.append(data[start:end].decode())
        at = end
    if len(found) != int(count):
        raise ValueError(f"no canonical list: it has {len(found)} elements, and says {count}")
    return found


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
    render = _RENDERS.get(kind.name)
    if render is None:
        raise TypeError(f"no canonical text in Python for type {kind}")
    return render(value, kind)


def _wrong(value: Any, kind: LogicalType) -> TypeError:
    return TypeError(f"{value!r} ({type(value).__name__}) is no value of type {kind}")


def _bool(value: Any, kind: LogicalType) -> str:
    if not isinstance(value, bool):
        raise _wrong(value, kind)
    return "1" if value else "0"


def _integer(value: Any, kind: LogicalType) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(value, kind)
    low, high = INTEGERS[kind.name]
    if not low <= value <= high:
        raise ValueError(f"{value} is outside {low} to {high}, the range of {kind}")
    return str(value)


def _decimal(value: Any, kind: LogicalType) -> str:
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


def _float(value: Any, kind: LogicalType) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, float):
        raise _wrong(value, kind)
    if math.isnan(value):
        return "NaN"
    sign = "-" if math.copysign(1, value) < 0 else ""
    if math.isinf(value):
        return f"{sign}Infinity"
    return sign + (shortest(abs(value), kind) if value else "0")


def _string(value: Any, kind: LogicalType) -> str:
    if not isinstance(value, str):
        raise _wrong(value, kind)
    return value


def _bytes(value: Any, kind: LogicalType) -> str:
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


def _date(value: Any, kind: LogicalType) -> str:
    if isinstance(value, str):
        return _beyond_python(value, kind)
    if not isinstance(value, date) or isinstance(value, datetime):
        raise _wrong(value, kind)
    return value.isoformat()


def _time(value: Any, kind: LogicalType) -> str:
    if isinstance(value, str):
        return _beyond_python(value, kind)
    if not isinstance(value, time) or value.tzinfo is not None:
        raise _wrong(value, kind)
    return value.isoformat(timespec="microseconds")


def _timestamp(value: Any, kind: LogicalType) -> str:
    if isinstance(value, str):
        return _beyond_python(value, kind)
    zoned = kind.name == "timestamptz"
    if not isinstance(value, datetime) or (value.tzinfo is not None) != zoned:
        raise _wrong(value, kind)
    if not zoned:
        return value.isoformat(timespec="microseconds")
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _duration(value: Any, kind: LogicalType) -> str:
    if isinstance(value, str):
        return _beyond_python(value, kind)
    if not isinstance(value, timedelta):
        raise _wrong(value, kind)
    return f"0/{value.days}/{value.seconds * 1_000_000 + value.microseconds}"


def _uuid(value: Any, kind: LogicalType) -> str:
    if not isinstance(value, UUID):
        raise _wrong(value, kind)
    return str(value)


def _json(value: Any, kind: LogicalType) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float | Decimal):
        return _json_number(Decimal(repr(value)) if isinstance(value, float) else Decimal(value))
    if isinstance(value, list | tuple):
        return f"[{','.join(_json(item, kind) for item in value)}]"
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        # Python compares texts by code point.
        items = (f"{_json(k, kind)}:{_json(value[k], kind)}" for k in sorted(value))
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


def _list(value: Any, kind: LogicalType) -> str:
    if not isinstance(value, list | tuple) or kind.element is None:
        raise _wrong(value, kind)
    element = kind.element
    return f"{len(value)}:{python_row_text(python_text(item, element) for item in value)}"


_RENDERS: Final[dict[str, Callable[[Any, LogicalType], str]]] = {
    "bool": _bool,
    **dict.fromkeys(INTEGERS, _integer),
    "decimal": _decimal,
    "float32": _float,
    "float64": _float,
    "string": _string,
    "bytes": _bytes,
    "date": _date,
    "time": _time,
    "timestamp": _timestamp,
    "timestamptz": _timestamp,
    "duration": _duration,
    "uuid": _uuid,
    "json": _json,
    **dict.fromkeys(("enum", "set"), _string),
    "other": _string,
    "list": _list,
}
