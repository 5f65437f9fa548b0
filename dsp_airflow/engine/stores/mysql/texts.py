"""Canonical texts back into MySQL's own, as it reads them and tells keys."""

from __future__ import annotations

from typing import Any, Final

from dsp_airflow.engine.canon import printed
from dsp_airflow.engine.model import LogicalType

KINDS: Final = printed.KINDS | {"enum", "set", "year", "other"}


def own_text(text: str, kind: LogicalType) -> str:
    """See ``ports.Restores``. Keys of what sorts by a number are that number."""
    labels = kind.labels or ()
    match kind.name:
        case "bool":
            return text
        case "year":
            return text.rjust(4, "0")
        case "enum":
            return str(labels.index(text) + 1 if text in labels else 0)
        case "set":
            return str(sum(1 << labels.index(label) for label in text.split(",") if label))
        case "other":
            return str(int(text, 2)) if kind.identity == "bit" else text
    return printed.printed(text, kind)


def own_cells(texts: Any, kind: LogicalType) -> Any:
    """See ``ports.Restores``. Bytes stay hex, and bits zeros and ones."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if kind.name in ("timestamp", "timestamptz"):
        return pc.utf8_rtrim(pc.replace_substring(texts, pattern="T", replacement=" "), "Z")
    if kind.name == "year":
        # A year of one digit is one of this century.
        return pc.utf8_lpad(texts, 4, "0")
    if kind.name == "duration":
        return pa.array([text and _clock(text) for text in texts.to_pylist()], pa.string())
    return texts


def _clock(text: str) -> str:
    """``[-]HHH:MM:SS.ffffff``; what has months or days is left as it is, and refused."""
    found = text.split("/")
    if len(found) != 3 or found[:2] != ["0", "0"]:
        return text
    micros = int(found[2])
    seconds, rest = divmod(abs(micros), 1_000_000)
    sign = "-" if micros < 0 else ""
    return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{rest:06}"
