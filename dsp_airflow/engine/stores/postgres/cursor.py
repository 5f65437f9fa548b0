"""How far a cursor column has come."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from dsp_airflow.engine import numbered_texts, uuid7
from dsp_airflow.engine.model import Column, Shape, Window
from dsp_airflow.engine.stores.postgres import dialect
from dsp_airflow.engine.stores.postgres.query import Connection, one
from dsp_airflow.engine.types import INTEGERS

_NOW: Final = "clock_timestamp()"
# Times without a zone may be those of any place: nowhere is it later than this.
_LATEST: Final = "((clock_timestamp() AT TIME ZONE 'UTC') + interval '14 hours')"
_CLOCKS: Final = {"timestamptz": _NOW, "timestamp": _LATEST, "date": f"{_LATEST}::date"}
_MILLISECONDS: Final = f"floor(extract(epoch FROM {_NOW}) * 1000)::bigint"


def window(
    connection: Connection,
    shape: Shape,
    column: Column,
    since: str | None,
    overlap: timedelta | int,
) -> Window:
    """See ``ports.Reads``. Computed by the server, in the column's own type and precision."""
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
    """The end of the last run, or what is beyond it. Not every type has a ``max()``."""
    name = dialect.quote(column.name)
    conditions = [dialect.with_cursor(column)]
    if since is not None:
        conditions.append(f"{name} >= {dialect.cursor_bound(column, since)}")
    # A bare name would be that of the text that is selected, and sorted as a text.
    found = connection.execute(
        f"SELECT {name}::text FROM {dialect.qualified(shape)} AS dsp "
        f"WHERE {' AND '.join(conditions)} ORDER BY dsp.{name} DESC LIMIT 1".encode()
    ).fetchone()
    return since if found is None else str(found[0])


def _before(connection: Connection, column: Column, since: str, overlap: timedelta | int) -> str:
    """Where the overlap begins."""
    kind = dialect.base(column.carrier or column.native)
    if column.type.name == "uuid" and isinstance(overlap, timedelta):
        return uuid7.earlier(since, overlap)
    if not overlap:
        return since
    if isinstance(overlap, timedelta):
        before = f"(%s::{kind} - make_interval(secs => %s))::{kind}::text"
        return str(one(connection, f"SELECT {before}", (since, overlap.total_seconds()))[0])
    if column.type.name in INTEGERS:
        return str(max(INTEGERS[column.type.name][0], int(since) - overlap))
    return str(one(connection, f"SELECT (%s::{kind} - %s)::text", (since, overlap))[0])


def _reached(connection: Connection, column: Column, since: str | None, upto: str) -> str | None:
    """See ``Window``: ``None`` unless the end is beyond the server's clock."""
    if column.type.name == "uuid":
        now = int(one(connection, f"SELECT {_MILLISECONDS}")[0])
        return uuid7.reached(upto, since, now)
    clock = _CLOCKS.get(column.type.name)
    if clock is None:
        return None
    kind = dialect.base(column.carrier or column.native)
    # greatest() leaves NULL out.
    bounded = f"greatest(%s::{kind}, least(%s::{kind}, {clock}::{kind}))::text"
    found = str(one(connection, f"SELECT {bounded}", (since, upto))[0])
    return None if found == upto else found


def _refuse_numbers(connection: Connection, shape: Shape, column: Column, upto: str) -> None:
    parted = numbered_texts.parted(upto)
    if parted is None:
        return
    before, digits = parted
    # Neither patterns nor parts of a text are for every collation.
    name, width = f'({dialect.quote(column.name)}::text COLLATE "C")', len(before)
    found = connection.execute(
        f"SELECT {name} FROM {dialect.qualified(shape)} "
        f"WHERE left({name}, {width}) = {dialect.text_literal(before)} "
        f"AND substr({name}, {width + 1}) ~ '^[0-9]+$' "
        f"AND length({name}) > {width + len(digits)} LIMIT 1".encode()
    ).fetchone()
    if found is not None:
        raise numbered_texts.refusal(shape.table, column.name, str(found[0]), upto)


def typed_value(connection: Connection, column: Column, text: str) -> str:
    """See ``ports.Reads``."""
    kind = dialect.base(column.carrier or column.native)
    found = one(connection, f"SELECT (%s::{kind})::text", (text,))[0]
    return str(found)
