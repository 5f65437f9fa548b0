"""Collections in S3: whole documents, and fields as columns; and back."""

from __future__ import annotations

from pathlib import Path

import bson
import pytest
from bson import Decimal128, Int64
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS

from dsp_airflow.engine.canon.mongodb import OPTIONS
from dsp_airflow.engine.errors import ConfigError
from tests.mongo.cross import OID, Cross, document, field
from tests.mongo.harness import nasty, put
from tests.s3.harness import Away
from tests.servers import Database, MongoDatabase
from tests.servers.s3 import S3Server, fresh_bucket


@pytest.fixture
def jobs(tmp_path: Path, mongo_db: MongoDatabase, moto: S3Server) -> Cross:
    """From MongoDB to a bucket."""
    return Cross(tmp_path, mongo_db, Away(), place=fresh_bucket(moto))


def test_whole_documents_come_back_to_the_last_byte(jobs: Cross, mongo_db: MongoDatabase) -> None:
    """Archived, proved, purged, restored, and told to others."""
    put(mongo_db, "t", [one for one in nasty() if len(one) < 1_000_000])
    before = mongo_db.raw("t")
    mongo_db["t"].create_index("n", name="by n")
    jobs.moved(jobs.s3(batch_size=40), len(before))
    assert mongo_db.raw("t") == []
    mongo_db["t"].drop()
    assert jobs.back_to(mongo_db).rows_checked == len(before)
    assert mongo_db.raw("t") == before
    assert "by n" in mongo_db["t"].index_information()


COLUMNS = [
    field("_id", "int64"),
    field("name.first", "string", "first"),
    field("at", "timestamptz"),
    field("price", "decimal(12,2)"),
    field("n", "int32", on_loss="null"),
    field("f", "float64"),
    field("u", "uuid"),
    field("b", "bytes"),
    field("d", "date"),
    field("more", "json"),
    field("o", "objectid"),
]


def columned(database: MongoDatabase) -> None:
    """Documents that these columns hold; one has a text for a number, one has nothing."""
    database.insert_raw(
        "t",
        [
            document(
                Int64(1),
                name={"first": 'é,"\n'},
                at=DatetimeMS(1),
                price=Decimal128("1.5"),
                n=5,
                f=0.1,
                u=Binary(bytes(16), 4),
                b=b"\0\xff",
                d=DatetimeMS(86_400_000),
                more={"x": [1, None]},
                o=OID,
            ),
            document(Int64(2), n="five", f=float("inf"), at=DatetimeMS(-(2**47)), price=Int64(7)),
            document(
                Int64(3), name=None, price=Decimal128("NaN"), d=DatetimeMS(86_400_000 * 3_000_000)
            ),
        ],
    )


@pytest.mark.parametrize("name", ["parquet", "csv", "jsonl"])
def test_fields_as_columns_of_files(
    jobs: Cross, mongo_db: MongoDatabase, pg18_db: Database, name: str
) -> None:
    """Archived, proved, purged; restored as documents, and as rows of PostgreSQL."""
    columned(mongo_db)
    job = jobs.s3(COLUMNS, target={"format": name}, accept_loss=["n"])
    found = jobs.moved(job, 3)
    assert {(c.column, c.rule): c.values for c in found.losses if c.rule == "null"} == {
        ("n", "null"): 1
    }
    assert jobs.back_to(mongo_db, "back").rows_different == 0
    (one, two, three) = (bson.decode(d, OPTIONS) for d in mongo_db.raw("back"))
    assert one["first"] == 'é,"\n'
    assert (one["at"], one["d"]) == (DatetimeMS(1), DatetimeMS(86_400_000))
    assert (one["price"], one["u"]) == (Decimal128("1.50"), Binary(bytes(16), 4))
    assert (one["more"], one["o"], one["b"]) == ({"x": [1, None]}, OID, b"\0\xff")
    assert (two["n"], two["f"], two["at"]) == (None, float("inf"), DatetimeMS(-(2**47)))
    assert str(three["price"]) == "NaN"
    assert jobs.back_to(pg18_db).rows_different == 0
    assert pg18_db.rows("SELECT _id, first, price::text, o FROM t ORDER BY 1") == [
        (1, 'é,"\n', "1.50", str(OID)),
        (2, None, "7.00", None),
        (3, None, "NaN", None),
    ]


def test_documents_with_more_than_the_columns_stay(jobs: Cross, mongo_db: MongoDatabase) -> None:
    columned(mongo_db)
    mongo_db["t"].insert_one({"_id": 9, "extra": 1})
    jobs.write(jobs.s3(COLUMNS, purge="system", accept_loss=["n"]))
    (found,) = jobs.run().jobs
    assert (found.rows_purged, found.rows_kept) == (3, 1)
    assert list(mongo_db["t"].find()) == [{"_id": 9, "extra": 1}]


def test_an_archive_of_postgresql_becomes_documents(
    tmp_path: Path, pg18_db: Database, mongo_db: MongoDatabase, moto: S3Server
) -> None:
    jobs = Cross(tmp_path, pg18_db, Away(), place=fresh_bucket(moto))
    pg18_db.execute(
        "CREATE TABLE t (name text, id int PRIMARY KEY, tags text[], more jsonb, n numeric(8,2))",
        "INSERT INTO t VALUES ('a', 1, '{x,NULL}', '{\"b\": 1}', 1.5), (NULL, 2, NULL, NULL, NULL)",
    )
    jobs.write(jobs.s3())
    assert jobs.run().jobs[0].rows_written == 2
    done = jobs.back_to(mongo_db)
    assert (done.rows_written, done.rows_checked, done.rows_different) == (2, 2, 0)
    assert list(mongo_db["t"].find()) == [
        {"_id": 1, "name": "a", "tags": ["x", None], "more": {"b": 1}, "n": Decimal128("1.50")},
        {"_id": 2, "name": None, "tags": None, "more": None, "n": None},
    ]


def test_an_altered_object_keeps_every_document(jobs: Cross, mongo_db: MongoDatabase) -> None:
    mongo_db["t"].insert_many([{"_id": n} for n in range(20)])
    jobs.write(jobs.s3(purge="manual", batch_size=7))
    jobs.run()
    before = mongo_db.raw("t")
    victim = jobs.batches()[1]
    assert jobs.place is not None
    jobs.place.client.put_object(Bucket=jobs.place.name, Key=victim, Body=b"other")
    done = jobs.latest().purge("copy")
    assert 0 < done.rows_kept < len(before)
    assert mongo_db["t"].count_documents({}) == done.rows_kept
    assert set(mongo_db.raw("t")) < set(before)


def test_partitions_are_refused(jobs: Cross, mongo_db: MongoDatabase) -> None:
    mongo_db["t"].insert_one({"_id": 1})
    jobs.write(jobs.s3(target={"partitions": [{"name": "n", "expression": "n"}]}))
    with pytest.raises(ConfigError, match="partitions are SQL expressions"):
        jobs.run()
