"""Large files in S3, and workers that are killed between GridFS and S3."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import NewMongoDatabase
from tests.mongo.gridfs import objects_work as work
from tests.mongo.gridfs.buckets import CHUNK, Bucket, content
from tests.mongo.gridfs.objects import Objects
from tests.servers.s3 import S3Server, fresh_bucket
from tests.share import full, share

LIMIT = 128 * 1024
"""KiB more than the imports: together less than 256 MiB."""
"""KiB."""
MB = 1024 * 1024
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.mongo.gridfs.objects_work"])


@pytest.fixture
def bench(tmp_path: Path, new_mongo_db: NewMongoDatabase, rclone: S3Server) -> Objects:
    """In a bucket without versions."""
    return Objects(tmp_path, new_mongo_db(), new_mongo_db(), place=fresh_bucket(rclone))


@pytest.fixture(params=[False, True], ids=["unversioned", "versioned"])
def kept(
    request: pytest.FixtureRequest, tmp_path: Path, new_mongo_db: NewMongoDatabase, moto: S3Server
) -> Iterator[Objects]:
    """In a bucket that keeps versions, or none; the dead are given up soon."""
    bench = Objects(
        tmp_path,
        new_mongo_db(),
        new_mongo_db(),
        place=fresh_bucket(moto, versioned=request.param),
    )
    admin, name = bench.source.client.admin, "transactionLifetimeLimitSeconds"
    before = admin.command({"setParameter": 1, name: 5})["was"]
    yield bench
    admin.command({"setParameter": 1, name: before})


def elsewhere(bench: Objects, act: Callable[..., None], *given: Any) -> int:
    """Does it in a process of its own; the exit code."""
    process = processes.Process(target=act, args=(work.where_of(bench), *given))
    process.start()
    process.join(600)
    assert process.exitcode is not None
    return process.exitcode


def manifest_of(bench: Objects) -> str:
    assert bench.place is not None
    (key,) = [key for key in bench.objects() if key.endswith("/_manifest.json")]
    return f"s3://{bench.place.name}/{key}"


@pytest.mark.share
@pytest.mark.timeout(900)
def test_a_large_file_takes_little_memory(bench: Objects) -> None:
    source, target = Bucket(bench.source), Bucket(bench.target)
    size = share(300, 40) * MB
    large = source.put(content(size), "large", chunk_size=255 * 1024)
    source.put(content(CHUNK), "small")
    before = source.raw()[0]
    bench.write(bench.s3(purge="system"))
    assert elsewhere(bench, work.whole) == 0
    assert int((bench.folder / "peak").read_text()) < LIMIT
    job = bench.only()
    assert (job.batches, job.rows_written, job.rows_checked, job.rows_purged) == (2, 2, 2, 2)
    assert source.raw() == ([], [])
    assert elsewhere(bench, work.back, manifest_of(bench)) == 0
    assert int((bench.folder / "peak").read_text()) < LIMIT
    assert target.get(large) == content(size)
    assert target.raw()[0] == before


@pytest.mark.share
@pytest.mark.timeout(3600)
def test_killed_at_any_step(kept: Objects) -> None:
    """Nothing is lost, nothing is there twice, and no upload is left unfinished."""
    source, target = Bucket(kept.source), Bucket(kept.target)
    expected = {
        "a": content(2 * CHUNK, "a"),
        "b": content(6 * MB, "b"),
        "c": b"",
        "d": content(30 * CHUNK, "d"),
    }
    for own, body in expected.items():
        source.put(body, own, own=own, chunk_size=CHUNK if len(body) < MB else 255 * 1024)
    before = source.raw()
    kept.write(kept.s3(purge="manual", batch_size=2))
    run = kept.open()
    run.plan("copy")

    def killed(name: str, points: range | tuple[int, ...], *more: str) -> None:
        """At each of the points; then to its end. A server that is busy may take too long."""
        for at in points:
            code = elsewhere(kept, work.phase, name, at, *more)
            assert code in (0, 1, -9)
            for own in source.ids() | target.ids():
                for bucket in (source, target):
                    assert own not in bucket.ids() or bucket.get(own) == expected[own]
            if code == 0:
                return
        assert any(elsewhere(kept, work.phase, name, 0, *more) == 0 for _ in range(5))

    killed("copy", range(1, 60) if full() else (9, 14))
    assert kept.place is not None
    assert list(kept.s3_store().bucket(kept.place.name).unfinished("")) == []
    assert {k.partition("-")[2]: v for k, v in kept.files().items()} == expected
    kept.verified()
    assert source.raw() == before
    run.check("copy")
    assert (kept.only().rows_checked, kept.only().rows_different) == (4, 0)
    killed("purge", range(1, 60) if full() else (12, 17))
    assert source.raw() == ([], [])
    assert (kept.only().rows_purged, kept.only().rows_kept) == (4, 0)
    kept.verified()
    killed("restore", range(1, 60) if full() else (20,), manifest_of(kept))
    assert target.raw() == before
    assert target.database["dsp_commits"].count_documents({}) == 0
