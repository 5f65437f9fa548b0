"""Canonical texts back into PostgreSQL's own: as it prints them, where it prints them so."""

from __future__ import annotations

import re
from typing import Any, Final

from dsp_airflow.engine.model import LogicalType

_MOMENT: Final = re.compile(
    r"(?P<year>[+-]?\d{4,})(?P<day>-\d\d-\d\d)(?:T(?P<clock>[\d:]+)\.(?P<micros>\d{6})(?P<z>Z?))?"
)

_USUAL_YEAR: Final = "^(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})-"
"""Of moments that ISO 8601 and PostgreSQL spell alike."""


def own_cells(texts: Any, kind: LogicalType) -> Any:
    """See ``ports.Restores``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind.name == "bytes":
        return pc.binary_join_element_wise("\\x", texts, "")
    if kind.name in {"date", "timestamp", "timestamptz"}:
        usual = pc.match_substring_regex(texts, _USUAL_YEAR).fill_null(True)
        if pc.all(usual).as_py() is not False:
            return texts
        odd = texts.filter(pc.invert(usual)).to_pylist()
        replaced = pa.array([own_text(text, kind) for text in odd], pa.string())
        return pc.replace_with_mask(texts, pc.invert(usual), replaced)
    if kind.name in {"duration", "list"}:
        return pa.array(
            [None if text is None else own_text(text, kind) for text in texts.to_pylist()],
            pa.string(),
        )
    return texts


def own_text(text: str, kind: LogicalType) -> str:
    """See ``ports.Dialect``. Reading it as a literal of the type gives the value back.

    Of all types but ``duration`` and ``list`` it is also what the server prints.
    """
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
            months, days, micros = text.split("/")
            return f"{months} months {days} days {micros} microseconds"
        case "list" if kind.element is not None:
            return _array(text, kind.element)
    return text


def _moment(text: str) -> str:
    """Signed astronomical years become years with their era."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        return text
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


def _array(text: str, element: LogicalType) -> str:
    if text.startswith("A"):
        return text[1:]
    items = [
        "NULL" if item is None else _quoted(own_text(item, element)) for item in list_items(text)
    ]
    return "{" + ",".join(items) + "}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def list_items(text: str) -> list[str | None]:
    """The canonical texts of a canonical list's elements."""
    count, _, rest = text.partition(":")
    data = rest.encode()
    found: list[str | None] = []
    at = 0
    while at < len(data):
        if data[at : at + 1] == b"N":
            found.append(None)
            at += 1
            continue
        colon = data.index(b":", at)
        end = colon + 1 + int(data[at:colon])
        found.append(data[colon + 1 : end].decode())
        at = end
    if len(found) != int(count):
        raise ValueError(f"{text[:80]!r} is no canonical list")
    return found
