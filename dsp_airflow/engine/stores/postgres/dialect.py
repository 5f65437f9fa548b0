"""PostgreSQL's words: quoting, literals, casts, DDL. Pure text, no connection."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dsp_airflow.engine.canon import printed
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import (
    Column,
    Key,
    KeyColumn,
    KeyRange,
    LogicalType,
    Shape,
    Window,
)
from dsp_airflow.engine.stores.postgres import casting, literals, names, rules
from dsp_airflow.engine.stores.postgres import texts as own_texts

name = "postgres"
documents = False
MARKERS = "dsp_commits"
BUILT_IN = {
    "bool": "boolean",
    "int8": "smallint",
    "int16": "smallint",
    "int32": "integer",
    "int64": "bigint",
    "uint8": "smallint",
    "uint16": "integer",
    "uint32": "bigint",
    "uint64": "numeric(20,0)",
    "float32": "real",
    "float64": "double precision",
    "bytes": "bytea",
    "date": "date",
    "uuid": "uuid",
    "objectid": "character varying(24)",
    "json": "jsonb",
    "year": "smallint",
    "int24": "integer",
    "uint24": "integer",
    "duration": "interval",
}


base, quote, literal = names.base, names.quote, literals.literal
text_literal, user_type = names.text_literal, names.user_type
test, every, either = rules.test, rules.every, rules.either
converted, policy_refusal, across = casting.converted, casting.policy_refusal, casting.across


def qualified(shape: Shape) -> str:
    """``"schema"."table"``."""
    return f"{quote(shape.schema)}.{quote(shape.name)}"


def markers(shape: Shape) -> str:
    """The commit markers' table beside a target."""
    return f"{quote(shape.schema)}.{quote(MARKERS)}"


def split_name(table: str) -> tuple[str | None, str]:
    """``schema.table`` as written in a task file; parts may be double-quoted.

    Names are taken as they are written: nothing is folded to lower case.
    """
    part = r'("(?:[^"]|"")+"|[^".]+)'
    match = re.fullmatch(rf"(?:{part}\.)?{part}", table)
    if match is None:
        raise ConfigError(
            f'table {table!r} is not a name: write table, schema.table or "odd.schema"."odd.table"'
        )
    schema, name = match.groups()

    def bare(text: str) -> str:
        return text[1:-1].replace('""', '"') if text.startswith('"') else text

    return (bare(schema) if schema else None), bare(name)


def key_column(column: Column) -> KeyColumn:
    """How a key column is compared and its bounds are cast."""
    return KeyColumn(quote(column.name) + column.sorts, base(column.carrier or column.native))


def plain(column: Column) -> str:
    """See ``ports.Dialect``."""
    return quote(column.name) + (f"::{column.carrier}" if column.carrier else "")


def utf8(_column: Column) -> bool:
    """See ``ports.Dialect``. All texts are, and nothing is converted."""
    return False


INFINITE = frozenset(["timestamp", "timestamptz", "date", "decimal", "float64"])
"""Types that have infinity."""
BINARY = frozenset(
    [
        *("bit", "varbit", "timetz", "money", "inet", "cidr", "macaddr", "macaddr8", "tid"),
        *("point", "line", "lseg", "box", "path", "polygon", "circle", "tsvector", "tsquery"),
        *("int4range", "int8range", "numrange", "daterange", "tsrange", "tstzrange", "pg_lsn"),
        *("int4multirange", "int8multirange", "nummultirange", "datemultirange", "jsonpath"),
        *("tsmultirange", "tstzmultirange", "xid8", "xid", "cid", "oid", "name", "char"),
        *("pg_snapshot", "txid_snapshot", "int2vector", "oidvector"),
    ]
)
"""Built-in types whose binary form holds no number of a type and is the same in every version."""


def binary(source: Column, target: Column) -> bool:
    """See ``ports.Dialect``. The binary form of arrays and composites names types by number."""
    for column in (source, target):
        name = column.type.name
        if name == "other":
            identity = (column.type.identity or "").removesuffix(" array")
            if identity not in BINARY or user_type(column.native):
                return False
        elif name == "list" and user_type(column.native):
            return False
    return True


def native(kind: LogicalType) -> str:
    """The type that holds a logical type in a table made here."""
    if kind.name == "decimal":
        if kind.precision is None:
            return "numeric"
        return f"numeric({kind.precision},{kind.scale or 0})"
    if kind.name == "string":
        return f"character varying({kind.length})" if kind.length is not None else "text"
    if kind.name in ("time", "timestamp", "timestamptz"):
        digits = f"({kind.digits})" if kind.digits is not None else ""
        zone = " with time zone" if kind.name == "timestamptz" else " without time zone"
        return ("time" if kind.name == "time" else "timestamp") + digits + zone
    if kind.name in ("enum", "set"):
        return "text"
    if kind.name == "other":
        return f"bit({kind.length})" if kind.identity == "bit" else "text"
    if kind.name == "list" and kind.element is not None:
        return native(kind.element) + "[]"
    found = BUILT_IN.get(kind.name)
    if found is None:
        raise ConfigError(f"PostgreSQL has no type for {kind}")
    return found


HELD = {
    "int8": LogicalType("int16"),
    "uint8": LogicalType("int16"),
    "year": LogicalType("int16"),
    "uint16": LogicalType("int32"),
    "int24": LogicalType("int32"),
    "uint24": LogicalType("int32"),
    "uint32": LogicalType("int64"),
    "uint64": LogicalType("decimal", precision=20, scale=0),
    "objectid": LogicalType("string", length=24),
}


def held(kind: LogicalType) -> LogicalType:
    """The logical type of a column made here for this one, as the catalogs will tell it."""
    if kind.name in ("time", "timestamp", "timestamptz") and kind.digits is None:
        return replace(kind, digits=6)
    if kind.name in ("enum", "set") or (kind.name == "other" and kind.identity != "bit"):
        return LogicalType("string")
    if kind.name == "bytes":
        return LogicalType("bytes")
    if kind.name == "duration":
        return LogicalType("duration")
    return HELD.get(kind.name, kind)


def said(column: Column) -> str:
    """See ``ports.Dialect``. Both systems' CHAR drops the blanks at the end."""
    if column.type.name == "string" and base(column.native) == "bpchar":
        return f"character({column.type.length})"
    if column.type.name == "duration" and column.type.digits is not None:
        return f"interval({column.type.digits})"
    return native(column.type)


def compared(kind: LogicalType) -> LogicalType:
    """See ``ports.Dialect``."""
    return kind


def at(expression: str, kind: LogicalType) -> str:
    """See ``ports.Dialect``."""
    return f"({expression})::{native(kind)}"


def typed(expression: str, native_type: str) -> str:
    """See ``ports.Dialect``."""
    return f"({expression})::{native_type}"


def as_text(expression: str) -> str:
    """See ``ports.Dialect``."""
    return f"{expression}::text"


def range_condition(key: Sequence[KeyColumn], within: KeyRange) -> str:
    """``after < key <= upto`` as a row comparison that an index on the key serves."""
    columns = ", ".join(k.column for k in key)

    def bound(values: Key) -> str:
        return ", ".join(f"{text_literal(v)}::{k.native}" for v, k in zip(values, key, strict=True))

    parts = []
    if within.after is not None:
        parts.append(f"({columns}) > ({bound(within.after)})")
    if within.upto is not None:
        parts.append(f"({columns}) <= ({bound(within.upto)})")
    return " AND ".join(parts) or "true"


def in_window(column: Column, window: Window, *, endless: bool) -> str:
    """See ``ports.Dialect``."""
    name, missing = quote(column.name), without_cursor(column)
    if window.upto is None:
        return missing if endless else "false"
    condition = f"{name} <= {cursor_bound(column, window.upto)}"
    if window.after is not None:
        condition = f"{name} >= {cursor_bound(column, window.after)} AND {condition}"
    elif not endless:
        condition += f" AND {with_cursor(column)}"
    return f"(({condition}) OR {missing})" if endless else condition


def cursor_bound(column: Column, text: str) -> str:
    """A value of a cursor as a constant to compare the column with."""
    return f"{text_literal(text)}::{base(column.carrier or column.native)}"


def with_cursor(column: Column) -> str:
    """Condition of the rows whose cursor is neither NULL nor infinite, as an index serves it."""
    name = quote(column.name)
    if column.type.name not in INFINITE:
        return f"{name} IS NOT NULL"
    kind = base(column.carrier or column.native)
    return f"{name} < 'Infinity'::{kind} AND {name} > '-Infinity'::{kind}"


def without_cursor(column: Column) -> str:
    """See ``ports.Dialect``. NaN sorts above infinity."""
    name = quote(column.name)
    missing = f"{name} IS NULL"
    if column.type.name in INFINITE:
        kind = base(column.carrier or column.native)
        missing += f" OR {name} >= 'Infinity'::{kind} OR {name} <= '-Infinity'::{kind}"
    return f"({missing})"


def caveat(source: Column, target: Column) -> str:
    """What the native types lose beyond what the logical ones do."""
    padded = ("bpchar", "bpchar[]")
    theirs, mine = (c.carrier or c.native for c in (target, source))
    if base(theirs) in padded and base(mine) not in padded:
        return "blanks at the end"
    if mine != theirs and theirs.startswith("interval ") and not theirs.startswith("interval("):
        return f"what an {theirs} does not keep"
    return ""


def archived(shape: Shape) -> Shape:
    """See ``ports.Restores``."""
    return shape


def filtered(column: Column) -> str:
    """See ``ports.Restores``."""
    return quote(column.name)


wires = ("csv",)
own_kinds = printed.KINDS


def own_text(text: str, kind: LogicalType) -> str:
    """See ``ports.Restores``."""
    return own_texts.own_text(text, kind)


def own_cells(texts: Any, kind: LogicalType) -> Any:
    """See ``ports.Restores``."""
    return own_texts.own_cells(texts, kind)


def ddl(shape: Shape) -> tuple[str, ...]:
    """See ``ports.Restores``."""
    needed = {kind.name: kind for column in shape.columns for kind in column.needs}
    schemas = dict.fromkeys([*(kind.schema for kind in needed.values()), shape.schema])
    made = [_schema(schema) for schema in schemas if schema not in ("", "public")]
    types = [
        kind.statement + (f" SCHEMA {quote(kind.schema)}" if kind.extension else "")
        for kind in needed.values()
    ]
    return (*made, *create_table(shape, types))


def _schema(schema: str) -> str:
    # IF NOT EXISTS would ask for the privilege to create one even where it stands.
    text = text_literal(quote(schema))
    return _block(f"IF to_regnamespace({text}) IS NULL THEN CREATE SCHEMA {quote(schema)}; END IF;")


def _block(body: str) -> str:
    tag = "dsp"
    while f"${tag}$" in body:
        tag += "_"
    return f"DO ${tag}$ BEGIN {body} END ${tag}$"


def create_table(shape: Shape, types: Sequence[str]) -> tuple[str, ...]:
    """DDL for a missing target: types, columns with NOT NULL and defaults, the key."""
    # Two tables made at once may share the type.
    statements = [_block(f"{made}; EXCEPTION WHEN duplicate_object THEN NULL;") for made in types]
    lines = [_line(column) for column in shape.columns]
    if shape.key:
        lines.append(f"PRIMARY KEY ({', '.join(quote(c) for c in shape.key)})")
    statements.append(f"CREATE TABLE {qualified(shape)} (\n  " + ",\n  ".join(lines) + "\n)")
    return tuple(statements)


def add_columns(shape: Shape, columns: Sequence[Column]) -> tuple[str, ...]:
    """DDL for what a target lacks; what is there already is left as it is."""
    return tuple(
        f"ALTER TABLE {qualified(shape)} ADD COLUMN IF NOT EXISTS {_line(column)}"
        for column in columns
    )


def _line(column: Column) -> str:
    line = f"{quote(column.name)} {column.native}"
    if column.default is not None:
        line += f" DEFAULT {column.default}"
    return line if column.nullable else f"{line} NOT NULL"
