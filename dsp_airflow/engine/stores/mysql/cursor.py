"""How far a cursor column has come."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Final

from dsp_airflow.engine import numbered_texts, uuid7
from dsp_airflow.engine.errors import BadValue, ConfigError
from dsp_airflow.engine.model import Column, Shape, Window
from dsp_airflow.engine.stores.mysql import dialect, names
from dsp_airflow.engine.stores.mysql.query import Connection, texts
from dsp_airflow.engine.types import INTEGERS

_NUMBERS: Final = frozenset([*INTEGERS, "decimal", "float64"])
# A DATETIME may be that of any place: nowhere is it later than this.
_LATEST: Final = "(UTC_TIMESTAMP(6) + INTERVAL 14 HOUR)"
_CLOCKS: Final = {
    "timestamptz": "UTC_TIMESTAMP(6)",
    "timestamp": _LATEST,
    "date": f"DATE({_LATEST})",
}
_ORDERED: Final = (
    "SELECT CAST('00000000-ffff-7000-8000-000000000000' AS UUID) "
    "< CAST('00000001-0000-7000-8000-000000000000' AS UUID)"
)


def window(
    connection: Connection,
    shape: Shape,
    column: Column,
    since: str | None,
    overlap: timedelta | int,
) -> Window:
    """See ``ports.Reads``. Computed by the server, in the column's own type and precision."""
    if column.type.name == "uuid" and texts(connection, _ORDERED) != [("1",)]:
        raise ConfigError(
            f"{shape.table}: {column.name}: this server does not sort uuids by their time; name "
            "another cursor"
        )
    upto = _largest(connection, shape, column, since)
    if upto is None:
        return Window(column.name, None, None)
    if column.type.name == "uuid":
        uuid7.refuse_others(upto, shape.table, column.name)
    if column.type.name == "string":
        _refuse_numbers(connection, shape, column, upto)
    after = None if since is None else _before(connection, column, since, overlap)
    return Window(column.name, after, upto, _reached(connection, column, since, upto))


def _largest(connection: Connection, shape: Shape, column: Column, since: str | None) -> str | None:
    """The end of the last run, or what is beyond it."""
    key = dialect.key_column(column)
    conditions = [dialect.with_cursor(column)]
    if since is not None:
        conditions.append(f"{key.column} >= {names.bound(since, key.native)}")
    ((found,),) = texts(
        connection,
        f"SELECT {dialect.key_text('m', key.native)} FROM (SELECT MAX({key.column}) AS m "
        f"FROM {dialect.qualified(shape)} WHERE {' AND '.join(conditions)}) AS newest",
    )
    return since if found is None else found


def _before(connection: Connection, column: Column, since: str, overlap: timedelta | int) -> str:
    """Where the overlap begins, as a key's text."""
    if column.type.name == "uuid" and isinstance(overlap, timedelta):
        return uuid7.earlier(since, overlap)
    if not overlap:
        return since
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
    return f"{Decimal(since) - overlap:f}"


def _reached(connection: Connection, column: Column, since: str | None, upto: str) -> str | None:
    """See ``Window``: ``None`` unless the end is beyond the server's clock.

    Texts of one type sort as their times do.
    """
    if column.type.name == "uuid":
        ((now,),) = texts(connection, "SELECT FLOOR(UNIX_TIMESTAMP(NOW(3)) * 1000)")
        return uuid7.reached(upto, since, int(str(now)))
    clock = _CLOCKS.get(column.type.name)
    if clock is None:
        return None
    native = dialect.key_column(column).native
    ((now,),) = texts(connection, f"SELECT {dialect.key_text(clock, native)}")
    if upto <= str(now):
        return None
    return str(now) if since is None else max(since, str(now))


def _refuse_numbers(connection: Connection, shape: Shape, column: Column, upto: str) -> None:
    parted = numbered_texts.parted(upto)
    if parted is None:
        return
    before, digits = parted
    name, width = f"CONVERT({dialect.quote(column.name)} USING utf8mb4)", len(before)
    # Compared by its bytes: what begins otherwise to another eye may begin alike to a collation.
    found = texts(
        connection,
        f"SELECT {name} FROM {dialect.qualified(shape)} "
        f"WHERE CAST(LEFT({name}, {width}) AS BINARY) = "
        f"CAST({dialect.text_literal(before)} AS BINARY) "
        f"AND SUBSTR({name}, {width + 1}) REGEXP '^[0-9]+$' "
        f"AND CHAR_LENGTH({name}) > {width + len(digits)} LIMIT 1",
    )
    if found:
        raise numbered_texts.refusal(shape.table, column.name, str(found[0][0]), upto)


def typed_value(connection: Connection, column: Column, text: str) -> str:
    """See ``ports.Reads``."""
    kind = column.type.name
    wrong = BadValue(f"{text!r} is no value of column {column.name}, which is {column.native}")
    if kind in _NUMBERS:
        try:
            number = Decimal(text.strip())
        except InvalidOperation:
            raise wrong from None
        if not number.is_finite() or (kind in INTEGERS and number != int(number)):
            raise wrong
        return f"{number:f}"
    if kind not in _CLOCKS:
        return text
    plain = names.text_literal(text.strip().removesuffix("Z").removesuffix("+00"))
    moment = f"CAST({plain} AS {'DATE' if kind == 'date' else 'DATETIME(6)'})"
    ((found,),) = texts(connection, f"SELECT {dialect.key_text(moment, column.native)}")
    if found is None:
        raise wrong
    return found
