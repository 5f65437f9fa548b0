"""Jobs between two buckets of GridFS."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from bson import Binary, Int64, ObjectId

from dsp_airflow.config.loading import load_task
from dsp_airflow.engine.errors import ConfigError, Denied, Mismatch
from dsp_airflow.notify import text
from dsp_airflow.opening import open_run
from dsp_airflow.restoring import Wish, of_run
from dsp_airflow.state.landmarks import landmarks
from dsp_airflow.state.records import JobSummary
from tests.mongo.gridfs.buckets import CHUNK, Bucket, BucketBench, content


def kept_reasons(bench: BucketBench) -> dict[str, int]:
    """Why rows were kept by the latest run's purge."""
    found: dict[str, int] = {}
    for one in bench.latest().runs.differences(bench.latest().run.id):
        if one.phase == "purge":
            found[one.difference.reason] = found.get(one.difference.reason, 0) + 1
    return found


def test_files_of_every_kind_arrive_and_leave(bench: BucketBench) -> None:
    """Ids of any type, names in twos, sizes around those of chunks, a bucket with a dot."""
    source, target = Bucket(bench.source, "a.b"), Bucket(bench.target, "c.d")
    sizes = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK)
    ids = [ObjectId(), "text", 7, 7.5, Int64(2**40), {"a": 1, "b": [2]}]
    for size, own in zip(sizes, ids, strict=True):
        source.put(content(size), "one name", own=own, kind="x", at=datetime.now(UTC))
    source.put(content(700_000), "large chunks", own="large", chunk_size=255 * 1024)
    # Drivers of old: lengths of another type, an md5, a chunk for a file without bytes, and bytes
    # that have their length twice.
    source.put(b"", "old", own="old")
    source.chunks.insert_one({"files_id": "old", "n": 0, "data": Binary(b"", 2)})
    source.chunks.update_one(
        {"files_id": 7.5, "n": 0}, {"$set": {"data": Binary(content(CHUNK), 2)}}
    )
    source.files.update_one(
        {"_id": "old"},
        {"$set": {"length": 0.0, "md5": "d41d8cd98f00b204e9800998ecf8427e", "aliases": [None]}},
    )
    source.files.create_index("metadata.kind")
    before = source.raw()

    table = {"table": '"c.d"'}
    bench.write(bench.job(table='"a.b"', target=table, purge="manual", batch_size=3))
    bench.run()

    job = bench.only()
    assert (job.rows_total, job.rows_written, job.rows_checked, job.rows_different) == (8, 8, 8, 0)
    assert job.batches == 3
    assert target.raw() == before
    assert target.get("large") == content(700_000)
    indexes = {tuple(i["key"]): bool(i.get("unique")) for i in target.chunks.list_indexes()}
    assert indexes == {("_id",): False, ("files_id", "n"): True}
    names = [tuple(index["key"]) for index in target.files.list_indexes()]
    assert names == [("_id",), ("metadata.kind",), ("filename", "uploadDate")]
    assert bench.target.database["dsp_commits"].count_documents({}) == 0

    bench.latest().purge("copy")
    assert source.raw() == ([], [])
    assert target.raw() == before
    assert bench.only().rows_purged == 8


def test_files_go_by_steps_of_their_date(
    bench: BucketBench, source: Bucket, target: Bucket
) -> None:
    for day in (1, 1, 2, 4):
        source.put(content(CHUNK), at=datetime(2026, 3, day, 12, tzinfo=UTC))
    step = {"column": "metadata.at", "start": "2026-03-01", "size": "1d", "end": "2026-03-03"}
    bench.write(bench.job(mode="step", step=step, purge="system"))
    assert [bench.run(new=True).jobs[0].rows_purged for _ in range(3)] == [2, 1, 0]
    assert len(source.raw()[0]) == 1
    assert len(target.raw()[0]) == 3


def test_damaged_files_are_told_of_and_stay(
    bench: BucketBench, source: Bucket, target: Bucket
) -> None:
    source.put(b"", "first", own="")
    for name in ("missing", "twice", "long", "short", "md5", "size", "last", "bare", "other type"):
        source.put(content(3 * CHUNK), own=name)
    source.without_indexes()
    source.chunks.delete_one({"files_id": "missing", "n": 1})
    source.chunks.insert_one({**source.chunk("twice", 1), "_id": ObjectId()})
    source.files.update_one({"_id": "long"}, {"$set": {"length": Int64(2 * CHUNK)}})
    source.files.update_one({"_id": "short"}, {"$set": {"length": Int64(3 * CHUNK + 1)}})
    source.files.update_one({"_id": "md5"}, {"$set": {"md5": "0" * 32}})
    source.files.update_one({"_id": "size"}, {"$set": {"chunkSize": 512}})
    source.chunks.update_one({"files_id": "last", "n": 2}, {"$set": {"data": b"x"}})
    source.files.update_one({"_id": "bare"}, {"$unset": {"length": 1}})
    source.chunks.update_one({"files_id": "other type", "n": 0}, {"$set": {"data": "text"}})
    source.chunks.insert_many([{"files_id": "orphan", "n": n, "data": b"x"} for n in range(3)])
    whole = source.put(content(2 * CHUNK + 5), own="whole")
    damaged = source.ids() - {whole, ""}
    before = source.raw()

    bench.write(bench.job(purge="system"))
    run = bench.open()
    plan = run.plan("copy")
    assert (plan.rows, plan.batches) == (2, 1)
    told = "\n".join(plan.warnings)
    assert ("9 of " in told and "chunk 1 stands there twice" in told) or "; and 6 more" in told
    assert "3 chunks of 1 files that have no document" in told
    bench.run()

    assert target.ids() == {whole, ""}
    assert source.ids() == damaged
    assert source.chunks.count_documents({"files_id": "orphan"}) == 3
    left = [document for document in before[1] if b"whole" not in document]
    assert source.raw()[1] == left
    job = bench.only()
    assert (job.rows_purged, job.rows_kept, job.rows_different) == (2, 9, 0)
    assert kept_reasons(bench) == {
        "chunk 1 is missing": 1,
        "chunk 1 stands there twice": 1,
        "chunk 2 is beyond its length of 2,048 bytes": 1,
        "chunk 3 is missing": 1,
        "its md5 is not the one that its document has": 1,
        "chunk 0 has 1,024 bytes, and has to have 512": 1,
        "chunk 2 has 1 bytes, and has to have 1,024": 1,
        "its document has no length": 1,
        "chunk 0 has no bytes, and has to have 1,024": 1,
    }
    marks = landmarks(bench.state, bench.latest().run.id)["copy"]
    assert sum(count for _, count in marks.damaged) == 9
    mail = text._job(job, text.Facts(landmarks={"copy": marks}))
    assert "damaged  9 rows in the source, neither copied nor deleted:" in mail
    assert mail.count("- 1 chunk 1 is missing") == 2
    assert mail.count("- 1 for other reasons") == 2
    (batch,) = bench.latest().runs.batches(bench.latest().run.id, "copy")
    assert batch.check_note is not None
    assert "9 damaged in the source and not copied" in batch.check_note


def test_planted_differences_are_found_and_kept(
    bench: BucketBench, source: Bucket, target: Bucket
) -> None:
    for name in ("byte", "metadata", "chunk", "one too many", "gone", "right"):
        source.put(content(3 * CHUNK), own=name, kind=1)
    bench.write(bench.job(purge="manual"))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    byte = {"data": content(CHUNK - 1) + b"x"}
    target.chunks.update_one({"files_id": "byte", "n": 0}, {"$set": byte})
    target.files.update_one({"_id": "metadata"}, {"$set": {"metadata.kind": 1.0}})
    target.chunks.delete_one({"files_id": "chunk", "n": 2})
    target.chunks.insert_one({"files_id": "one too many", "n": 3, "data": b""})
    target.remove("gone")
    with pytest.raises(Mismatch, match="5 "):
        run.check("copy")
    found = [d.difference for d in run.runs.differences(run.run.id) if d.phase == "check"]
    assert {(one.key[0], one.kind, one.columns) for one in found} == {
        ('"byte"', "changed", ("chunk 0",)),
        ('"metadata"', "changed", ("metadata",)),
        ('"chunk"', "changed", ("chunk 2",)),
        ('"one too many"', "changed", ("chunk 3",)),
        ('"gone"', "missing", ()),
    }
    run.finish()
    # What is copied again is right again, whatever stood there.
    bench.run(new=True)
    assert target.raw() == source.raw()
    # A purge proves for itself.
    target.chunks.update_one({"files_id": "byte", "n": 0}, {"$set": byte})
    bench.latest().purge("copy")
    assert source.ids() == {"byte"}
    assert source.chunks.distinct("files_id") == ["byte"]
    assert kept_reasons(bench) == {"changed in the target since the copy": 1}


def test_a_purge_keeps_what_was_uploaded_anew(
    bench: BucketBench, source: Bucket, target: Bucket
) -> None:
    for name in ("a", "b", "c", "d"):
        source.put(content(2 * CHUNK, name), own=name)
    bench.write(bench.job(purge="manual"))
    bench.run()
    source.remove("b")
    source.put(content(2 * CHUNK, "b"), own="b")
    source.chunks.update_one({"files_id": "c", "n": 0}, {"$set": {"data": content(CHUNK, "z")}})
    source.chunks.delete_one({"files_id": "d", "n": 0})
    source.put(content(10), own="bb")
    copied = target.raw()
    bench.latest().purge("copy")
    assert source.ids() == {"b", "bb", "c", "d"}
    assert sorted(source.chunks.distinct("files_id")) == ["b", "bb", "c", "d"]
    assert target.raw() == copied
    assert kept_reasons(bench) == {
        "changed in the source since the copy": 2,
        "appeared in the source since the copy": 1,
        "chunk 0 is missing": 1,
    }
    # Neither are they gone for who removes files by hand; a damaged one stands, too.
    (found,) = bench.latest().mark_deleted("copy", None, "ann")
    assert (found.rows, sorted(found.keys)) == (3, ['"b"', '"c"', '"d"'])
    source.remove("b")
    source.remove("c")
    (found,) = bench.latest().mark_deleted("copy", None, "ann")
    assert (found.rows, found.keys) == (1, ('"d"',))
    source.remove("d")
    assert bench.latest().mark_deleted("copy", None, "ann") == []
    assert source.ids() == {"bb"}
    assert (bench.only().rows_purged, bench.only().rows_gone) == (1, 3)


def test_on_conflict_goes_by_file(bench: BucketBench, source: Bucket, target: Bucket) -> None:
    source.put(content(2 * CHUNK, "new"), own="a")
    source.put(content(CHUNK), own="b")
    target.put(content(5 * CHUNK, "old"), own="a")
    target.put(content(3 * CHUNK), own="ab")
    standing = target.raw()
    bench.write(bench.job(on_conflict="error"))
    with pytest.raises(Exception, match='holds file "a" already and on_conflict is error'):
        bench.run()
    assert target.raw() == standing
    bench.write(bench.job(on_conflict="ignore"))
    bench.run(new=True)
    assert (bench.only().rows_different, target.get("a")) == (0, content(5 * CHUNK, "old"))
    assert target.get("b") == content(CHUNK)
    bench.write(bench.job())
    bench.run(new=True)
    assert (target.get("a"), target.chunks.count_documents({"files_id": "a"})) == (
        content(2 * CHUNK, "new"),
        2,
    )
    assert target.get("ab") == content(3 * CHUNK)


def test_chunks_of_somebody_else_are_left_alone(
    bench: BucketBench, source: Bucket, target: Bucket
) -> None:
    """An upload in progress in the source is no row; one in the target is not written over."""
    source.put(content(CHUNK), own="a")
    source.put(content(3 * CHUNK), own="b")
    file = source.files.find_one_and_delete({"_id": "b"})
    bench.write(bench.job(purge="manual"))
    bench.run()
    bench.latest().purge("copy")
    source.files.insert_one(file)
    assert source.get("b") == content(3 * CHUNK)
    target.chunks.insert_one({"files_id": "b", "n": 0, "data": b"mine"})
    with pytest.raises(Exception, match='holds chunks of file "b" but no such file'):
        bench.run(new=True)
    assert target.chunk("b", 0)["data"] == b"mine"
    assert target.ids() == {"a"}


def test_what_is_refused(bench: BucketBench, source: Bucket) -> None:
    source.put(content(10), own="a")
    for table in ('"fs.files"', '"fs.chunks"'):
        bench.write(bench.job(table=table, gridfs=False))
        with pytest.raises(Denied, match="one half of the GridFS bucket fs; write gridfs: true"):
            bench.open(new=True).plan("copy")
    bench.write(bench.job(table="ft"))
    with pytest.raises(ConfigError, match=r"did you mean .*\.fs\?"):
        bench.open(new=True).plan("copy")


def test_filter_over_files(bench: BucketBench, source: Bucket, target: Bucket) -> None:
    for n in range(6):
        source.put(content(n * CHUNK), f"{n % 2}", own=n)
    where = {"all": [{"column": "filename", "operator": "=", "value": "1"}]}
    bench.write(bench.job(where=where, purge="system"))
    bench.run()
    assert target.ids() == {1, 3, 5}
    assert source.ids() == {0, 2, 4}
    assert source.get(4) == content(4 * CHUNK)


def test_files_come_back(bench: BucketBench) -> None:
    """All of them, then two batches, by ids of several types; one of a bucket with a dot."""
    source, target = Bucket(bench.source, "a.b"), Bucket(bench.target, "a.b")
    ids = [1, ":a", "b", {"k": ":c"}, ObjectId(), ObjectId()]
    for own in ids:
        source.put(content(CHUNK + 1), own=own)
    before = source.raw()
    bench.write(bench.job(table='"a.b"', batch_size=2, purge="system"))
    bench.run()
    assert source.raw() == ([], [])
    task = load_task(bench.file)

    def come_back(wish: Wish) -> JobSummary:
        back = of_run(bench.state, task, None, None, wish, bench.store)
        run = open_run(bench.state, back, bench.file, bench.store, new=True)
        run.begin()
        for step in ("plan", "copy", "check"):
            getattr(run, step)("copy")
        return run.finish().jobs[0]

    done = come_back(Wish())
    assert (done.rows_written, done.rows_checked, done.rows_different) == (6, 6, 0)
    assert source.raw() == before == target.raw()
    source.files.delete_many({})
    source.chunks.delete_many({})
    assert come_back(Wish(batches="1,3")).rows_written == 4
    assert source.files.distinct("_id") == [1, ":a", *ids[4:]]
    assert come_back(Wish(where='{"_id": "b"}')).rows_written == 1
    assert source.get("b") == content(CHUNK + 1)


def test_logins_with_no_more_than_is_documented(
    bench: BucketBench, source: Bucket, target: Bucket
) -> None:
    """See docs/operations.md; each action that is missing is told with the words that grant it."""
    server, here, there = bench.source.server, bench.source.name, bench.target.name
    beside = ["find", "insert", "update", "remove"]

    def both(database: str, actions: list[str]) -> list[tuple[str, str, list[str]]]:
        return [(database, "fs.files", actions), (database, "fs.chunks", actions)]

    def seen(database: str) -> list[tuple[str, str, list[str]]]:
        ours = [(database, name, beside) for name in ("dsp_locks", "dsp_commits")]
        return [(database, "", ["listCollections", "listIndexes"]), *ours]

    reads = [*seen(here), *both(here, ["find", "remove"])]
    writes = [*seen(there), *both(there, [*beside, "createCollection", "createIndex"])]
    source.put(content(3 * CHUNK), own="a")
    bench.logins["source"] = server.create_user("files_reader", reads)
    bench.logins["target"] = server.create_user("files_writer", writes[:-1])
    bench.write(bench.job(purge="system"))
    with pytest.raises(Denied, match=r"may not .* in \S+\.fs\.chunks: db\.grantPrivilegesToRole"):
        bench.run()
    bench.logins["target"] = server.create_user("files_writer", writes)
    bench.run(new=True)
    assert source.raw() == ([], [])
    assert target.get("a") == content(3 * CHUNK)
