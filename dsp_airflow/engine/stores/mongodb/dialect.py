"""MongoDB's words: names, and values in extended JSON. Pure text, no connection."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from dsp_airflow.engine.canon import lines, printed
from dsp_airflow.engine.canon.mongodb import MOST_DIGITS
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.keeps import keeps_of
from dsp_airflow.engine.model import (
    Column,
    Converted,
    Fit,
    KeyColumn,
    LogicalType,
    OnLoss,
    Shape,
)
from dsp_airflow.engine.stores.mongodb import commands, cursor, literals, names, rules
from dsp_airflow.engine.stores.mongodb.reading import CLAMPED, Reading, reading_of, reads

name = "mongodb"
documents = True
quote = names.quote
literal = literals.literal
test, every, either = rules.test, rules.every, rules.either
in_window, without_cursor = cursor.in_window, cursor.without_cursor
WRITTEN: Final = ("written", "missing")
"""Of a column that documents are made of, and not of one that is read from them."""
MILLISECONDS: Final = 3
"""Digits of a second that a date of BSON has."""


def qualified(shape: Shape) -> str:
    """``"database"."collection"``."""
    return names.qualified(shape.schema, shape.name)


def markers(shape: Shape) -> str:
    """The commit markers' collection beside a target."""
    return names.qualified(shape.schema, names.MARKERS)


def key_column(column: Column) -> KeyColumn:
    """How the id is named, which is compared as the server's index does; in documents made of
    rows, how it is read.
    """
    if column.absent in WRITTEN:
        return KeyColumn(plain(column), column.native)
    return KeyColumn(quote(column.name), column.native)


def plain(column: Column) -> str:
    """See ``ports.Dialect``. A field of documents is named by how it is read."""
    if column.absent is None:
        files = column.type.name != "other"
        return Reading(column.name, whole=True).text() if files else quote(column.name)
    return Reading(column.name, absent=column.absent).text()


def utf8(_column: Column) -> bool:
    """See ``ports.Dialect``: no expression is rendered by a server here."""
    return False


def as_text(expression: str) -> str:
    """See ``ports.Dialect``. Ids are texts already."""
    return expression


def converted(
    _expression: str, source: Column, target: Column, fit: Fit, on_loss: OnLoss, _key: str
) -> Converted:
    """See ``ports.Dialect``. Whole documents are not converted; fields are read at a type."""
    if source.absent is None:
        return Converted(plain(source), target.native)
    if fit != "refused" and not reads(source.type, target.type):
        raise ConfigError(
            f"field {source.name}: its values are read as {target.type} only where its type says "
            f"so; write type: {target.type}, it is {source.type}"
        )
    reading = Reading(source.name, source.type, source.absent, on_loss)
    counted = "" if (source.absent, on_loss) == ("error", "error") else "policies"
    return Converted(reading.text(), target.native, counted)


def across(made: Converted, target: Column, _key: str, system: str) -> Converted:
    """See ``ports.Dialect``. What the other system cannot hold, it refuses, or changes."""
    keeps = keeps_of(system, target.native, target.type)
    if keeps is None:
        return made
    reading = replace(reading_of(made.expression), keeps=keeps)
    return replace(made, expression=reading.text())


def compared(kind: LogicalType) -> LogicalType:
    """See ``ports.Dialect``."""
    return kind


def held(kind: LogicalType) -> LogicalType:
    """See ``ports.Dialect``. A collection tells no types, so that values keep their own."""
    if kind.name in ("timestamp", "timestamptz"):
        return replace(kind, digits=MILLISECONDS)
    return kind


def caveat(source: Column, target: Column) -> str:
    """What values of BSON lose."""
    if target.absent is None:
        return ""
    if target.type.name == "decimal" and (target.type.precision or MOST_DIGITS + 1) > MOST_DIGITS:
        return f"numbers of more than {MOST_DIGITS} digits"
    if target.type.name in ("date", "timestamp", "timestamptz") and source.absent is None:
        return "infinity, and what no calendar has" if target.type.name == "date" else ""
    return ""


def policy_refusal(source: Column, target: Column, on_loss: OnLoss) -> str:
    """See ``ports.Dialect``."""
    if on_loss == "error":
        return ""
    if source.absent is None:
        return f"whole documents know no on_loss: {on_loss}"
    if on_loss == "null" and not target.nullable:
        return f"on_loss: null needs a target column that may be NULL, {target.name} may not"
    if on_loss == "clamp" and target.type.name not in CLAMPED:
        return f"{target.native} has no nearest value for one of another type"
    return ""


def binary(source: Column, target: Column) -> bool:
    """See ``ports.Dialect``. Whole documents are bytes, and mean the same everywhere."""
    return source.absent is None and target.absent is None


def native(kind: LogicalType) -> str:
    """See ``ports.Dialect``."""
    return str(kind)


def said(column: Column) -> str:
    """See ``ports.Dialect``."""
    return native(column.type)


def at(expression: str, _kind: LogicalType) -> str:
    """See ``ports.Dialect``. A reading is made at the type of its field."""
    return expression


def typed(expression: str, _native: str) -> str:
    """See ``ports.Dialect``."""
    return expression


wires = (lines.WIRE,)
own_kinds = printed.KINDS
own_text = printed.printed


def own_cells(texts: Any, _kind: LogicalType) -> Any:
    """See ``ports.Restores``. Documents are made of canonical texts."""
    return texts


def archived(shape: Shape) -> Shape:
    """See ``ports.Restores``. A column of ids, as extended JSON, and one of the bytes."""
    key, document = shape.columns
    return replace(
        shape,
        columns=(
            replace(key, type=LogicalType("string"), native="extended json"),
            replace(document, type=LogicalType("bytes"), native="bson"),
        ),
    )


def filtered(column: Column) -> str:
    """See ``ports.Restores``."""
    raise ConfigError(
        f"where: {column.name}: rows of an archive cannot be filtered on their way to MongoDB; "
        "restore whole batches"
    )


def ddl(shape: Shape) -> tuple[str, ...]:
    """See ``ports.Restores``. Commands, in extended JSON."""
    needs = [need for column in shape.columns for need in column.needs]
    return commands.named(needs, shape.name)
