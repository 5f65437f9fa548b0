"""What speaks against reading a bucket, writing to it, deleting from it, or trusting it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from dsp_airflow.engine.model import OnConflict, Projection
from dsp_airflow.engine.stores.mongodb import names, refusals
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.facts import Facts
from dsp_airflow.engine.stores.mongodb.gridfs import uploads
from dsp_airflow.engine.stores.mongodb.gridfs.bucket import (
    BY_NAME,
    BY_NUMBER,
    Bucket,
    bucket_of,
    collections,
    has_index,
)

LARGE: Final = 1024**3
"""Bytes of a file that may not be read twice in a minute."""


def _of_both(
    connection: Connection, table: str, asked: Callable[[Connection, str], list[str]]
) -> list[str]:
    """What is said of either collection, once."""
    found = (asked(connection, each.quoted) for each in collections(connection, table))
    return list(dict.fromkeys(reason for reasons in found for reason in reasons))


def _strange(connection: Connection, table: str) -> list[str]:
    return [why for found in collections(connection, table) for why in _strange_one(found)]


def _strange_one(found: Facts) -> Iterable[str]:
    if found.kind != "collection":
        yield f"{found.label} is a {found.kind}; a bucket of GridFS is two collections"
    if found.collation is not None:
        yield (
            f"{found.label} compares texts by a collation, so that several ids are one to it; "
            "copy the bucket into collections without one"
        )


def read_refusals(connection: Connection, table: str) -> list[str]:
    """See ``ports.Reads``."""
    bucket = bucket_of(connection, table)
    if not any(found.quoted == bucket.files for found in collections(connection, table)):
        return [f"there is no bucket {bucket.label}: {bucket.label}.files does not exist"]
    return _strange(connection, table) + _of_both(connection, table, refusals.read_refusals)


def read_warnings(connection: Connection, table: str) -> list[str]:
    """See ``ports.Reads``. Whole buckets are looked at, whatever the filter."""
    told = []
    bucket = bucket_of(connection, table)
    for found in collections(connection, table):
        if found.quoted == bucket.chunks and not has_index(found, {**BY_NUMBER, "unique": False}):
            told.append(
                f"{found.label} has no index on files_id and n, so every batch reads all of it; "
                "every driver creates one before it writes"
            )
        told += [
            f"index {name} of {found.label} deletes documents by their age, and leaves half of "
            "the file there"
            for name in found.expiring
        ]
    return told + _large(connection, bucket) + _orphans(connection, bucket)


def _large(connection: Connection, bucket: Bucket) -> list[str]:
    count = connection.count(bucket.files, {"length": {"$gt": LARGE}})
    if not count:
        return []
    why = f"{bucket.label} has {count:,} files above 1 GiB: a purge reads each on both sides in one"
    return [
        f"{why} transaction, for which a server gives a minute (transactionLifetimeLimitSeconds)"
    ]


def _orphans(connection: Connection, bucket: Bucket) -> list[str]:
    _, files = names.split(bucket.files, bucket.schema)
    found = connection.aggregate(
        bucket.chunks,
        [
            {"$sort": {"files_id": 1}},
            {"$group": {"_id": "$files_id", "chunks": {"$sum": 1}}},
            {
                "$lookup": {
                    "from": files,
                    "localField": "_id",
                    "foreignField": "_id",
                    "as": "file",
                    "pipeline": [{"$project": {"_id": 1}}],
                }
            },
            {"$match": {"file": []}},
            {"$group": {"_id": None, "files": {"$sum": 1}, "chunks": {"$sum": "$chunks"}}},
        ],
    )
    return [
        f"{bucket.label} has {one['chunks']:,} chunks of {one['files']:,} files that have no "
        "document: uploads in progress, or given up; they are neither copied nor deleted"
        for one in found
    ]


def write_refusals(
    connection: Connection, what: Projection, on_conflict: OnConflict, *, create: bool
) -> list[str]:
    """See ``ports.Writes``."""
    bucket = bucket_of(connection, what.table)
    why = _strange(connection, what.table)
    there = {found.quoted: found for found in collections(connection, what.table)}
    for table, own in ((bucket.files, BY_NAME), (bucket.chunks, BY_NUMBER)):
        side = replace(what, table=table)
        why += refusals.write_refusals(connection, side, on_conflict, create=create)
        indexed = table in there and has_index(there[table], own)
        needed = ["remove"] if indexed else ["remove", "createIndex"]
        why += refusals.lacking(connection, table, needed)
    why += refusals.lacking(connection, what.markers, uploads.ACTIONS)
    return list(dict.fromkeys(why))


def purge_refusals(connection: Connection, table: str) -> list[str]:
    """See ``ports.Purges``."""
    if not any(collections(connection, table)):
        return [f"there is no bucket {bucket_of(connection, table).label}"]
    return _strange(connection, table) + _of_both(connection, table, refusals.purge_refusals)


def target_refusals(connection: Connection, table: str) -> list[str]:
    """See ``ports.Purges``."""
    if not any(collections(connection, table)):
        return [f"target: there is no bucket {bucket_of(connection, table).label}"]
    return _strange(connection, table) + _of_both(connection, table, refusals.target_refusals)
