"""Large files, and workers that are killed on the way."""

from __future__ import annotations

import multiprocessing
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import gridfs
import pytest
from pymongo.errors import OperationFailure

from dsp_airflow.engine.errors import DspError, Transient
from dsp_airflow.engine.model import KeyRange, Origin
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.gridfs import remains, split, staged, uploads, write
from tests.mongo.gridfs import work
from tests.mongo.gridfs.buckets import CHUNK, Bucket, BucketBench, content
from tests.mongo.harness import projection
from tests.servers import MongoDatabase, MongoServer, fresh_mongo_database
from tests.share import full, share

LIMIT = 128 * 1024
"""KiB more than the imports: together less than 256 MiB."""
"""KiB."""
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.mongo.gridfs.work"])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that small files reach, as ``work.small`` sets them."""
    for module in (split, write):
        monkeypatch.setattr(module, "MOST_BYTES", 8 * CHUNK)
    monkeypatch.setattr(staged, "PIECE", 4 * CHUNK)
    monkeypatch.setattr(uploads, "REMOVED", 3)


def address(database: MongoDatabase) -> work.Address:
    return work.Address(database.server.uri(), database.name)


def elsewhere(bench: BucketBench, act: Callable[..., None], *given: Any, **named: Any) -> int:
    """Does it in a process of its own; the exit code."""
    process = processes.Process(
        target=act,
        args=(bench.folder, address(bench.source), address(bench.target), *given),
        kwargs=named,
    )
    process.start()
    process.join(600)
    assert process.exitcode is not None
    return process.exitcode


def marks(bench: BucketBench) -> list[Any]:
    """What is left beside the target of files on their way."""
    return list(bench.target.database["dsp_commits"].find({"_id.upload": {"$exists": True}}))


@pytest.mark.share
@pytest.mark.timeout(600)
def test_a_large_file_takes_little_memory(
    bench: BucketBench, source: Bucket, target: Bucket
) -> None:
    size = share(300, 40) * 1024 * 1024
    large = source.put(content(size), "large", chunk_size=255 * 1024)
    source.put(content(CHUNK), "small")
    bench.write(bench.job(purge="system"))
    assert elsewhere(bench, work.whole) == 0
    assert int((bench.folder / "peak").read_text()) < LIMIT
    job = bench.only()
    assert (job.batches, job.rows_written, job.rows_checked, job.rows_purged) == (2, 2, 2, 2)
    assert target.get(large) == content(size)
    assert source.raw() == ([], [])


@pytest.fixture
def impatient(bench: BucketBench) -> Iterator[None]:
    """The server gives up the transactions of the dead sooner than it would."""
    admin = bench.target.client.admin
    name = "transactionLifetimeLimitSeconds"
    before = admin.command({"setParameter": 1, name: 2})["was"]
    yield
    admin.command({"setParameter": 1, name: before})


@pytest.mark.share
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("impatient")
def test_killed_at_any_write(bench: BucketBench, source: Bucket, target: Bucket) -> None:
    """A file in the target is whole at any moment, and no file is lost."""
    expected = {}
    for name, size in (("a", 2), ("b", 30), ("c", 1), ("d", 20), ("e", 9)):
        expected[name] = content(size * CHUNK, name)
        source.put(expected[name], own=name)
    # The files b and d stand there otherwise, one of them from its second chunk on.
    target.put(content(25 * CHUNK, "b"), own="b")
    target.put(content(12 * CHUNK, "x"), own="d")
    before = source.raw()
    bench.write(bench.job(purge="manual"))
    old = {"b": content(25 * CHUNK, "b"), "d": content(12 * CHUNK, "x")}

    def look() -> None:
        for own in target.ids():
            assert target.get(own) in {expected[own], old.get(own)}

    points = range(1, 200) if full() else (31, 90)
    kills = 0
    run = bench.open()
    with pytest.MonkeyPatch.context() as patch:
        for module in (split, write):
            patch.setattr(module, "MOST_BYTES", 8 * CHUNK)
        run.plan("copy")
    for at in points:
        code = elsewhere(bench, work.phase, "copy", at, done=at % 2 == 0)
        look()
        if code == 0:
            break
        assert code == -9
        kills += 1
    else:
        assert elsewhere(bench, work.phase, "copy", 0, done=False) == 0
    assert kills >= 2
    assert target.raw() == before
    assert marks(bench) == []
    assert source.raw() == before
    run.check("copy")

    for at in range(1, 25) if full() else (8,):
        code = elsewhere(bench, work.phase, "purge", at, done=at % 2 == 0)
        assert code in (0, -9)
        for own in source.ids():
            assert source.get(own) == expected[own]
    assert elsewhere(bench, work.phase, "purge", 0, done=False) == 0
    assert source.raw() == ([], [])
    assert target.raw() == before
    assert (bench.only().rows_purged, bench.only().rows_kept) == (5, 0)


@pytest.mark.usefixtures("small")
def test_large_files_follow_on_conflict(bench: BucketBench, source: Bucket, target: Bucket) -> None:
    source.put(content(20 * CHUNK, "new"), own="a")
    source.put(content(20 * CHUNK), own="b", kind="new")
    source.put(content(20 * CHUNK), own="c")
    source.put(content(CHUNK), own="d")
    target.put(content(30 * CHUNK, "old"), own="a")
    target.put(content(20 * CHUNK), own="b", kind="old")
    target.put(content(25 * CHUNK), own="d")
    target.put(content(25 * CHUNK), own="z")
    standing = target.raw()
    bench.write(bench.job(on_conflict="error"))
    with pytest.raises(Exception, match='holds file "a" already and on_conflict is error'):
        bench.run()
    assert target.raw() == standing
    bench.write(bench.job(on_conflict="ignore"))
    bench.run(new=True)
    assert target.get("a") == content(30 * CHUNK, "old")
    assert target.get("c") == content(20 * CHUNK)
    assert bench.only().rows_different == 0
    bench.write(bench.job(purge="manual"))
    bench.run(new=True)
    bench.run(new=True)
    assert target.raw()[0][:-1] == source.raw()[0]
    assert target.get("a") == content(20 * CHUNK, "new")
    assert target.get("z") == content(25 * CHUNK)
    assert target.chunks.count_documents({}) == 20 * 3 + 1 + 25
    assert marks(bench) == []
    # It came to be there meanwhile, and is another's.
    source.put(content(20 * CHUNK), own="e")
    target.chunks.insert_one({"files_id": "e", "n": 0, "data": b"mine"})
    with pytest.raises(Exception, match='holds chunks of file "e" but no such file'):
        bench.run(new=True)
    assert target.chunk("e", 0)["data"] == b"mine"
    assert "e" not in target.ids()


@pytest.mark.usefixtures("small")
def test_of_two_writers_only_the_last_goes_on(
    bench: BucketBench, source: Bucket, target: Bucket
) -> None:
    """One stalls in the middle of a file, another writes it, the first comes back."""
    source.put(content(40 * CHUNK), own="a")
    bench.write(bench.job())
    run = bench.open()
    plan = run.plan("copy")
    stores = bench.buckets("source"), bench.buckets("target")
    within, wire = KeyRange(), plan.wire

    with stores[0].session() as reads, stores[1].session() as slow, stores[1].session() as fast:
        fast.create(plan.target.table, plan.ddl)
        fast.prepare_markers(plan.target)

        def write_by(session: Any, stream: Any) -> Any:
            with session.writing(plan.target):
                return session.write(
                    plan.target,
                    within,
                    stream,
                    wire=wire,
                    on_conflict="update",
                    ordered_alike=True,
                    origin=Origin(reads.digest(plan.source, within)),
                    marker=None,
                    fence=lambda: None,
                    direct=False,
                )

        class Stalling:
            """The other writes the whole file while a part of it is here."""

            def __init__(self) -> None:
                self.inner = reads.read(plan.source, within, wire, 2**40)
                self.rows = self.size = -1

            def __iter__(self) -> Any:
                for buffer in self.inner:
                    half = len(buffer) // (41) * 20
                    yield from pieces(buffer, half)
                    assert write_by(fast, reads.read(plan.source, within, wire, 2**40)).rows == 1
                    yield from pieces(buffer, 0)[1:]

        with pytest.raises(Transient, match="another worker has taken over"):
            write_by(slow, Stalling())
    assert target.raw() == source.raw()
    assert marks(bench) == []


@pytest.mark.usefixtures("small")
def test_what_was_begun_is_not_forgotten_by_who_comes_late(
    bench: BucketBench, target: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run ends the file, or takes it over, while its chunks are about to be removed."""
    commits = bench.target.database["dsp_commits"]
    own = {"upload": "fs", "file": "a"}
    target.put(content(5 * CHUNK), own="a")
    begun = {"_id": own, "holder": "gone", "run": "r", "job": "copy"}
    file, ended = target.files.find_one({"_id": "a"}), list[bool]()
    count, begin = Connection.count, Connection.begin

    def end(connection: Connection, table: str, query: Any, **more: Any) -> int:
        found = count(connection, table, query, **more)
        try:
            with bench.target.client.start_session() as session, session.start_transaction():
                commits.delete_one({"_id": own}, session=session)
                target.files.insert_one(file, session=session)
            ended.append(True)
        except OperationFailure:
            ended.append(False)
        return found

    def take_over(connection: Connection, session: Any) -> None:
        commits.update_one({"_id": own}, {"$set": {"run": "later"}})
        begin(connection, session)

    what = projection(bench.target.name, "fs")
    with bench.buckets("target").session() as session:
        for name, meanwhile in (("count", end), ("begin", take_over)):
            target.files.delete_one({"_id": "a"})
            commits.replace_one({"_id": own}, begun, upsert=True)
            with monkeypatch.context() as patch:
                patch.setattr(Connection, name, meanwhile)
                session.forget_markers(what, "r", "copy")
            if name == "count":
                # Whoever comes first has the file: the other finds nothing of it, or all.
                assert target.chunks.count_documents({}) == (5 if ended[0] else 0)
                target.files.delete_one({"_id": "a"})
                target.chunks.delete_many({})
                target.put(content(5 * CHUNK), own="a")
    assert target.chunks.count_documents({}) == 5
    assert [mark["run"] for mark in marks(bench)] == ["later"]


def pieces(buffer: bytes | memoryview, upto: int) -> list[bytes]:
    """A buffer's documents each by itself, up to a place in it."""
    found, at = [], 0
    buffer = bytes(buffer)
    while at < (upto or len(buffer)):
        stop = at + 1 + int.from_bytes(buffer[at + 1 : at + 5], "little")
        found.append(buffer[at:stop])
        at = stop
    return found


def test_a_target_that_stands_alone(
    bench: BucketBench, source: Bucket, mongo_alone: MongoServer
) -> None:
    """No transactions: chunks first, documents last, and again what was begun."""
    with (
        mongo_alone.connect() as client,
        fresh_mongo_database(mongo_alone, client) as alone,
    ):
        bench.target, target = alone, Bucket(alone)
        source.put(content(3 * CHUNK), own="a")
        source.put(content(40 * CHUNK), own="b", chunk_size=7 * CHUNK)
        source.put(b"", own="c")
        bench.write(bench.job())
        bench.run()
        assert target.raw() == source.raw()
        # As somebody leaves it who is killed in the middle of a file.
        target.files.delete_one({"_id": "b"})
        target.chunks.delete_one({"files_id": "b", "n": 3})
        target.chunks.update_one({"files_id": "b", "n": 1}, {"$set": {"data": b"x"}})
        with pytest.raises(Exception, match='holds chunks of file "b" but no such file'):
            bench.run(new=True)
        mark = {"_id": {"upload": "fs", "file": "b"}, "holder": "gone"}
        alone.database["dsp_commits"].insert_one(mark)
        source.put(content(20 * CHUNK, "x"), own="d")
        bench.run(new=True)
        assert target.raw() == source.raw()
        assert marks(bench) == []
        bench.write(bench.job(purge="manual"))
        with pytest.raises(DspError, match="stands alone"):
            bench.run(new=True)


@pytest.mark.share
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("small")
def test_programs_go_on_meanwhile(bench: BucketBench, source: Bucket, target: Bucket) -> None:
    """Files come, go and are uploaded anew while others are copied, checked and purged.

    Whatever was purged stands in the target as it was last; nothing else was touched.
    """
    chance = random.Random(5)
    latest: dict[int, bytes | None] = {}

    def upload(own: int) -> None:
        latest[own] = content(chance.choice((0, 1, 3, 12)) * CHUNK, f"{own} {chance.random()}")
        source.put(latest[own] or b"", own=own)

    def act() -> None:
        own = chance.randrange(80)
        if own not in source.ids():
            if own not in latest or chance.random() < 0.2:
                upload(own)
            return
        if chance.random() < 0.5:
            return
        # As programs do: the document first, then the chunks.
        source.remove(own)
        if chance.random() < 0.7:
            upload(own)
        else:
            latest[own] = None

    for own in range(0, 80, 2):
        upload(own)
    bench.write(bench.job(purge="manual", batch_size=5))
    rounds = share(20, 1)
    for _ in range(rounds):
        stop, failures = threading.Event(), list[Exception]()

        def work(stop: threading.Event = stop, failures: list[Exception] = failures) -> None:
            while not stop.wait(0.01):
                try:
                    act()
                except gridfs.errors.NoFile:
                    # A purge was faster.
                    continue
                except Exception as error:  # noqa: BLE001 - the test tells
                    failures.append(error)
                    return

        thread = threading.Thread(target=work)
        thread.start()
        try:
            bench.run(new=True)
            assert bench.only().rows_different == 0
            bench.latest().purge("copy")
        finally:
            stop.set()
            thread.join()
        assert failures == []
        here, there = source.ids(), target.ids()
        for own, expected in latest.items():
            if expected is None:
                continue
            assert own in here | there, own
            assert (source if own in here else target).get(own) == expected
        for own in here:
            assert source.get(own) == latest[own]
        assert set(source.chunks.distinct("files_id")) <= here
    assert bench.only().rows_kept + bench.only().rows_purged > 0
    assert len(target.ids()) > 10


def cut_off(bench: BucketBench, source: Bucket) -> None:
    """A purge that comes to its commit, and no further."""
    clear = remains.clear

    def cut(*given: Any) -> None:
        if not source.ids():
            raise Transient("the connection was cut")
        clear(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remains, "clear", cut)
        with pytest.raises(Transient, match="was cut"):
            bench.latest().purge("copy")
    assert source.ids() == set()


@pytest.mark.usefixtures("small")
def test_a_large_file_comes_back_before_its_purge_has_ended(
    bench: BucketBench, source: Bucket
) -> None:
    """It has the chunks that it had, and they are not taken for what the purge has left."""
    source.put(content(30 * CHUNK), own="a")
    before = source.raw()
    bench.write(bench.job(purge="manual"))
    bench.run()
    purging = bench.latest()
    cut_off(bench, source)
    back = bench.job(source={"connection": "target"}, target={"connection": "source"})
    bench.write(back, name="back")
    bench.run()
    assert source.raw() == before
    purging.purge("copy")
    assert source.raw() == before


@pytest.mark.usefixtures("small")
def test_chunks_of_a_large_file_go_after_its_purge(
    bench: BucketBench, source: Bucket, target: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off between the two, the next try ends it; what came meanwhile stays."""
    source.put(content(30 * CHUNK), own="a")
    bench.write(bench.job(purge="manual"))
    bench.run()
    copied = target.raw()
    monkeypatch.setattr(remains, "REMOVED_BYTES", 7 * CHUNK)
    cut_off(bench, source)
    assert source.chunks.count_documents({}) == 30
    # By another program, under the same id, and beyond what the unique index still holds.
    source.chunks.insert_one({"files_id": "a", "n": 30, "data": b"new"})
    # What is no longer what was proved is nowhere else.
    source.chunks.update_one({"n": 12}, {"$set": {"data": b"changed"}})
    bench.latest().purge("copy")
    assert source.chunks.distinct("n") == [12, 30]
    assert target.raw() == copied
    assert (bench.only().rows_purged, bench.only().rows_kept) == (1, 0)
    assert bench.source.database["dsp_commits"].count_documents({"_id.purged": "fs"}) == 0
