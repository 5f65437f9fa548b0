"""Hostile values between MongoDB and PostgreSQL, MySQL and MariaDB, both ways, by S3 or not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Decimal128, Int64, ObjectId
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS

from dsp_airflow.engine.canon.mongodb import OPTIONS, mongodb_text
from dsp_airflow.engine.types import parse_type
from tests.mongo.cross import OID, Cross, document, field
from tests.servers import (
    Database,
    MongoDatabase,
    PostgresServer,
    fresh_database,
    fresh_mysql_database,
)
from tests.servers.s3 import S3Server, fresh_bucket
from tests.unit.engine import nasty

DAY = 86_400_000
LOSSY = ("timestamptz", "timestamp", "date", "objectid", "uuid", "bool", "json")
"""Whose columns may hold what BSON has not, so that a purge asks."""
TEXTS = [text for _, _, text in nasty.STRINGS if "\0" not in text]
VALUES: list[tuple[str, list[Any]]] = [
    ("bool", [True, False]),
    ("int32", [-(2**31), 2**31 - 1, 5.0, Int64(7), Decimal128("8.0")]),
    ("int64", [Int64(-(2**63)), Int64(2**63 - 1), 0, 1e15]),
    ("float64", [0.1, 1e300, 5e-324, -1.5, Int64(2**53), Decimal128("2.5")]),
    ("decimal(20,6)", [Decimal128("12345678901234.567890"), 0.1, Int64(-5), 0]),
    ("string", TEXTS),
    ("bytes", [b"", b"\0", bytes(range(256))]),
    ("uuid", [Binary(bytes(range(16)), 4), Binary(b"\xff" * 16, 4)]),
    ("objectid", [OID, ObjectId(b"\0" * 12)]),
    ("timestamptz", [DatetimeMS(-1), DatetimeMS(19_782 * DAY + 3_723_004), DatetimeMS(0)]),
    ("timestamp", [DatetimeMS(253_402_300_799_999), DatetimeMS(-30_000_000_000_000)]),
    ("date", [DatetimeMS(19_782 * DAY), DatetimeMS(-400_000 * DAY)]),
    ("json", [{"b": [1, 1.5, None, {"x": "é😀"}], "aa": True}, [], {}, "text", 5, OID]),
]
ONLY_POSTGRES: list[tuple[str, list[Any]]] = [
    ("float64", [math.nan, math.inf, -math.inf, -0.0]),
    ("decimal(20,6)", [Decimal128("NaN")]),
    ("timestamptz", [DatetimeMS(253_402_300_800_000), DatetimeMS(-62_135_596_800_001)]),
    ("date", [DatetimeMS(-800_000 * DAY)]),
]


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cross]:
    """MongoDB as the source, and a fresh database of another system."""
    mongo_db: MongoDatabase = request.getfixturevalue("mongo_db")
    moto: S3Server = request.getfixturevalue("moto")
    server = request.getfixturevalue(request.param)
    with ExitStack() as stack:
        fresh: Any = fresh_database(server) if isinstance(server, PostgresServer) else None
        other = stack.enter_context(fresh or fresh_mysql_database(server))
        yield Cross(tmp_path, mongo_db, other, place=fresh_bucket(moto))


def filled(values: list[tuple[str, list[Any]]], source: MongoDatabase) -> tuple[list[Any], int]:
    """A field ``c<n>`` a type, the last document without any; the columns, and how many rows."""
    count = max(len(of) for _, of in values) + 1
    for row in range(count):
        given = {f"c{n}": of[row] for n, (_, of) in enumerate(values) if row < len(of)}
        source.insert_raw("t", [document(row, **given)])
    columns = [field("_id", "int32", "id")]
    return columns + [field(f"c{n}", kind) for n, (kind, _) in enumerate(values)], count


def texts(database: MongoDatabase, values: list[tuple[str, list[Any]]]) -> list[list[str | None]]:
    """Every value as its canonical text, whatever BSON type carries it."""
    found = [bson.decode(document, OPTIONS) for document in database.raw("t")]
    return [
        [mongodb_text(one.get(f"c{n}"), parse_type(kind)) for n, (kind, _) in enumerate(values)]
        for one in found
    ]


@pytest.mark.parametrize("pair", ["pg18", "mariadb", "mysql"], indirect=True)
def test_there_and_back(pair: Cross) -> None:
    """Fields to columns and columns to fields: proved, purged, and the same values at the end."""
    values = VALUES + (ONLY_POSTGRES if isinstance(pair.target, Database) else [])
    mongo, other = pair.source, pair.target
    columns, count = filled(values, mongo)
    before = texts(mongo, values)
    pair.moved(pair.warm(columns), count)
    assert mongo.raw("t") == []
    pair.source, pair.target = other, mongo
    columns = [{"source": "id", "target": "_id"}]
    columns += [{"source": f"c{n}", "type": kind} for n, (kind, _) in enumerate(values)]
    lossy = [f"c{n}" for n, (kind, _) in enumerate(values) if kind in LOSSY]
    pair.moved(pair.warm(columns, accept_loss=lossy), count)
    assert texts(mongo, values) == before
