"""Cutting a table into batches: a walk along the key, by its index."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import MySQLdb

from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.model import Batch, BatchSize, Key, KeyRange, Projection
from dsp_airflow.engine.stores.mysql import proof
from dsp_airflow.engine.stores.mysql.keys import refuse_unproved
from dsp_airflow.engine.stores.mysql.names import BYTES, quote, split_name, text_literal
from dsp_airflow.engine.stores.mysql.query import Connection, execute, one, texts

SAMPLED = 200
"""Rows that are weighed where no catalog tells their size."""
WIDE = 4096
"""Bytes that a column may hold, from which on each value is weighed."""
FIRST = 100
"""Rows weighed at once at least."""
WIDE_CHARACTERS = ("ucs2", "utf16", "utf16le", "utf32")
"""Character sets whose texts may get shorter when they are rendered."""


@dataclass(frozen=True, slots=True)
class _Weights:
    """SQL of a row's bytes, and of bytes that its text surely has; empty without wide columns."""

    stored: str
    rendered: str
    packet: int


@dataclass(frozen=True, slots=True)
class _Step:
    """Rows that fit: the last one's key, how many, their bytes, those too large, rows looked at."""

    key: Key
    rows: int
    bytes: int
    widest: int
    longest: int
    seen: int


def split(
    connection: Connection, what: Projection, size: BatchSize, max_row_size: int
) -> tuple[Sequence[Batch], int]:
    """See ``ports.Splits``."""
    with standing_still(connection):
        # A loose key is proved of the very rows that are counted.
        if what.loose:
            refuse_unproved(connection, what, proof.condition(what, None))
        return _split(connection, what, size, max_row_size)


@contextmanager
def standing_still(connection: Connection) -> Iterator[None]:
    """One consistent view for all reads inside; nothing is written."""
    execute(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    execute(connection, "START TRANSACTION WITH CONSISTENT SNAPSHOT")
    try:
        yield
    finally:
        # Nothing was written: a rollback that cannot be sent loses nothing.
        with contextlib.suppress(MySQLdb.OperationalError, MySQLdb.InterfaceError):
            execute(connection, "ROLLBACK")


def _split(
    connection: Connection, what: Projection, size: BatchSize, max_row_size: int
) -> tuple[Sequence[Batch], int]:
    stored, average = _storage(connection, what)
    if not what.key:
        rows = proof.count_where(connection, what, proof.condition(what, None))
        return ([Batch(1, KeyRange(), rows)] if rows else []), round(average * rows) or stored
    weights = _weights(connection, what)
    if weights is not None:
        return _by_weight(connection, what, size, weights, max_row_size)
    rows = size.rows
    if size.bytes is not None and average:
        rows = max(1, min(rows, int(size.bytes / average)))
    batches = list(_by_number(connection, what, rows))
    estimate = round(average * sum(batch.rows for batch in batches)) or stored
    return batches, min(estimate, stored) if stored else estimate


def _by_number(connection: Connection, what: Projection, rows: int) -> Iterator[Batch]:
    """Every ``rows``-th key, and the last one."""
    after, number = None, 1
    while (upto := proof.edge(connection, what, KeyRange(after), rows)) is not None:
        yield Batch(number, KeyRange(after, upto), rows)
        after, number = upto, number + 1
    rest = KeyRange(after)
    order = ", ".join(f"{k.column} DESC" for k in what.key)
    last = texts(
        connection,
        f"SELECT {', '.join(proof.own_key(what))} FROM {what.table} "
        f"WHERE {proof.condition(what, rest)} ORDER BY {order} LIMIT 1",
    )
    if last:
        upto = tuple(map(str, last[0]))
        yield Batch(number, KeyRange(after, upto), proof.count(connection, what, rest))


def _by_weight(
    connection: Connection,
    what: Projection,
    size: BatchSize,
    weights: _Weights,
    max_row_size: int,
) -> tuple[Sequence[Batch], int]:
    """Batches end where rows or bytes are full, whichever comes first."""
    batches: list[Batch] = []
    after: Key | None = None
    total, glance = 0, FIRST
    while True:
        upto, rows, weight = after, 0, 0
        full = False
        while not full:
            # As many more are looked at as the last batch had: their values are read for it.
            limit = min(size.rows - rows, glance)
            left = None if size.bytes is None else size.bytes - weight
            step = _step(connection, what, upto, limit, left, weights, max_row_size)
            if step is None:
                break
            _refuse_large(what, step, weights, max_row_size)
            if left is not None and step.bytes > left and rows:
                # Not even one more fits.
                break
            upto, rows, weight = step.key, rows + step.rows, weight + step.bytes
            full = rows >= size.rows or step.rows < step.seen
            full |= size.bytes is not None and weight >= size.bytes
            glance = 2 * glance if not full else glance
        if upto is None or not rows:
            return batches, total
        batches.append(Batch(len(batches) + 1, KeyRange(after, upto), rows))
        after, total, glance = upto, total + weight, max(FIRST, 2 * rows)


def _step(
    connection: Connection,
    what: Projection,
    after: Key | None,
    limit: int,
    left: int | None,
    weights: _Weights,
    max_row_size: int,
) -> _Step | None:
    """The next rows that have room in ``left`` bytes, one at least; ``None`` at the end."""
    # Sums of what is too large: MariaDB takes the square of the time for a running maximum.
    names = ", ".join(f"k{n}" for n in range(len(what.key)))
    order = ", ".join(k.column for k in what.key)
    columns = ", ".join(f"{k.column} AS k{n}" for n, k in enumerate(what.key))
    shown = ", ".join(f"{text} AS t{n}" for n, text in enumerate(proof.own_key(what)))
    outer = ", ".join(f"t{n}" for n in range(len(what.key)))
    fitting = "TRUE" if left is None else f"(total <= {left} OR n = 1)"
    found = texts(
        connection,
        f"SELECT {outer}, n, total, widest, longest, seen FROM ("
        f"SELECT {outer}, COUNT(*) OVER w AS n, SUM(b) OVER w AS total, "
        f"SUM(IF(b > {max_row_size}, b, 0)) OVER w AS widest, "
        f"SUM(IF(r > {weights.packet}, r, 0)) OVER w AS longest, COUNT(*) OVER () AS seen FROM ("
        f"SELECT {columns}, {shown}, {weights.stored} AS b, {weights.rendered} AS r "
        f"FROM {what.table} WHERE {proof.condition(what, KeyRange(after))} "
        f"ORDER BY {order} LIMIT {limit}) AS taken "
        f"WINDOW w AS (ORDER BY {names} ROWS UNBOUNDED PRECEDING)) AS summed "
        f"WHERE {fitting} ORDER BY n DESC LIMIT 1",
    )
    if not found:
        return None
    *key, rows, total, widest, longest, seen = map(str, found[0])
    return _Step(tuple(key), int(rows), int(total), int(widest), int(longest), int(seen))


def _refuse_large(what: Projection, step: _Step, weights: _Weights, max_row_size: int) -> None:
    if step.widest > max_row_size:
        raise Refused(
            f"{what.label}: a row at or before key {step.key} has {step.widest:,} bytes, more than "
            f"max_row_size ({max_row_size:,}); raise max_row_size, or leave the column out"
        )
    if step.longest > weights.packet:
        raise Refused(
            f"{what.label}: a row at or before key {step.key} has a text of {step.longest:,} bytes "
            f"or more, and max_allowed_packet of the server is {weights.packet:,}; raise it (bytes "
            "are written as hex, which doubles them), or leave the column out"
        )


def _weights(connection: Connection, what: Projection) -> _Weights | None:
    """Of those columns that take part and may hold much."""
    stored, rendered = [], []
    for name, kind, charset in _columns(connection, what, WIDE):
        column = quote(name)
        if not any(column in field.expression for field in what.fields):
            continue
        stored.append(f"COALESCE(LENGTH({column}), 0)")
        least = f"CHAR_LENGTH({column})" if charset in WIDE_CHARACTERS else f"LENGTH({column})"
        # Bytes are sent as hex, two digits each.
        twice = "2" if kind in BYTES else "1"
        rendered.append(f"COALESCE({least} * {twice}, 0)")
    if not stored:
        return None
    packet = int(str(one(connection, "SELECT @@max_allowed_packet")[0]))
    return _Weights(" + ".join(stored), " + ".join(rendered), packet)


def _columns(connection: Connection, what: Projection, least: int) -> list[tuple[str, str, str]]:
    """Name, type and character set of columns that may hold so many bytes, and of JSON."""
    found = texts(
        connection,
        "SELECT COLUMN_NAME, LOWER(DATA_TYPE), COALESCE(CHARACTER_SET_NAME, '') "
        f"FROM information_schema.COLUMNS WHERE {_named(what)} "
        f"AND (CHARACTER_OCTET_LENGTH >= {least} OR DATA_TYPE IN ('json', 'geometry', 'vector')) "
        "ORDER BY ORDINAL_POSITION",
    )
    return [(str(name), str(kind), str(charset)) for name, kind, charset in found]


def _storage(connection: Connection, what: Projection) -> tuple[int, float]:
    """Bytes of the table's rows, and of one on average, as estimated."""
    found = texts(
        connection,
        "SELECT COALESCE(DATA_LENGTH, 0), COALESCE(AVG_ROW_LENGTH, 0) "
        f"FROM information_schema.TABLES WHERE {_named(what)}",
    )
    stored, average = map(int, map(str, found[0])) if found else (0, 0)
    if average:
        return stored, float(average)
    lengths = [f"COALESCE(LENGTH({quote(n)}), 0)" for n, *_ in _columns(connection, what, 0)]
    weigh = " + ".join(lengths) or "0"
    sample = one(
        connection,
        f"SELECT COALESCE(AVG({weigh}), 0) FROM (SELECT * FROM {what.table} "
        f"WHERE {proof.condition(what, None)} LIMIT {SAMPLED}) AS r",
    )
    return stored, float(str(sample[0]))


def _named(what: Projection) -> str:
    schema, name = split_name(what.table)
    shown = "DATABASE()" if schema is None else text_literal(schema)
    return f"TABLE_SCHEMA = {shown} AND TABLE_NAME = {text_literal(name)}"
