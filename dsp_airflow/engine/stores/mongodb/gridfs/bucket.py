"""A bucket: two collections, of the files' documents and of their chunks."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from dsp_airflow.engine import documents as identities
from dsp_airflow.engine.model import Column, LogicalType, NativeType, Projection, Shape
from dsp_airflow.engine.stores.mongodb import catalog, keys, names
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.facts import Facts, facts

FILES: Final = ".files"
CHUNKS: Final = ".chunks"
FILE: Final = "file"
CONTENT: Final = "content"
"""The columns that are a file's document, and its chunks."""
BY_NAME: Final = {"name": "filename_1_uploadDate_1", "key": {"filename": 1, "uploadDate": 1}}
BY_NUMBER: Final = {"name": "files_id_1_n_1", "key": {"files_id": 1, "n": 1}, "unique": True}
"""The indexes that every driver gives a bucket."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where it is. ``files`` and ``chunks`` are quoted full names."""

    schema: str
    name: str

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.schema}.{self.name}"

    @property
    def files(self) -> str:
        return names.qualified(self.schema, self.name + FILES)

    @property
    def chunks(self) -> str:
        return names.qualified(self.schema, self.name + CHUNKS)


def bucket_of(connection: Connection, table: str) -> Bucket:
    """The bucket that a table's name means."""
    return Bucket(*connection.split(table))


def documents_of(connection: Connection, what: Projection) -> Projection:
    """The collection of the files' documents, as a table of its own."""
    return replace(what, table=bucket_of(connection, what.table).files)


def collections(connection: Connection, table: str) -> Iterator[Facts]:
    """Those of the two that there are."""
    bucket = bucket_of(connection, table)
    for name in (bucket.files, bucket.chunks):
        found = facts(connection, name)
        if found is not None:
            yield found


def describe(connection: Connection, table: str) -> Shape | None:
    """See ``ports.Reads``. A bucket is there once it has a collection of files."""
    bucket = bucket_of(connection, table)
    files = facts(connection, bucket.files)
    if files is None:
        return None
    chunks = facts(connection, bucket.chunks)
    return _shape(
        bucket, catalog.made_with(files), () if chunks is None else catalog.made_with(chunks)
    )


def _shape(bucket: Bucket, files: tuple[NativeType, ...], chunks: tuple[NativeType, ...]) -> Shape:
    return Shape(
        schema=bucket.schema,
        name=bucket.name,
        columns=(
            catalog.id_column(None),
            _column(FILE, identities.FILE, files),
            _column(CONTENT, identities.CONTENT, chunks),
        ),
        key=(catalog.ID,),
        unique=((catalog.ID,),),
        dated="no",
    )


def _column(name: str, identity: str, needs: tuple[NativeType, ...]) -> Column:
    return Column(
        name,
        LogicalType("other", identity=identity),
        name,
        nullable=False,
        wide=True,
        required=True,
        needs=needs,
    )


def design(
    connection: Connection, table: str, planned: Sequence[Column]
) -> tuple[Shape, tuple[str, ...]]:
    """See ``ports.Writes``. The statements are commands, in extended JSON."""
    bucket = bucket_of(connection, table)
    needs = {column.name: column.needs for column in planned}
    files, chunks = needs.get(FILE, ()), needs.get(CONTENT, ())
    commands = [
        *_commands(bucket.name + FILES, files, BY_NAME),
        *_commands(bucket.name + CHUNKS, chunks, BY_NUMBER),
    ]
    return _shape(bucket, files, chunks), tuple(map(keys.dump, commands))


def _commands(
    collection: str, needs: Sequence[NativeType], own: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """As the source's was made, with the index that every bucket has."""
    made: list[dict[str, Any]] = [keys.parse(need.statement) for need in needs]
    if not any("create" in command for command in made):
        yield {"create": collection}
    for command in made:
        indexes = command.get("indexes", ())
        if not any(dict(index["key"]) == own["key"] for index in indexes):
            yield {**command, next(iter(command)): collection}
    yield _indexed(collection, own)


def _indexed(collection: str, index: Mapping[str, Any]) -> dict[str, Any]:
    return {"createIndexes": collection, "indexes": [dict(index)]}


def index(connection: Connection, table: str) -> None:
    """Creates the two indexes where a bucket lacks them."""
    bucket = bucket_of(connection, table)
    base = connection.base(bucket.schema)
    for collection, own in ((FILES, BY_NAME), (CHUNKS, BY_NUMBER)):
        found = facts(connection, names.qualified(bucket.schema, bucket.name + collection))
        if found is None or not has_index(found, own):
            command = _indexed(bucket.name + collection, own)
            base.command(command, write_concern=base.write_concern)


def drop(connection: Connection, table: str) -> None:
    """See ``archive.gridfs.source.DropsBuckets``."""
    bucket = bucket_of(connection, table)
    base = connection.base(bucket.schema)
    for collection in (CHUNKS, FILES):
        base.drop_collection(bucket.name + collection)


def has_index(found: Facts, own: Mapping[str, Any]) -> bool:
    """Whether an index of this key is there, one that does as much."""
    return any(
        list(there["key"].items()) == list(own["key"].items())
        and bool(there.get("unique")) >= bool(own.get("unique"))
        and "partialFilterExpression" not in there
        for there in found.indexes
    )


def nearest(connection: Connection, table: str) -> list[str]:
    """Existing buckets of similar name."""
    bucket = bucket_of(connection, table)
    there = connection.base(bucket.schema).list_collection_names(authorizedCollections=True)
    buckets = [name.removesuffix(FILES) for name in there if name.endswith(FILES)]
    close = difflib.get_close_matches(bucket.name, buckets, n=3, cutoff=0.5)
    return [f"{bucket.schema}.{found}" for found in close]


def fingerprint(connection: Connection, table: str) -> str:
    """See ``ports.Session``."""
    bucket = bucket_of(connection, table)
    return " ".join(catalog.fingerprint(connection, t) for t in (bucket.files, bucket.chunks))
