"""Canonical texts as PostgreSQL prints the values, and back: so every system tells keys."""

from __future__ import annotations

import re
from typing import Final

from dsp_airflow.engine.canon.python import python_elements
from dsp_airflow.engine.model import LogicalType
from dsp_airflow.engine.types import FLOATS, INTEGERS

_MOMENT: Final = re.compile(
    r"(?P<year>[+-]?\d{4,})(?P<day>-\d\d-\d\d)(?:T(?P<clock>[\d:]+)\.(?P<micros>\d{6})(?P<z>Z?))?"
)
KINDS: Final = frozenset(
    {"bool", "bytes", "date", "time", "timestamp", "timestamptz", "duration", "list"}
)
"""Types whose canonical text is not what the server prints."""
_LEAST: Final = -(2**63)
"""Microseconds of an interval that the server prints as a clock, and does not read as one."""
_SPECIAL: Final = re.compile(r'^$|[{},"\\ \t\n\r\v\f]')
"""What has to be quoted inside of an array."""


def printed(text: str, kind: LogicalType) -> str:
    """What the server prints of a value; as a literal of the type it is the value."""
    match kind.name:
        case "bool":
            return "true" if text == "1" else "false"
        case "bytes":
            return "\\x" + text
        case "date" | "timestamp" | "timestamptz":
            return _moment(text)
        case "time":
            return _trimmed(*text.split("."))
        case "duration" if "/" in text:
            return _interval(*map(int, text.split("/")))
        case "list" if kind.element is not None:
            return _array(text, kind.element)
    return text


def _moment(text: str) -> str:
    """Signed astronomical years become years with their era."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        return text
    if found["year"] == "0000":
        # A year that only MySQL has, and that has no other name.
        return _moment(f"0001{text[4:]}").replace("0001", "0000", 1)
    year, era = int(found["year"]), ""
    if year < 1:
        year, era = 1 - year, " BC"
    shown = f"{year:04}{found['day']}"
    if found["clock"]:
        zone = "+00" if found["z"] else ""
        shown += f" {_trimmed(found['clock'], found['micros'])}{zone}"
    return shown + era


def _trimmed(clock: str, micros: str = "") -> str:
    fraction = micros.rstrip("0")
    return f"{clock}.{fraction}" if fraction else clock


def _interval(months: int, days: int, micros: int) -> str:
    """In IntervalStyle ``postgres``. Behind a negative part, a positive one tells its sign."""
    if micros == _LEAST:
        return f"{months} months {days} days {micros} microseconds"
    years = abs(months) // 12 * (-1 if months < 0 else 1)
    shown: list[str] = []
    plus = ""
    for value, unit in ((years, "year"), (months - years * 12, "mon"), (days, "day")):
        if value:
            shown.append(f"{plus if value > 0 else ''}{value} {unit}{'' if value == 1 else 's'}")
            plus = "+" if value < 0 else ""
    if micros or not shown:
        seconds, rest = divmod(abs(micros), 1_000_000)
        minutes, second = divmod(seconds, 60)
        clock = f"{minutes // 60:02}:{minutes % 60:02}:{second:02}"
        shown.append(("-" if micros < 0 else plus) + _trimmed(clock, f"{rest:06}"))
    return " ".join(shown)


def _array(text: str, element: LogicalType) -> str:
    items = python_elements(text)
    if items is None:
        return text.removeprefix("A")
    return "{" + ",".join("NULL" if i is None else _item(i, element) for i in items) + "}"


def _item(text: str, element: LogicalType) -> str:
    if element.name == "bool":
        return "t" if text == "1" else "f"
    own = printed(text, element)
    return _quoted(own) if own.upper() == "NULL" or _SPECIAL.search(own) else own


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_PRINTED: Final = re.compile(
    r"(?P<year>\d{4,})(?P<day>-\d\d-\d\d)(?: (?P<clock>[\d:]+)(?:\.(?P<fraction>\d+))?"
    r"(?P<z>\+00)?)?(?P<era> BC)?"
)


def unprinted(text: str, kind: LogicalType) -> str:
    """The inverse of ``printed``, of types that keys of documents may have (``UNPRINTED``)."""
    match kind.name:
        case "bool":
            return "1" if text in ("true", "1") else "0"
        case "bytes":
            return text.removeprefix("\\x")
        case "time":
            clock, _, fraction = text.partition(".")
            return f"{clock}.{fraction:0<6}"
        case "date" | "timestamp" | "timestamptz":
            return _unprinted_moment(text)
    return text


UNPRINTED: Final = frozenset(
    {*INTEGERS, *FLOATS, "bool", "bytes", "date", "time", "timestamp", "timestamptz", "decimal"}
    | {"string", "uuid", "objectid", "enum", "set"}
)


def _unprinted_moment(text: str) -> str:
    found = _PRINTED.fullmatch(text)
    if found is None:
        return text
    year = 1 - int(found["year"]) if found["era"] else int(found["year"])
    shown = f"{year:+05}" if not 1 <= year <= 9999 else f"{year:04}"
    if found["clock"]:
        shown += f"{found['day']}T{found['clock']}.{found['fraction'] or '':0<6}"
        return shown + ("Z" if found["z"] else "")
    return shown + found["day"]
