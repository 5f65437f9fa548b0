"""Documents arrive as the bytes that they are, and whatever differs is found."""

from __future__ import annotations

import struct
from typing import Any

import bson
import pytest
from bson import Int64

from dsp_airflow.engine.errors import Mismatch
from dsp_airflow.engine.model import BatchSize, KeyRange
from dsp_airflow.engine.stores.mongodb import keys, proof, query, raw, write
from tests.mongo.harness import BIG, MongoBench, element, nasty, numbered, projection, put


def test_every_document_arrives_byte_by_byte_is_checked_and_purged(bench: MongoBench) -> None:
    put(bench.source, "t", nasty())
    ours = bench.source.raw("t")
    assert sorted(ours) == sorted(nasty())
    bench.write(bench.job(batch_size=7))
    first = bench.run()
    assert bench.target.raw("t") == ours
    (job,) = first.jobs
    assert (job.rows_read, job.rows_written, job.rows_different) == (len(ours), len(ours), 0)
    # Again, into what stands there: nothing changes and nothing is found.
    bench.write(bench.job(batch_size=20, purge="system"))
    (job,) = bench.run().jobs
    assert (job.rows_different, job.rows_purged, job.rows_kept) == (0, len(ours), 0)
    assert bench.both() == ([], ours)


def test_the_walk_over_ids_misses_none_of_any_type(bench: MongoBench) -> None:
    put(bench.source, "t", [one for one in nasty() if len(one) < 100_000])
    ours = bench.source.raw("t")
    what = projection(bench.source.name, "t")
    with bench.store("source").session() as session:
        for size in (1, 4):
            batches, _ = session.split(what, BatchSize(size), BIG)
            assert [batch.rows for batch in batches[:-1]] == [size] * (len(batches) - 1)
            read = [
                one
                for batch in batches
                for buffer in session.read(what, batch.within, "bson", BIG)
                for one in raw.documents(buffer)
            ]
            assert read == ours
        # Each id alone, as it is written down, is the document's.
        for one in ours:
            (found,) = session.hashes(what, keys=[keys.of(one)])
            assert (found.key, found.hash) == (keys.of(one), proof.hashed(one))


LIKE: list[tuple[Any, Any]] = [
    (1, 1.0),
    (1, Int64(1)),
    (0.0, -0.0),
    (bson.Decimal128("1.0"), bson.Decimal128("1.00")),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ([1, 2], {"0": 1, "1": 2}),
    (None, "null"),
    ("é", "e\u0301"),
    (True, 1),
    (bson.Binary(b"x", 0), bson.Binary(b"x", 128)),
    (bson.Code("x"), "x"),
]


def test_every_planted_difference_is_found_and_named(bench: MongoBench) -> None:
    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"_id": n, "same": 1, "v": mine}, {"_id": n, "same": 1, "v": theirs})
        for n, (mine, theirs) in enumerate(LIKE)
    ]
    pairs += [
        ({"_id": 100, "a": 1, "b": 2}, {"_id": 100, "b": 2, "a": 1}),
        ({"_id": 101, "v": None}, {"_id": 101}),
    ]
    bench.source["t"].insert_many([mine for mine, _ in pairs])
    nan, other = bytes.fromhex("010000000000f87f"), bytes.fromhex("020000000000f87f")
    bench.source.insert_raw("t", [numbered(102, element(0x01, b"v", nan))])
    bench.source["t"].insert_many([{"_id": n} for n in range(200, 260)])
    bench.write(bench.job(batch_size=50))
    bench.run()
    run = bench.open(new=True)
    run.plan("copy")
    run.copy("copy")
    for _, theirs in pairs:
        bench.target["t"].replace_one({"_id": theirs["_id"]}, theirs)
    bench.target["t"].delete_many({"_id": {"$in": [102, 205]}})
    bench.target.insert_raw("t", [numbered(102, element(0x01, b"v", other))])
    bench.target["t"].insert_one({"_id": 0.5})
    with pytest.raises(Mismatch):
        run.check("copy")
    found = [one.difference for one in run.runs.differences(run.run.id)]
    told = {(d.kind, d.key[0], d.columns) for d in found}
    wanted = {
        ("changed", f'{{"$numberInt": "{mine["_id"]}"}}', ("v",))
        for mine, _ in pairs
        if mine["_id"] != 100
    }
    assert told == wanted | {
        ("changed", '{"$numberInt": "100"}', ("the order of fields",)),
        ("changed", '{"$numberInt": "102"}', ("v",)),
        ("missing", '{"$numberInt": "205"}', ()),
        ("extra", '{"$numberDouble": "0.5"}', ()),
    }
    # Copied once more, all is as it was.
    bench.target["t"].delete_one({"_id": 0.5})
    bench.run(new=True)
    assert bench.target.raw("t") == bench.source.raw("t")


def test_one_number_of_two_types_is_one_id(bench: MongoBench) -> None:
    """The target's document takes the id's type along."""
    ours = [bson.encode({"_id": 1.0, "v": 1}), bson.encode({"_id": Int64(2), "v": 1})]
    bench.source.insert_raw("t", ours)
    bench.target.insert_raw("t", [bson.encode({"_id": 1, "v": 1}), bson.encode({"_id": 3})])
    bench.write(bench.job())
    bench.run()
    assert bench.target.raw("t") == [*ours, bson.encode({"_id": 3})]
    bench.target["t"].delete_many({})
    theirs = [bson.encode({"_id": 1, "v": 2})]
    bench.target.insert_raw("t", theirs)
    bench.write(bench.job(on_conflict="ignore", check={"percent": 1}))
    bench.run(new=True)
    assert bench.target.raw("t") == [*theirs, ours[1]]


@pytest.mark.parametrize("locale", ["", "en"])
def test_a_range_of_one_class_is_that_of_the_index(bench: MongoBench, locale: str) -> None:
    """Simple comparisons find what an expression does, whatever stands between and around."""
    collation: dict[str, Any] = {"collation": {"locale": locale}} if locale else {}
    bench.source.database.create_collection("t", **collation)
    between = [Int64(2**53), Int64(2**53 + 1), bson.Decimal128("0.1"), "B", "b", bson.ObjectId()]
    # The last two ids are such as no collation takes.
    given = nasty()[:-2] if locale else nasty()
    put(bench.source, "t", [one for one in given if len(one) < 100_000])
    put(bench.source, "t", [bson.encode({"_id": own}) for own in between])
    ours = bench.source.raw("t")
    what = projection(bench.source.name, "t")
    simple = 0
    with bench.store("source").session() as session:
        for first in range(len(ours)):
            for last in {first + 1, first + 2, first + 7} & set(range(len(ours))):
                within = KeyRange(keys.of(ours[first]), keys.of(ours[last]))
                simple += "_id" in query.bounds(within)[0]
                found = session.read(what, within, "bson", BIG)
                assert list(proof.every(bytes(one) for one in found)) == ours[first + 1 : last + 1]
        nan, ten = keys.text(raw.encoded(float("nan"))), keys.text(raw.encoded(10))
        assert "$expr" in query.bounds(KeyRange((nan,), (ten,)))[0]
    assert simple > 50


def test_a_buffer_is_inserted_in_as_many_commands_as_it_takes(
    bench: MongoBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.source["t"].insert_many([{"_id": n, "v": "x" * n} for n in range(100)])
    ours = bench.source.raw("t")
    monkeypatch.setattr(write, "INSERTED", 9)
    monkeypatch.setattr(write, "INSERTED_BYTES", 700)
    bench.write(bench.job())
    (job,) = bench.run().jobs
    assert (job.rows_written, job.rows_different) == (100, 0)
    assert bench.target.raw("t") == ours
    whole = b"".join(ours)
    for most, most_bytes in ((1, 10**6), (9, 700), (1000, 10**6), (1000, 1)):
        pieces = list(raw.cut(whole, most, most_bytes))
        assert b"".join(pieces) == whole
        for piece in pieces:
            assert 1 <= raw.number_of(piece) <= most
            assert len(piece) <= most_bytes or raw.number_of(piece) == 1
    assert list(raw.cut(b"", 1, 1)) == []


def test_a_length_is_read_as_it_is_written() -> None:
    for given in nasty():
        parts = list(raw.elements(given))
        assert raw.assembled(parts) == given
        own = raw.id_of(given)
        assert keys.value(keys.text(own)) == own
    assert list(raw.documents(b"".join(nasty()))) == nasty()
    assert raw.number_of(b"".join(nasty())) == len(nasty())
    assert struct.unpack("<i", nasty()[0][:4])[0] == len(nasty()[0])
