"""Projections of tables of a test, all columns as they are."""

from __future__ import annotations

from dsp_airflow.engine.model import Column, Field, Projection
from dsp_airflow.engine.stores.mysql import dialect, kinds
from dsp_airflow.engine.stores.mysql.query import Connection, texts


def projection(
    connection: Connection,
    table: str,
    *key: str,
    where: str | None = None,
    loose: bool = False,
) -> Projection:
    """The key's columns first, as a plan has them."""
    rows = texts(
        connection,
        "SELECT COLUMN_NAME, COLUMN_TYPE, DATA_TYPE, DATETIME_PRECISION, COLLATION_NAME "
        f"FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() "
        f"AND TABLE_NAME = '{table}' ORDER BY ORDINAL_POSITION",
    )
    columns = {
        str(name): Column(
            str(name),
            kinds.logical(str(full), str(word), digits=int(digits) if digits else None, json=False),
            str(full),
            collation=collation,
        )
        for name, full, word, digits, collation in rows
    }
    ordered = [*key, *(name for name in columns if name not in key)]
    return Projection(
        table=dialect.quote(table),
        label=table,
        fields=tuple(
            Field(c.name, c.type, c.native, dialect.plain(c), utf8=dialect.utf8(c))
            for c in map(columns.__getitem__, ordered)
        ),
        key=tuple(dialect.key_column(columns[name]) for name in key),
        where=where,
        markers=dialect.quote("dsp_commits"),
        loose=loose,
    )
