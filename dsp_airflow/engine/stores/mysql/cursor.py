"""How far a cursor column has come."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal, InvalidOperation

from dsp_airflow.engine.errors import BadValue
from dsp_airflow.engine.model import Column, Shape, Window
from dsp_airflow.engine.stores.mysql import dialect, names
from dsp_airflow.engine.stores.mysql.query import Connection, texts
from dsp_airflow.engine.types import INTEGERS

_MOMENTS = ("date", "timestamp", "timestamptz")


def window(
    connection: Connection,
    shape: Shape,
    column: Column,
    since: str | None,
    overlap: timedelta | int,
) -> Window:
    """See ``ports.Reads``. Computed by the server, in the column's own type and precision."""
    key = dialect.key_column(column)
    largest = dialect.key_text("m", key.native)
    of = f"SELECT MAX({key.column}) AS m FROM {dialect.qualified(shape)}"
    if since is not None:
        floor = names.bound(since, key.native)
        of = f"SELECT GREATEST(COALESCE(MAX({key.column}), {floor}), {floor}) AS m FROM " + (
            dialect.qualified(shape)
        )
    ((upto,),) = texts(connection, f"SELECT {_shown(largest, column)} FROM ({of}) AS newest")
    if since is None:
        return Window(column.name, None, upto)
    return Window(column.name, _before(connection, column, since, overlap), upto)


def _shown(text: str, column: Column) -> str:
    # What GREATEST makes of a moment and a text has no precision of its own.
    if column.type.name in ("timestamp", "timestamptz"):
        return text.replace("DATE_FORMAT(m,", "DATE_FORMAT(CAST(m AS DATETIME(6)),")
    return text


def _before(connection: Connection, column: Column, since: str, overlap: timedelta | int) -> str:
    """Where the overlap begins, as a key's text."""
    native = dialect.key_column(column).native
    if isinstance(overlap, timedelta):
        micros = overlap // timedelta(microseconds=1)
        kind = "DATE" if column.type.name == "date" else "DATETIME(6)"
        earlier = (
            f"CAST(CAST({names.bound(since, native)} AS DATETIME(6)) - INTERVAL {micros} "
            f"MICROSECOND AS {kind})"
        )
        ((after,),) = texts(connection, f"SELECT {dialect.key_text(earlier, native)}")
        return str(after)
    if column.type.name in INTEGERS:
        return str(max(INTEGERS[column.type.name][0], int(since) - overlap))
    return f"{Decimal(since) - overlap:f}" if overlap else since


def typed_value(connection: Connection, column: Column, text: str) -> str:
    """See ``ports.Reads``."""
    kind = column.type.name
    wrong = BadValue(f"{text!r} is no value of column {column.name}, which is {column.native}")
    if kind in INTEGERS or kind == "decimal":
        try:
            number = Decimal(text.strip())
        except InvalidOperation:
            raise wrong from None
        if not number.is_finite() or (kind != "decimal" and number != int(number)):
            raise wrong
        return f"{number:f}"
    if kind not in _MOMENTS:
        return text
    plain = names.text_literal(text.strip().removesuffix("Z").removesuffix("+00"))
    moment = f"CAST({plain} AS {'DATE' if kind == 'date' else 'DATETIME(6)'})"
    ((found,),) = texts(connection, f"SELECT {dialect.key_text(moment, column.native)}")
    if found is None:
        raise wrong
    return found
