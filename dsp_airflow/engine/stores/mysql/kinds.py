"""What a type is: from the catalog's words to a logical type, and back."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import LogicalType
from dsp_airflow.engine.stores.mysql.names import base
from dsp_airflow.engine.types import CLOCK, LONGEST_ADDRESS

_INTEGERS: Final = {
    "tinyint": "int8",
    "smallint": "int16",
    "mediumint": "int24",
    "int": "int32",
    "bigint": "int64",
}
_TEXTS: Final = {"tinytext": 255, "text": 65_535, "mediumtext": 16_777_215, "longtext": None}
_BLOBS: Final = {"tinyblob": 255, "blob": 65_535, "mediumblob": 16_777_215, "longblob": None}
_NUMBERS: Final = re.compile(r"\((\d+)(?:,(\d+))?\)")
_WIDTH: Final = re.compile(r"^((?:tiny|small|medium|big)?int|year)\(\d+\)")
_LABEL: Final = re.compile(r"'((?:[^']|'')*)'")

NATIVE: Final = {
    "bool": "tinyint(1)",
    "int8": "tinyint",
    "int16": "smallint",
    "int24": "mediumint",
    "int32": "int",
    "int64": "bigint",
    "uint8": "tinyint unsigned",
    "uint16": "smallint unsigned",
    "uint24": "mediumint unsigned",
    "uint32": "int unsigned",
    "uint64": "bigint unsigned",
    "float32": "float",
    "float64": "double",
    "date": "date",
    "year": "year",
    "uuid": "char(36)",
    "objectid": "varchar(24)",
    "json": "json",
    "list": "json",
    "duration": "varchar(80)",
    "enum": "longtext",
    "set": "longtext",
    "other": "longtext",
}
LONGEST_VARCHAR: Final = 16_383
"""Characters of four bytes each that a row has room for."""
MOST_DIGITS, MOST_SCALE = 65, 30
"""Of a decimal, on every server."""


def spelled(column_type: str) -> str:
    """A column's type as every server understands it and most of them tell it.

    Older ones and MariaDB tell the width that an integer is shown with, which says nothing of its
    values but where zeros are put before them; ``tinyint(1)`` is kept by all.
    """
    kept = "zerofill" in column_type or column_type.startswith("tinyint(1)")
    return column_type if kept else _WIDTH.sub(r"\1", column_type)


def logical(column_type: str, data_type: str, *, digits: int | None, json: bool) -> LogicalType:
    """The logical type of a column.

    ``column_type`` and ``data_type`` are the catalog's (``int(10) unsigned``, ``int``); ``digits``
    its fractional digits of a second. ``json``: a text column that takes nothing but JSON.
    """
    word = data_type.lower()
    found = _NUMBERS.search(column_type)
    sizes = [int(n) for n in found.groups() if n is not None] if found else []
    if json or word == "json":
        return LogicalType("json")
    if word in ("date", "year", "uuid"):
        return LogicalType(word)
    return (
        _number(word, column_type, sizes)
        or _text(word, column_type, sizes)
        or _moment(word, digits or 0)
        or LogicalType(
            "other",
            identity="geometry" if word in _SPATIAL else word,
            length=sizes[0] if sizes else None,
        )
    )


def _number(word: str, column_type: str, sizes: list[int]) -> LogicalType | None:
    if word in _INTEGERS:
        name = _INTEGERS[word]
        return LogicalType(f"u{name}" if "unsigned" in column_type else name)
    if word == "decimal":
        return LogicalType("decimal", precision=sizes[0], scale=sizes[1])
    if word in ("float", "double"):
        return LogicalType("float32" if word == "float" else "float64")
    return None


def _text(word: str, column_type: str, sizes: list[int]) -> LogicalType | None:
    if word in ("char", "varchar"):
        return LogicalType("string", length=sizes[0])
    if word in _TEXTS:
        return LogicalType("string", length=_TEXTS[word])
    if word in ("binary", "varbinary"):
        return LogicalType("bytes", length=sizes[0])
    if word in _BLOBS:
        return LogicalType("bytes", length=_BLOBS[word])
    if word in ("enum", "set"):
        labels = tuple(m[1].replace("''", "'") for m in _LABEL.finditer(column_type))
        return LogicalType(word, labels=labels)
    return None


def _moment(word: str, digits: int) -> LogicalType | None:
    if word == "datetime":
        return LogicalType("timestamp", digits=digits)
    if word == "timestamp":
        return LogicalType("timestamptz", digits=digits)
    return LogicalType("duration", digits=digits, identity=CLOCK) if word == "time" else None


_SPATIAL: Final = frozenset(
    [
        *("geometry", "point", "linestring", "polygon", "multipoint", "multilinestring"),
        *("multipolygon", "geometrycollection", "geomcollection"),
    ]
)


def native(kind: LogicalType) -> str:
    """The type that holds a logical type in a table made here."""
    if kind.name == "decimal":
        precision, scale = kind.precision, max(kind.scale or 0, 0)
        if precision is None or precision > MOST_DIGITS or scale > MOST_SCALE:
            precision, scale = MOST_DIGITS, min(scale if precision else MOST_SCALE, MOST_SCALE)
        return f"decimal({precision},{scale})"
    if kind.name == "string":
        short = kind.length is not None and kind.length <= LONGEST_VARCHAR
        return f"varchar({kind.length})" if short else "longtext"
    if kind.name == "bytes":
        short = kind.length is not None and kind.length <= LONGEST_VARCHAR
        return f"varbinary({kind.length})" if short else "longblob"
    if kind.name in ("timestamp", "timestamptz"):
        # A TIMESTAMP holds no year before 1970 and, on most servers, none after 2037.
        return f"datetime({6 if kind.digits is None else kind.digits})"
    if kind.name == "time":
        return f"time({6 if kind.digits is None else kind.digits})"
    if kind.identity == "bit" and kind.length is not None and kind.length <= 64:
        return f"bit({kind.length})"
    if kind.identity in LONGEST_ADDRESS:
        return f"varchar({LONGEST_ADDRESS[kind.identity]})"
    found = NATIVE.get(kind.name)
    if found is None:
        raise ConfigError(f"MySQL has no type for {kind}")
    return found


def held(kind: LogicalType) -> LogicalType:
    """The logical type of a column made here for this one, as the catalog will tell it."""
    made = native(kind)
    digits = kind.digits if kind.digits is not None else 6
    json = kind.name in ("json", "list")
    return logical(made, base(made), digits=digits, json=json)


def compared(kind: LogicalType) -> LogicalType:
    """As what a value is compared: no server here tells the shortest digits of a float32."""
    return replace(kind, name="float64") if kind.name == "float32" else kind


def wide(word: str) -> bool:
    """Whether values may be large (kept out of line)."""
    return word in _TEXTS or word in _BLOBS or word in ("json", "vector") or word in _SPATIAL


_CODES: Final = {1: "tinyint", 2: "smallint", 3: "int", 8: "bigint", 9: "mediumint"}
_FIXED: Final = {4: "float", 5: "double", 10: "date", 13: "year", 14: "date", 245: "json"}
_CLOCKS: Final = {7: "timestamp", 11: "time", 12: "datetime"}
_UNSIGNED: Final = 32


def of_metadata(code: int, flags: int, length: int, decimals: int, *, binary: bool) -> str:
    """The type of a result's column, by the numbers that the protocol has for it."""
    if code in _CODES:
        return _CODES[code] + (" unsigned" if flags & _UNSIGNED else "")
    if code in _FIXED:
        return _FIXED[code]
    if code in _CLOCKS:
        digits = decimals if decimals <= 6 else 0
        return f"{_CLOCKS[code]}({digits})"
    if code in (0, 246):
        # The length counts a sign and a point.
        digits = length - (1 if decimals else 0) - (0 if flags & _UNSIGNED else 1)
        return f"decimal({min(max(digits, 1), MOST_DIGITS)},{decimals})"
    if code == 16:
        return f"bit({length})"
    if binary:
        return "longblob"
    characters = length // 4
    return f"varchar({characters})" if 0 < characters <= LONGEST_VARCHAR else "longtext"
