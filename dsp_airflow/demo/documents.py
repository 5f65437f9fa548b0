"""The part of the demonstration with MongoDB: flights as documents, and files in GridFS."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

import gridfs
import psycopg
import pymongo
from psycopg import sql

from dsp_airflow.demo.flights import COLUMNS, SOURCE_TABLE, Content
from dsp_airflow.demo.mongo import MongoServer

CONNECTION = "shop_mongo"
SHOP, ARCHIVE = "shop", "archive"
"""Databases. The connection names the first."""
COLLECTION, BUCKET = SOURCE_TABLE, "departures"
CHRISTMAS = "2013-12-24 00:00:00+00"
"""From then on flights are copied as documents."""
ACTIONS = [
    *("find", "insert", "update", "remove", "createCollection", "createIndex"),
    *("listCollections", "listIndexes"),
]
"""What the login of the connection may do in either database."""
HASHED = 15
"""Hex digits of a row's hash that are summed up."""

Files: TypeAlias = Mapping[str, str]
"""The SHA-256 of every file, by its name."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """The files of both databases."""

    shop: Files
    archive: Files


def create_user(server: MongoServer) -> str:
    """Create the login of the connection, and return the connection."""
    granted = [(database, "", ACTIONS) for database in (SHOP, ARCHIVE)]
    password = server.create_user(SHOP, granted)
    return server.airflow_uri(SHOP, user=SHOP, password=password)


def load(server: MongoServer, connection: psycopg.Connection) -> None:
    """Fill the bucket: the departures of each month as a file."""
    query = sql.SQL(
        "COPY (SELECT time_hour, carrier, flight, origin, dest FROM {} WHERE month = {} "
        "ORDER BY id) TO STDOUT (FORMAT csv, HEADER)"
    )
    with server.connect() as client, connection.cursor() as cursor:
        bucket = gridfs.GridFSBucket(client[SHOP], BUCKET)
        for month in range(1, 13):
            text = query.format(sql.Identifier(SOURCE_TABLE), sql.Literal(month))
            with cursor.copy(text) as rows:
                bucket.upload_from_stream(f"2013-{month:02}.csv", b"".join(map(bytes, rows)))


def christmas(connection: psycopg.Connection) -> Content:
    """What the flights are that become documents, hashed as ``content`` does."""
    query = sql.SQL("SELECT {} FROM {} WHERE time_hour >= {}").format(
        sql.SQL(", ").join(map(sql.Identifier, ("id", *COLUMNS))),
        sql.Identifier(SOURCE_TABLE),
        CHRISTMAS,
    )
    return _content(list(connection.execute(query)))


def content(server: MongoServer) -> Content:
    """What the collection of flights holds."""
    with server.connect(tz_aware=True) as client:
        found = client[SHOP][COLLECTION].find()
        return _content([tuple(one.get(n) for n in ("_id", *COLUMNS)) for one in found])


def buckets(server: MongoServer) -> Buckets:
    """Every file, read as any program reads it."""
    with server.connect() as client:
        return Buckets(*(_files(client, database) for database in (SHOP, ARCHIVE)))


def _content(rows: list[tuple[Any, ...]]) -> Content:
    total = 0
    for row in rows:
        text = "|".join(str(value) for value in (*row[:-1], row[-1].timestamp()))
        total += int(hashlib.sha256(text.encode()).hexdigest()[:HASHED], 16)
    return Content(len(rows), Decimal(total))


def _files(client: pymongo.MongoClient[dict[str, Any]], database: str) -> Files:
    bucket = gridfs.GridFSBucket(client[database], BUCKET)
    return {file.filename: hashlib.sha256(file.read()).hexdigest() for file in bucket.find({})}
