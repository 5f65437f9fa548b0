"""Cutting a table into batches, in one pass over the key."""

from __future__ import annotations

from collections.abc import Sequence

from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.model import Batch, BatchSize, KeyRange, Projection
from dsp_airflow.engine.stores.postgres import tree
from dsp_airflow.engine.stores.postgres.keys import refuse_unproved
from dsp_airflow.engine.stores.postgres.proof import condition
from dsp_airflow.engine.stores.postgres.query import Connection, one

SAMPLED = 200
"""Rows that are weighed where no catalog tells their size."""


def _wide_columns(connection: Connection, what: Projection) -> list[str]:
    """Columns whose values may be kept out of line."""
    rows = connection.execute(
        "SELECT quote_ident(attname), atttypid IN ('text'::regtype, 'varchar'::regtype, "
        "'bpchar'::regtype, 'bytea'::regtype) FROM pg_attribute WHERE attrelid = %s::regclass "
        "AND attnum > 0 AND NOT attisdropped AND attlen = -1",
        (what.table,),
    ).fetchall()
    # Neither function fetches an out-of-line value: one reads its stated length, the other
    # what it occupies.
    return [f"octet_length({c})" if plain else f"pg_column_size({c})" for c, plain in rows]


def _sampled(connection: Connection, what: Projection) -> float:
    """Bytes of a row of a view or foreign table: an average of the first ones."""
    row = one(
        connection,
        f"SELECT coalesce(avg(pg_column_size(r.*)), 0) FROM (SELECT * FROM {what.table} "
        f"WHERE {condition(what, None)} LIMIT {SAMPLED}) AS r",
    )
    return float(row[0])


def _names(what: Projection) -> tuple[str, str, str]:
    """The key's columns as ``k0, k1``: selected, named, and as texts."""
    names = [f"k{n}" for n in range(len(what.key))]
    selected = ", ".join(f"{k.column} AS {n}" for k, n in zip(what.key, names, strict=True))
    return selected, ", ".join(names), ", ".join(f"{n}::text" for n in names)


def _by_number(what: Projection, rows: int, wide: list[str]) -> str:
    """Every ``rows``-th key and the last one. Only these few become text."""
    selected, names, texts = _names(what)
    weigh = " + ".join(f"coalesce({w}, 0)" for w in wide)
    bytes_so_far = "sum(bytes) OVER w, max(bytes) OVER w" if wide else "0, 0"
    measured = f", ({weigh})::bigint AS bytes" if wide else ""
    return f"""
    SELECT {texts}, n, total, widest FROM (
      SELECT {names}, n, total, widest, lead(n) OVER (ORDER BY {names}) AS following FROM (
        SELECT {names}, row_number() OVER w AS n, {bytes_so_far}
        FROM (SELECT {selected}{measured} FROM {what.table}
              WHERE {condition(what, None)}) AS filtered
        WINDOW w AS (ORDER BY {names} ROWS UNBOUNDED PRECEDING)
      ) AS numbered ({names}, n, total, widest)
    ) AS paired
    WHERE n % {rows} = 0 OR following IS NULL
    ORDER BY n
    """


def _by_weight(what: Projection, rows: int, size: int, wide: list[str]) -> str:
    """Batches end where rows or bytes are full, whichever comes first."""
    selected, names, texts = _names(what)
    weigh = " + ".join(f"coalesce({w}, 0)" for w in wide)
    # A row weighs its share of a batch, by number or by bytes, whichever is more. The small
    # offset keeps sums like 10 x 0.1 on the right side of a whole number.
    share = f"greatest(1.0::float8 / {rows}, bytes::float8 / {size})"
    return f"""
    SELECT {texts}, n, total, widest FROM (
      SELECT *, lead(g) OVER (ORDER BY n) AS following, sum(bytes) OVER (ORDER BY n) AS total,
             max(bytes) OVER (ORDER BY n) AS widest
      FROM (
        SELECT {names}, bytes, row_number() OVER w AS n,
               floor(sum({share}) OVER w - {share} + 1e-9) AS g
        FROM (SELECT {selected}, ({weigh})::bigint AS bytes FROM {what.table}
              WHERE {condition(what, None)}) AS filtered
        WINDOW w AS (ORDER BY {names} ROWS UNBOUNDED PRECEDING)
      ) AS numbered
    ) AS grouped
    WHERE following IS DISTINCT FROM g
    ORDER BY n
    """


def split(
    connection: Connection, what: Projection, size: BatchSize, max_row_size: int
) -> tuple[Sequence[Batch], int]:
    """See ``ports.Splits``. The window functions stream over the key's index."""
    with connection.transaction():
        # A loose key is proved of the very rows that are counted.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if what.loose:
            refuse_unproved(connection, what, condition(what, None))
        return _split(connection, what, size, max_row_size)


def _split(
    connection: Connection, what: Projection, size: BatchSize, max_row_size: int
) -> tuple[Sequence[Batch], int]:
    stored, estimated, toasted = tree.storage(connection, what.table)
    average = stored / max(1.0, estimated) if estimated else 0.0
    if not stored:
        average = _sampled(connection, what)
    if not what.key:
        matching = f"SELECT count(*) FROM {what.table} WHERE {condition(what, None)}"
        count = int(one(connection, matching)[0])
        return ([Batch(1, KeyRange(), count)] if count else []), round(average * count) or stored
    wide = _wide_columns(connection, what) if toasted else []
    if size.bytes is not None and wide:
        statement = _by_weight(what, size.rows, size.bytes, wide)
    else:
        rows = size.rows
        if size.bytes is not None and average:
            rows = max(1, min(rows, int(size.bytes / average)))
        statement = _by_number(what, rows, wide)
    width = len(what.key)
    batches: list[Batch] = []
    last, counted, total = None, 0, 0
    for row in connection.execute(statement.encode()).fetchall():
        upto = tuple(row[:width])
        position, total, widest = row[width:]
        if widest > max_row_size:
            raise Refused(
                f"{what.label}: a row at or before key {upto} has {widest:,} bytes, more than "
                f"max_row_size ({max_row_size:,}); raise max_row_size, or leave the column out"
            )
        batches.append(Batch(len(batches) + 1, KeyRange(last, upto), int(position) - counted))
        last, counted = upto, int(position)
    estimate = round(average * counted) or stored
    return batches, int(total) or (min(estimate, stored) if stored else estimate)
