"""Documents that differ in the order of their fields only, where that counts and where not."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Code, Int64

from dsp_airflow.engine.errors import ConfigError, Mismatch
from dsp_airflow.engine.stores.mongodb import order, raw
from dsp_airflow.steps import TaskRun
from tests.mongo.cross import Cross
from tests.mongo.harness import MongoBench, element, nasty, numbered
from tests.servers import Database, MongoDatabase

REORDERED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({"v": {"a": {"x": 1, "y": 2}, "b": 3}}, {"v": {"b": 3, "a": {"y": 2, "x": 1}}}),
    (
        {"v": [{"a": 1, "b": 2}, 7, [{"c": 3, "d": 4}]]},
        {"v": [{"b": 2, "a": 1}, 7, [{"d": 4, "c": 3}]]},
    ),
    (
        {"v": Code("f", {"a": 1, "b": {"c": 1, "d": 2}})},
        {"v": Code("f", {"b": {"d": 2, "c": 1}, "a": 1})},
    ),
    ({"a.b": 1, "$c": 2, "": {"ä": 1, "z": 2}}, {"": {"z": 2, "ä": 1}, "$c": 2, "a.b": 1}),
]
"""Pairs that are equal but for the order of fields."""
OTHERWISE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"v": [1, 2]}, {"v": [2, 1]}),
    ({"v": [{"a": 1}, {"b": 2}]}, {"v": [{"b": 2}, {"a": 1}]}),
    ({"a": 1, "b": 2}, {"b": 1, "a": 2}),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1.0}),
    ({"v": {"a": 1, "b": None}}, {"v": {"a": 1}}),
    ({"v": {"0": 1, "1": 2}}, {"v": [1, 2]}),
]
"""Pairs that are not."""
SAME = 60
"""Documents beside them that nobody touches."""


def shuffled(document: bytes, chance: random.Random) -> bytes:
    """The document with its fields in another order, at every depth; twins keep theirs."""

    def values() -> Iterator[tuple[bytes, raw.Value]]:
        for name, value in raw.elements(document):
            inner = value.kind == raw.DOCUMENT
            data = shuffled(value.data, chance) if inner else value.data
            yield name, raw.Value(value.kind, data)

    found = list(values())
    names = [name for name, _ in found]
    if len(set(names)) == len(names):
        chance.shuffle(found)
    return raw.assembled(found)


def test_one_document_stands_for_all_orders() -> None:
    chance = random.Random(3)
    normal = {order.normal(one) for one in nasty()}
    for one in nasty():
        assert len(order.normal(one)) == len(one)
        assert order.normal(order.normal(one)) == order.normal(one)
        assert order.normal(shuffled(one, chance)) == order.normal(one)
    # Of these two the one field stands twice, with its values in the other order.
    assert len(normal) == len(nasty())
    for mine, theirs in REORDERED:
        assert order.normal(bson.encode(mine)) == order.normal(bson.encode(theirs))
        assert bson.encode(mine) != bson.encode(theirs)
    for mine, theirs in OTHERWISE:
        assert order.normal(bson.encode(mine)) != order.normal(bson.encode(theirs))


PAIRS = [*REORDERED, *OTHERWISE]


def copied(bench: MongoBench, **more: Any) -> TaskRun:
    """A run of fresh collections whose copy is done."""
    for side in (bench.source, bench.target):
        side["t"].delete_many({})
    bench.source["t"].insert_many({"_id": n, **mine} for n, (mine, _) in enumerate(PAIRS))
    bench.source["t"].insert_many({"_id": n, "a": 1} for n in range(100, 100 + SAME))
    bench.write(bench.job(batch_size=40, purge="manual", **more))
    run = bench.open(new=True)
    run.plan("copy")
    run.copy("copy")
    return run


def plant(bench: MongoBench) -> None:
    """Somebody writes to the target."""
    for n, (_, theirs) in enumerate(PAIRS):
        bench.target["t"].delete_one({"_id": n})
        bench.target["t"].insert_one({"_id": n, **theirs})


def told(run: TaskRun) -> dict[str, tuple[str, ...]]:
    """The documents that differ and the fields in which they do."""
    found = [one.difference for one in run.runs.differences(run.run.id)]
    assert {one.kind for one in found} <= {"changed"}
    return {one.key[0]: one.columns for one in found}


def test_the_order_counts_unless_the_job_says_otherwise(bench: MongoBench) -> None:
    reordered = range(len(REORDERED))
    otherwise = range(len(REORDERED), len(PAIRS))
    run = copied(bench)
    plant(bench)
    with pytest.raises(Mismatch):
        run.check("copy")
    assert told(run).keys() == {key(n) for n in (*reordered, *otherwise)}
    assert told(run)[key(0)] == ("the order of fields",)

    run = copied(bench, field_order="ignore")
    plant(bench)
    with pytest.raises(Mismatch):
        run.check("copy")
    found = told(run)
    assert found.keys() == {key(n) for n in otherwise}
    # A field is named where it differs, and none because it stands elsewhere.
    assert found[key(otherwise[2])] == ("a", "b")
    assert found[key(otherwise[3])] == ("a",)


def test_a_purge_takes_them_only_where_the_order_does_not_count(bench: MongoBench) -> None:

    def purged(**more: Any) -> list[int]:
        run = copied(bench, **more)
        run.check("copy")
        plant(bench)
        run.purge("copy")
        left = [one["_id"] for one in bench.source["t"].find().sort("_id")]
        job = bench.only()
        assert (job.rows_purged, job.rows_kept) == (SAME + len(PAIRS) - len(left), len(left))
        assert told(run).keys() == {key(n) for n in left}
        return left

    assert purged() == list(range(len(PAIRS)))
    assert purged(field_order="ignore") == list(range(len(REORDERED), len(PAIRS)))


def test_what_stands_there_in_another_order(bench: MongoBench) -> None:
    """``update`` brings the source's order along, ``ignore`` leaves it and counts no difference."""
    bench.source["t"].insert_many([{"_id": 1, "a": 1, "b": 2}, {"_id": 2, "a": 1, "b": 2}])
    theirs = [bson.encode({"_id": 1, "b": 2, "a": 1}), bson.encode({"_id": 2, "b": 3, "a": 1})]
    bench.target.insert_raw("t", theirs)
    bench.write(bench.job(field_order="ignore", on_conflict="ignore", purge="system"))
    job = bench.run().jobs[0]
    assert (job.rows_different, job.rows_purged, job.rows_kept) == (0, 1, 1)
    assert bench.target.raw("t") == theirs
    bench.write(bench.job(field_order="ignore", purge="system"))
    assert bench.run(new=True).jobs[0].rows_purged == 1
    assert bench.target.raw("t") == [theirs[0], bson.encode({"_id": 2, "a": 1, "b": 2})]


def test_two_fields_of_one_name_keep_their_order(bench: MongoBench) -> None:
    one, two = element(0x10, b"a", b"\1\0\0\0"), element(0x10, b"a", b"\2\0\0\0")
    other = element(0x10, b"b", b"\3\0\0\0")
    bench.source.insert_raw("t", [numbered(1, one, two, other), numbered(2, one, two, other)])
    bench.write(bench.job(field_order="ignore"))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    bench.target["t"].delete_many({})
    bench.target.insert_raw("t", [numbered(1, other, one, two), numbered(2, other, two, one)])
    with pytest.raises(Mismatch):
        run.check("copy")
    assert told(run) == {key(2): ("a",)}


def test_nothing_is_taken_apart_where_the_bytes_are_equal(
    bench: MongoBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.source["t"].insert_many({"_id": n, "b": 1, "a": {"d": n, "c": 2}} for n in range(100))
    bench.write(bench.job(field_order="ignore", purge="system", batch_size=30))
    monkeypatch.delattr(order, "normal")
    (job,) = bench.run().jobs
    assert (job.rows_checked, job.rows_purged, job.rows_kept) == (100, 100, 0)


def test_it_is_for_documents_at_both_ends(
    tmp_path: Path, pg18_db: Database, mongo_db: MongoDatabase
) -> None:
    pg18_db.execute("CREATE TABLE t (id bigint PRIMARY KEY)")
    mongo_db["t"].insert_one({"_id": Int64(1)})
    for source, target in ((pg18_db, mongo_db), (mongo_db, pg18_db)):
        cross = Cross(tmp_path, source, target)
        cross.write(cross.warm(field_order="ignore"))
        with pytest.raises(ConfigError, match="field_order: ignore is for MongoDB at both ends"):
            cross.open(new=True).plan("copy")


def key(number: int) -> str:
    return f'{{"$numberInt": "{number}"}}'
