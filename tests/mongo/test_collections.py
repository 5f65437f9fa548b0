"""What a collection is made with, which ones are refused, and filters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId
from pymongo.errors import BulkWriteError

from dsp_airflow.config import documents
from dsp_airflow.engine.errors import BadValue, ConfigError, Denied, DspError, Refused
from dsp_airflow.engine.model import KeyRange
from dsp_airflow.engine.stores.mongodb import dialect, names, raw, write
from tests.mongo.harness import MongoBench, projection

GERMAN = {"locale": "de", "strength": 1}


def planned(bench: MongoBench, **job: Any) -> Any:
    bench.write(bench.job(**job))
    run = bench.open(new=True)
    try:
        return run.plan("copy")
    finally:
        run.finish()


def test_a_collection_is_made_like_the_one_it_is_a_copy_of(bench: MongoBench) -> None:
    """With what rules its documents, without what would lose or refuse some of them."""
    source = bench.source.database
    rule = {"$jsonSchema": {"required": ["email"]}}
    people = source.create_collection("people", validator=rule, collation=GERMAN)
    people.create_index("email", unique=True)
    people.create_index("seen", expireAfterSeconds=10**9, name="old")
    people.create_index([("a", 1), ("b", -1)], partialFilterExpression={"a": {"$gt": 1}})
    names_ = ["Ä", "b", "c", "z"]
    people.insert_many([{"_id": name, "email": name, "seen": datetime.now(UTC)} for name in names_])
    bench.write(bench.job(table="people", batch_size=2, purge="system"))
    run = bench.run()
    assert run.jobs[0].rows_purged == 4
    made = bench.target["people"]
    assert [one["_id"] for one in made.find()] == names_
    assert made.options()["validator"] == rule
    assert made.options()["collation"]["locale"] == "de"
    indexes = made.index_information()
    assert set(indexes) == set(people.index_information())
    assert "unique" not in indexes["email_1"]
    assert "expireAfterSeconds" not in indexes["old"]
    assert indexes["a_1_b_-1"]["partialFilterExpression"] == {"a": {"$gt": 1}}
    with bench.store("source").session() as session:
        told = session.read_warnings(names.qualified(bench.source.name, "people"))
    assert len(told) == 2
    assert "index old" in told[0]


REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], type[DspError], str]] = [
    ("series", {}, {"table": "new"}, Denied, "time series"),
    ("view", {"purge": "manual"}, {}, Refused, "view"),
    ("t", {}, {"table": "view"}, Refused, "view"),
    ("t", {}, {"table": "series"}, Refused, "view"),
    ("t", {}, {"table": "capped"}, Denied, "capped"),
    ("capped", {}, {"table": "new"}, Denied, "capped"),
    ("t", {"columns": [{"source": "v"}]}, {}, ConfigError, "needs type"),
    ("t", {"key": ["v"]}, {}, ConfigError, "_id"),
    ("t", {"where": "v > 1"}, {}, ConfigError, "query document"),
    ("tt", {}, {}, ConfigError, r"did you mean .*\.t"),
    ("t", {"mode": "incremental", "cursor": {"column": "v.0"}}, {}, ConfigError, "no path"),
    ("t", {}, {"table": "german"}, ConfigError, "collation"),
]


def test_what_has_no_safe_way_is_refused_by_the_plan(bench: MongoBench) -> None:
    for database in (bench.source.database, bench.target.database):
        database.create_collection("series", timeseries={"timeField": "at"})
        database.create_collection("capped", capped=True, size=4096)
        database.create_collection("german", collation=GERMAN)
        database.command("create", "view", viewOn="t", pipeline=[])
        database["capped"].insert_one({"_id": 1})
    bench.source["t"].insert_one({"_id": 1, "v": 1})
    for table, job, target, error, match in REFUSED:
        with pytest.raises(error, match=match):
            planned(bench, table=table, target=target, **job)
    # To be read a view is fine.
    bench.write(bench.job(table="view", target={"table": "made"}))
    bench.run(new=True)
    assert bench.target["made"].count_documents({}) == 1


def test_a_view_that_shows_an_id_twice_is_refused(bench: MongoBench) -> None:
    bench.source["t"].insert_one({"_id": 1, "v": [1, 2]})
    bench.source.database.command("create", "view", viewOn="t", pipeline=[{"$unwind": "$v"}])
    with pytest.raises(ConfigError, match="several documents"):
        planned(bench, table="view")
    with bench.store("source").session() as session:
        assert session.share_rows("view", "t")


def test_a_copy_to_itself_is_none(bench: MongoBench) -> None:
    bench.source["t"].insert_one({"_id": 1})
    same = {"table": f"{bench.source.name}.t"}
    with pytest.raises(Refused, match="its own target"):
        planned(bench, target=same)


def test_what_the_target_does_not_take_is_named(bench: MongoBench) -> None:
    bench.source["t"].insert_many([{"_id": n, "v": n} for n in range(5)])
    rule = {"v": {"$lt": 3}}
    bench.target.database.create_collection("t", validator=rule)
    bench.write(bench.job())
    with pytest.raises(BadValue, match=r'_id \{"\$numberInt": "3"\}.*validator') as error:
        bench.run()
    assert "full error" not in str(error.value)
    assert bench.target["t"].count_documents({}) == 0
    bench.target["t"].drop()
    bench.target["t"].create_index("v", unique=True)
    bench.target["t"].insert_one({"_id": 100, "v": 2})
    with pytest.raises(BadValue, match=r'_id \{"\$numberInt": "2"\}.*v_1.*Another document'):
        bench.run()
    assert [one["_id"] for one in bench.target["t"].find()] == [100]


FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({"v": {"$gte": 3}}, [3, 4, 5]),
    ({"at": {"$lt": ":cutoff"}}, [0, 1]),
    ({"at": datetime(2024, 1, 3, tzinfo=UTC)}, [2]),
    ({"at": {"$date": "2024-01-03T00:00:00Z"}}, [2]),
    ({"$or": [{"o": {"$oid": "00000000000000000000000" + "4"}}, {"v": 1}]}, [1, 4]),
    ({"v": {"$in": [1, ":two"]}}, [1, 2]),
    ({"s": "::text"}, [5]),
    ({"s": {"$regex": "^:t", "$options": ""}}, [5]),
    ({"s": None, "v": {"$gt": 4.5}}, []),
    ({"n": None, "v": {"$lt": 2}}, [0, 1]),
    ({"$expr": {"$eq": [{"$mod": ["$v", 4]}, 1]}}, [1, 5]),
]


def fill(bench: MongoBench) -> None:
    bench.source["t"].insert_many(
        {
            "_id": n,
            "v": n,
            "at": datetime(2024, 1, 1 + n, tzinfo=UTC),
            "o": ObjectId(bytes(11) + bytes([n])),
            "s": ":text" if n == 5 else f"s{n}",
        }
        for n in range(6)
    )


def test_filters(bench: MongoBench) -> None:
    fill(bench)
    literals = {
        "cutoff": dialect.literal(datetime(2024, 1, 3, tzinfo=UTC)),
        "two": dialect.literal(2),
    }
    with bench.store("source").session() as session:
        for where, expected in FILTERS:
            query = documents.render(documents.check_query(where), literals)
            what = projection(bench.source.name, "t", query)
            found = [row.key for row in session.hashes(what, KeyRange())]
            assert found == [(f'{{"$numberInt": "{n}"}}',) for n in expected], where


def test_a_job_moves_what_matches_and_leaves_the_rest(bench: MongoBench) -> None:
    fill(bench)
    where = {"at": {"$lt": ":cutoff"}, "v": {"$ne": None}}
    cutoff = {"cutoff": datetime(2024, 1, 5, tzinfo=UTC)}
    bench.write(bench.job(where=where, variables=cutoff, batch_size=2, purge="system"))
    (job,) = bench.run().jobs
    assert (job.batches, job.rows_purged) == (2, 4)
    assert [one["_id"] for one in bench.target["t"].find()] == [0, 1, 2, 3]
    assert [one["_id"] for one in bench.source["t"].find()] == [4, 5]


def test_a_filter_without_an_index_is_told(bench: MongoBench) -> None:
    bench.source["t"].insert_one({"_id": 1, "v": 1})
    assert any("no index on filter column v" in w for w in planned(bench, where={"v": 1}).warnings)
    bench.source["t"].create_index("v")
    told = planned(bench, where={"$and": [{"v": 1}, {"x": 2}]}).warnings
    assert not any("no index" in warning for warning in told)


def test_a_collection_that_goes_away_is_no_empty_one(bench: MongoBench) -> None:
    bench.source["t"].insert_one({"_id": 1})
    bench.write(bench.job())
    run = bench.open()
    run.plan("copy")
    gone: Callable[[], None] = bench.source["t"].drop
    gone()
    with pytest.raises(Refused, match="gone"):
        run.copy("copy")
    with bench.store("source").session() as session, pytest.raises(ConfigError, match="gone"):
        session.digest(projection(bench.source.name, "t"), KeyRange())


@pytest.mark.parametrize("left", [[], [{"_id": 7, "v": "old"}, {"_id": 7.5}]])
def test_a_batch_too_large_for_one_transaction_is_sent_in_pieces(
    bench: MongoBench, monkeypatch: pytest.MonkeyPatch, left: list[dict[str, Any]]
) -> None:
    bench.source["t"].insert_many({"_id": n, "v": n} for n in range(100))
    bench.target.database.create_collection("t")
    if left:
        bench.target["t"].insert_many(left)
    inserted = write._Batch._insert
    sizes: list[int] = []

    def insert(self: write._Batch, buffer: bytes) -> None:
        if self.between is None:
            error = {"writeErrors": [{"code": 388, "index": 0, "errmsg": "too large"}]}
            raise self._refused(BulkWriteError(error), list(raw.documents(buffer)))
        sizes.append(raw.number_of(buffer))
        inserted(self, buffer)

    monkeypatch.setattr(write._Batch, "_insert", insert)
    monkeypatch.setattr(write, "PIECE", 30)
    bench.write(bench.job())
    (job,) = bench.run().jobs
    assert (job.batches, job.rows_written, job.rows_different) == (1, 100, 0)
    assert sum(sizes) == 100 - bool(left)
    assert len(sizes) == 4
    ours = bench.source.raw("t")
    assert [one for one in bench.target.raw("t") if b"\x01_id" not in one] == ours
    assert bench.target["t"].count_documents({"_id": 7.5}) == bool(left)
    bench.target["t"].delete_many({})
    bench.write(bench.job(on_conflict="error"))
    with pytest.raises(Refused, match="one transaction"):
        bench.run(new=True)
    assert bench.target["t"].count_documents({}) == 0
