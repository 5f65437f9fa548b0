"""What can serve as a key, and the proof of a key that no index keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import MySQLdb

from dsp_airflow.engine.canon import mysql_key_text
from dsp_airflow.engine.errors import BadValue, ConfigError
from dsp_airflow.engine.model import Projection
from dsp_airflow.engine.stores.mysql import translate
from dsp_airflow.engine.stores.mysql.login import is_mariadb
from dsp_airflow.engine.stores.mysql.names import base, quote, text_literal
from dsp_airflow.engine.stores.mysql.query import Connection, one, texts

ORDERED = "BTREE"
"""The index that ranges of keys are read by; the others serve equal values only, or words."""


class Keys:
    """What the indexes of a table say of its columns.

    ``natives`` are the types by column. A FLOAT is no key: what it prints is not what it equals.
    """

    def __init__(
        self,
        connection: Connection,
        schema: str,
        name: str,
        not_null: set[str],
        natives: Mapping[str, str] | None = None,
    ) -> None:
        self.primary: tuple[str, ...] = ()
        self.unique: list[tuple[str, ...]] = []
        self.unusable: list[str] = []
        self.indexed: list[str] = []
        for index, parts in _parts(connection, schema, name).items():
            # Neither an expression nor an index that is not looked at has a leading column.
            first = parts[0]
            if first.column and first.used and first.column not in self.indexed:
                self.indexed.append(first.column)
            if not first.unique:
                continue
            columns = tuple(part.column or "" for part in parts)
            why = _unusable(parts, not_null, natives or {})
            if why:
                self.unusable.append(f"{index} is {why}")
            else:
                self.unique.append(columns)
                self.primary = columns if index == "PRIMARY" else self.primary


class _Part:
    """One column of an index; ``prefix`` are the characters of it that are indexed."""

    def __init__(self, row: tuple[str | None, ...]) -> None:
        _, unique, self.column, self.prefix, kind, visible = row
        self.unique = unique == "0"
        self.used = kind == ORDERED and visible == "1"


def _parts(connection: Connection, schema: str, name: str) -> dict[str, list[_Part]]:
    """The primary key first, the others by name."""
    visible = "IGNORED = 'NO'" if is_mariadb(connection) else "IS_VISIBLE = 'YES'"
    found: dict[str, list[_Part]] = {}
    for row in texts(
        connection,
        f"SELECT INDEX_NAME, NON_UNIQUE, COLUMN_NAME, SUB_PART, INDEX_TYPE, {visible} "
        "FROM information_schema.STATISTICS "
        f"WHERE TABLE_SCHEMA = {text_literal(schema)} AND TABLE_NAME = {text_literal(name)} "
        "ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX",
    ):
        found.setdefault(str(row[0]), []).append(_Part(row))
    return found


def _unusable(parts: list[_Part], not_null: set[str], natives: Mapping[str, str]) -> str:
    if any(part.column is None for part in parts):
        return "on an expression; create one on plain columns"
    cut = [f"{part.column}({part.prefix})" for part in parts if part.prefix is not None]
    if cut:
        return f"on the beginning of a column, {', '.join(cut)}; create one on whole columns"
    columns = [part.column or "" for part in parts]
    missing = [c for c in columns if c not in not_null]
    if missing:
        return f"on {', '.join(missing)}, which may be NULL; MODIFY it as NOT NULL"
    floats = [c for c in columns if base(natives.get(c, "")) == "float"]
    if floats:
        return f"on {', '.join(floats)} of type FLOAT, which no text equals; MODIFY it as DOUBLE"
    return ""


def refuse_unproved(connection: Connection, what: Projection, condition: str) -> None:
    """``ConfigError`` unless every row has a key, and one of its own: no index says so."""
    names = ", ".join(k.column for k in what.key)
    nulls = " OR ".join(f"{k.column} IS NULL" for k in what.key)
    missing = int(
        str(
            one(
                connection,
                f"SELECT COUNT(*) FROM {what.table} WHERE {condition} AND ({nulls})",
            )[0]
        )
    )
    if missing:
        raise ConfigError(
            f"{what.label}: {missing:,} rows have NULL in the key ({names}) and would never be "
            "copied; name other columns under key, or leave those rows out with where"
        )
    shown = ", ".join(f"MIN({mysql_key_text(k.column, k.native)})" for k in what.key)
    twins = texts(
        connection,
        f"SELECT {shown}, COUNT(*) FROM {what.table} WHERE {condition} "
        f"GROUP BY {names} HAVING COUNT(*) > 1 LIMIT 1",
    )
    if twins:
        *key, times = map(str, twins[0])
        raise ConfigError(
            f"{what.label}: key ({', '.join(key)}) stands in {int(times):,} rows, so ({names}) "
            "is no key; name other columns under key"
        )


LOOKED_AT = 100_000
"""Rows in which texts are looked for that another collation takes for one."""
_UNKNOWN_COLLATION = 1273


def twins(
    connection: Connection, table: str, key: Sequence[str], column: str, collation: str
) -> tuple[str, str] | None:
    """See ``ports.FindsTwins``. ``table`` is quoted SQL."""
    name = quote(column)
    others = "".join(f", {quote(k)}" for k in key if k != column)
    statement = (
        "SELECT MIN(`dsp bytes`), MAX(`dsp bytes`) FROM (SELECT "
        f"CAST(CONVERT({name} USING utf8mb4) AS BINARY) AS `dsp bytes`, "
        f"CONVERT({name} USING {collation.partition('_')[0]}) COLLATE {collation} AS `dsp text`"
        f"{others} FROM {table} LIMIT {LOOKED_AT}) AS few "
        f"GROUP BY `dsp text`{others} HAVING COUNT(*) > 1 LIMIT 1"
    )
    try:
        found = texts(connection, statement)
    except MySQLdb.Error as error:
        if translate.number(error) != _UNKNOWN_COLLATION:
            raise
        return None
    return (str(found[0][0]), str(found[0][1])) if found else None


def refuse_twins(connection: Connection, what: Projection, stage: str, width: int) -> None:
    """``BadValue`` when a key was staged twice: of the two rows one would be lost."""
    fields = what.fields[:width]
    names = ", ".join(quote(f.column) for f in fields)
    shown = ", ".join(f"MIN({mysql_key_text(quote(f.column), f.native)})" for f in fields)
    twins = texts(
        connection, f"SELECT {shown} FROM {stage} GROUP BY {names} HAVING COUNT(*) > 1 LIMIT 1"
    )
    if twins:
        raise BadValue(
            f"{what.label}: key ({', '.join(map(str, twins[0]))}) came twice from the source, so "
            f"({names}) is no key; name other columns under key. Nothing of the batch was written"
        )
