"""Cutting a table into batches, in one pass over the key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.model import Batch, BatchSize, KeyRange, Projection
from dsp_airflow.engine.stores.postgres.proof import condition

Connection = psycopg.Connection[tuple[Any, ...]]


def _wide_columns(connection: Connection, what: Projection) -> list[str]:
    """Columns whose values may be kept out of line, when the table keeps any there."""
    row = connection.execute(
        "SELECT reltoastrelid <> 0 AND pg_relation_size(reltoastrelid) > 0 "
        "FROM pg_class WHERE oid = %s::regclass",
        (what.table,),
    ).fetchone()
    if row is None or not row[0]:
        return []
    rows = connection.execute(
        "SELECT quote_ident(attname), atttypid IN ('text'::regtype, 'varchar'::regtype, "
        "'bpchar'::regtype, 'bytea'::regtype) FROM pg_attribute WHERE attrelid = %s::regclass "
        "AND attnum > 0 AND NOT attisdropped AND attlen = -1",
        (what.table,),
    ).fetchall()
    # Neither function fetches an out-of-line value: one reads its stated length, the other
    # what it occupies.
    return [f"octet_length({c})" if plain else f"pg_column_size({c})" for c, plain in rows]


def _average(connection: Connection, what: Projection) -> float:
    row = connection.execute(
        "SELECT pg_table_size(oid)::float8 / greatest(reltuples, 1) FROM pg_class "
        "WHERE oid = %s::regclass AND reltuples > 0",
        (what.table,),
    ).fetchone()
    return float(row[0]) if row else 0.0


def split(
    connection: Connection, what: Projection, size: BatchSize, max_row_size: int
) -> tuple[Sequence[Batch], int]:
    """See ``ports.Splits``. The window functions stream over the key's index."""
    key = ", ".join(k.column for k in what.key)
    names = [f"k{n}" for n in range(len(what.key))]
    rows = size.rows
    average = _average(connection, what)
    wide = _wide_columns(connection, what)
    if size.bytes is not None and not wide and average:
        rows = max(1, min(rows, int(size.bytes / average)))
    weigh = " + ".join(f"coalesce({w}, 0)" for w in wide) or "0"
    if size.bytes is not None and wide:
        # A row weighs its share of a batch, by number or by bytes, whichever is more.
        share = f"greatest(1.0::float8 / {rows}, bytes::float8 / {size.bytes})"
        # The small offset keeps sums like 10 x 0.1 on the right side of a whole number.
        group = f"floor(sum({share}) OVER w - {share} + 1e-9)"
    else:
        group = f"(row_number() OVER w - 1) / {rows}"
    selected = ", ".join(f"{k.column}::text AS {n}" for k, n in zip(what.key, names, strict=True))
    statement = f"""
    SELECT {", ".join(names)}, n, total, widest FROM (
      SELECT *, lead(g) OVER (ORDER BY n) AS following, sum(bytes) OVER (ORDER BY n) AS total,
             max(bytes) OVER (ORDER BY n) AS widest
      FROM (
        SELECT {", ".join(names)}, bytes, row_number() OVER w AS n, {group} AS g
        FROM (SELECT {key}, {selected}, ({weigh})::bigint AS bytes
              FROM {what.table} WHERE {condition(what, None)}) AS filtered
        WINDOW w AS (ORDER BY {key})
      ) AS numbered
    ) AS grouped
    WHERE following IS DISTINCT FROM g
    ORDER BY n
    """
    batches: list[Batch] = []
    last, counted, total = None, 0, 0
    for row in connection.execute(statement).fetchall():
        upto = tuple(row[: len(names)])
        position, total, widest = row[len(names) :]
        if widest > max_row_size:
            raise Refused(
                f"{what.label}: a row at or before key {upto} has {widest:,} bytes, more than "
                f"max_row_size ({max_row_size:,}); raise max_row_size, or leave the column out"
            )
        batches.append(Batch(len(batches) + 1, KeyRange(last, upto), int(position) - counted))
        last, counted = upto, int(position)
    return batches, int(total) or round(average * counted)
