"""Files of a bucket of GridFS as objects in S3, and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from bson import Binary, Int64

from dsp_airflow.engine.errors import Mismatch
from dsp_airflow.notify import text
from dsp_airflow.state.landmarks import landmarks
from tests.conftest import NewMongoDatabase
from tests.mongo.gridfs.buckets import CHUNK, Bucket, content
from tests.mongo.gridfs.objects import Objects, plant
from tests.servers.s3 import Place

NAMES = (
    *("", "../up", "/root//", "..", "%41", "Größe", "Gro\u0308ße", "a\0\nb ", "y/" * 700),
    *("run=1/_manifest.json", "_dsp.json", "Отчёт/май.pdf"),
)
"""A server takes them; what becomes of many more, see ``test_object_names``."""


@pytest.fixture
def bench(tmp_path: Path, new_mongo_db: NewMongoDatabase, s3_place: Place) -> Objects:
    """From a bucket called ``fs``, on each S3 server in turn."""
    return Objects(tmp_path, new_mongo_db(), new_mongo_db(), place=s3_place)


@pytest.fixture(params=[False, True], ids=["unversioned", "versioned"])
def kept(
    request: pytest.FixtureRequest, tmp_path: Path, new_mongo_db: NewMongoDatabase, moto: Any
) -> Objects:
    """In a bucket that keeps versions, or none."""
    from tests.servers.s3 import fresh_bucket

    place = fresh_bucket(moto, versioned=request.param)
    return Objects(tmp_path, new_mongo_db(), new_mongo_db(), place=place)


def test_files_of_every_kind_come_back(bench: Objects) -> None:
    """Hostile names, ids of any type, sizes around those of chunks; archived, purged, restored."""
    source = Bucket(bench.source)
    for n, name in enumerate(NAMES):
        source.put(content(n * 100, name), name, kind=n)
    ids = ["a/../b", 7, 7.5, Int64(2**40), {"a": 1}, Binary(b"\0", 5), "z" * 900]
    sizes = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 5)
    for size, own in zip(sizes, ids, strict=True):
        source.put(content(size), "one name", own=own, at=datetime.now(UTC))
    source.put(content(700_000), "large chunks", own="large", chunk_size=255 * 1024)
    video = content(3_000_000)
    source.put(video, "v", own="v", chunk_size=255 * 1024, contentType="video/mp4")
    # Drivers of old: lengths of another type, an md5, a chunk for a file without bytes, no name.
    source.put(b"", "old", own="old")
    source.chunks.insert_one({"files_id": "old", "n": 0, "data": Binary(b"", 2), "more": [1]})
    old = {"length": 0.0, "md5": "d41d8cd98f00b204e9800998ecf8427e", "contentType": "text/x"}
    source.files.update_one({"_id": "old"}, {"$set": old, "$unset": {"filename": 1}})
    source.files.create_index("metadata.kind")
    before = source.raw()
    count = len(NAMES) + len(ids) + 3

    found = bench.moved(bench.s3(batch_size=12), count)
    assert found.batches == -(-count // 12)
    assert source.raw() == ([], [])
    files = bench.files()
    assert len(files) == count
    for name, size in zip(NAMES, range(0, 100_000, 100), strict=False):
        mine = [k for k, v in files.items() if v == content(size, name)]
        assert mine or size == 0
        assert all(len(key.encode()) <= 1024 for key in mine)
        parts = mine[0].split("/") if mine else ["x"]
        assert not {"", ".", ".."} & set(parts)
        if size and len(name) < 200:
            own, _, last = parts[-1].partition("-")
            assert len(own) == 24
            assert unquote("/".join([*parts[:-1], last])) == name
    bench.verified()
    assert bench.listed().keys() >= {"_id", "filename", "length", "object", "sha256", "document"}

    back = bench.back_to(bench.source, "fs")
    assert (back.rows_written, back.rows_checked, back.rows_different) == (count, count, 0)
    assert source.raw() == before
    assert "metadata.kind_1" in source.files.index_information()
    assert bench.back_to(bench.target, '"c.d"').rows_checked == count
    assert Bucket(bench.target, "c.d").raw() == before


def test_objects_say_what_they_are(kept: Objects) -> None:
    source = Bucket(kept.source)
    own = source.put(b"hello", "grüße/a b.txt", contentType="text/plain; charset=utf-8")
    odd = source.put(b"hello", "odd", contentType="text/pla\nin")
    kept.write(kept.s3())
    kept.run()
    assert kept.place is not None
    assert kept.restore(connection="target", table='"e.f"').rows_checked == 2
    assert Bucket(kept.target, "e.f").raw() == source.raw()
    named = {key.rpartition("/")[2].partition("-")[0]: key for key in kept.files(whole=True)}
    head = kept.place.client.head_object(Bucket=kept.place.name, Key=named[str(own)])
    assert head["ContentType"] == "text/plain; charset=utf-8"
    assert head["Metadata"]["gridfs-id"] == str(own)
    assert unquote(head["Metadata"]["gridfs-filename"]) == "grüße/a b.txt"
    assert head["Metadata"]["gridfs-upload-date"].endswith("Z")
    head = kept.place.client.head_object(Bucket=kept.place.name, Key=named[str(odd)])
    assert "\n" not in head["ContentType"]
    kept.verified()
    kept.plant("of nobody")
    kept.wrong("of nobody: is in no index")


@pytest.mark.parametrize(("mode", "stored"), [("keep", "first"), ("newest", "last")])
def test_of_one_name_one_file_is_archived(kept: Objects, mode: str, stored: str) -> None:
    """The others are told of, and stay; over several batches, a damaged file and no name."""
    source = Bucket(kept.source)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    # Ids against the dates, so that one of a later batch has the name.
    dates = {"c": "first", "b": "middle", "a": "last"}
    for n, (own, word) in enumerate(dates.items()):
        source.put(word.encode(), "same", own=own)
        source.date(own, start + timedelta(days=n))
    for own, days in (("broken old", -1), ("broken new", 9)):
        source.put(content(3 * CHUNK), "same", own=own)
        source.date(own, start + timedelta(days=days))
        source.chunks.delete_one({"files_id": own, "n": 1})
    source.put(b"alone", "alone", own="d")
    source.put(b"nameless", "", own="e")
    kept.write(kept.s3(target={"name_mode": mode}, purge="manual", batch_size=2))
    run = kept.open()
    plan = run.plan("copy")
    assert any("files of" in w and f"name_mode: {mode}" in w for w in plan.warnings), plan.warnings
    kept.run()

    files = kept.files()
    assert files == {"same": stored.encode(), "alone": b"alone"}
    job = kept.only()
    assert (job.rows_written, job.rows_checked, job.rows_different) == (2, 2, 0)
    told = {d.key[0]: d.reason for d in kept.differences("check") if d.kind == "kept_back"}
    holder = next(own for own, word in dates.items() if word == stored)
    losers = dates.keys() - {holder}
    assert told.keys() == {json.dumps(own) for own in (*losers, "e")}
    word = "newer" if mode == "newest" else "older"
    assert all(
        f'file "{holder}" has the same name and is {word}' == told[json.dumps(o)] for o in losers
    )
    assert "no filename" in told['"e"']
    marks = landmarks(kept.state, kept.latest().run.id)["copy"]
    mail = text._job(job, text.Facts(landmarks={"copy": marks}))
    assert "left out 3 rows of the source, neither archived nor deleted:" in mail
    batches = kept.latest().runs.batches(kept.latest().run.id, "copy")
    assert any("kept back in the source" in (batch.check_note or "") for batch in batches)
    kept.verified()

    kept.latest().purge("copy")
    assert source.ids() == {*losers, "e", "broken old", "broken new"}
    job = kept.only()
    assert (job.rows_purged, job.rows_kept) == (2, 5)
    purged = {d.key[0]: d.kind for d in kept.differences("purge")}
    assert purged == {
        **{json.dumps(own): "kept_back" for own in (*losers, "e")},
        **{f'"{own}"': "damaged" for own in ("broken old", "broken new")},
    }
    back = kept.back_to(kept.target, "fs")
    assert back.rows_written == 2
    assert Bucket(kept.target).ids() == {holder, "d"}


def test_what_comes_later_is_never_written_over(kept: Objects) -> None:
    """While a run is at work a file of a name that it has archived is uploaded: it stays."""
    source = Bucket(kept.source)
    source.put(b"one", "same", own="a")
    source.put(b"two", "other", own="z")
    kept.write(kept.s3(target={"name_mode": "newest"}, purge="manual", batch_size=1))
    run = kept.open()
    run.plan("copy")
    kept.copy_batches(run, 1)
    source.put(b"newer", "same", own="c")
    kept.plant("left by a try that broke off")
    run.copy("copy")
    run.check("copy")
    run.finish()
    assert kept.files() == {"same": b"one", "other": b"two"}
    told = [d for d in kept.differences("check") if d.kind == "kept_back"]
    assert [d.key for d in told] == [('"c"',)]
    assert "was archived first" in told[0].reason
    kept.latest().purge("copy")
    assert source.ids() == {"c"}


def test_a_purge_proves_every_file(kept: Objects) -> None:
    """Files that changed, objects that were altered, an index that is gone."""
    source = Bucket(kept.source)
    for own in "abcdefgh":
        source.put(content(2 * CHUNK, own), own, own=own)
    kept.write(kept.s3(purge="manual", batch_size=2))
    run = kept.open()
    run.plan("copy")
    run.copy("copy")
    kept.alter("c", content(2 * CHUNK, "x"))
    kept.alter("d", b"other")
    with pytest.raises(Mismatch, match="2 "):
        run.check("copy")
    assert {(d.kind, d.key[0]) for d in kept.differences("check")} == {
        ("missing", '"c"'),
        ("missing", '"d"'),
    }
    assert (kept.only().rows_checked, kept.only().rows_different) == (8, 2)
    run.finish()
    kept.empty()
    kept.run(new=True)
    source.remove("a")
    source.put(content(2 * CHUNK, "new"), "a", own="a")
    source.chunks.update_one({"files_id": "b", "n": 0}, {"$set": {"data": content(CHUNK, "z")}})
    kept.alter("c", b"other")
    kept.delete_index(3)
    before = source.raw()
    kept.latest().purge("copy")
    # Without its index a batch proves nothing; of another the files whose objects are right go.
    assert source.ids() == {"a", "b", "c", "e", "f"}
    assert all(one in before[0] for one in source.raw()[0])
    told = {d.key: (d.kind, d.reason) for d in kept.differences("purge")}
    assert told['"c"',][0] == "missing"
    assert "had 2,048" in told['"c"',][1] or "was overwritten" in told['"c"',][1]
    assert told['"b"',] == ("changed", "changed in the source since the copy")
    kept.wrong("was cut off", "was overwritten", "is missing")
    assert source.get("b") != content(2 * CHUNK, "b")
    # Nor is it recorded as removed by hand what no object stands for any more.
    source.remove("a")
    for own in "cef":
        source.remove(own)
    standing, altered, without = kept.latest().mark_deleted("copy", None, "ann")
    assert (standing.batch, standing.rows, standing.keys) == (1, 1, ('"b"',))
    assert (altered.batch, altered.rows, "has 1 rows there" in altered.why) == (2, 0, True)
    assert (without.batch, without.rows) == (3, 0)
    assert without.why.startswith("what was copied is not as it was")
    source.remove("b")
    assert kept.latest().mark_deleted("copy", {1}, "ann") == []


def test_damaged_files_orphans_and_uploads_in_progress(kept: Objects) -> None:
    source = Bucket(kept.source)
    plant(source)
    before = source.raw()
    kept.write(kept.s3(purge="system"))
    kept.run()
    job = kept.only()
    assert (job.rows_written, job.rows_purged, job.rows_kept) == (2, 2, 3)
    assert source.ids() == {"missing", "short", "md5"}
    assert source.chunks.distinct("files_id") == ["md5", "missing", "orphan", "short"]
    assert set(source.raw()[1]) < set(before[1])
    reasons = {d.reason for d in kept.differences("purge")}
    assert "chunk 1 is missing" in reasons
    assert len(kept.files()) == 2


def test_on_conflict_of_a_restore(kept: Objects) -> None:
    source, target = Bucket(kept.source), Bucket(kept.target)
    source.put(content(2 * CHUNK, "new"), own="a")
    source.put(content(CHUNK), own="b")
    kept.write(kept.s3())
    kept.run()
    target.put(content(5 * CHUNK, "old"), own="a")
    with pytest.raises(Exception, match='holds file "a" already and on_conflict is error'):
        kept.back_to(kept.target, "fs")
    assert target.ids() == {"a"}
    kept.back_to(kept.target, "fs", on_conflict="ignore")
    assert (target.get("a"), target.get("b")) == (content(5 * CHUNK, "old"), content(CHUNK))
    kept.back_to(kept.target, "fs", on_conflict="update")
    assert target.raw() == source.raw()
    with pytest.raises(Exception, match="cannot be filtered"):
        kept.back_to(kept.target, "fs", where="filename = 'a'")


@pytest.mark.parametrize("name", ["csv", "jsonl"])
def test_indexes_of_other_formats(kept: Objects, name: str) -> None:
    source = Bucket(kept.source)
    source.put(content(3 * CHUNK), 'a,"b"\n', own='x"\n,')
    source.put(b"", "empty")
    before = source.raw()
    kept.moved(kept.s3(target={"format": name}), 2)
    kept.verified()
    kept.back_to(kept.source, "fs")
    assert source.raw() == before
