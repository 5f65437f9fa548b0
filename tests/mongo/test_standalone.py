"""A server without transactions: copies by update, and nothing is purged there or by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Timestamp

from dsp_airflow.engine.errors import ConfigError, Denied, Refused, Transient
from dsp_airflow.engine.model import KeyRange, Origin
from dsp_airflow.engine.stores.mongodb import proof, rows
from tests.mongo.cross import Cross
from tests.mongo.harness import BIG, MongoBench, nasty, projection, put
from tests.servers import Database, MongoDatabase, MongoServer, fresh_mongo_database

ALL = KeyRange()


@pytest.fixture(scope="module")
def alone() -> Iterator[MongoServer]:
    with MongoServer(replica_set=False) as server:
        yield server


@pytest.fixture
def bench(alone: MongoServer, mongo_db: MongoDatabase, tmp_path: Path) -> Iterator[MongoBench]:
    """From the replica set to the server that stands alone."""
    with alone.connect() as client, fresh_mongo_database(alone, client) as database:
        yield MongoBench(tmp_path, mongo_db, database)


def test_copies_arrive_byte_by_byte_and_again(bench: MongoBench) -> None:
    small = [one for one in nasty() if len(one) < 100_000]
    put(bench.source, "t", small)
    ours = bench.source.raw("t")
    bench.write(bench.job(batch_size=25))
    (job,) = bench.run().jobs
    assert (job.rows_written, job.rows_different) == (len(ours), 0)
    assert bench.target.raw("t") == ours
    # And back from there: read document by document, as it has no snapshots.
    back = MongoBench(bench.folder, bench.target, bench.source)
    back.write(back.job(target={"table": "back"}, batch_size=1000))
    (job,) = back.run(new=True).jobs
    assert job.rows_different == 0
    assert back.target.raw("back") == ours


def test_a_collection_is_replaced(bench: MongoBench) -> None:
    bench.source["t"].insert_many({"_id": n} for n in range(100))
    bench.target["t"].insert_one({"_id": "old"})
    bench.write(bench.job(mode="replace", batch_size=25))
    (job,) = bench.run().jobs
    assert (job.state, job.rows_checked) == ("succeeded", 100)
    assert bench.target.raw("t") == bench.source.raw("t")
    left = bench.target.database.list_collection_names(filter={"name": {"$regex": "_swap_"}})
    assert not left


def test_half_a_batch_is_made_whole_by_the_next_try(bench: MongoBench) -> None:
    ours = [bson.encode({"_id": n, "at": Timestamp(0, 0)}) for n in range(10)]
    put(bench.source, "t", ours)
    bench.target.database.create_collection("t")
    bench.target["t"].insert_many([{"_id": 3, "left": "half way"}, {"_id": 4.5}])
    what = projection(bench.target.name, "t")

    def broken() -> None:
        raise Transient("the ledger is away")

    with bench.store("source").session() as reader, bench.store("target").session() as writer:
        assert not writer.prepare_markers(what)
        for fence in (broken, lambda: None):
            stream = reader.read(projection(bench.source.name, "t"), ALL, "bson", BIG)
            try:
                written = writer.write(
                    what,
                    ALL,
                    stream,
                    wire="bson",
                    on_conflict="update",
                    ordered_alike=True,
                    origin=Origin(),
                    marker=None,
                    fence=fence,
                )
            except Transient:
                continue
            assert (written.rows, written.unchanged, written.others.rows) == (10, 10, 1)
    assert [one for one in bench.target.raw("t") if b"\x01_id" not in one] == ours


def test_what_needs_transactions_is_refused(bench: MongoBench) -> None:
    bench.source["t"].insert_one({"_id": 1})
    bench.target["t"].insert_one({"_id": 1})
    for error, job in ((Denied, {"on_conflict": "ignore"}), (Refused, {"purge": "system"})):
        bench.write(bench.job(**job))
        run = bench.open(new=True)
        with pytest.raises(error, match=r"no transactions.*replica set"):
            run.plan("copy")
        run.finish()
    with bench.store("target").session() as session:
        assert any("stands alone" in warning for warning in session.warnings())
        assert any("no transactions" in w for w in session.purge_refusals("t", ()))
        # There are no snapshots, and it does without: what was digested is what is read.
        what = projection(bench.target.name, "t")
        with session.snapshot() as mark:
            assert mark is None
            digest = session.digest(what, ALL)
            bench.target["t"].update_one({"_id": 1}, {"$set": {"v": 1}})
            read = list(session.read(what, ALL, "bson", BIG))
            assert proof.digest_of(map(bytes, read)) == digest
        assert session.digest(what, ALL) != digest


def test_fields_that_somebody_else_writes_meanwhile_stay(
    bench: MongoBench, pg18_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of documents that rows are written into: without a transaction nothing else sees to it."""
    pg18_db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'new'), (2, 'new')"
    )
    target = bench.target["t"]
    target.insert_many([{"_id": 1, "v": "old", "n": 1}, {"_id": 2, "v": "old", "n": 1}])
    cross = Cross(bench.folder, pg18_db, bench.target)
    cross.write(cross.warm())
    plain, acts = rows.merged, [lambda: target.update_one({"_id": 2}, {"$inc": {"n": 1}})]

    def merged(*given: Any) -> bytes:
        if acts:
            acts.pop()()
        return plain(*given)

    monkeypatch.setattr(rows, "merged", merged)
    with pytest.raises(Transient, match="somebody changed"):
        cross.run()
    assert cross.run().jobs[0].rows_different == 0
    assert list(target.find().sort("_id")) == [
        {"_id": 1, "v": "new", "n": 1},
        {"_id": 2, "v": "new", "n": 2},
    ]


def test_a_name_needs_its_database(alone: MongoServer) -> None:
    from dsp_airflow.engine.stores.mongodb.store import MongoStore

    store = MongoStore("alone", {"host": alone.uri()}, "")
    assert store.identity == f"127.0.0.1:{alone.port}/"
    assert alone.password not in repr(store) + store.identity
    with store.session() as session, pytest.raises(ConfigError, match="name the database"):
        session.describe("t")
