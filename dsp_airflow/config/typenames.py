"""The names that `type:` takes in a column mapping."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dsp_airflow.config.errors import nearest
from dsp_airflow.config.findings import invalid

PLAIN_TYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint64",
    "float32",
    "float64",
    "string",
    "bytes",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "uuid",
    "objectid",
    "json",
)
ALIASES = {"integer": "int64", "number": "float64", "text": "string"}
MAX_DECIMAL_DIGITS = 1000

_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)")


@dataclass(frozen=True, slots=True)
class TypeName:
    """A logical type: its canonical name and its arguments, (precision, scale) for a decimal."""

    name: str
    args: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({','.join(map(str, self.args))})" if self.args else self.name


def parse_type(value: object) -> TypeName:
    """`integer` -> int64, `decimal(6,1)` -> decimal with its precision and scale.

    Raises an error that names the nearest valid type.
    """
    if isinstance(value, TypeName):
        return value
    if not isinstance(value, str):
        raise invalid("must be the name of a type, such as int64 or decimal(10,2)")
    if value in PLAIN_TYPES or value in ALIASES:
        return TypeName(ALIASES.get(value, value))
    match = _DECIMAL.fullmatch(value)
    if match is None:
        if value.startswith(("decimal", "numeric")):
            raise invalid("must say precision and scale, such as decimal(10,2)")
        raise invalid("is not a type", nearest(value, [*PLAIN_TYPES, *ALIASES, "decimal(10,2)"]))
    precision, scale = int(match[1]), int(match[2])
    if not 1 <= precision <= MAX_DECIMAL_DIGITS:
        raise invalid(f"must have a precision of 1 to {MAX_DECIMAL_DIGITS} digits")
    if scale > precision:
        raise invalid(f"must not have more decimals ({scale}) than digits ({precision})")
    return TypeName("decimal", (precision, scale))
