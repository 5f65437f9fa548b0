"""Replica sets of MongoDB whose primary steps down or crashes in the middle of anything, or whose
secondaries lag behind.

Nothing is lost or doubled, the counts are true, and what a majority has not is not done.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymongo
import pytest
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from dsp_airflow.engine import rollback
from dsp_airflow.engine.errors import Refused, Transient
from dsp_airflow.engine.events import BatchStarted, Quiet
from dsp_airflow.engine.stores.mongodb import names
from dsp_airflow.engine.stores.mongodb.connection import Connection
from dsp_airflow.undoing import undo_of
from tests.faults.tables import document, fill, job_of, rows_of
from tests.mysql.pairs import Pair
from tests.servers import (
    MongoDatabase,
    MongoServer,
    MongoSet,
    PostgresServer,
    fresh_database,
    fresh_mongo_database,
)

ROWS = 2_400
BATCH = 150
STEPS = ("copy", "check", "purge")
TRIES = 20
KEY_NOT_FOUND = 211
WAYS = [("mongo", "mongo"), ("mongo", "pg18"), ("pg18", "mongo")]
Act = Callable[[], object]


@pytest.fixture(scope="module")
def mongo_set() -> Iterator[MongoSet]:
    """Three servers, which may be told to fail."""
    with MongoSet({"enableTestCommands": 1}) as servers:
        yield servers


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path, mongo_set: MongoSet) -> Iterator[Pair]:
    """Fresh databases, of MongoDB both on the replica set."""
    with ExitStack() as stack:
        client = stack.enter_context(mongo_set.connect())
        found: list[Any] = []
        for name in getattr(request, "param", ("mongo", "mongo")):
            if name == "mongo":
                found.append(stack.enter_context(fresh_mongo_database(mongo_set, client)))
            else:
                server: PostgresServer = request.getfixturevalue(name)
                found.append(stack.enter_context(fresh_database(server)))
        pair = Pair(tmp_path, *found)
        fill(pair.source, ROWS)
        pair.write(job_of(pair, batch_size=BATCH, check={"percent": 100}))
        yield pair


class At:
    """Does something once so many batches have begun, a moment later, beside the worker."""

    def __init__(self, batch: int, act: Act, moment: float = 0.0) -> None:
        self.done = False
        self._left = batch
        self._act = act
        self._moment = moment
        self._failed: list[BaseException] = []
        self._thread = threading.Thread(target=self._run)

    def on(self, event: object) -> None:
        if isinstance(event, BatchStarted):
            self._left -= 1
            if self._left == 0:
                self._thread.start()

    def _run(self) -> None:
        try:
            time.sleep(self._moment)
            self._act()
            self.done = True
        except BaseException as error:  # noqa: BLE001 - raised again below
            self._failed.append(error)

    def join(self) -> None:
        self._thread.join()
        assert not self._failed, self._failed


def worked(pair: Pair, step: str, at: At) -> int:
    """Works at a step until it is through, as Airflow's retries do; how often it failed."""
    failed = 0
    run = pair.open()
    run.watch = at
    while True:
        try:
            getattr(run, step)("copy")
        except Transient:
            failed += 1
            assert failed < TRIES
            run = pair.open()
            run.watch = at if not at.done else Quiet()
        else:
            at.join()
            return failed


def assert_moved(pair: Pair, before: list[Any]) -> None:
    found = pair.only()
    assert (found.rows_written, found.rows_checked) == (ROWS, ROWS)
    assert (found.rows_purged, found.rows_kept, found.rows_different) == (ROWS, 0, 0)
    assert rows_of(pair.source) == []
    assert rows_of(pair.target) == before


@contextmanager
def at_commit(monkeypatch: pytest.MonkeyPatch, number: int, act: Act) -> Iterator[None]:
    """Does something right before so many-th transaction is committed."""
    plain, left = Connection.commit, [number]

    def commit(connection: Connection, session: ClientSession) -> None:
        left[0] -= 1
        if left[0] == 0:
            act()
        plain(connection, session)

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "commit", commit)
        yield
    assert left[0] <= 0


def test_a_primary_that_steps_down(
    pair: Pair, mongo_set: MongoSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the transactions of a copy and of a purge, and in the middle of a check.

    A batch that was written twice would be an error, and what a primary forgot is none of the
    batch's size, which would be refused.
    """
    before = rows_of(pair.source)
    pair.write(job_of(pair, batch_size=BATCH, check={"percent": 100}, on_conflict="error"))
    pair.open().plan("copy")
    for step in STEPS:
        if step == "check":
            worked(pair, step, At(4, mongo_set.step_down))
            continue
        with (
            at_commit(monkeypatch, 4, mongo_set.step_down),
            pytest.raises(Transient),
        ):
            getattr(pair.open(), step)("copy")
        getattr(pair.open(), step)("copy")
    assert_moved(pair, before)


def test_a_primary_that_steps_down_in_a_rollback(
    pair: Pair, mongo_set: MongoSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.target["t"].insert_one({"_id": 7, "name": "old"})
    pair.write(pair.job(rollback=True, batch_size=BATCH))
    pair.run()
    monkeypatch.setattr(rollback, "CHUNK", 500)
    with at_commit(monkeypatch, 3, mongo_set.step_down), pytest.raises(Transient):
        undo_of(pair.latest(), "copy").do("somebody")
    assert 0 < pair.target["t"].count_documents({}) < ROWS
    done = undo_of(pair.latest(), "copy").do("somebody")
    assert (done.removed, done.restored, done.kept) == (ROWS - 1, 1, 0)
    assert list(pair.target["t"].find()) == [{"_id": 7, "name": "old"}]


class Alone:
    """Lets a commit come to a primary that nobody hears any more, and that crashes after it."""

    def __init__(self, servers: MongoSet, database: MongoDatabase) -> None:
        self.crashed: list[MongoServer] = []
        self._servers = servers
        self._database = database
        self._alone = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def begin(self) -> None:
        """Returns when nobody else is there."""
        self._thread.start()
        assert self._alone.wait(10)

    def join(self) -> None:
        self._thread.join()
        assert self.crashed

    def _run(self) -> None:
        with self._servers.alone() as server:
            uri = server.uri().replace(server.password, self._servers.password)
            client: pymongo.MongoClient[dict[str, Any]]
            with pymongo.MongoClient(uri) as client:
                mine: Collection[dict[str, Any]] = client[self._database.name].get_collection(
                    "t", read_concern=ReadConcern("local")
                )
                standing, until = mine.count_documents({}), time.monotonic() + 5
                self._alone.set()
                while mine.count_documents({}) == standing:
                    assert time.monotonic() < until, "nothing was committed there"
        self.crashed.append(server)


def again(pair: Pair) -> int:
    """Documents of the target and of the source, once servers that came back answer.

    They do not know the keys of signed times at once. The lease of the worker that was cut off
    stands for a while; the test shortens it.
    """
    until = time.monotonic() + 20
    while True:
        try:
            for side in (pair.source, pair.target):
                side[names.LOCKS].update_many(
                    {}, [{"$set": {"until": {"$subtract": ["$until", 600_000]}}}]
                )
            return len(rows_of(pair.target)) + len(rows_of(pair.source))
        except OperationFailure as error:
            if error.code != KEY_NOT_FOUND or time.monotonic() > until:
                raise
            time.sleep(0.1)


@contextmanager
def lagging(servers: MongoSet, uri: str) -> Iterator[str]:
    """An Airflow connection that reads from a secondary which hears of nothing any more."""
    behind = next(member for member in servers.members if member is not servers.primary())
    with servers.connect() as client:
        config = client.admin.command("replSetGetConfig")["config"]
        for member in config["members"]:
            member["tags"] = {"lags": str(member["host"].endswith(f":{behind.port}")).lower()}
        # Or the third one may wait for what it would hear from this one.
        config["settings"]["chainingAllowed"] = False
        config["version"] += 1
        client.admin.command("replSetReconfig", config)
    own = behind.uri().replace(behind.password, servers.password)
    with pymongo.MongoClient[dict[str, Any]](own) as client:
        stop = {"configureFailPoint": "rsSyncApplyStop", "mode": "alwaysOn"}
        client.admin.command(stop)
        try:
            yield f"{uri}&readPreference=secondary&readPreferenceTags=lags:true"
        finally:
            client.admin.command({**stop, "mode": "off"})


@dataclass
class There:
    """A database by its address."""

    uri: str


@pytest.mark.parametrize("pair", [("mongo", "pg18")], ids="-".join, indirect=True)
def test_a_secondary_that_lags_behind(pair: Pair, mongo_set: MongoSet) -> None:
    """Batches of a copy may come from there; what is proved and deleted is the primary's."""
    source, before = pair.source, {row[0]: row for row in rows_of(pair.source)}
    # Every server has heard of this, and so of all before.
    source.database.get_collection("seen", write_concern=WriteConcern(w=3)).insert_one({})
    with lagging(mongo_set, source.uri) as uri:
        table = source["t"]
        table.update_many({"_id": {"$lte": 5}}, {"$set": {"name": "changed"}})
        table.insert_one(document(ROWS + 1))

        pair.source = There(uri)
        with pytest.raises(Refused, match="reads from secondaries"):
            pair.open().plan("copy")
        pair.source = source
        pair.open(new=True).plan("copy")
        # Somebody gives the connection a preference after the plan.
        pair.source = There(uri)
        pair.open().copy("copy")
        pair.open().check("copy")
        assert {row[0]: row for row in rows_of(pair.target)} == before
        table.delete_one({"_id": 6})
        with pytest.raises(Refused, match="reads from secondaries"):
            pair.open().purge("copy")
        assert len(rows_of(source)) == ROWS
        pair.source = source
        pair.open().purge("copy")
    left = {row[0] for row in rows_of(source)}
    assert left == {1, 2, 3, 4, 5, ROWS + 1}
    job = pair.only()
    assert (job.rows_different, job.rows_purged, job.rows_kept) == (0, ROWS - 6, 6)


@pytest.mark.soak
def test_what_a_majority_has_not_is_not_done(
    pair: Pair, mongo_set: MongoSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a copy and of a purge: the server that alone had it crashes, and takes it back later."""
    before = rows_of(pair.source)
    pair.open().plan("copy")
    for step, side in (("copy", pair.target), ("purge", pair.source)):
        standing = again(pair)
        at = Alone(mongo_set, side)
        with at_commit(monkeypatch, 4, at.begin), pytest.raises(Transient):
            getattr(pair.open(), step)("copy")
        at.join()
        found = pair.only()
        assert (found.batches_copied if step == "copy" else found.batches_purged) == 3
        assert abs(again(pair) - standing) == 3 * BATCH
        at.crashed[0].restart()
        again(pair)
        getattr(pair.open(), step)("copy")
        if step == "copy":
            pair.open().check("copy")
    assert_moved(pair, before)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("pair", WAYS, ids="-".join, indirect=True)
@pytest.mark.parametrize("how", ["steps down", "crashes"])
def test_failovers_at_random_moments(pair: Pair, mongo_set: MongoSet, how: str) -> None:
    chance = random.Random(3)
    before = rows_of(pair.source)
    pair.open().plan("copy")

    def crash() -> None:
        mongo_set.kill_primary().restart()

    for step in STEPS:
        batch = chance.randint(1, 12)
        act = crash if how == "crashes" else mongo_set.step_down
        worked(pair, step, At(batch, act, chance.uniform(0, 0.05)))
    assert_moved(pair, before)
