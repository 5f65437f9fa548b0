"""The staging table: a batch's rows beside the target, in the very types of its columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from dsp_airflow.engine import canon
from dsp_airflow.engine.errors import BadValue
from dsp_airflow.engine.model import Field, Projection
from dsp_airflow.engine.stores.mysql.names import BYTES, base, quote
from dsp_airflow.engine.stores.mysql.proof import key_fields
from dsp_airflow.engine.stores.mysql.query import Connection, execute, texts

STAGE: Final = "`dsp_stage`"
"""A TEMPORARY table of the session; no statement may name it twice."""
_ROW: Final = "`dsp_row of the batch` BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY"
"""Some servers take no table without a primary key."""
_PREFIX: Final = 191
"""Characters of a key column that are indexed: four such columns are the most an index holds."""
INDEXED: Final = 4
_LENGTH: Final = re.compile(r"\((\d+)\)")
_EXACT: Final = BYTES | {
    *("tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "year", "bit"),
    *("date", "time", "datetime", "timestamp"),
}
"""Types whose equal values are identical."""


def create(connection: Connection, what: Projection) -> None:
    """An empty one with the target's columns; to be called outside of transactions."""
    columns = ", ".join(quote(field.column) for field in what.fields)
    index = ", ".join(part(field) for field in key_fields(what)[:INDEXED])
    drop(connection)
    execute(
        connection,
        f"CREATE TEMPORARY TABLE {STAGE} ({_ROW}, KEY `dsp_key` ({index})) ENGINE=InnoDB "
        f"ROW_FORMAT=DYNAMIC SELECT {columns} FROM {what.table} LIMIT 0",
    )


def create_typed(connection: Connection, what: Projection) -> None:
    """An empty one of the fields' own types, whether or not the table is there."""
    columns = ", ".join(f"{quote(field.column)} {field.native} NULL" for field in what.fields)
    drop(connection)
    execute(
        connection,
        f"CREATE TEMPORARY TABLE {STAGE} ({_ROW}, {columns}) ENGINE=InnoDB ROW_FORMAT=DYNAMIC "
        "DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    )


def drop(connection: Connection) -> None:
    """Ends no transaction, unlike other DDL."""
    execute(connection, f"DROP TEMPORARY TABLE IF EXISTS {STAGE}")


def part(field: Field) -> str:
    """A key column in the index; of long texts the beginning."""
    word, length = base(field.native), _LENGTH.search(field.native)
    if "text" in word or "blob" in word:
        return f"{quote(field.column)}({_PREFIX})"
    if ("char" in word or "binary" in word) and length and int(length[1]) > _PREFIX:
        return f"{quote(field.column)}({_PREFIX})"
    return quote(field.column)


def matches(what: Projection) -> str:
    """A staged row ``s`` and a row ``t`` of the target have the same key, as the target has it."""
    columns = [quote(field.column) for field in key_fields(what)]
    return " AND ".join(f"s.{column} = t.{column}" for column in columns)


def alike(fields: Sequence[Field]) -> str:
    """A staged row ``s`` and a row ``t`` of the target hold the same values, to the byte."""
    pairs = []
    for field in fields:
        mine, other = (_identity(f"{row}.{quote(field.column)}", field) for row in "st")
        pairs.append(f"{mine} <=> {other}")
    return " AND ".join(pairs) or "TRUE"


def _identity(column: str, field: Field) -> str:
    """An expression whose equality is identity: a is not A, -0.0 not 0.0, 1.0 not 1 in JSON."""
    word = base(field.native)
    if word in _EXACT:
        return column
    if word in ("float", "double"):
        return f"CAST({column} * 1e0 AS CHAR)"
    if field.type.identity in ("geometry", "vector"):
        return f"HEX({column})"
    return f"CAST(CAST({column} AS CHAR) AS BINARY)" if word == "json" else _bytes(column)


def _bytes(column: str) -> str:
    return f"CAST({column} AS BINARY)"


def refuse_twins(connection: Connection, what: Projection) -> None:
    """``BadValue`` when the target takes two staged rows for one: one of them would be lost."""
    keys = key_fields(what)
    names = ", ".join(quote(field.column) for field in keys)
    shown = _key_text(keys, "")
    twins = texts(
        connection,
        f"SELECT MIN({shown}), MAX({shown}) FROM {STAGE} GROUP BY {names} "
        "HAVING COUNT(*) > 1 LIMIT 1",
    )
    if not twins:
        return
    first, second = map(str, twins[0])
    if first == second:
        raise BadValue(
            f"{what.label}: key ({first}) came twice from the source, so ({names}) is no key; name "
            "other columns under key. Nothing of the batch was written"
        )
    raise _one_key(what, first, second)


def refuse_namesakes(connection: Connection, what: Projection) -> None:
    """``BadValue`` when the target takes a staged key and another one of its own for one."""
    keys = key_fields(what)
    loose = [field for field in keys if base(field.native) not in _EXACT]
    if not loose:
        return
    found = texts(
        connection,
        f"SELECT {_key_text(keys, 's.')}, {_key_text(keys, 't.')} FROM {STAGE} AS s "
        f"STRAIGHT_JOIN {what.table} AS t ON {matches(what)} WHERE NOT ({alike(loose)}) LIMIT 1",
    )
    if found:
        raise _one_key(what, *map(str, found[0]))


def _one_key(what: Projection, first: str, second: str) -> BadValue:
    return BadValue(
        f"{what.label}: {first!r} and {second!r} are one key for the target's collation, and two "
        "rows; give the key columns there a collation that tells them apart (COLLATE utf8mb4_bin), "
        "or leave one of the rows out with where. Nothing of the batch was written"
    )


def _key_text(keys: Sequence[Field], row: str) -> str:
    """All of a key as one text, compared by bytes."""
    parts = ", ', ', ".join(
        canon.mysql_key_text(f"{row}{quote(field.column)}", field.native) for field in keys
    )
    return f"CONVERT(CONCAT({parts}) USING utf8mb4) COLLATE utf8mb4_bin"
