"""The canonical texts of BSON values, and BSON values of canonical texts.

A value is read *at* a logical type: what the type does not hold exactly is a ``Misfit``. Numbers
are read by value, whatever BSON type carries them: 5, 5.0 and Decimal128 ``5`` are the int64 5.
All else is read from the one BSON type that stands for it, so that no two values of different
types ever have the same text: a text of 24 hex digits is no ObjectId, and bytes of another subtype
than 0 are none. Types that BSON has not (times, durations, labels, another system's own) are
texts there.

Values are what ``bson`` decodes under ``OPTIONS``.
"""

from __future__ import annotations

import base64
import json
import math
import re
import struct
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from bson import DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import Binary, UuidRepresentation
from bson.code import Code
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS

from dsp_airflow.engine.canon.python import python_elements, python_row_text, python_text
from dsp_airflow.engine.model import LogicalType
from dsp_airflow.engine.types import INTEGERS

OPTIONS: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    document_class=dict,
    uuid_representation=UuidRepresentation.UNSPECIFIED,
    datetime_conversion=DatetimeConversion.DATETIME_MS,
)
"""Under which every value of BSON decodes to one that encodes to the same bytes again, but for
what nobody has written for years (undefined, symbol, DBPointer) and for fields that stand twice."""

MOST_DIGITS: Final = 34
"""Of a Decimal128."""
UUID_SUBTYPE: Final = 4
_DAY: Final = 86_400_000
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001
_USUAL: Final = (-62_135_596_800_000, 253_402_300_799_999)
"""Milliseconds of the years 1 to 9999."""
_LEAST, _MOST = -(2**63), 2**63 - 1


class Misfit(ValueError):
    """A value that a type does not hold exactly; the text says why, and never the value."""


def mongodb_text(value: Any, kind: LogicalType) -> str | None:
    """The canonical text of a BSON value at ``kind``; ``None`` for null. Raises ``Misfit``."""
    if value is None:
        return None
    render = _RENDERS.get(kind.name)
    if render is None:
        raise Misfit(f"no value of BSON is {kind}")
    return render(value, kind)


def mongodb_value(text: str | None, kind: LogicalType) -> Any:
    """The BSON value of a canonical text at ``kind``: the inverse. Raises ``Misfit``."""
    if text is None:
        return None
    return _VALUES.get(kind.name, _same)(text, kind)


def type_name(value: Any) -> str:
    """What BSON calls the type of a value, as ``$type`` knows it."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "long" if isinstance(value, Int64) else "int"
    if isinstance(value, Code):
        return "javascript" if value.scope is None else "javascriptWithScope"
    return next((name for kind, name in _NAMES if isinstance(value, kind)), type(value).__name__)


_NAMES: Final = (
    (type(None), "null"),
    (float, "double"),
    (str, "string"),
    (dict, "object"),
    (list, "array"),
    (bytes, "binData"),
    (ObjectId, "objectId"),
    (DatetimeMS, "date"),
    (Decimal128, "decimal"),
    (Regex, "regex"),
    (Timestamp, "timestamp"),
    (DBRef, "object"),
    (MinKey, "minKey"),
    (MaxKey, "maxKey"),
)


def _misfit(value: Any, kind: LogicalType) -> Misfit:
    return Misfit(f"a value of type {type_name(value)} is no {kind}")


# Numbers


def _number(value: Any, kind: LogicalType) -> Decimal:
    """The exact number, zeros after the point kept; -0 has its sign."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal128):
        raise _misfit(value, kind)
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, float):
        # Of a fraction its shortest digits are what everybody takes it for.
        return Decimal(int(value)) if value and value.is_integer() else Decimal(repr(value))
    return value.to_decimal()


def _negative_zero(number: Decimal) -> bool:
    return number.is_zero() and number.is_signed()


def _integer(value: Any, kind: LogicalType) -> str:
    if type(value) is int or isinstance(value, Int64):
        number = int(value)
    else:
        found = _number(value, kind)
        if not found.is_finite() or _negative_zero(found) or found != found.to_integral_value():
            raise Misfit(f"a number is no whole one, as {kind} asks for")
        number = int(found)
    low, high = INTEGERS[kind.name]
    if not low <= number <= high:
        raise Misfit(f"a number is beyond {kind}")
    return str(number)


def _decimal(value: Any, kind: LogicalType) -> str:
    number = _number(value, kind)
    if _negative_zero(number) or number.is_snan() or (number.is_nan() and number.is_signed()):
        raise Misfit(f"a negative zero or a NaN of its own kind is no {kind}")
    try:
        text = python_text(number, kind)
    except ValueError as error:
        raise Misfit(f"a number does not fit {kind}") from error
    return text or ""


def _float(value: Any, kind: LogicalType) -> str:
    made = value if isinstance(value, float) else _as_float(_number(value, kind), kind)
    if kind.name == "float32" and math.isfinite(made):
        try:
            (near,) = struct.unpack(">f", struct.pack(">f", made))
        except OverflowError:
            near = math.inf
        if near != made:
            raise Misfit(f"a number has digits that a {kind} does not hold")
    elif kind.name == "float64" and abs(made) < _PLAIN:
        # Python's digits are the canonical ones where no short decimal lies midway.
        return repr(made).removesuffix(".0")
    return python_text(made, kind) or ""


_PLAIN: Final = 1e15


def _as_float(number: Decimal, kind: LogicalType) -> float:
    if number.is_snan():
        raise Misfit(f"a NaN of its own kind is no {kind}")
    found = float(number)
    if number.is_finite() and (
        not math.isfinite(found)
        or Decimal(found if number == number.to_integral_value() else repr(found)) != number
    ):
        raise Misfit(f"a number has digits that a {kind} does not hold")
    return found


def _integer_value(text: str, _kind: LogicalType) -> Any:
    number = int(text)
    if -(2**31) <= number < 2**31:
        return number
    return Int64(number) if _LEAST <= number <= _MOST else _decimal128(text)


def _sized(kind: LogicalType) -> bool:
    return kind.name in ("int8", "int16", "int24", "int32", "uint8", "uint16", "uint24", "year")


def _whole_value(text: str, kind: LogicalType) -> Any:
    """One type for all values of a column, as far as they fit it."""
    number = int(text)
    if _sized(kind):
        return number
    return Int64(number) if number <= _MOST else _decimal128(text)


def _decimal128(text: str) -> Decimal128:
    digits = len(text.lstrip("-").replace(".", "").lstrip("0"))
    if digits > MOST_DIGITS and text.lstrip("-")[:1].isdigit():
        raise Misfit(f"a number has more than the {MOST_DIGITS} digits of a Decimal128")
    try:
        return Decimal128(text)
    except (InvalidOperation, ValueError) as error:
        raise Misfit("a number is none that a Decimal128 holds") from error


def _decimal_value(text: str, _kind: LogicalType) -> Decimal128:
    return _decimal128(text)


def _float_value(text: str, kind: LogicalType) -> float:
    if kind.name == "float32":
        # The digits of a shorter number are those of another double.
        (value,) = struct.unpack(">f", struct.pack(">f", float(text)))
        return float(value)
    return float(text)


# Plain values


def _bool(value: Any, kind: LogicalType) -> str:
    if not isinstance(value, bool):
        raise _misfit(value, kind)
    return "1" if value else "0"


def _string(value: Any, kind: LogicalType) -> str:
    if not isinstance(value, str) or isinstance(value, Code):
        raise _misfit(value, kind)
    if kind.length is not None and len(value) > kind.length:
        raise Misfit(f"a text is longer than {kind.length} characters")
    return value


def _own(value: Any, kind: LogicalType) -> str:
    """A type that BSON has not: its canonical text."""
    if not isinstance(value, str) or isinstance(value, Code):
        raise _misfit(value, kind)
    return value


def _label(value: Any, kind: LogicalType) -> str:
    text = _own(value, kind)
    # Servers take other spellings, and the numbers of labels.
    if kind.labels is not None and text not in kind.labels:
        raise Misfit(f"a text is no label of the {kind}")
    return text


def _labels(value: Any, kind: LogicalType) -> str:
    text = _own(value, kind)
    given = text.split(",") if text else []
    if kind.labels is not None and given != [label for label in kind.labels if label in given]:
        raise Misfit(f"a text is no {kind} of labels, each once and in their order")
    return text


def _clock(value: Any, kind: LogicalType) -> str:
    text = _own(value, kind)
    try:
        python_text(text, kind)
    except ValueError as error:
        shown = "HH:MM:SS.ffffff" if kind.name == "time" else "months/days/microseconds"
        raise Misfit(f"a text is no {kind} as it is written here, {shown}") from error
    digits = 6 if kind.digits is None else kind.digits
    micros = _MICROS.search(text)
    if micros is not None and int(micros[0]) % 10 ** (6 - digits):
        raise Misfit(f"a time has finer fractions of a second than {kind}")
    return text


_MICROS: Final = re.compile(r"\d+$")


def _bytes(value: Any, kind: LogicalType) -> str:
    if not isinstance(value, bytes) or (isinstance(value, Binary) and value.subtype):
        raise _misfit(value, kind)
    if kind.length is not None and len(value) > kind.length:
        raise Misfit(f"a value is longer than {kind.length} bytes")
    return value.hex()


def _uuid(value: Any, kind: LogicalType) -> str:
    if not isinstance(value, Binary) or value.subtype != UUID_SUBTYPE or len(value) != 16:
        raise _misfit(value, kind)
    return str(uuid.UUID(bytes=bytes(value)))


def _objectid(value: Any, kind: LogicalType) -> str:
    if not isinstance(value, ObjectId):
        raise _misfit(value, kind)
    return str(value)


def _same(text: str, _kind: LogicalType) -> str:
    return text


def _bool_value(text: str, _kind: LogicalType) -> bool:
    return text == "1"


def _bytes_value(text: str, _kind: LogicalType) -> bytes:
    return bytes.fromhex(text)


def _uuid_value(text: str, _kind: LogicalType) -> Binary:
    return Binary(uuid.UUID(text).bytes, UUID_SUBTYPE)


def _objectid_value(text: str, kind: LogicalType) -> ObjectId:
    if re.fullmatch("[0-9a-f]{24}", text) is None:
        raise Misfit(f"a text is no {kind}: that are 24 digits of hex in lower case")
    return ObjectId(text)


# Moments


def moment_text(milliseconds: int) -> str:
    """``YYYY-MM-DDTHH:MM:SS.ffffff`` in UTC, years beyond four digits with their sign."""
    if _USUAL[0] <= milliseconds <= _USUAL[1]:
        made = _EPOCH + timedelta(milliseconds=milliseconds)
        return made.isoformat(timespec="microseconds")
    days, rest = divmod(milliseconds, _DAY)
    # A cycle of the calendar has 400 years.
    cycles, days = divmod(days, 146_097)
    made = _EPOCH + timedelta(days=days, milliseconds=rest)
    year = made.year + 400 * cycles
    shown = f"{year:+05}" if not 1 <= year <= 9999 else f"{year:04}"
    return shown + made.isoformat(timespec="microseconds")[4:]


_MOMENT: Final = re.compile(r"([+-]?\d{4,})(-\d\d-\d\d)(?:T(\d\d:\d\d:\d\d)\.(\d{6})Z?)?")


def moment_of(text: str) -> DatetimeMS:
    """The inverse, of dates and of moments with or without a zone. Raises ``Misfit``."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise Misfit("a moment is none that BSON has a date for, such as infinity")
    micros = int(found[4] or 0)
    if micros % 1000:
        raise Misfit("a moment has microseconds, and BSON has milliseconds")
    cycles, year = divmod(int(found[1]) - 2000, 400)
    try:
        made = datetime.fromisoformat(f"{year + 2000}{found[2]}T{found[3] or '00:00:00'}")
    except ValueError as error:
        raise Misfit("a date is none of the calendar") from error
    since = made - _EPOCH
    days = since.days + cycles * 146_097
    number = days * _DAY + since.seconds * 1000 + micros // 1000
    if not _LEAST <= number <= _MOST:
        raise Misfit("a moment is beyond what BSON has a date for")
    return DatetimeMS(number)


def _moment(value: Any, kind: LogicalType) -> str:
    if not isinstance(value, DatetimeMS):
        raise _misfit(value, kind)
    number = int(value)
    digits = 6 if kind.digits is None else kind.digits
    if digits < 3 and number % 10 ** (3 - digits):
        raise Misfit(f"a moment has finer fractions of a second than {kind}")
    return moment_text(number) + ("Z" if kind.name == "timestamptz" else "")


def _date(value: Any, kind: LogicalType) -> str:
    if not isinstance(value, DatetimeMS):
        raise _misfit(value, kind)
    if int(value) % _DAY:
        raise Misfit("a moment has a time of day, which a date has not")
    return moment_text(int(value)).partition("T")[0]


def _moment_value(text: str, _kind: LogicalType) -> DatetimeMS:
    return moment_of(text)


# Lists


def _list(value: Any, kind: LogicalType) -> str:
    if not isinstance(value, list) or kind.element is None:
        raise _misfit(value, kind)
    element = kind.element
    return f"{len(value)}:{python_row_text(mongodb_text(item, element) for item in value)}"


def _list_value(text: str, kind: LogicalType) -> list[Any]:
    items = python_elements(text)
    if items is None or kind.element is None:
        raise Misfit("an array of several dimensions, or whose bounds begin elsewhere than at 1")
    return [mongodb_value(item, kind.element) for item in items]


# JSON


def json_text(value: Any) -> str:
    """Any value as JSON, laid out as PostgreSQL and MySQL print theirs.

    Numbers are numbers, of whatever type; what JSON has not is an object of extended JSON, such as
    ``{"$oid": ...}``. Keys are sorted by length, then by their bytes.
    """
    return "".join(_pieces(value))


def _pieces(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield "{"
        for n, key in enumerate(sorted(value, key=json_order)):
            yield f"{', ' if n else ''}{_quoted(key)}: "
            yield from _pieces(value[key])
        yield "}"
    elif isinstance(value, list):
        yield "["
        for n, item in enumerate(value):
            if n:
                yield ", "
            yield from _pieces(item)
        yield "]"
    else:
        yield _scalar(value)


def json_order(key: str) -> tuple[int, bytes]:
    """How ``json_text`` sorts names."""
    octets = key.encode()
    return len(octets), octets


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and not isinstance(value, Code):
        return _quoted(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value) and (value or math.copysign(1, value) > 0):
        text = f"{Decimal(repr(value)):f}"
        return text if "." in text else f"{text}.0"
    if isinstance(value, Decimal128):
        number = _number(value, LogicalType("decimal"))
        if number.is_finite() and not _negative_zero(number):
            return f"{number:f}"
    return json_text(_extended(value))


def _extended(value: Any) -> dict[str, Any]:
    """What extended JSON has for a value that JSON has not."""
    if isinstance(value, float):
        return {
            "$numberDouble": (python_text(value, LogicalType("float64")) or "").replace(
                "-0", "-0.0"
            )
        }
    if isinstance(value, bytes):
        subtype = value.subtype if isinstance(value, Binary) else 0
        encoded = base64.b64encode(value).decode()
        return {"$binary": {"base64": encoded, "subType": f"{subtype:02x}"}}
    if isinstance(value, DatetimeMS):
        if 0 <= int(value) <= _USUAL[1]:
            return {"$date": moment_text(int(value))[:-3] + "Z"}
        return {"$date": {"$numberLong": str(int(value))}}
    if isinstance(value, Code):
        scope = {} if value.scope is None else {"$scope": dict(value.scope)}
        return {"$code": str(value), **scope}
    if isinstance(value, Regex):
        options = "".join(o for o, flag in _FLAGS if value.flags & flag)
        return {"$regularExpression": {"pattern": value.pattern, "options": options}}
    if isinstance(value, Timestamp):
        return {"$timestamp": {"t": value.time, "i": value.inc}}
    if isinstance(value, DBRef):
        return dict(value.as_doc())
    for kind, name in ((ObjectId, "$oid"), (Decimal128, "$numberDecimal")):
        if isinstance(value, kind):
            return {name: str(value)}
    return {"$minKey" if isinstance(value, MinKey) else "$maxKey": 1}


_FLAGS: Final = tuple(zip("ilmsux", (re.I, re.L, re.M, re.S, re.U, re.X), strict=True))


def _json(value: Any, _kind: LogicalType) -> str:
    return json_text(value)


def _json_value(text: str, _kind: LogicalType) -> Any:
    if text == "null":
        raise Misfit("a JSON null, which would be taken for NULL")
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        raise Misfit("a document of JSON is nested too deep") from error


def _json_whole(text: str) -> Any:
    return _integer_value(text, LogicalType("int64"))


def _json_fraction(text: str) -> Any:
    """A double where it is printed just so, else a Decimal128: 1.50 has its zero."""
    near = float(text)
    if math.isfinite(near) and _scalar(near) == text:
        return near
    return _decimal128(f"{Decimal(text):f}")


def _no_constant(text: str) -> Any:
    raise Misfit(f"{text} is no JSON")


_DECODER: Final = json.JSONDecoder(
    parse_int=_json_whole, parse_float=_json_fraction, parse_constant=_no_constant
)

_RENDERS: Final[dict[str, Callable[[Any, LogicalType], str]]] = {
    **dict.fromkeys(INTEGERS, _integer),
    **dict.fromkeys(("float32", "float64"), _float),
    **dict.fromkeys(("time", "duration"), _clock),
    **dict.fromkeys(("timestamp", "timestamptz"), _moment),
    "bool": _bool,
    "bytes": _bytes,
    "date": _date,
    "decimal": _decimal,
    "enum": _label,
    "json": _json,
    "list": _list,
    "objectid": _objectid,
    "other": _own,
    "set": _labels,
    "string": _string,
    "uuid": _uuid,
}

_VALUES: Final[dict[str, Callable[[str, LogicalType], Any]]] = {
    **dict.fromkeys(INTEGERS, _whole_value),
    **dict.fromkeys(("float32", "float64"), _float_value),
    **dict.fromkeys(("date", "timestamp", "timestamptz"), _moment_value),
    "bool": _bool_value,
    "bytes": _bytes_value,
    "decimal": _decimal_value,
    "json": _json_value,
    "list": _list_value,
    "objectid": _objectid_value,
    "uuid": _uuid_value,
}
