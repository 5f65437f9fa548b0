"""Files of one name, of which only one can have it: which one that is, and which give way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from dsp_airflow.engine.model import Key, KeyRange, Projection
from dsp_airflow.engine.stores.mongodb import keys, query, raw
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.gridfs.bucket import bucket_of
from dsp_airflow.engine.stores.mongodb.gridfs.contents import (
    documents,
    parted,
    sorted_out,
)
from dsp_airflow.engine.stores.mongodb.gridfs.files import TEXTS, filename_of
from dsp_airflow.engine.stores.mongodb.raw import Value

NAMELESS: Final = (
    "has no filename, which name_mode needs; use name_mode: id_and_filename for such files"
)
NEWEST: Final = "file {} has the same name and is newer"
FIRST: Final = "file {} has the same name and is older"


def found(
    connection: Connection, what: Projection, within: KeyRange, *, newest: bool, upto: Key | None
) -> Mapping[Key, str]:
    """Whole files of the range that have to give way, and why."""
    why = NEWEST if newest else FIRST
    given: dict[Key, str] = {}
    for whole, _ in sorted_out(connection, what, within):
        named = {file.key: filename_of(file.document) for file in whole}
        names = {name for name in named.values() if name}
        holders = _holders(
            connection, what, names, {file.id for file in whole}, newest=newest, upto=upto
        )
        for file in whole:
            name = named[file.key]
            if not name:
                given[file.key] = NAMELESS
            elif name in holders and holders[name] != file.id:
                given[file.key] = why.format(keys.text(holders[name]))
    return given


def _holders(
    connection: Connection,
    what: Projection,
    names: Iterable[bytes],
    whole: set[Value],
    *,
    newest: bool,
    upto: Key | None,
) -> dict[bytes, Value]:
    """By name: the id of the file that has it. ``whole`` are ids of files that surely are."""
    bucket = bucket_of(connection, what.table)
    holders: dict[bytes, Value] = {}
    damaged: list[Value] = []
    open_names = sorted(names)
    while open_names:
        first = _first(connection, what, open_names, damaged, newest=newest, upto=upto)
        holders.update(first)
        doubtful = {own: name for name, own in first.items() if own not in whole}
        broken: list[Value] = []
        listed = [(keys.text(own),) for own in doubtful]
        for group in documents(connection, what, None, listed) if listed else ():
            _, not_whole = parted(connection, bucket, group)
            broken += [one.file.id for one in not_whole]
        # One that is damaged is not archived, so that its name is the next one's.
        open_names = sorted(doubtful[own] for own in broken)
        damaged += broken
    return holders


def _first(
    connection: Connection,
    what: Projection,
    names: Sequence[bytes],
    damaged: Sequence[Value],
    *,
    newest: bool,
    upto: Key | None,
) -> dict[bytes, Value]:
    values = [Value(raw.STRING, raw.text(name)) for name in names]
    matching: list[Any] = [
        {"filename": raw.document([("$in", raw.array(values))])},
        query.matching(what, KeyRange(None, upto)),
    ]
    if damaged:
        matching.append({"_id": raw.document([("$nin", raw.array(damaged))])})
    direction = -1 if newest else 1
    pipeline: list[raw.Query] = [
        {"$match": {"$and": matching}},
        {"$sort": {"filename": direction, "uploadDate": direction, "_id": direction}},
        {"$group": {"_id": "$filename", "own": {"$first": "$_id"}}},
    ]
    made: dict[bytes, Value] = {}
    for document in connection.aggregate_raw(bucket_of(connection, what.table).files, pipeline):
        fields = dict(raw.elements(document))
        # A list that has the name among others matches, too.
        if fields[b"_id"].kind in TEXTS:
            made[fields[b"_id"].data[4:-1]] = fields[b"own"]
    return made


def count(connection: Connection, what: Projection) -> int:
    """Of all matching files, damaged ones among them."""
    bucket = bucket_of(connection, what.table)
    texts = {"$in": [{"$type": "$filename"}, ["string", "symbol"]]}
    named = {"$cond": [texts, "$filename", ""]}
    pipeline: list[raw.Query] = [
        {"$match": query.matching(what)},
        {"$group": {"_id": named, "files": {"$sum": 1}}},
        {
            "$group": {
                "_id": None,
                "more": {
                    "$sum": {
                        "$cond": [{"$eq": ["$_id", ""]}, "$files", {"$subtract": ["$files", 1]}]
                    }
                },
            }
        },
    ]
    return sum(int(one["more"]) for one in connection.aggregate(bucket.files, pipeline))
