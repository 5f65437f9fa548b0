"""``mode: replace`` on MongoDB: who sees what, what is kept, what dies where."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pymongo.database import Database
from pymongo.errors import OperationFailure

from dsp_airflow.approval.gate import OpenGate
from dsp_airflow.engine import swap
from dsp_airflow.engine.errors import BadValue, Refused, Transient
from dsp_airflow.engine.stores.mongodb import leases
from dsp_airflow.engine.stores.mongodb.facts import Facts
from dsp_airflow.engine.stores.mongodb.names import LOCKS
from dsp_airflow.engine.stores.mongodb.store import MongoSession, MongoStore
from dsp_airflow.engine.stores.mongodb.swap import MongoSwaps
from dsp_airflow.state import swaps
from dsp_airflow.steps import TaskRun
from tests.faults.tables import DOCUMENTS, fill
from tests.mongo.harness import MongoBench, projection
from tests.mysql.pairs import Pair
from tests.mysql.test_values import named, pair
from tests.servers import MongoDatabase

__all__ = ["pair"]

COUNT = 2000
OLD, NEW = (300, "old"), (COUNT, "new")
GONE = frozenset({10107, 175, 237, 246, 251, 43})
"""What a reader may be told whose cursor or snapshot went with the old collection."""


def filled(bench: MongoBench) -> None:
    bench.source.database.create_collection("t", collation={"locale": "de"})
    bench.source["t"].insert_many({"_id": n, "name": "new", "at": n} for n in range(COUNT))
    bench.target.database.create_collection(
        "t",
        collation={"locale": "de"},
        validator={"name": {"$type": "string"}},
        validationLevel="moderate",
        changeStreamPreAndPostImages={"enabled": True},
    )
    target = bench.target["t"]
    target.create_index([("name", 1), ("at", -1)], partialFilterExpression={"at": {"$gt": 5}})
    target.create_index([("at", 1)], unique=True, name="once", sparse=True)
    target.create_index(
        [("note", "text")],
        weights={"note": 3},
        default_language="german",
        collation={"locale": "simple"},
    )
    target.create_index([("until", 1)], expireAfterSeconds=3600)
    target.create_index([("name", "hashed")], hidden=True)
    target.insert_many({"_id": n, "name": "old", "at": -n} for n in range(300))
    bench.target.database.create_collection("v", viewOn="t", pipeline=[])


def begun(bench: MongoBench, **job: Any) -> TaskRun:
    """Copied and checked, beside a target of old documents."""
    filled(bench)
    bench.write(bench.job(mode="replace", batch_size=500, **job))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    run.check("copy")
    return run


def state_of(database: MongoDatabase) -> str:
    [found] = database["t"].aggregate(
        [{"$group": {"_id": None, "n": {"$sum": 1}, "names": {"$addToSet": "$name"}}}]
    )
    [name] = found["names"]
    return {OLD: "old", NEW: "new"}[found["n"], name]


def made(database: MongoDatabase) -> tuple[Any, ...]:
    [told] = database.database.list_collections(filter={"name": "t"})
    return told["options"], sorted(map(repr, database["t"].list_indexes()))


def names(database: MongoDatabase) -> set[str]:
    found = set(database.database.list_collection_names())
    return {name for name in found if not name.startswith("system.")}


@contextmanager
def reading(database: MongoDatabase) -> Iterator[list[str]]:
    """Readers that look all the time, one of them by snapshots; what they have seen."""
    seen: list[str] = []
    failed: list[BaseException] = []
    stop = threading.Event()

    def read(*, snapshot: bool) -> None:
        try:
            while not stop.is_set():
                try:
                    with database.client.start_session(snapshot=snapshot) as session:
                        if snapshot:
                            database["other"].find_one(session=session)
                            stop.wait(0.3)
                        found = [d["name"] for d in database["t"].find(session=session)]
                except OperationFailure as error:
                    if error.code not in GONE:
                        raise
                    seen.append("told")
                    continue
                assert (len(found), *set(found)) in (OLD, NEW)
                seen.append(found[0])
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    readers = [threading.Thread(target=read, kwargs={"snapshot": s}) for s in (False, True)]
    for reader in readers:
        reader.start()
    try:
        yield seen
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    if failed:
        raise failed[0]


def test_readers_see_the_old_collection_or_the_new_one_with_all_that_the_old_one_had(
    bench: MongoBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(bench)
    before = made(bench.target)
    lost: list[int] = []
    monkeypatch.setattr(OpenGate, "removing", lambda _gate, _plan, count: lost.append(count()))
    bench.write(bench.job(mode="replace", batch_size=500))
    with reading(bench.target) as seen:
        (job,) = bench.run().jobs
        told = len(seen)
        while len(seen) < told + 10:
            threading.Event().wait(0.05)
    assert (job.state, job.rows_checked) == ("succeeded", COUNT)
    assert {"old", "new"} <= set(seen)
    assert made(bench.target) == before
    assert bench.target["v"].count_documents({}) == COUNT
    assert bench.target["dsp_commits"].count_documents({}) == 0
    assert names(bench.target) <= {"t", "v", "other", "dsp_commits", "dsp_locks"}
    # Where there is none it comes at once and whole, with what the source has.
    bench.source["t"].create_index([("at", 1)])
    bench.target["t"].drop()
    bench.run(new=True)
    assert state_of(bench.target) == "new"
    # The gate is asked about the documents that go, right before the swap; here none did.
    assert lost == [OLD[0]]
    assert set(bench.target["t"].index_information()) == {"_id_", "at_1"}


def test_what_stands_in_the_way_leaves_the_target_as_it_was(
    bench: MongoBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swap, "PAUSE", 0.1)
    run = begun(bench, timeouts={"lock": "1s"})
    target = bench.target
    with bench.store("target").session() as session:
        assert isinstance(session, MongoSession)
        session.connection.kind = "sharded cluster"
        [why] = session.swaps().refusals(projection(target.name, "t"), create=False)
        assert "on a sharded cluster, where no collection takes" in why
    with target.client.start_session() as reader, reader.start_transaction():
        target["t"].find_one(session=reader)
        with pytest.raises(Transient, match=r"within 1s \(timeouts.lock\).*Tried 3 times"):
            run.swap("copy")
    assert state_of(target) == "old"
    target.database.command("collMod", "t", validationLevel="strict")
    with pytest.raises(Refused, match="was altered since"):
        run.swap("copy")
    assert state_of(target) == "old"
    target.database.command("collMod", "t", validationLevel="moderate")
    # What two documents of the source share, the old collection's index keeps apart.
    bench.source["t"].update_one({"_id": 1}, {"$set": {"at": 2}})
    with pytest.raises(BadValue, match="once"):
        bench.run(new=True)
    assert state_of(target) == "old"
    with pytest.raises(Refused, match="is gone"):
        run.swap("copy")


class Died(BaseException):
    """As a process does: nothing is tidied up."""


@contextmanager
def dying(at: int) -> Iterator[None]:
    """A swap ends before one of its commands, or after it (even numbers)."""
    plain = Database.command
    count = 0

    def command(self: Any, order: Any, *args: Any, **options: Any) -> Any:
        nonlocal count
        named = order if isinstance(order, str) else next(iter(order))
        counted = named in ("createIndexes", "renameCollection")
        count += counted
        falls = counted and count == -(-at // 2)
        if falls and at % 2:
            raise Died
        answer = plain(self, order, *args, **options)
        if falls:
            raise Died
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "command", command)
        yield


def died(*_: object) -> None:
    raise Died


def test_a_swap_that_dies_anywhere_leaves_the_old_collection_or_the_new_one(
    bench: MongoBench,
) -> None:
    run = begun(bench)
    states = []
    for at in range(1, 7):
        try:
            with dying(at):
                run.swap("copy")
        except Died:
            states.append(state_of(bench.target))
    # Two of indexes, and the renaming; before and after each.
    assert states == ["old"] * 5 + ["new"]
    assert run.summary().jobs[0].swapped_at is None
    bench.target["t"].insert_one({"_id": "later", "name": "new"})
    run.copy("copy")
    run.check("copy")
    assert run.swap("copy").state == "succeeded"
    assert bench.target["t"].count_documents({}) == COUNT + 1
    assert names(bench.target) <= {"t", "v", "dsp_commits", "dsp_locks"}
    second = bench.open(new=True)
    second.plan("copy")
    second.copy("copy")
    second.check("copy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(swaps, "record", died)
        with pytest.raises(Died):
            second.swap("copy")
    third = bench.open(new=True)
    third.plan("copy")
    third.copy("copy")
    bench.target.database.create_collection("dsp_swap_of_mine")
    bench.run(new=True)
    assert names(bench.target) <= {"t", "v", "dsp_commits", "dsp_locks", "dsp_swap_of_mine"}


def test_who_proves_by_the_old_collection_while_a_swap_waits_ends_the_swap(
    bench: MongoBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has waited for longer than its lease lasts, and was gone over."""
    run, target = begun(bench), bench.target
    what, plain, waits = projection(target.name, "t"), MongoSwaps._renamed, list[int]()

    def waited(swaps: MongoSwaps, new: swap.Replacement, built: Facts) -> bool:
        if waits:
            return plain(swaps, new, built)
        waits.append(1)
        target[LOCKS].update_many({}, [{"$set": {"until": {"$subtract": ["$until", 600_000]}}}])
        with bench.store("target").session() as other, other.proving(what):
            return False

    with monkeypatch.context() as patch:
        patch.setattr(MongoSwaps, "_renamed", waited)
        patch.setattr(leases, "FRESH", 0.0)
        with pytest.raises(Transient, match="without a sign"):
            run.swap("copy")
    assert state_of(target) == "old"
    run.swap("copy")
    assert state_of(target) == "new"


@named([("pg18", "mongo"), ("mongo", "mariadb")])
def test_between_rows_and_documents(pair: Pair) -> None:
    fill(pair.source, COUNT)
    rows = isinstance(pair.source, MongoDatabase)
    more = {"columns": list(DOCUMENTS)} if rows else {"key": ["id"]}
    pair.write(pair.job(mode="replace", batch_size=700, check={"percent": 100}, **more))
    for _ in range(2):
        (job,) = pair.run(new=True).jobs
        assert (job.state, job.rows_checked) == ("succeeded", COUNT)
    if rows:
        assert pair.target.value("SELECT COUNT(*) FROM t") == COUNT
    else:
        assert pair.target["t"].count_documents({}) == COUNT


def test_what_the_login_has_to_be_granted_is_told_and_is_enough(bench: MongoBench) -> None:
    filled(bench)
    bench.write(bench.job(mode="replace", batch_size=500))
    target, plain = bench.target, bench.store
    login = f"w_{target.name}"
    ours = ["find", "insert", "update", "remove"]
    given = [
        (target.name, "", ["listCollections", "listIndexes"]),
        (target.name, "t", ["find", "insert", "update"]),
        (target.name, "dsp_locks", ours),
        (target.name, "dsp_commits", ours),
    ]

    def granted(*more: tuple[str, str, list[str]]) -> None:
        password = target.server.create_user(login, [*given, *more])
        where = target.server.uri(user=login, password=password)
        bench.store = lambda conn_id: (  # type: ignore[method-assign]
            plain(conn_id)
            if conn_id == "source"
            else MongoStore(conn_id, {"host": where}, target.name)
        )

    granted()
    with pytest.raises(Refused) as refused:
        bench.open().plan("copy")
    [listed] = re.findall(r"actions: \[([^\]]+)\]", str(refused.value))
    assert f'db: "{target.name}", collection: ""' in str(refused.value)
    granted((target.name, "", re.findall(r"\w+", listed)))
    bench.run(new=True)
    assert state_of(target) == "new"
