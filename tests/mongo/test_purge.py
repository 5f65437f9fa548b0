"""Purges beside others that change the same documents, and what became of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from bson import Int64
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from dsp_airflow.engine.errors import Refused, Transient
from dsp_airflow.engine.model import Claim, KeyRange, Origin
from dsp_airflow.engine.stores.mongodb import leases, markers, names, purge
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.engine.stores.mongodb.leases import Lease
from dsp_airflow.engine.stores.mongodb.store import MongoSession, MongoStore
from dsp_airflow.state.ledger import SqlLedger
from tests.mongo.harness import BIG, IDS, MongoBench, projection

ALL = KeyRange()


def fill(bench: MongoBench, count: int = 10) -> None:
    bench.source["t"].insert_many([{"_id": n, "v": n} for n in range(count)])


@contextmanager
def opened(bench: MongoBench, side: str = "source") -> Iterator[MongoSession]:
    with bench.store(side).session() as session:
        assert isinstance(session, MongoSession)
        yield session


@contextmanager
def before_deleting(monkeypatch: pytest.MonkeyPatch, *acts: Callable[[], object]) -> Iterator[None]:
    """Does something after documents were read and before they are deleted, once each."""
    plain, todo = purge.MongoPurge._delete, list(acts)

    def delete(self: purge.MongoPurge, what: Any, matching: Any) -> int:
        if todo:
            todo.pop(0)()
        return plain(self, what, matching)

    with monkeypatch.context() as patch:
        patch.setattr(purge.MongoPurge, "_delete", delete)
        yield
    assert not todo


def test_changed_documents_stay_and_are_reported(bench: MongoBench) -> None:
    fill(bench)
    bench.write(bench.job(purge="manual", batch_size=5))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    run.check("copy")
    source, target = bench.source["t"], bench.target["t"]
    source.update_one({"_id": 1}, {"$set": {"v": Int64(1)}})
    source.insert_one({"_id": 2.5})
    source.delete_one({"_id": 3})
    target.update_one({"_id": 6}, {"$set": {"v": 6.0}})
    target.delete_one({"_id": 7})
    run.purge("copy")
    assert [one["_id"] for one in source.find().sort("_id")] == [1, 2.5, 6, 7]
    found = {
        (d.difference.kind, d.difference.key[0], d.difference.columns)
        for d in run.runs.differences(run.run.id)
    }
    assert found == {
        ("changed", '{"$numberInt": "1"}', ("v",)),
        ("new", '{"$numberDouble": "2.5"}', ()),
        ("changed", '{"$numberInt": "6"}', ("v",)),
        ("missing", '{"$numberInt": "7"}', ()),
    }
    job = bench.only()
    assert (job.rows_purged, job.rows_kept) == (6, 4)


def test_a_document_that_changes_while_it_is_taken_stays(
    bench: MongoBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First the batch as a whole, then by ids: the server ends both transactions."""
    fill(bench)
    bench.write(bench.job(purge="manual"))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    run.check("copy")

    def change(number: int) -> Callable[[], object]:
        return lambda: bench.source["t"].update_one({"_id": number}, {"$inc": {"v": 100}})

    with before_deleting(monkeypatch, change(4), change(5), change(5)):
        run.purge("copy")
    assert [one["_id"] for one in bench.source["t"].find()] == [4, 5]
    assert bench.only().rows_purged == 8
    assert bench.target["t"].count_documents({}) == 10


def test_what_was_taken_before_a_conflict_is_taken_again_or_nothing(
    bench: MongoBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(bench)
    what = projection(bench.source.name, "t")
    with opened(bench) as session, session.purge() as work:
        keys = [row.key for row in session.hashes(what, ALL)]
        first = work.take_keys(what, keys[:4])

        def touch() -> None:
            bench.source["t"].update_one({"_id": 9}, {"$inc": {"v": 1}})

        with before_deleting(monkeypatch, touch):
            second = work.take_keys(what, keys[4:])
        assert len(first) + len(second) == 10
        assert list(session.hashes(what, ALL)) == []
        work.undo()
        assert len(list(session.hashes(what, ALL))) == 10
        work.take_keys(what, keys[:4])

        def conflict_and_change() -> None:
            touch()
            monkeypatch.setattr(Connection, "begin", changed_first)

        plain = Connection.begin

        def changed_first(connection: Connection, transaction: Any) -> None:
            # Nobody holds it at this moment.
            bench.source["t"].update_one({"_id": 0}, {"$inc": {"v": 1}})
            plain(connection, transaction)

        with (
            before_deleting(monkeypatch, conflict_and_change),
            pytest.raises(Transient, match="keep changing"),
        ):
            work.take_keys(what, keys[4:])
    assert bench.source["t"].count_documents({}) == 10


def test_an_outcome_that_was_asked_for_holds(bench: MongoBench) -> None:
    """Once it is told that nothing was deleted, nothing is, whoever wakes up later."""
    fill(bench)
    what = projection(bench.source.name, "t")
    with opened(bench) as session, opened(bench) as other, session.purge() as work:
        work.take(what, ALL)
        token = work.token()
        assert other.outcome(token) == "running"
        session.connection.client.admin.command(
            "killSessions",
            [session.connection.view.session_id],  # type: ignore[union-attr]
        )
        assert other.outcome(token) == "aborted"
        with pytest.raises(Transient):
            work.commit()
    assert bench.source["t"].count_documents({}) == 10
    with opened(bench) as session, session.purge() as work:
        work.take(what, ALL)
        token = work.token()
        work.commit()
        assert session.outcome(token) == "committed"
    assert bench.source["t"].count_documents({}) == 0
    old = f"2020-01-01T00:00:00+00:00 x {what.table}"
    with opened(bench) as session:
        assert session.outcome(old) == "unknown"


def test_the_purge_of_a_dead_worker_is_ended(
    bench: MongoBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server itself would keep its transaction for longer than a retry waits."""
    fill(bench)
    what = projection(bench.source.name, "t")
    with opened(bench) as session, opened(bench) as other, session.purge() as work:
        work.take(what, ALL)
        token = work.token()
        assert other.outcome(token) == "running"
        monkeypatch.setattr(purge, "GRACE", timedelta(0))
        until = time.monotonic() + 10
        while (outcome := other.outcome(token)) == "running":
            assert time.monotonic() < until
        assert outcome == "aborted"
        bench.source["t"].update_one({"_id": 1}, {"$set": {"v": 0}})
        with pytest.raises(Transient):
            work.commit()
    assert bench.source["t"].count_documents({}) == 10


def test_a_batch_that_another_holds_is_waited_for_and_not_for_ever(
    bench: MongoBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(markers, "PATIENCE", 0.3)
    what, marker = projection(bench.target.name, "t"), ("run", "job", 7)
    with opened(bench, "target") as one, opened(bench, "target") as two:
        assert one.prepare_markers(what)
        with (
            one.connection.client.start_session() as mine,
            two.connection.client.start_session() as theirs,
        ):
            assert markers.claim(one.connection, what, marker, mine) is None
            with pytest.raises(Transient, match="batch 7 has been held"):
                markers.claim(two.connection, what, marker, theirs)


def test_a_writer_that_stalled_cannot_write_after_a_proof(
    bench: MongoBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(bench, 3)
    bench.target.database.create_collection("t")
    ours, theirs = projection(bench.source.name, "t"), projection(bench.target.name, "t")
    locks = bench.target[names.LOCKS]

    def copy(reader: MongoSession, writer: MongoSession, fence: Callable[[], None]) -> None:
        writer.write(
            theirs,
            ALL,
            reader.read(ours, ALL, "bson", BIG),
            wire="bson",
            on_conflict="update",
            ordered_alike=True,
            origin=Origin(),
            marker=None,
            fence=fence,
        )

    with (
        opened(bench) as reader,
        opened(bench, "target") as writer,
        opened(bench, "target") as other,
    ):
        with writer.writing(theirs):
            # Long ago, by the server's clock.
            locks.update_many({}, [{"$set": {"until": {"$subtract": ["$until", 600_000]}}}])
            with other.proving(theirs):
                with monkeypatch.context() as patch:
                    patch.setattr(leases, "FRESH", 0.0)
                    with pytest.raises(Transient, match="without a sign"):
                        copy(reader, writer, lambda: None)
                # As if it had stalled after that: nobody asks again within a moment.
                with pytest.raises(Transient, match="without a sign"):
                    copy(reader, writer, lambda: None)
        assert bench.target["t"].count_documents({}) == 0
        with writer.writing(theirs):
            held = threading.Event()

            def prove() -> None:
                locks.update_many({}, [{"$set": {"until": {"$subtract": ["$until", 600_000]}}}])
                with other.proving(theirs):
                    held.set()

            def late() -> None:
                # All is written but the commit, and the lease is gone over.
                thread.start()
                assert not held.wait(0.5)

            thread = threading.Thread(target=prove)
            copy(reader, writer, late)
            thread.join()
            assert held.is_set()
        assert bench.target["t"].count_documents({}) == 3
    assert locks.count_documents({}) == 0


def test_who_was_let_in_meanwhile_ends_a_proof(
    bench: MongoBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A purge stalls between its two tries for longer than its lease lasts.

    A batch is read then, and before it is written the document becomes again what was copied.
    Deleted, it would be written over by what it was for a moment.
    """
    fill(bench, 3)
    bench.write(bench.job(purge="manual"))
    bench.run()
    source, locks = bench.source["t"], bench.target[names.LOCKS]
    ours, theirs = projection(bench.source.name, "t"), projection(bench.target.name, "t")
    read, proved = threading.Event(), threading.Event()

    def waited() -> None:
        read.set()
        assert proved.wait(30)

    def copy() -> None:
        with (
            opened(bench) as reader,
            opened(bench, "target") as writer,
            writer.writing(theirs),
            reader.snapshot(),
        ):
            writer.write(
                theirs,
                ALL,
                reader.read(ours, ALL, "bson", BIG),
                wire="bson",
                on_conflict="update",
                ordered_alike=True,
                origin=Origin(),
                marker=None,
                fence=waited,
            )

    thread = threading.Thread(target=copy)
    plain = purge.MongoPurge.undo

    def stalled(self: purge.MongoPurge) -> None:
        plain(self)
        locks.update_many(
            {"_id.kind": "proving"}, [{"$set": {"until": {"$subtract": ["$until", 600_000]}}}]
        )
        thread.start()
        assert read.wait(30)
        source.update_one({"_id": 1}, {"$set": {"v": 1}})

    source.update_one({"_id": 1}, {"$set": {"v": "for a moment"}})
    with monkeypatch.context() as patch:
        patch.setattr(purge.MongoPurge, "undo", stalled)
        patch.setattr(leases, "FRESH", 0.0)
        with pytest.raises(Transient, match="without a sign"):
            bench.latest().purge("copy")
    proved.set()
    thread.join()
    assert source.count_documents({}) == 3
    # Nobody copies now, and the document that was written over meanwhile stays.
    bench.latest().purge("copy")
    assert [one["_id"] for one in source.find()] == [1]
    assert bench.target["t"].find_one({"_id": 1}) == {"_id": 1, "v": "for a moment"}
    assert locks.count_documents({}) == 0


def test_who_was_let_in_before_the_intent_ends_a_proof(
    bench: MongoBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever replaced the target then found nothing that says that it is relied on."""
    fill(bench, 3)
    bench.write(bench.job(purge="manual"))
    bench.run()
    plain = SqlLedger.purging

    def stalled(self: SqlLedger, claim: Claim, intent: str) -> None:
        # As somebody does who proves in turn, once this one has run out.
        assert bench.target[names.LOCKS].delete_many({"_id.kind": "proving"}).deleted_count == 1
        plain(self, claim, intent)

    with monkeypatch.context() as patch:
        patch.setattr(leases, "FRESH", 0.0)
        patch.setattr(SqlLedger, "purging", stalled)
        with pytest.raises(Transient, match="nothing was deleted"):
            bench.latest().purge("copy")
    assert bench.source["t"].count_documents({}) == 3
    bench.latest().purge("copy")
    assert bench.source["t"].count_documents({}) == 0


def test_a_deletion_from_the_target_ends_with_its_lease(bench: MongoBench) -> None:
    """Who proves by the target meanwhile would lose what it has proved."""
    fill(bench, 3)
    what = projection(bench.source.name, "t")
    with opened(bench) as session, session.proving(what), session.purge() as transaction:
        keys = [row.at for row in session.hashes(what, ALL)]
        bench.source[names.LOCKS].delete_many({"_id.kind": "proving"})
        with pytest.raises(Transient, match="nothing was deleted"):
            transaction.take_keys(what, keys)
    assert bench.source["t"].count_documents({}) == 3


def test_a_proof_waits_for_writers_and_not_for_ever(
    bench: MongoBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "PATIENCE", 0.5)
    what = projection(bench.target.name, "t")
    bench.target.database.create_collection("t")
    with opened(bench, "target") as one, opened(bench, "target") as two:
        with one.writing(what):
            with pytest.raises(Transient, match="other runs"), two.proving(what):
                pass
            with two.writing(what):
                pass
        with one.proving(what):
            with pytest.raises(Transient, match="other runs"), two.proving(what):
                pass
            with pytest.raises(Transient, match="other runs"), two.writing(what):
                pass
        # Who died while he proved is in nobody's way for longer than his lease.
        dead = Lease(one.connection, what.table, "proving", "dead")
        assert dead.take()
        bench.target[names.LOCKS].update_many({}, [{"$set": {"until": "$$NOW"}}])
        time.sleep(0.01)
        with two.proving(what):
            pass
        # One that runs out between two looks stands until it is removed: its holder goes on by it.
        monkeypatch.setattr(leases, "_OVER", {"until": "seen before that"})
        for kind, taken in (("writing", two.proving), ("proving", two.writing)):
            left = Lease(one.connection, what.table, kind, "slow")  # type: ignore[arg-type]
            assert left.take()
            bench.target[names.LOCKS].update_many({}, [{"$set": {"until": "$$NOW"}}])
            with pytest.raises(Transient, match="other runs"), taken(what):
                pass
            left.renew("t")
            left.give_back()
    assert bench.target[names.LOCKS].count_documents({}) == 0


def test_a_proof_sees_what_writers_have_left(bench: MongoBench) -> None:
    """Also where another server has become the primary a moment ago: it is told how new to be."""
    bench.target.database.create_collection("t")
    what, seen = projection(bench.target.name, "t"), Seen()
    place = {"host": bench.target.server.uri(), "event_listeners": [seen]}
    with MongoStore("target", place, bench.target.name).session() as session:
        with session.proving(what):
            session.digest(what, ALL)
            list(session.hashes(what, keys=[('{"$numberInt": "1"}',)]))
        session.digest(what, ALL)
    assert seen.concerns == [("majority", True), ("majority", True), ("majority", False)]


class Seen(CommandListener):
    """The read concerns of what is read from ``t``, and whether they say after what."""

    def __init__(self) -> None:
        self.concerns: list[tuple[str, bool]] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command.get("find") == "t":
            concern = event.command["readConcern"]
            self.concerns.append((concern["level"], "afterClusterTime" in concern))

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Nothing of interest."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Nothing of interest."""


def test_one_number_of_two_types_is_another_document(bench: MongoBench) -> None:
    """To the server it is one id, on either side."""
    fill(bench)
    bench.write(bench.job(purge="manual", batch_size=3))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    run.check("copy")
    for side, number in ((bench.source["t"], 1), (bench.source["t"], 5), (bench.target["t"], 7)):
        side.delete_one({"_id": number})
        side.insert_one({"_id": float(number), "v": number})
    run.purge("copy")
    assert [one["_id"] for one in bench.source["t"].find().sort("_id")] == [1.0, 5.0, 7]
    bench.run(new=True)
    bench.latest().purge("copy")
    assert bench.source["t"].count_documents({}) == 0
    there = {one["_id"]: type(one["_id"]) for one in bench.target["t"].find()}
    assert there == {n: float if n in (1, 5) else int for n in range(10)}


def test_a_collation_does_not_tear_batches(bench: MongoBench) -> None:
    """Ranges of ids are those of the collection's own order, over all types."""
    alike = {"locale": "en", "strength": 1}
    bench.source.database.create_collection("t", collation=alike)
    ids = [
        *(own for own in IDS if own not in ("A", "ä")),
        "é1",
        "f1",
        "ß",
        "zz",
        "Z1",
        "C",
        "b",
        "d",
    ]
    bench.source["t"].insert_many({"_id": own, "n": n} for n, own in enumerate(ids))
    before = bench.source.raw("t")
    bench.write(bench.job(batch_size=9, purge="system"))
    bench.run()
    assert bench.source.raw("t") == []
    assert sorted(bench.target.raw("t")) == sorted(before)


def test_a_target_that_forgets_is_no_ground_for_a_purge(bench: MongoBench) -> None:
    fill(bench, 3)
    bench.target["t"].create_index("at", expireAfterSeconds=3600)
    bench.write(bench.job(purge="system"))
    run = bench.open()
    with pytest.raises(Refused, match="documents by their age"):
        run.plan("copy")
    run.finish()
    # Of a collection that is clustered no index tells its age, but an option.
    bench.target["t"].drop()
    by_id = {"key": {"_id": 1}, "unique": True}
    bench.target.database.create_collection("t", clusteredIndex=by_id, expireAfterSeconds=3600)
    run = bench.open(new=True)
    with pytest.raises(Refused, match=r"documents by their age \(index _id_\)"):
        run.plan("copy")
    run.finish()
