"""What a run wrote is undone exactly, and only what the source still has."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bson
import pytest
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from sqlalchemy import update

from dsp_airflow.engine import rollback
from dsp_airflow.engine.errors import Refused, Terminated, Transient
from dsp_airflow.engine.stores.postgres import notes
from dsp_airflow.opening import latest_run
from dsp_airflow.state.repairs import Repairs
from dsp_airflow.state.rollbacks import Rollback
from dsp_airflow.state.tables import BATCHES
from dsp_airflow.steps import TaskRun
from dsp_airflow.undoing import undo_of
from tests.engine.anywhere import databases
from tests.mongo.cross import Cross
from tests.servers import Database, MongoDatabase, fresh_database

RAW = CodecOptions(document_class=RawBSONDocument)
PAIRS = ["pg18-pg18", "pg18-mariadb", "pg18-mysql"]


@dataclass
class Scene:
    """Rows 1 to 60 in the source; in the target rows 1 to 20, of which ten differ, and others."""

    bench: Cross

    @property
    def source(self) -> Any:
        return self.bench.source

    @property
    def target(self) -> Any:
        return self.bench.target

    def fill(self) -> None:
        kind = "decimal(12,3)"
        for database in (self.source, self.target):
            text = "text" if isinstance(database, Database) else "varchar(200)"
            moment = "timestamp" if isinstance(database, Database) else "datetime(6)"
            extra = "" if database is self.source else f", own {text} DEFAULT 'mine'"
            database.execute(
                f"CREATE TABLE t (id int PRIMARY KEY, v {text}, n {kind}, at {moment} NULL{extra})"
            )
        rows = ", ".join(f"({n}, 'v{n}', {n}.5, '2024-01-01 00:00:01')" for n in range(1, 61))
        self.source.execute(f"INSERT INTO t VALUES {rows}")
        there = [f"({n}, 'v{n}', {n}.5, '2024-01-01 00:00:01', 'o{n}')" for n in range(1, 11)]
        there += [f"({n}, 'Old', NULL, NULL, 'o{n}')" for n in range(11, 21)]
        there += [f"({n}, 'else', 1, NULL, NULL)" for n in (55, 1000)]
        self.target.execute(f"INSERT INTO t VALUES {', '.join(there)}")

    def configure(self, **more: Any) -> None:
        self.bench.write(self.bench.warm(rollback=True, batch_size=15, **more))

    def rows(self) -> list[Any]:
        return sorted(self.target.rows("SELECT * FROM t"))

    def rows_as_text(self) -> list[str]:
        return [str(text) for (text,) in self.target.rows("SELECT t::text FROM t ORDER BY id")]

    def undo(self, work: TaskRun | None = None) -> Rollback:
        return undo_of(work or self.bench.latest(), "copy").do("somebody")

    def tables(self) -> list[str]:
        query = (
            "SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'dsp%%before%%'"
        )
        return [str(name) for (name,) in self.target.rows(query)]


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        made = Scene(Cross(tmp_path, *databases(request, stack, *request.param.split("-"))))
        made.fill()
        yield made


@pytest.mark.parametrize("on_conflict", ["update", "ignore"])
@pytest.mark.parametrize("scene", PAIRS, indirect=True)
def test_all_of_a_run(scene: Scene, on_conflict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.configure(on_conflict=on_conflict)
    before = scene.rows()
    scene.bench.run()
    written = scene.rows()
    assert len(written) == 61
    work = scene.bench.latest()
    found = undo_of(work, "copy").look()
    updated = 11 if on_conflict == "update" else 0
    assert (found.removed, found.restored, found.changed, found.only_here) == (39, updated, 0, 0)
    # Killed after one transaction: what is committed is written down with it.
    monkeypatch.setattr(rollback, "CHUNK", 7)
    plain, calls = rollback._undo, list[int]()

    def dies(*args: Any) -> bool:
        if len(calls) == 2:
            raise Transient("killed")
        calls.append(1)
        return plain(*args)

    with monkeypatch.context() as patch:
        patch.setattr(rollback, "_undo", dies)
        with pytest.raises(Transient, match="killed"):
            scene.undo(work)
    assert before != scene.rows() != written
    # Nobody goes on with it: its records say that all is copied.
    with pytest.raises(Refused, match="was rolled back"):
        work.copy("copy")
    with pytest.raises(Refused, match="is being rolled back"):
        scene.bench.run(new=True)
    done = scene.undo(work)
    assert (done.removed, done.restored, done.kept, list(done.report)) == (39, updated, 0, [])
    assert scene.rows() == before
    assert scene.tables() == []
    # The next run is a new one.
    scene.bench.run()
    assert scene.rows() == written
    assert scene.bench.latest().run.id != work.run.id


@pytest.mark.parametrize("scene", PAIRS[:1], indirect=True)
def test_what_others_changed_since_stays(scene: Scene) -> None:
    scene.configure()
    before = scene.rows()
    scene.bench.run()
    scene.target.execute(
        "UPDATE t SET v = 'theirs' WHERE id = 30",
        "UPDATE t SET own = 'theirs' WHERE id = 12",
        "DELETE FROM t WHERE id IN (13, 31)",
    )
    theirs = {row[0]: row for row in scene.rows() if row[0] in (12, 30)}
    done = scene.undo()
    assert (done.removed, done.restored, done.kept) == (37, 9, 4)
    told = {(one["key"][0], one["inserted"], one["why"]) for one in done.report}
    changed, gone = "others have changed it since", "others have deleted it since"
    assert told == {
        ("30", True, changed),
        ("12", False, changed),
        ("13", False, gone),
        ("31", True, gone),
    }
    expected = {row[0]: row for row in before if row[0] != 13} | theirs
    assert scene.rows() == sorted(expected.values())
    # What those were before is kept until somebody forgets it; again nothing is done.
    (table,) = scene.tables()
    assert scene.undo().kept == 4
    assert scene.target.rows(f'SELECT v FROM "{table}" WHERE id = 13')[0] == ("Old",)
    undo_of(scene.bench.latest(), "copy").forget("somebody")
    assert scene.tables() == []
    assert scene.undo().kept == 4
    # Without them a run cannot be undone.
    scene.bench.run()
    work = scene.bench.latest()
    undo_of(work, "copy").forget("somebody")
    with pytest.raises(Refused, match="is not there: it was forgotten"):
        scene.undo()
    assert work.runs.job(work.run.id, "copy").undone_at is None


@pytest.mark.parametrize("scene", PAIRS, indirect=True)
def test_rows_that_stand_nowhere_else_stay(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.configure(purge="manual")
    before = scene.rows()
    scene.bench.run()
    written = scene.rows()
    work = scene.bench.latest()
    rows = scene.source.rows("SELECT * FROM t WHERE id <= 30")
    assert work.purge("copy", {1, 2}).rows_purged == 30

    def refused(told: str) -> None:
        with pytest.raises(Refused, match=told):
            scene.undo()
        assert scene.rows() == written
        assert work.runs.job(work.run.id, "copy").undone_at is None

    # 11 to 20 were updated, 21 to 30 inserted.
    refused(r"20 rows .* may be the last ones: the source does not have it.*Keys: .*dsp restore")
    # A key that was given again is no row that is back.
    back = [f"({n}, '{v}', {n_}, '2024-01-01 00:00:01')" for n, v, n_, _ in rows]
    scene.source.execute(
        f"INSERT INTO t VALUES {', '.join(back)}", "UPDATE t SET v = 'x' WHERE id = 25"
    )
    refused(r"1 rows .* may be the last ones: rows were purged .*Keys: 25")
    scene.source.execute("UPDATE t SET v = 'v25' WHERE id = 25")
    # Nor is the state database asked alone, which may have been lost, and set back.
    with work.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM receipts")
    scene.source.execute("DELETE FROM t WHERE id = 40")
    refused(r"1 rows .* the source does not have it")
    scene.source.execute("INSERT INTO t VALUES (40, 'v40', 40.5, '2024-01-01 00:00:01')")
    # One that goes between the look and the lock stays, and is told of.
    plain = rollback._undo

    def goes(*args: Any) -> bool:
        scene.source.execute("DELETE FROM t WHERE id IN (15, 41)")
        return plain(*args)

    monkeypatch.setattr(rollback, "_undo", goes)
    done = scene.undo()
    assert (done.removed, done.restored, done.kept) == (38, 10, 2)
    left = {row[0]: row for row in before} | {row[0]: row for row in written if row[0] in (15, 41)}
    assert scene.rows() == sorted(left.values())
    # A purge finds them nowhere, and deletes nothing more.
    with pytest.raises(Refused, match="was rolled back"):
        work.purge("copy")


@pytest.mark.parametrize("scene", PAIRS[:1], indirect=True)
def test_the_next_run_begins_where_the_undone_one_did(scene: Scene) -> None:
    scene.source.execute("UPDATE t SET at = timestamp '2024-01-01' + id * interval '1 day'")
    scene.configure(mode="incremental", cursor={"column": "at", "overlap": "0s"})
    first = scene.bench.run()
    middle = scene.rows()
    rows = ", ".join(f"({n}, 'v', 1, timestamp '2024-04-01')" for n in range(61, 70))
    scene.source.execute(f"INSERT INTO t VALUES {rows}")
    scene.bench.run()
    second = scene.bench.latest()
    last = scene.rows()
    assert len(last) == len(middle) + 9
    # What the younger one relies on stays until that is undone.
    runs = scene.bench.latest().runs
    older = latest_run(scene.bench.state, second.task, scene.bench.store, run_id=first.run)
    with pytest.raises(
        Refused, match=rf"Roll the younger one back first: dsp rollback {second.run.id}"
    ):
        scene.undo(older)
    scene.undo(second)
    assert scene.rows() == middle
    assert runs.job(second.run.id, "copy").undone_at is not None
    # What is done twice is the same; the run after it takes the same rows.
    scene.undo(second)
    scene.bench.run()
    assert scene.rows() == last


@pytest.mark.parametrize("scene", PAIRS[:1], indirect=True)
def test_notes_are_dropped_in_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.configure()
    for _ in range(2):
        scene.bench.run()
    # Within their time all are kept.
    assert len(scene.tables()) == 2
    scene.target.execute("UPDATE t SET v = 'theirs' WHERE id = 1")
    scene.source.execute("UPDATE t SET v = 'v' WHERE id = 2")
    scene.bench.run()
    scene.target.execute("UPDATE t SET own = 'theirs' WHERE id = 2")
    undone = scene.bench.latest()
    assert scene.undo().kept == 1
    monkeypatch.setenv("AIRFLOW__DSP__ROLLBACK_DAYS", "0")
    scene.bench.run()
    # What is left: of the run that was undone, what it kept; and of the latest.
    left = [undone.run.id, scene.bench.latest().run.id]
    assert {name.split("_")[3] for name in scene.tables()} == {one[-6:] for one in left}


@pytest.mark.parametrize("scene", PAIRS[:1], indirect=True)
def test_what_is_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.configure()
    scene.bench.run()
    written = scene.rows()
    scene.target.execute("ALTER TABLE t ADD COLUMN more int")
    with pytest.raises(Refused, match=r"was altered since the notes .*\(more\)"):
        scene.undo()
    scene.target.execute("ALTER TABLE t DROP COLUMN more")
    scene.target.execute("CREATE TABLE child (id int REFERENCES t ON DELETE CASCADE)")
    with pytest.raises(Refused, match="ON DELETE CASCADE"):
        scene.undo()
    scene.target.execute("DROP TABLE child", "CREATE TABLE child (id int REFERENCES t)")
    scene.target.execute("INSERT INTO child VALUES (33)")
    # What others refer to stays, and the rest goes.
    done = scene.undo()
    assert (done.removed, done.restored, done.kept) == (38, 11, 1)
    assert "violates foreign key" in done.report[0]["why"]
    assert len(scene.rows()) == len(written) - 38
    scene.target.execute("DROP TABLE child")
    scene.bench.write(scene.bench.warm(batch_size=15))
    scene.bench.run()
    with pytest.raises(Refused, match="noted nothing"):
        scene.undo()
    # Rows that somebody inserts between the lock and the insertion end the batch.
    scene.configure()
    scene.source.execute("INSERT INTO t VALUES (61, 'v', 1, NULL)")
    plain = notes._insert

    def late(connection: Any, *args: Any) -> int:
        # Of the batch that has this row alone.
        if connection.execute("SELECT count(*) FROM dsp_stage").fetchone() == (1,):
            scene.target.execute("INSERT INTO t VALUES (61, 'theirs')")
        return plain(connection, *args)

    with monkeypatch.context() as patch:
        patch.setattr(notes, "_insert", late)
        with pytest.raises(Transient, match="somebody inserted or deleted rows"):
            scene.bench.run(new=True)
    scene.bench.run()
    scene.undo()
    assert (61, "theirs") in [row[:2] for row in scene.rows()]


def test_every_kind_of_column(pg18: Any, tmp_path: Path) -> None:
    with ExitStack() as stack:
        source, target = (stack.enter_context(fresh_database(pg18)) for _ in "st")
        scene = Scene(Cross(tmp_path, source, target))
        for database in (scene.source, scene.target):
            database.execute(
                "CREATE DOMAIN worth AS numeric NOT NULL CHECK (VALUE >= 0)",
                "CREATE TYPE mood AS ENUM ('sad', 'happy')",
                """CREATE TABLE t (id bigint, part int, w worth, m mood, j json, b jsonb,
                   a text[], i interval, f double precision, r int4range, x bytea,
                   twice numeric GENERATED ALWAYS AS (w * 2) STORED,
                   PRIMARY KEY (id, part)) PARTITION BY RANGE (part)""",
                "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10)",
                "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (20)",
            )
        insert = "INSERT INTO t (id, part, w, m, j, b, a, i, f, r, x) VALUES "
        scene.source.execute(
            insert
            + "(1, 1, 1.0, 'sad', '{\"a\":  1}', '1', '{a,NULL}', '1 month', '-0', NULL, '')",
            insert + "(2, 11, 2, NULL, 'null', NULL, NULL, NULL, 'NaN', 'empty', NULL)",
            insert + "(3, 12, 3, 'happy', NULL, '{}', '{}', '1 day', 'Infinity', NULL, '')",
        )
        scene.target.execute(
            insert
            + "(1, 1, 1.00, 'happy', '{\"a\": 1}', '1.0', '{a}', '30 days', '0', '[1,6)', '')",
            insert + "(2, 11, 2.00, 'sad', NULL, 'null', '{}', '0', NULL, NULL, '\\xff')",
        )
        scene.configure()
        before = scene.rows_as_text()
        scene.bench.run()
        assert scene.rows_as_text() != before
        done = scene.undo()
        assert (done.removed, done.restored, done.kept) == (1, 2, 0)
        assert scene.rows_as_text() == before


@pytest.mark.parametrize("on_conflict", ["update", "ignore"])
@pytest.mark.parametrize("pair", ["mongo-mongo", "pg18-mongo"])
def test_documents(
    pair: str,
    on_conflict: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ExitStack() as stack:
        source, target = databases(request, stack, *pair.split("-"))
        bench = Cross(tmp_path, source, target)
        if pair == "mongo-mongo":
            source.insert_raw("t", [bson.encode({"_id": n, "v": "new"}) for n in range(40)])
            # A number of another type is the same id to the server.
            odd = [bson.encode({"_id": bson.Int64(3), "v": "odd"})]
        else:
            source.execute(
                "CREATE TABLE t (id int PRIMARY KEY, v text)",
                "INSERT INTO t SELECT n, 'new' FROM generate_series(0, 39) n",
            )
            odd = [bson.encode({"_id": 3, "own": {"x": [1]}, "v": "odd"})]
        olds = [bson.encode({"_id": n, "v": "old", "own": n}) for n in range(10, 15)]
        others = [bson.encode({"_id": 1000, "v": "else"})]
        target.insert_raw("t", olds + others + odd)
        columns = (
            None if pair == "mongo-mongo" else [{"source": "id", "target": "_id"}, {"source": "v"}]
        )
        bench.write(
            bench.warm(columns, rollback=True, batch_size=15, on_conflict=on_conflict, check="none")
        )

        def documents() -> list[bytes]:
            return sorted(one.raw for one in target["t"].with_options(RAW).find())

        before = documents()
        bench.run()
        work, written = bench.latest(), documents()
        assert len(written) == 41
        undo = undo_of(work, "copy")
        found, updated = undo.look(), 6 if on_conflict == "update" else 0
        assert (found.removed, found.restored, found.only_here) == (34, updated, 0)
        # The source loses one, somebody changes one: both stay.
        monkeypatch.setattr(rollback, "CHUNK", 7)
        target["t"].update_one({"_id": 20}, {"$set": {"v": "theirs"}})
        changed = documents()
        if pair == "mongo-mongo":
            source["t"].delete_one({"_id": 21})
        else:
            source.execute("DELETE FROM t WHERE id = 21")
        with pytest.raises(Refused, match=r"1 rows .* may be the last ones"):
            undo.do("somebody")
        assert documents() == changed
        if pair == "mongo-mongo":
            source.insert_raw("t", [bson.encode({"_id": 21, "v": "other"})])
        else:
            source.execute("INSERT INTO t VALUES (21, 'other')")
        done = undo.do("somebody")
        assert (done.removed, done.restored, done.kept) == (33, updated, 1)
        target["t"].delete_one({"_id": 20})
        assert documents() == before


class Rival:
    """Somebody else's transaction on the target, which nobody waits for but who needs its rows."""

    def __init__(self, stack: ExitStack, target: Any) -> None:
        self._at: Any
        if isinstance(target, MongoDatabase):
            self._at = stack.enter_context(target.client.start_session())
            self._at.start_transaction()
            target["t"].update_one({"_id": 20}, {"$set": {"u": 999}}, session=self._at)
            target["t"].insert_one({"_id": 1007, "u": 207}, session=self._at)
            return
        connection: Any = stack.enter_context(target.connect())
        self._at = connection.cursor()
        self._at.execute("BEGIN")
        self._at.execute("UPDATE t SET u = 999 WHERE id = 20")
        self._at.execute("INSERT INTO t VALUES (1007, 207)")

    def commit(self) -> None:
        if isinstance(self._at, ClientSession):
            self._at.commit_transaction()
        else:
            self._at.execute("COMMIT")


@pytest.mark.parametrize("system", ["pg18", "mariadb", "mysql", "mongo"])
def test_beside_others(
    system: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that loses to others is tried again; what has its old value taken stays."""

    def fill(database: Any, rows: dict[int, int]) -> None:
        if system == "mongo":
            database["t"].create_index("u", unique=True)
            database["t"].insert_many([{"_id": n, "u": u} for n, u in rows.items()])
            return
        database.execute(
            "CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE)",
            f"INSERT INTO t VALUES {', '.join(map(str, rows.items()))}",
        )

    def found(database: Any) -> dict[int, int]:
        if system == "mongo":
            return {one["_id"]: one["u"] for one in database["t"].find()}
        return dict(database.rows("SELECT id, u FROM t"))

    with ExitStack() as stack:
        source, target = databases(request, stack, system, system)
        before = {n: 200 + n for n in range(1, 11)}
        fill(source, {n: 100 + n for n in range(1, 31)})
        fill(target, before)
        bench = Cross(tmp_path, source, target)
        bench.write(bench.warm(rollback=True, batch_size=15, timeouts={"lock": "1s"}))
        bench.run()
        monkeypatch.setattr(rollback, "CHUNK", 7)
        undo, rival, pauses = undo_of(bench.latest(), "copy"), Rival(stack, target), list[int]()
        if system == "mongo":
            target["t"].insert_one({"_id": 1003, "u": 203})
            # Who never gets it gives up; what was undone before stays so.
            monkeypatch.setattr(rollback, "pause", lambda: pauses.append(1))
            with pytest.raises(Transient, match=r"tried 3 times: .*WriteConflict"):
                undo.do("somebody")
            assert (len(pauses), len(found(target))) == (2, 24)
            pauses.clear()
        else:
            target.execute("INSERT INTO t VALUES (1003, 203)")

        def pause() -> None:
            pauses.append(1)
            rival.commit()

        monkeypatch.setattr(rollback, "pause", pause)
        done = undo.do("somebody")
        assert (done.removed, done.restored, done.kept) == (19, 8, 3)
        assert pauses == [1]
        why = {"".join(filter(str.isdigit, one["key"][0])): one["why"] for one in done.report}
        assert why.pop("20") == rollback.REASONS["changed"]
        assert why.keys() == {"3", "7"}
        assert all(told.startswith("the database does not allow it: ") for told in why.values())
        assert all("20" not in told for told in why.values()), why
        others = {1003: 203, 1007: 207, 20: 999}
        assert found(target) == before | others | {3: 103, 7: 107}


@pytest.mark.parametrize("scene", PAIRS[:1], indirect=True)
def test_a_stop_is_heard_while_somebody_holds_a_row(scene: Scene) -> None:
    scene.configure(timeouts={"lock": "10m"})
    before = scene.rows()
    scene.bench.run()
    work = scene.bench.latest()
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND wait_event_type = 'Lock'"
    )
    with ThreadPoolExecutor(1) as pool, scene.target.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT FROM t WHERE id = 30 FOR UPDATE")
        undoing = pool.submit(scene.undo, work)
        while not scene.target.value(waiting):
            assert not undoing.done()
            time.sleep(0.05)
        work.pace.stop("somebody said so")
        with pytest.raises(Terminated, match="somebody said so"):
            undoing.result(timeout=60)
        connection.execute("ROLLBACK")
    assert scene.undo().kept == 0
    assert scene.rows() == before


def test_documents_written_twice_by_another_clock(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        source, target = databases(request, stack, "mongo", "mongo")
        source["t"].insert_many([{"_id": n, "u": n} for n in range(20)])
        bench = Cross(tmp_path, source, target)
        bench.write(bench.warm(rollback=True, batch_size=10, check="none"))
        bench.run()
        work = bench.latest()
        source["t"].update_many({"_id": {"$gte": 15}}, {"$set": {"u": -1}})
        with bench.state.write() as connection:
            differs = update(BATCHES).where(BATCHES.c.number == 2).values(rows_different=5)
            connection.execute(differs)
        Repairs(bench.state).begin(work.run.id, "copy", "somebody")
        # Of the worker that goes on with it the clock is behind.
        behind = SimpleNamespace(time=lambda: time.time() - 3600)
        with monkeypatch.context() as patch:
            patch.setattr(bson.objectid, "time", behind)
            work.copy("copy")
        assert target["t"].count_documents({"u": -1}) == 5
        monkeypatch.setattr(rollback, "CHUNK", 5)
        done = undo_of(work, "copy").do("somebody")
        assert (done.removed, done.restored, done.kept) == (20, 5, 0)
        assert target["t"].count_documents({}) == 0
