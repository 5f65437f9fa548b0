"""PostgreSQL's words: quoting, literals, casts, DDL. Pure text, no connection."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import (
    Column,
    Fit,
    Key,
    KeyColumn,
    KeyRange,
    LogicalType,
    Shape,
    Window,
)
from dsp_airflow.engine.stores.postgres import texts as own_texts
from dsp_airflow.engine.stores.postgres.translate import LOSS_TAG
from dsp_airflow.engine.types import INTEGERS

name = "postgres"
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
    "json": "jsonb",
    "year": "smallint",
}


def quote(identifier: str) -> str:
    """A quoted identifier, whatever it holds."""
    if "\0" in identifier or not identifier:
        raise ConfigError(f"{identifier!r} cannot be a PostgreSQL name")
    return '"' + identifier.replace('"', '""') + '"'


def literal(value: object) -> str:
    """A typed literal of a Python value.

    Text is quoted under ``standard_conforming_strings`` (which sessions switch on), where
    only the quote itself is special.
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"({value})"
    if isinstance(value, (float, Decimal)):
        return (
            f"{text_literal(str(value))}::{'numeric' if isinstance(value, Decimal) else 'float8'}"
        )
    if isinstance(value, datetime):
        kind = "timestamptz" if value.tzinfo else "timestamp"
        return f"{text_literal(value.isoformat())}::{kind}"
    if isinstance(value, date):
        return f"{text_literal(value.isoformat())}::date"
    if isinstance(value, str):
        return text_literal(value)
    raise ConfigError(f"{value!r} ({type(value).__name__}) cannot be a PostgreSQL value")


def text_literal(text: str) -> str:
    """A quoted string constant."""
    if "\0" in text:
        raise ConfigError(f"{text!r} holds a NUL character, which PostgreSQL text cannot")
    return "'" + text.replace("'", "''") + "'"


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


def base(native: str) -> str:
    """A native type without its length or precision: bounds must never be cut short."""
    plain = re.sub(r"\(\d+(,-?\d+)?\)", "", native)
    return re.sub(r"^(character|char)(?=$|\[)", "bpchar", plain)


def key_column(column: Column) -> KeyColumn:
    """How a key column is compared and its bounds are cast."""
    return KeyColumn(quote(column.name), base(column.native))


def native(kind: LogicalType) -> str:
    """The type that holds a logical type in a table made here."""
    if kind.name == "decimal":
        if kind.precision is None:
            return "numeric"
        return f"numeric({kind.precision},{kind.scale or 0})"
    if kind.name == "string":
        return f"varchar({kind.length})" if kind.length is not None else "text"
    if kind.name in ("time", "timestamp", "timestamptz"):
        digits = f"({kind.digits})" if kind.digits is not None else ""
        zone = " with time zone" if kind.name == "timestamptz" else " without time zone"
        return ("time" if kind.name == "time" else "timestamp") + digits + zone
    if kind.name == "enum":
        return "text"
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
    "uint32": LogicalType("int64"),
    "uint64": LogicalType("decimal", precision=20, scale=0),
}


def held(kind: LogicalType) -> LogicalType:
    """The logical type of a column made here for this one, as the catalogs will tell it."""
    if kind.name in ("time", "timestamp", "timestamptz") and kind.digits is None:
        return replace(kind, digits=6)
    return HELD.get(kind.name, kind)


def range_condition(key: Sequence[KeyColumn], within: KeyRange, alias: str = "") -> str:
    """``after < key <= upto`` as a row comparison that an index on the key serves."""
    columns = ", ".join(alias + k.column for k in key)

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
    name, kind = quote(column.name), base(column.native)
    parts = []
    if window.after is not None:
        parts.append(f"{name} >= {text_literal(window.after)}::{kind}")
    parts.append(
        "false" if window.upto is None else f"{name} <= {text_literal(window.upto)}::{kind}"
    )
    condition = " AND ".join(parts)
    return f"({condition}) OR {without_cursor(column)}" if endless else condition


def without_cursor(column: Column) -> str:
    """See ``ports.Dialect``. NaN sorts above infinity."""
    name = quote(column.name)
    missing = f"{name} IS NULL"
    if column.type.name in INTEGERS:
        return missing
    endless = "'Infinity'::" + base(column.native)
    return f"({missing} OR {name} >= {endless} OR {name} <= '-Infinity'::{base(column.native)})"


def user_type(native_type: str) -> bool:
    """A type that another server may not know (schema-qualified, as catalogs print those)."""
    return "." in native_type


def converted(expression: str, source: Column, target: Column, fit: Fit) -> tuple[str, str]:
    """The source expression at the target's type, and the native type it then has.

    Enums travel as their labels: the binary form of both is the same bytes. A lossy pair is
    guarded: a value that does not survive the way there and back stops the batch.
    """
    if source.type.name == "enum" or target.type.name == "enum":
        return f"{expression}::text", "text"
    if source.native == target.native or (user_type(target.native) and fit == "exact"):
        return expression, source.native
    # There is no cast between boolean and the other numbers than integer.
    names = {source.type.name, target.type.name}
    via = "::integer" if "bool" in names and names.isdisjoint({"string"}) else ""
    cast = f"{expression}{via}::{target.native}"
    if fit != "lossy" or (source.type.name, target.type.name) == ("string", "json"):
        # A text that is no JSON fails in the cast; its spelling is no value.
        return cast, target.native
    back = f"({cast}){via}::{source.native}"
    element = source.type.element.name if source.type.element else source.type.name
    if element in ("float32", "float64"):
        # Their plain comparison takes -0 for 0.
        send = "float4send" if element == "float32" else "float8send"
        send = "array_send" if source.type.element else send
        back, compared = f"{send}({back})", f"{send}({expression})"
    elif source.type.name == "json":
        back, compared = f"({back})::text", f"({expression})::text"
    else:
        compared = expression
    tag = text_literal(f"{LOSS_TAG}{source.name}:")
    # The failing cast of a text to integer is the only way to raise an error inside an
    # expression; the message carries column and value out (see translate).
    failure = f"(({tag} || left({expression}::text, 80))::int)::text::{base(target.native)}"
    return (
        f"CASE WHEN {back} IS NOT DISTINCT FROM {compared} THEN {cast} ELSE {failure} END",
        target.native,
    )


def caveat(source: Column, target: Column) -> str:
    """What the native types lose beyond what the logical ones do."""
    padded = ("bpchar", "bpchar[]")
    if base(target.native) in padded and base(source.native) not in padded:
        return "blanks at the end"
    return ""


def own_text(text: str, kind: LogicalType) -> str:
    """See ``ports.Dialect``."""
    return own_texts.own_text(text, kind)


def ddl(shape: Shape) -> tuple[str, ...]:
    """See ``ports.Dialect``."""
    enums: dict[str, tuple[str, ...]] = {}
    for column in shape.columns:
        kind = column.type.element if column.type.element is not None else column.type
        if kind.labels is not None and user_type(column.native):
            enums[column.native.removesuffix("[]")] = kind.labels
    return create_table(shape, enums)


def create_table(shape: Shape, enums: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """DDL for a missing target: enum types, columns with NOT NULL and defaults, the key."""
    statements = []
    for name, labels in enums.items():
        values = ", ".join(text_literal(label) for label in labels)
        made = f"CREATE TYPE {name} AS ENUM ({values})"
        tag = "dsp"
        while f"${tag}$" in made:
            tag += "_"
        # Two tables made at once may share the type.
        statements.append(
            f"DO ${tag}$ BEGIN {made}; EXCEPTION WHEN duplicate_object THEN NULL; END ${tag}$"
        )
    lines = []
    for column in shape.columns:
        line = f"{quote(column.name)} {column.native}"
        if column.default is not None:
            line += f" DEFAULT {column.default}"
        if not column.nullable:
            line += " NOT NULL"
        lines.append(line)
    if shape.key:
        lines.append(f"PRIMARY KEY ({', '.join(quote(c) for c in shape.key)})")
    statements.append(f"CREATE TABLE {qualified(shape)} (\n  " + ",\n  ".join(lines) + "\n)")
    return tuple(statements)
