"""MySQL's words: quoting, literals, conditions, DDL. Pure text, no connection."""

from __future__ import annotations

from collections.abc import Sequence

from dsp_airflow.engine.canon import mysql_key_text
from dsp_airflow.engine.model import (
    Column,
    Converted,
    KeyColumn,
    KeyRange,
    LogicalType,
    Shape,
    Window,
)
from dsp_airflow.engine.stores.mysql import casting, kinds, literals, names, rules, texts

name = "mysql"
documents = False
MARKERS = "dsp_commits"

base, quote, text_literal = names.base, names.quote, names.text_literal
literal = literals.literal
test, every, either = rules.test, rules.every, rules.either
native, held, compared = kinds.native, kinds.held, kinds.compared
converted, policy_refusal = casting.converted, casting.policy_refusal
key_text = mysql_key_text
own_text, own_cells, own_kinds = texts.own_text, texts.own_cells, texts.KINDS
wires = ("mysql text",)


def typed(expression: str, _native: str) -> str:
    """See ``ports.Dialect``. Expressions here always have a type of their own."""
    return f"({expression})"


def as_text(expression: str) -> str:
    """See ``ports.Dialect``."""
    return f"CAST({expression} AS CHAR)"


def qualified(shape: Shape) -> str:
    """```schema`.`table```."""
    return f"{quote(shape.schema)}.{quote(shape.name)}"


def markers(shape: Shape) -> str:
    """The commit markers' table beside a target."""
    return f"{quote(shape.schema)}.{quote(MARKERS)}"


def key_column(column: Column) -> KeyColumn:
    """How a key column is compared. What sorts by a number behind it is compared by that."""
    if base(column.native) in names.INDEXED:
        return KeyColumn(f"({quote(column.name)} + 0)", column.native)
    return KeyColumn(quote(column.name), column.native)


def across(made: Converted, _target: Column, _key: str, _system: str) -> Converted:
    """See ``ports.Dialect``. PostgreSQL refuses what it cannot hold."""
    return made


def said(column: Column) -> str:
    """See ``ports.Dialect``. Both systems' CHAR drops the blanks at the end."""
    padded = column.native.startswith(("character(", "char("))
    if column.type.name == "string" and padded:
        return f"char({column.type.length})"
    return native(column.type)


def at(expression: str, _kind: LogicalType) -> str:
    """See ``ports.Dialect``. A float is a double here before it is anything else."""
    return expression


def plain(column: Column) -> str:
    """See ``ports.Dialect``."""
    return casting.plain(quote(column.name), column)


def utf8(column: Column) -> bool:
    """See ``ports.Dialect``."""
    return casting.utf8(column)


def caveat(source: Column, target: Column) -> str:
    """What the native types lose beyond what the logical ones do."""
    return casting.caveat(source, target)


def binary(_source: Column, _target: Column) -> bool:
    """See ``ports.Dialect``. Everything travels as text."""
    return False


def range_condition(key: Sequence[KeyColumn], within: KeyRange) -> str:
    """``after < key <= upto``, spelled out: no server here serves row comparisons by an index."""
    parts = []
    if within.after is not None:
        parts.append(_beyond(key, within.after, ">", ">"))
    if within.upto is not None:
        parts.append(_beyond(key, within.upto, "<", "<="))
    return " AND ".join(parts) or "TRUE"


def _beyond(key: Sequence[KeyColumn], values: Sequence[str], sign: str, last: str) -> str:
    bounds = [(k.column, names.bound(v, k.native)) for k, v in zip(key, values, strict=True)]
    if len(bounds) == 1:
        return f"{bounds[0][0]} {last} {bounds[0][1]}"
    ways = []
    for n, (column, value) in enumerate(bounds):
        equal = [f"{c} = {v}" for c, v in bounds[:n]]
        ways.append(
            " AND ".join([*equal, f"{column} {last if n == len(bounds) - 1 else sign} {value}"])
        )
    # The first column's bound by itself is what an index is entered by.
    return f"{bounds[0][0]} {sign}= {bounds[0][1]} AND ({' OR '.join(ways)})"


def in_window(column: Column, window: Window, *, endless: bool) -> str:
    """See ``ports.Dialect``."""
    key, missing = key_column(column), without_cursor(column)
    if window.upto is None:
        return missing if endless else "FALSE"
    condition = f"{key.column} <= {names.bound(window.upto, key.native)}"
    if window.after is not None:
        condition = f"{key.column} >= {names.bound(window.after, key.native)} AND {condition}"
    elif not endless:
        condition += f" AND {with_cursor(column)}"
    return f"(({condition}) OR {missing})" if endless else condition


FIRST = {
    "date": "'0001-01-01'",
    "timestamp": "'0001-01-01 00:00:00'",
    "timestamptz": "'1970-01-01 00:00:01'",
}
"""Nothing that comes in its turn is before that: 0000-00-00 stands where no time is known."""


def with_cursor(column: Column) -> str:
    """Condition of the rows whose cursor is neither NULL nor a date of zeros."""
    name, first = quote(column.name), FIRST.get(column.type.name)
    return f"{name} IS NOT NULL" if first is None else f"{name} >= {first}"


def without_cursor(column: Column) -> str:
    """See ``ports.Dialect``."""
    name, first = quote(column.name), FIRST.get(column.type.name)
    return f"({name} IS NULL)" if first is None else f"({name} IS NULL OR {name} < {first})"


def archived(shape: Shape) -> Shape:
    """See ``ports.Restores``."""
    return shape


def filtered(column: Column) -> str:
    """See ``ports.Restores``. Archived rows are judged in utf8mb4, whatever the table's own."""
    if column.collation is None:
        return quote(column.name)
    charset = column.collation.partition("_")[0]
    name = quote(column.name)
    text = name if charset == "utf8mb4" else f"CONVERT({name} USING {charset})"
    return f"{text} COLLATE {column.collation}"


def ddl(shape: Shape) -> tuple[str, ...]:
    """See ``ports.Restores``."""
    return (f"CREATE DATABASE IF NOT EXISTS {quote(shape.schema)}", *create_table(shape))


def create_table(shape: Shape) -> tuple[str, ...]:
    """DDL for a missing target: columns with NOT NULL and defaults, the key."""
    return (f"CREATE TABLE {qualified(shape)} {_body(shape)}",)


def add_columns(shape: Shape, columns: Sequence[Column]) -> tuple[str, ...]:
    """DDL for what a target lacks, a statement each."""
    return tuple(f"ALTER TABLE {qualified(shape)} ADD COLUMN {_line(column)}" for column in columns)


def temporary_table(shape: Shape, name: str) -> str:
    """The same for a table of one session; ``name`` is quoted SQL."""
    return f"CREATE TEMPORARY TABLE {name} {_body(shape)}"


def _body(shape: Shape) -> str:
    lines = [_line(column) for column in shape.columns]
    if shape.key:
        lines.append(f"PRIMARY KEY ({', '.join(quote(c) for c in shape.key)})")
    listed = ",\n  ".join(lines)
    return f"(\n  {listed}\n) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4"


def _line(column: Column) -> str:
    line = f"{quote(column.name)} {column.native}"
    if column.collation is not None and base(column.native) != "json":
        charset = column.collation.partition("_")[0]
        line += f" CHARACTER SET {charset} COLLATE {column.collation}"
    # A TIMESTAMP without NULL would be filled in by itself.
    line += " NULL" if column.nullable else " NOT NULL"
    if column.default is not None:
        line += f" DEFAULT {column.default}"
    return line
