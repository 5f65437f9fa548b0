"""How far a cursor column has come."""

from __future__ import annotations

from datetime import timedelta

from dsp_airflow.engine.model import Column, Shape, Window
from dsp_airflow.engine.stores.postgres import dialect
from dsp_airflow.engine.stores.postgres.query import Connection, one
from dsp_airflow.engine.types import INTEGERS


def window(
    connection: Connection,
    shape: Shape,
    column: Column,
    since: str | None,
    overlap: timedelta | int,
) -> Window:
    """See ``ports.Reads``. Computed by the server, in the column's own type and precision."""
    name, kind = dialect.quote(column.name), dialect.base(column.carrier or column.native)
    finite = f"{name} IS NOT NULL"
    if column.type.name not in INTEGERS:
        finite = f"{name} < 'Infinity'::{kind} AND {name} > '-Infinity'::{kind}"
    # greatest() leaves NULL out.
    upto = one(
        connection,
        f"SELECT greatest((SELECT max({name}) FROM {dialect.qualified(shape)} WHERE {finite}), "
        f"%s::{kind})::text",
        (since,),
    )[0]
    if since is None:
        return Window(column.name, None, upto)
    if isinstance(overlap, timedelta):
        before = f"(%s::{kind} - make_interval(secs => %s))::{kind}::text"
        after = one(connection, f"SELECT {before}", (since, overlap.total_seconds()))[0]
    elif column.type.name in INTEGERS:
        after = str(max(INTEGERS[column.type.name][0], int(since) - overlap))
    elif overlap:
        after = one(connection, f"SELECT (%s::{kind} - %s)::text", (since, overlap))[0]
    else:
        after = since
    return Window(column.name, after, upto)


def typed_value(connection: Connection, column: Column, text: str) -> str:
    """See ``ports.Reads``."""
    kind = dialect.base(column.carrier or column.native)
    found = one(connection, f"SELECT (%s::{kind})::text", (text,))[0]
    return str(found)
