"""How a logical type is held in an archive file.

Every reader knows the types used here, and every value they hold is one that every reader
knows: days of the calendar between the years 1 and 9999, times before 24:00. What lies beyond
is kept as canonical text in the column ``EXACT``: a JSON object of column names and texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import pyarrow as pa
from pydantic import TypeAdapter

from dsp_airflow.engine.errors import Mismatch
from dsp_airflow.engine.model import LogicalType
from dsp_airflow.engine.types import CARRIERS

EXACT: Final = "__dsp_exact"
"""Column of the values that their own column cannot hold."""
FORMAT_VERSION: Final = 1
"""Of what a file holds and how: in the metadata of every file, and in the manifest."""
WIDEST: Final = 38
"""Digits of a decimal that Arrow, Parquet and DuckDB all hold."""

_SIMPLE: dict[str, Any] = {
    "bool": pa.bool_(),
    **{f"int{bits}": getattr(pa, f"int{bits}")() for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": getattr(pa, f"uint{bits}")() for bits in (8, 16, 32, 64)},
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "bytes": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
    "uuid": pa.uuid(),
    "json": pa.json_(),
    "enum": pa.string(),
}
_SIMPLE |= {name: _SIMPLE[carrier] for name, carrier in CARRIERS.items()}
_BOUNDED: Final = frozenset({"decimal", "date", "time", "timestamp", "timestamptz", "list"})
_ELEMENTS: Final = frozenset(_SIMPLE) - {"time"} | {"decimal"}
_TYPES: Final = TypeAdapter(LogicalType)


class Beyond(Exception):
    """Some value is beyond what its column holds: read again, with the column ``EXACT``."""


@dataclass(frozen=True, slots=True)
class Form:
    """A column of a file.

    ``text``: every value is its canonical text. ``bounded``: some values of the logical type
    are beyond what the Arrow type holds. ``native`` is the source's own name of the type.
    """

    name: str
    kind: LogicalType
    native: str
    arrow: Any
    text: bool
    bounded: bool

    def field(self) -> Any:
        """The Arrow field; its metadata tells the logical and the native type."""
        return pa.field(
            self.name,
            self.arrow,
            metadata={
                "dsp:type": type_text(self.kind),
                "dsp:native": self.native,
                "dsp:held": "text" if self.text else "value",
            },
        )


def form_of(name: str, kind: LogicalType, native: str) -> Form:
    """How a column of this type is held."""
    arrow = _arrow(kind)
    if arrow is None:
        return Form(name, kind, native, pa.string(), text=True, bounded=False)
    return Form(name, kind, native, arrow, text=False, bounded=kind.name in _BOUNDED)


def _arrow(kind: LogicalType) -> Any | None:
    """The Arrow type that holds (nearly) all values; ``None``: only their text will do."""
    if kind.name == "decimal":
        precision, scale = kind.precision, kind.scale or 0
        if precision is None or precision > WIDEST or not 0 <= scale <= precision:
            # Without a scale of its own, every value has one: 1.0 and 1.00 are told apart.
            return None
        return pa.decimal128(precision, scale)
    if kind.name == "list":
        if kind.element is None or kind.element.name not in _ELEMENTS:
            return None
        element = _arrow(kind.element)
        return pa.list_(pa.field("element", pa.string() if element is None else element))
    return _SIMPLE.get(kind.name)


def schema_of(forms: Sequence[Form], *, exact: bool) -> Any:
    """The Arrow schema of a file; ``exact``: with the column of what lies beyond."""
    fields = [form.field() for form in forms]
    if exact:
        fields.append(pa.field(EXACT, pa.string()))
    return pa.schema(fields, metadata={"dsp:format": str(FORMAT_VERSION)})


def type_text(kind: LogicalType) -> str:
    """A logical type as JSON, without what it leaves open."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(v) for name, v in value.items() if v is not None}
        return list(value) if isinstance(value, tuple) else value

    return json.dumps(plain(asdict(kind)), separators=(",", ":"), ensure_ascii=False)


def type_from(text: str) -> LogicalType:
    """The inverse of ``type_text``."""
    return _TYPES.validate_json(text)


def exact_texts(text: str) -> Mapping[str, str]:
    """What ``EXACT`` says of one row; ``Mismatch`` when it says nothing of the kind."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise Mismatch(f"column {EXACT} holds what is no object of texts")
    return found
