"""Collections as shapes, and shapes as collections to be made."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

from pymongo.errors import OperationFailure

from dsp_airflow.engine.model import Column, LogicalType, NativeType, Shape
from dsp_airflow.engine.resolved import Resolved
from dsp_airflow.engine.stores.mongodb import commands, keys, names, translate
from dsp_airflow.engine.stores.mongodb.connection import EXISTS, Connection
from dsp_airflow.engine.stores.mongodb.facts import EXPIRES, Facts, facts

ID: Final = "_id"
DOCUMENT: Final = "document"
"""The column that is the whole document, its id among the rest."""
WHOLE: Final = ("bson", "bson document")
"""What ids and documents are made of."""
KEPT: Final = ("collation", "validator", "validationLevel", "validationAction")
"""Options that a collection made here has from the one it is a copy of."""
_NEVER: Final = frozenset({"v", "ns", "unique", "prepareUnique", "background", EXPIRES})
"""What its indexes do not have: nothing expires there, and what was true of one moment of the
source need not be true of rows from several."""


def describe(connection: Connection, table: str) -> Shape | None:
    """See ``ports.Reads``."""
    found = facts(connection, table)
    return None if found is None else shape_of(found)


def resolved(connection: Connection, table: str) -> Resolved:
    """See ``resolved.Resolves``."""
    return Resolved(*connection.split(table))


def shape_of(found: Facts) -> Shape:
    """A collection as a table of two columns."""
    stored = found.kind == "collection"
    return Shape(
        schema=found.schema,
        name=found.name,
        columns=columns(found.collation, made_with(found)),
        key=(ID,),
        # Of what a view shows nothing keeps the ids apart.
        unique=((ID,),) if stored else (),
        kind="table" if stored else "view",
        indexed=_indexed(found) if stored else None,
        dated="no",
        open=True,
    )


def columns(collation: str | None, needs: tuple[NativeType, ...]) -> tuple[Column, Column]:
    """The id, and the document. ``needs`` are the statements that make a collection like it."""
    document = Column(
        DOCUMENT,
        LogicalType("other", identity=WHOLE[1]),
        "document",
        nullable=False,
        wide=True,
        required=True,
        needs=needs,
    )
    return id_column(collation), document


def id_column(collation: str | None) -> Column:
    """What every document has, of any type."""
    return Column(
        ID,
        LogicalType("other", identity=WHOLE[0]),
        "bson",
        nullable=False,
        collation=collation,
        deterministic=collation is None,
        required=True,
    )


def _indexed(found: Facts) -> tuple[str, ...]:
    return tuple(str(next(iter(index["key"]))) for index in found.indexes if index.get("key"))


def made_with(found: Facts) -> tuple[NativeType, ...]:
    """What is to be said to make a collection of its options and indexes, without its name."""
    if found.kind != "collection":
        return ()
    options = {name: found.options[name] for name in KEPT if name in found.options}
    indexes = [
        {name: value for name, value in index.items() if name not in _NEVER}
        for index in found.indexes
        if index.get("name") != "_id_"
    ]
    made = [commands.need("options", {"create": "", **options})]
    made += [
        commands.need(str(index["name"]), {"createIndexes": "", "indexes": [index]})
        for index in indexes
    ]
    return tuple(made)


def design(
    connection: Connection, table: str, planned: Sequence[Column], key: Sequence[str]
) -> tuple[Shape, tuple[str, ...]]:
    """See ``ports.Writes``. The statements are commands, in extended JSON.

    Of rows it is a collection like any other, in which the columns are fields.
    """
    schema, name = connection.split(table)
    needs = [need for column in planned for need in column.needs]
    collation = next((c.collation for c in planned if c.name == ID), None)
    mapped = any(column.type.identity not in WHOLE for column in planned)
    shape = Shape(
        schema=schema,
        name=name,
        columns=tuple(planned) if mapped else columns(collation, tuple(needs)),
        key=tuple(key) if mapped else (ID,),
        unique=(tuple(key) if mapped else (ID,),),
        dated="no",
        open=True,
    )
    return shape, commands.named(needs, name)


def create(connection: Connection, table: str, statements: Sequence[str]) -> None:
    """Runs the commands; a collection that came to be meanwhile is left as it is."""
    schema, _ = connection.split(table)
    base = connection.base(schema)
    for text in statements:
        command = keys.parse(text)
        try:
            base.command(command, write_concern=base.write_concern)
        except OperationFailure as error:
            if translate.code(error) != EXISTS:
                raise


def nearest(connection: Connection, table: str) -> list[str]:
    """Existing collections of similar name."""
    schema, name = connection.split(table)
    there = connection.base(schema).list_collection_names(authorizedCollections=True)
    close = difflib.get_close_matches(name, there, n=3, cutoff=0.5)
    return [f"{schema}.{found}" for found in close]


def root(connection: Connection, table: str) -> str | None:
    """The collection that is read in the end; views are followed."""
    found = facts(connection, table)
    while found is not None and found.kind == "view":
        found = facts(connection, names.qualified(found.schema, str(found.options["viewOn"])))
    return None if found is None else found.quoted


def fingerprint(connection: Connection, table: str) -> str:
    """See ``ports.Session``."""
    found = facts(connection, table)
    if found is None:
        return "gone"
    return keys.dump([found.kind, found.uuid, found.options, sorted(found.expiring)])
