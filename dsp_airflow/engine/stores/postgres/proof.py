"""Digests, counts and row hashes: SQL around ``canon``."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from dsp_airflow.engine import canon
from dsp_airflow.engine.model import (
    Dated,
    Digest,
    Field,
    Key,
    KeyRange,
    LossCount,
    Projection,
    RowHash,
)
from dsp_airflow.engine.stores.postgres import dialect
from dsp_airflow.engine.stores.postgres.query import Connection, one

KEYS_AT_ONCE = 10_000
_cursors = itertools.count()
XIDS = 0xFFFFFFFF


def row_hash(what: Projection) -> str:
    """SQL of the 64-bit row hash that the projection's method names."""
    if what.method == "fields":
        return canon.postgres_row_hash_fields(what.fields)
    if what.method == "record":
        return canon.postgres_row_hash_record(what.fields)
    return canon.postgres_digest_md5(what.fields)


def condition(what: Projection, within: KeyRange | None) -> str:
    """The rows of a range that match the job's filter."""
    parts = []
    if within is not None:
        parts.append(dialect.range_condition(what.key, within))
    if what.where is not None:
        parts.append(f"({what.where})")
    return " AND ".join(parts) or "true"


def digest_of(connection: Connection, source: str, method: str) -> Digest:
    """Runs ``SELECT count, sum`` over a FROM clause that yields a column ``h``."""
    row = one(connection, f"SELECT count(*), coalesce(sum(h), 0) FROM {source}")
    return Digest(int(row[0]), int(row[1]), method)


def digest(
    connection: Connection,
    what: Projection,
    within: KeyRange | None,
    keys: Sequence[Key] | None = None,
) -> Digest:
    """See ``ports.Digests``."""
    if keys is not None:
        total = Digest(0, 0, what.method)
        for arrays in key_chunks(what, keys):
            row = one(
                connection,
                f"SELECT count(*), coalesce(sum({verbatim(row_hash(what))}), 0) "
                f"FROM {verbatim(what.table)} WHERE {by_keys(what, within)}",
                arrays,
            )
            total += Digest(int(row[0]), int(row[1]), what.method)
        return total
    rows = f"(SELECT {row_hash(what)} AS h FROM {what.table} WHERE {condition(what, within)}) AS r"
    return digest_of(connection, rows, what.method)


def count(connection: Connection, what: Projection, within: KeyRange) -> int:
    """See ``ports.Digests``."""
    row = one(connection, f"SELECT count(*) FROM {what.table} WHERE {condition(what, within)}")
    return int(row[0])


def losses(connection: Connection, what: Projection, within: KeyRange) -> tuple[LossCount, ...]:
    """See ``ports.Digests``."""
    if not what.losses:
        return ()
    counts = ", ".join(f"count(*) FILTER (WHERE {loss.condition})" for loss in what.losses)
    row = one(connection, f"SELECT {counts} FROM {what.table} WHERE {condition(what, within)}")
    return tuple(
        LossCount(loss.column, loss.rule, int(n))
        for loss, n in zip(what.losses, row, strict=True)
        if n
    )


def key_fields(what: Projection) -> list[Field]:
    """The fields that carry the mapped key: the first ones, in key order."""
    return list(what.fields[: len(what.key)])


def settled(mark: str | None, dated: Dated = "rows") -> str:
    """SQL: whether a row's version is surely older than the mark.

    A row of a partition may be old and its partition attached since.
    """
    if mark is None or dated == "no":
        return "NULL::boolean"
    if dated == "rows":
        return _older("xmin", mark)
    return (
        f"({_older('xmin', mark)} AND tableoid <> ALL (ARRAY(WITH RECURSIVE young(oid) AS ("
        f"SELECT inhrelid FROM pg_inherits AS i WHERE NOT {_older('i.xmin', mark)} "
        "UNION SELECT inhrelid FROM young JOIN pg_inherits ON inhparent = young.oid) "
        "SELECT oid FROM young)))"
    )


def _older(xmin: str, mark: str) -> str:
    """A xmin keeps the last 32 bits of a transaction id; ids are compared around that circle.

    Ids below 3 mark rows that were frozen for good.
    """
    apart = f"({xmin}::text::bigint - {int(mark) & XIDS}) & {XIDS}"
    return f"({xmin}::text::bigint < 3 OR ({apart}) >= {(XIDS + 1) // 2})"


def hash_columns(what: Projection, mark: str | None) -> str:
    """Select list of a ``RowHash``: mapped key texts, hash, settled, own key texts."""
    mapped = [f"({f.expression})::text" for f in key_fields(what)]
    own = [f"{k.column}::text" for k in what.key]
    return ", ".join(
        [*mapped, canon.postgres_row_hash_md5(what.fields), settled(mark, what.dated), *own]
    )


def as_hash(row: tuple[Any, ...], width: int) -> RowHash:
    """A row of ``hash_columns`` as a value."""
    return RowHash(tuple(row[:width]), row[width], row[width + 1], tuple(row[width + 2 :]))


def hashes(
    connection: Connection,
    what: Projection,
    within: KeyRange | None,
    keys: Sequence[Key] | None,
    mark: str | None,
) -> Iterator[RowHash]:
    """See ``ports.Digests``."""
    columns = hash_columns(what, mark)
    width = len(what.key)
    if keys is None:
        name = f"dsp_hashes_{next(_cursors)}"
        with connection.transaction(), connection.cursor(name=name) as cursor:
            cursor.itersize = KEYS_AT_ONCE
            select = f"SELECT {columns} FROM {what.table} WHERE {condition(what, within)}"
            if not what.key:
                select = f'SELECT * FROM ({select}) AS r(h, s) ORDER BY h COLLATE "C"'
            cursor.execute(select)
            for row in cursor:
                yield as_hash(row, width)
        return
    select = f"SELECT {verbatim(columns)} FROM {verbatim(what.table)}"
    for arrays in key_chunks(what, keys):
        rows = connection.execute(f"{select} WHERE {by_keys(what, within)}", arrays)
        for row in rows.fetchall():
            yield as_hash(row, width)


def verbatim(sql: str) -> str:
    """SQL text for a statement with parameters: its own percent signs are no placeholders."""
    return sql.replace("%", "%%")


def by_keys(what: Projection, within: KeyRange | None = None) -> str:
    """Matching rows whose key is among given texts (parameters: one text array a key column)."""
    own = verbatim(", ".join(k.column for k in what.key))
    cast = verbatim(", ".join(f"k.c{n}::{k.native}" for n, k in enumerate(what.key)))
    names = ", ".join(f"c{n}" for n in range(len(what.key)))
    arrays = ", ".join(["%s::text[]"] * len(what.key))
    clause = f"({own}) IN (SELECT {cast} FROM unnest({arrays}) AS k({names}))"
    return f"{clause} AND {verbatim(condition(what, within))}"


def key_chunks(what: Projection, keys: Sequence[Key]) -> Iterator[list[list[str]]]:
    """Keys in bearable numbers, each turned into one array a column: ``by_keys``'s parameters."""
    for start in range(0, len(keys), KEYS_AT_ONCE):
        chunk = keys[start : start + KEYS_AT_ONCE]
        yield [[key[n] for key in chunk] for n in range(len(what.key))]


def texts(
    connection: Connection, what: Projection, keys: Sequence[Key]
) -> dict[Key, tuple[str | None, ...]]:
    """See ``ports.Digests``."""
    width = len(what.key)
    mapped = ", ".join(f"({f.expression})::text" for f in key_fields(what))
    fields = ", ".join(canon.postgres_text(f.expression, f.type, f.native) for f in what.fields)
    select = verbatim(f"SELECT {mapped}, {fields} FROM {what.table}")
    found: dict[Key, tuple[str | None, ...]] = {}
    for arrays in key_chunks(what, keys):
        rows = connection.execute(f"{select} WHERE {by_keys(what)}", arrays)
        for row in rows.fetchall():
            found[tuple(row[:width])] = tuple(row[width:])
    return found
