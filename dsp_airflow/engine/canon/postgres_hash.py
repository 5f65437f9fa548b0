"""The 64-bit row hashes of PostgreSQL's own hash functions: far cheaper than md5.

They compare within one major version only. A sum of them over rows has to notice values that
changed places between rows, so what is linear in the columns' hashes is hashed once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dsp_airflow.engine.canon.postgres import is_known, native_text, postgres_text
from dsp_airflow.engine.model import Field, LogicalType


def postgres_identity(expression: str, kind: LogicalType, native: str) -> str | None:
    """SQL whose hash stands for the value itself, by the hash function of its own type.

    ``None`` for a type that ``canon`` does not know. Plain columns would not do, beyond the
    types whose equality is loose: 64-bit integers and timestamps are folded to 32 bits (-1 and
    4294967295 meet), numeric drops the sign (-5 and 5 meet), enums hash their OID, arrays
    ignore their bounds.
    """
    if not is_known(kind):
        return None
    rendered, _ = _identity(f"({expression})", kind, native)
    return rendered


def postgres_row_hash_record(fields: Sequence[Field]) -> str:
    """SQL of the row hash ``record``, for PostgreSQL 14 and later."""
    record = f"hash_record_extended(ROW({', '.join(_of_field(f)[0] for f in fields)}), 0)"
    # The record hash weighs its columns' hashes and adds them up: hashed once more it is not
    # linear. numeric's hash forgets the sign, so all numbers are made positive before.
    return f"hash_numeric_extended({record} + 9223372036854775808, 0)"


def postgres_row_hash_fields(fields: Sequence[Field]) -> str:
    """SQL of the row hash ``fields``, for PostgreSQL 18 and later.

    Each field is hashed under a seed of its own, its position; the hashes are joined by
    exclusive or, and the outcome is hashed once more. It spares the record that
    ``hash_record_extended`` has built and taken apart again for every row.
    """
    hashes = [_field_hash(field, number) for number, field in enumerate(fields, start=1)]
    return f"hashbyteaextended(int8send({_exclusive_or(hashes)}), 0)"


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

_PLAIN: Final = {
    "bool": "hashboolextended",
    "int8": "hashint4extended",
    "int16": "hashint4extended",
    "int32": "hashint4extended",
    "bytes": "hashbyteaextended",
    "date": "hashdateextended",
    "uuid": "uuid_hash_extended",
}
"""Types whose own hash forgets nothing, and its name in PostgreSQL 18."""

_ARRAY_SENDS: Final = frozenset({"bool", "int16", "int32", "int64", "float32", "float64"}) | {
    *("decimal", "date", "time", "timestamp", "timestamptz", "uuid")
}
"""Elements of one built-in type each, so that ``array_send`` (bounds included) is comparable."""


def _identity(expression: str, kind: LogicalType, native: str) -> tuple[str, str]:
    """The rendered expression, and the function that hashes it under a seed."""
    if kind.name in _PLAIN:
        return expression, _PLAIN[kind.name]
    if kind.name in _SENDS:
        return f"{_SENDS[kind.name]}({expression})", "hashbyteaextended"
    if kind.name == "list" and kind.element is not None and kind.element.name in _ARRAY_SENDS:
        return f"array_send({expression})", "hashbyteaextended"
    if kind.name == "string" and native == "text":
        return _text(expression)
    return _text(native_text(expression, kind, native))


def _text(expression: str) -> tuple[str, str]:
    # Under a collation that is not deterministic, different texts may hash alike.
    return f'{expression} COLLATE "C"', "hashtextextended"


def _of_field(field: Field) -> tuple[str, str]:
    if is_known(field.type):
        return _identity(f"({field.expression})", field.type, field.native)
    return _text(f"({postgres_text(field.expression, field.type, field.native)})")


def _field_hash(field: Field, number: int) -> str:
    rendered, function = _of_field(field)
    # The functions are strict. Seed 0 is no field's, so that NULL is no value's hash either;
    # the server folds the second call into a constant.
    return f"coalesce({function}({rendered}, {number}), hashint4extended({number}, 0))"


def _exclusive_or(hashes: Sequence[str]) -> str:
    """Joined in halves: the server descends into an expression by recursion."""
    if len(hashes) == 1:
        return hashes[0]
    middle = len(hashes) // 2
    return f"({_exclusive_or(hashes[:middle])} # {_exclusive_or(hashes[middle:])})"
