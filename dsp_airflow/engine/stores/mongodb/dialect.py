"""MongoDB's words: names, and values in extended JSON. Pure text, no connection."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import NoReturn

from bson import Decimal128, Int64

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import (
    Column,
    Converted,
    Fit,
    KeyColumn,
    LogicalType,
    OnLoss,
    Shape,
    Window,
)
from dsp_airflow.engine.stores.mongodb import keys, names

name = "mongodb"
quote = names.quote


def literal(value: object) -> str:
    """A value in extended JSON. Moments have milliseconds here, and lose what is below."""
    if isinstance(value, datetime):
        return keys.dump(value if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, date):
        return keys.dump(datetime.combine(value, time(), UTC))
    if isinstance(value, Decimal):
        return keys.dump(Decimal128(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return keys.dump(Int64(value))
    if value is None or isinstance(value, bool | float | str):
        return keys.dump(value)
    raise ConfigError(f"{value!r} ({type(value).__name__}) cannot be a value of MongoDB")


def qualified(shape: Shape) -> str:
    """``"database"."collection"``."""
    return names.qualified(shape.schema, shape.name)


def markers(shape: Shape) -> str:
    """The commit markers' collection beside a target."""
    return names.qualified(shape.schema, names.MARKERS)


def key_column(column: Column) -> KeyColumn:
    """How the id is named; it is compared as the server's index does."""
    return KeyColumn(quote(column.name), column.native)


def plain(column: Column) -> str:
    """See ``ports.Dialect``."""
    return quote(column.name)


def as_text(expression: str) -> str:
    """See ``ports.Dialect``. Ids are texts already."""
    return expression


def converted(
    expression: str, _source: Column, target: Column, _fit: Fit, _on_loss: OnLoss, _key: str
) -> Converted:
    """See ``ports.Dialect``. Whole documents are not converted."""
    return Converted(expression, target.native)


def across(made: Converted, _target: Column, _key: str) -> Converted:
    """See ``ports.Dialect``."""
    return made


def compared(kind: LogicalType) -> LogicalType:
    """See ``ports.Dialect``."""
    return kind


def held(kind: LogicalType) -> LogicalType:
    """See ``ports.Dialect``."""
    return kind


def caveat(_source: Column, _target: Column) -> str:
    """See ``ports.Dialect``."""
    return ""


def policy_refusal(_source: Column, _target: Column, on_loss: OnLoss) -> str:
    """See ``ports.Dialect``."""
    return "" if on_loss == "error" else f"whole documents know no on_loss: {on_loss}"


def binary(_source: Column, _target: Column) -> bool:
    """See ``ports.Dialect``. Documents are bytes, and mean the same everywhere."""
    return True


def native(kind: LogicalType) -> str:
    """See ``ports.Dialect``."""
    return str(kind)


def said(column: Column) -> str:
    """See ``ports.Dialect``."""
    return native(column.type)


def at(expression: str, _kind: LogicalType) -> str:
    """See ``ports.Dialect``."""
    return expression


def typed(expression: str, _native: str) -> str:
    """See ``ports.Dialect``."""
    return expression


def in_window(_column: Column, _window: Window, *, endless: bool) -> NoReturn:
    """See ``ports.Dialect``."""
    del endless
    raise no_cursor()


def without_cursor(_column: Column) -> NoReturn:
    """See ``ports.Dialect``."""
    raise no_cursor()


def no_cursor() -> ConfigError:
    """The error for an incremental job."""
    return ConfigError(
        "mode: incremental is not for documents of MongoDB; use mode: full, with a where on the "
        "field that tells what is new"
    )
