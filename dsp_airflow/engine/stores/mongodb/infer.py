"""The columns that documents suggest: what types each field was seen with, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import bson
from bson import Decimal128
from bson.binary import Binary

from dsp_airflow.engine.canon.mongodb import OPTIONS, UUID_SUBTYPE, type_name
from dsp_airflow.engine.model import Inferred, SeenField

SAMPLE: Final = 1_000
"""Documents that are looked at, unless all are asked for."""
DEEPEST: Final = 4
"""Levels of documents inside of documents whose fields become columns."""
MOST_FIELDS: Final = 100
"""More names than this are no fields but keys of a map, which is one column of JSON."""
_WHOLE: Final = frozenset({"int", "long"})
_NUMBERS: Final = frozenset({*_WHOLE, "double", "decimal"})
_PLAIN: Final = {
    "bool": "bool",
    "string": "string",
    "objectId": "objectid",
    "date": "timestamptz",
    "uuid": "uuid",
    "binData": "bytes",
}


@dataclass(slots=True)
class _Seen:
    """One field in all documents that were looked at."""

    types: Counter[str] = field(default_factory=Counter)
    fields: dict[str, _Seen] = field(default_factory=dict)
    fraction: bool = False
    """Some double is no whole number."""
    before: int = 0
    after: int = 0
    """Most digits of a Decimal128 before and after the point."""

    def add(self, value: Any, depth: int) -> None:
        kind = type_name(value)
        if isinstance(value, Binary) and value.subtype == UUID_SUBTYPE:
            kind = "uuid"
        self.types[kind] += 1
        if isinstance(value, dict) and depth < DEEPEST:
            for name, inner in value.items():
                self.fields.setdefault(name, _Seen()).add(inner, depth + 1)
        elif isinstance(value, float):
            self.fraction = self.fraction or not value.is_integer()
        elif isinstance(value, Decimal128) and (number := value.to_decimal()).is_finite():
            self._digits(number)

    def _digits(self, number: Decimal) -> None:
        _, digits, exponent = number.as_tuple()
        self.after = max(self.after, -int(exponent))
        self.before = max(self.before, len(digits) + int(exponent))


def inferred(documents: Iterable[bytes], total: int, label: str) -> Inferred:
    """What these documents, of so many, suggest."""
    top = _Seen()
    count = 0
    for document in documents:
        top.add(bson.decode(document, OPTIONS), 0)
        count += 1
    return Inferred(label, count, total, tuple(_columns(top.fields, count, "")))


def _columns(fields: Mapping[str, _Seen], documents: int, before: str) -> Iterator[SeenField]:
    for name, seen in fields.items():
        path = before + name
        if _is_nested(seen):
            yield from _columns(seen.fields, seen.types["object"], f"{path}.")
            continue
        kind, on_loss = _proposed(seen)
        types = dict(seen.types.most_common())
        missing = documents - sum(seen.types.values())
        yield SeenField(path, kind, types, missing, on_loss)


def _is_nested(seen: _Seen) -> bool:
    """Whether its fields are columns of their own: a document wherever it is not null."""
    plain = all(name and "." not in name and not name.startswith("$") for name in seen.fields)
    return bool(
        seen.types.keys() <= {"object", "null"}
        and seen.fields
        and plain
        and len(seen.fields) <= MOST_FIELDS
    )


def _proposed(seen: _Seen) -> tuple[str, str]:
    """A type that all values have, and the policy where there is none."""
    kinds = seen.types.keys() - {"null"}
    if not kinds:
        return "string", "text"
    if kinds <= _NUMBERS:
        return _number(seen, kinds), "error"
    if len(kinds) == 1 and (kind := next(iter(kinds))) in _PLAIN:
        return _PLAIN[kind], "error"
    # Of a list or a document JSON says all; of texts among others, texts do.
    return ("string", "text") if "string" in kinds else ("json", "error")


def _number(seen: _Seen, kinds: set[str]) -> str:
    if "decimal" in kinds:
        scale = min(max(seen.after, 2), 30)
        return f"decimal({min(max(seen.before, 1) + scale + 6, 65)},{scale})"
    if "double" in kinds and seen.fraction:
        return "float64"
    return "int32" if kinds == {"int"} else "int64"
