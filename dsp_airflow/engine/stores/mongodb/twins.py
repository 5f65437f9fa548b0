"""Ids that a column would take for one, though they are several to the server.

It tells a double of 0.1 from a decimal of 0.1, and documents by the order of their fields. The key
of a row does not, and two documents that become one row are one too few.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from bson import DBRef, Decimal128

from dsp_airflow.engine.canon.mongodb import json_order, mongodb_value
from dsp_airflow.engine.model import LogicalType
from dsp_airflow.engine.types import FLOATS

CLOSE: Final = frozenset({"json", "decimal", *FLOATS})
"""Types that several ids may have one value of."""


def has_none(value: Any, text: str, kind: LogicalType) -> bool:
    """Whether no other id has this canonical text at ``kind``, one of ``CLOSE``."""
    if kind.name == "json":
        return _plain(value)
    mine, other = _exact(value), _exact(mongodb_value(text, kind))
    # To the server all that are no number are one.
    return mine == other or (mine.is_nan() and other.is_nan())


def _plain(value: Any) -> bool:
    """Of all that JSON tells alike one is taken: fields in its own order, and no decimal that is
    not a double.
    """
    if isinstance(value, dict):
        ordered = list(value) == sorted(value, key=json_order)
        extended = any(name.startswith("$") for name in value)
        return ordered and not extended and all(map(_plain, value.values()))
    if isinstance(value, list):
        return all(map(_plain, value))
    if isinstance(value, DBRef):
        return all(map(_plain, value.as_doc().values()))
    if isinstance(value, Decimal128):
        number = value.to_decimal()
        return not number.is_finite() or Decimal(float(number)) == number
    return True


def _exact(number: Any) -> Decimal:
    return number.to_decimal() if isinstance(number, Decimal128) else Decimal(number)
