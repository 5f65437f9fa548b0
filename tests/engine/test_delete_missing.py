"""Rows that the source has no more go from the target, in every pair; nothing else does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bson
import pytest

from dsp_airflow import asking
from dsp_airflow.engine import missing
from dsp_airflow.engine.errors import ConfigError, Denied, Refused, Transient
from dsp_airflow.engine.stores.mongodb.store import MongoStore
from dsp_airflow.run_variables import Interval
from dsp_airflow.state.deletions import Deletions
from dsp_airflow.state.records import JobSummary
from tests.engine.anywhere import databases
from tests.engine.scenes import Db
from tests.mongo.cross import Cross, field
from tests.servers import Database, MongoDatabase, MySQLDatabase

AnyDatabase = Database | MySQLDatabase | MongoDatabase
PAIRS = [
    *("pg18-pg18", "pg18-mariadb", "pg18-mongo", "mysql-pg18", "mariadb-mariadb"),
    *("mariadb-mongo", "mongo-pg18", "mongo-mysql", "mongo-mongo"),
]


def put(database: AnyDatabase, own: int, v: str = "v") -> None:
    if isinstance(database, MongoDatabase):
        database.insert_raw("t", [bson.encode({"_id": own, "v": v})])
    else:
        database.execute(f"INSERT INTO t VALUES ({own}, '{v}')")


def change(database: AnyDatabase, own: int) -> None:
    if isinstance(database, MongoDatabase):
        database["t"].update_one({"_id": own}, {"$set": {"v": "changed"}})
    else:
        database.execute(f"UPDATE t SET v = 'changed' WHERE id = {own}")


def drop(database: AnyDatabase, *ids: int) -> None:
    if isinstance(database, MongoDatabase):
        database["t"].delete_many({"_id": {"$in": list(ids)}})
    else:
        database.execute(f"DELETE FROM t WHERE id IN ({', '.join(map(str, ids))})")


def names(database: AnyDatabase) -> set[str]:
    if isinstance(database, MongoDatabase):
        return set(database.database.list_collection_names())
    return {n for (n,) in database.rows("SELECT table_name FROM information_schema.tables")}


def ids(database: AnyDatabase) -> set[int]:
    if isinstance(database, MongoDatabase):
        return {found["_id"] for found in database["t"].find({}, {"_id": 1})}
    return {n for (n,) in database.rows("SELECT id FROM t")}


@dataclass
class Mirror:
    """A table of 40 rows, and a job that keeps another one like it."""

    bench: Cross

    def fill(self) -> None:
        source = self.bench.source
        if isinstance(source, MongoDatabase):
            source.insert_raw("t", [bson.encode({"_id": n, "v": "v"}) for n in range(40)])
            return
        rows = ", ".join(f"({n}, 'v')" for n in range(40))
        source.execute(
            "CREATE TABLE t (id int PRIMARY KEY, v varchar(20))", f"INSERT INTO t VALUES {rows}"
        )

    def configure(self, **wanted: Any) -> None:
        mongo = [isinstance(end, MongoDatabase) for end in (self.bench.source, self.bench.target)]
        columns = (
            [field("_id", "int32", "id"), field("v", "string")] if mongo == [True, False] else None
        )
        job = self.bench.warm(columns, delete_missing={"limit": 10, **wanted}, batch_size=15)
        self.bench.write(job)

    def run(self) -> JobSummary:
        (job,) = self.bench.run(new=True).jobs
        return job

    def foreseen(self) -> dict[str, int] | None:
        """What approvers would be shown."""
        run = self.bench.open(new=True)
        (job,) = run.task.jobs
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AIRFLOW__DSP__ENFORCE_APPROVAL", "True")
            _, _, found = asking.look(run, job, asking.variables_now(run, Interval()))
        removes: dict[str, int] | None = found["removes"]
        return removes

    def alike(self) -> bool:
        return ids(self.bench.source) == ids(self.bench.target)


@pytest.fixture
def mirror(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mirror]:
    with ExitStack() as stack:
        yield Mirror(Cross(tmp_path, *databases(request, stack, *request.param.split("-"))))


def before(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], None]) -> None:
    """Once, before the engine comes to that."""
    plain, done = getattr(missing, name), list[int]()

    def wrapped(*args: Any) -> Any:
        if not done:
            done.append(1)
            act()
        return plain(*args)

    monkeypatch.setattr(missing, name, wrapped)


@pytest.mark.parametrize("mirror", PAIRS, indirect=True)
def test_what_is_missing_goes(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = mirror.bench.source, mirror.bench.target
    mirror.fill()
    mirror.configure()
    assert mirror.foreseen() is None
    first = mirror.run()
    assert (first.rows_missing, first.rows_deleted, first.state) == (0, 0, "succeeded")
    assert mirror.foreseen() == {"rows": 0, "of": 40}
    # One changed just before it was locked, one came back to the source, one was never there.
    drop(source, 0, 7, 20, 21, 39)
    put(target, 1000)
    tables = names(target)
    assert mirror.foreseen() == {"rows": 6, "of": 41}
    # Nobody has agreed to anything yet, so nothing is written, not even beside.
    assert names(target) == tables
    with monkeypatch.context() as patch:
        before(patch, "_in_source", lambda: put(source, 20, "again"))
        before(patch, "_taken", lambda: change(target, 21))
        found = mirror.run()
    assert (found.rows_missing, found.rows_deleted, found.state) == (6, 4, "succeeded")
    assert ids(target) == ids(source) | {21}
    # The next run finds the one that had changed.
    again = mirror.run()
    assert (again.rows_missing, again.rows_deleted) == (1, 1)
    assert mirror.alike()
    # What is gone is no difference to a check of that run.
    assert mirror.bench.latest().check_again("copy").rows_different == 0
    # Too many: none goes.
    drop(source, *range(1, 7), *range(8, 15))
    with pytest.raises(
        Refused, match=r"13 of 36 rows of .* are missing .*limit is 10 .*Their keys"
    ):
        mirror.run()
    assert len(ids(target)) == 36
    plan = mirror.bench.open(new=True).plan("copy")
    assert "at least 13 are missing" in " ".join(plan.warnings)
    assert "the run would fail" in " ".join(plan.warnings)
    # An empty source is no reason to empty the target, unless somebody says so.
    drop(source, *range(50))
    mirror.configure(limit="100%")
    with pytest.raises(Refused, match=r"holds no row.*allow_empty"):
        mirror.run()
    mirror.configure(limit="100%", allow_empty=True)
    last = mirror.run()
    assert (last.rows_deleted, last.state, ids(target)) == (36, "succeeded", set())


@pytest.mark.parametrize("mirror", ["pg18-pg18", "mariadb-mariadb", "mongo-mongo"], indirect=True)
@pytest.mark.parametrize("moment", ["intend", "settle"])
def test_counts_are_true_whatever_breaks(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Broken before the commit, and between it and the record."""
    monkeypatch.setattr(missing, "CHUNK", 3)
    mirror.fill()
    mirror.configure()
    mirror.run()
    drop(mirror.bench.source, *range(3, 11))
    run = mirror.bench.open(new=True)
    run.plan("copy")
    run.copy("copy")
    run.check("copy")
    plain = getattr(Deletions, moment)
    calls = list[int]()

    def broken(self: Deletions, *values: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise Transient("broke")
        plain(self, *values)

    with monkeypatch.context() as patch:
        patch.setattr(Deletions, moment, broken)
        with pytest.raises(Transient):
            run.delete_missing("copy")
    left = len(ids(mirror.bench.target))
    assert left == (37 if moment == "intend" else 34)
    found = run.delete_missing("copy")
    assert (found.rows_missing, found.rows_deleted, found.state) == (8, 8, "succeeded")
    assert mirror.alike()
    # Again is nothing.
    assert run.delete_missing("copy").rows_deleted == 8


TRIGGER = (
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN OLD; END$$; "
    "CREATE TRIGGER gone AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION f()"
)


def configured(bench: Db, **more: Any) -> None:
    bench.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t SELECT n, 'v' FROM generate_series(1, 20) n",
    )
    bench.write(bench.job(delete_missing={"limit": 5}, **more))


def test_nothing_goes_before_all_is_copied_and_checked(bench: Db) -> None:
    configured(bench, check={"percent": 100})
    run = bench.open()
    run.plan("copy")
    with pytest.raises(Refused, match="0 of 1 batches are copied"):
        run.delete_missing("copy")
    run.copy("copy")
    with pytest.raises(Refused, match="0 of 1 batches are checked"):
        run.delete_missing("copy")
    run.check("copy")
    assert run.summary().jobs[0].state == "checked"
    assert run.delete_missing("copy").state == "succeeded"


def test_a_target_that_others_write_to_is_left_alone(bench: Db) -> None:
    """Another task, and what an earlier form of this one did; the same source is no other."""
    configured(bench)
    bench.run()
    bench.source.execute("CREATE TABLE u (id int PRIMARY KEY, v text)", "INSERT INTO u VALUES (99)")
    other = bench.job(source={"table": "public.u"}, target={"table": "public.t"})
    bench.write(other, name="other")
    bench.run()
    bench.write(bench.job(delete_missing={"limit": 5}))
    with pytest.raises(Refused, match=r"job copy of task other .* wrote into public.t, too"):
        bench.run(new=True)
    assert bench.target.value("SELECT count(*) FROM t") == 21


def test_rows_that_were_purged_because_they_stand_there_are_not_missing(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether that was before, while both sides are compared, or nobody knows as yet."""
    configured(bench)
    keeping = bench.open()
    for step in (keeping.plan, keeping.copy, keeping.check):
        step("copy")
    bench.write(bench.job(purge="manual", where="id < 3"), name="archive")
    bench.run()
    purging, plain, compared = bench.latest(), missing._refuse_many, list[int]()

    def purged(job: Any, found: Any, *more: Any) -> None:
        plain(job, found, *more)
        compared.append(found.rows)
        purging.purge("copy")

    bench.source.execute("DELETE FROM t WHERE id = 7")
    with monkeypatch.context() as patch:
        patch.setattr(missing, "_refuse_many", purged)
        with pytest.raises(
            Refused, match=r"2 rows were purged from .*public\.t because they stand"
        ):
            keeping.delete_missing("copy")
    assert compared == [1]
    with pytest.raises(Refused, match=r"2 rows were purged from"):
        keeping.delete_missing("copy")
    assert bench.target.value("SELECT count(*) FROM t") == 20


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("CREATE TABLE c (id int REFERENCES t ON DELETE CASCADE)", "CASCADE"),
        (TRIGGER, "trigger"),
    ],
)
def test_deletions_that_would_do_more(bench: Db, statement: str, message: str) -> None:
    configured(bench)
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    run.check("copy")
    bench.target.execute(statement)
    bench.source.execute("DELETE FROM t WHERE id = 3")
    with pytest.raises(Refused, match=message):
        run.delete_missing("copy")
    with pytest.raises(Refused, match=message):
        bench.open(new=True).plan("copy")
    assert bench.target.value("SELECT count(*) FROM t") == 20


def test_a_table_without_a_key(bench: Db) -> None:
    bench.source.execute("CREATE TABLE t (v text)")
    bench.write(bench.job(delete_missing={"limit": 5}))
    with pytest.raises((ConfigError, Refused), match="no key"):
        bench.open().plan("copy")


ODD = ("a", "A", "ä", "a b", "x''y", "é😀", "", "10", "9", "%_", "\\\\")


@pytest.mark.parametrize("mirror", ["pg18-mariadb", "mysql-pg18", "pg18-mongo"], indirect=True)
def test_keys_of_several_columns_and_any_texts(mirror: Mirror) -> None:
    """Both sides sort them otherwise, and none is taken for another."""
    source, target = mirror.bench.source, mirror.bench.target
    texts = ODD if isinstance(source, MySQLDatabase) else [t.replace("\\\\", "\\") for t in ODD]
    rows = [f"('{text}', {n}.{n}0, 'v')" for text in texts for n in (1, 2)]
    exact = (
        " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" if isinstance(source, MySQLDatabase) else ""
    )
    source.execute(
        f"CREATE TABLE t (a varchar(20){exact}, b numeric(10,2), v varchar(9), PRIMARY KEY (b, a))",
        f"INSERT INTO t VALUES {', '.join(rows)}",
    )
    mirror.configure()
    mirror.run()
    gone = [row for n, row in enumerate(rows) if n % 3 == 0]
    for row in gone:
        a, b, _ = row[1:-1].rsplit(", ", 2)
        source.execute(f"DELETE FROM t WHERE a = {a} AND b = {b}")
    found = mirror.run()
    assert (found.rows_missing, found.rows_deleted) == (len(gone), len(gone))
    left = {(a, f"{b:.2f}") for a, b in source.rows("SELECT a, b FROM t")}
    assert len(left) == len(rows) - len(gone)
    if isinstance(target, MongoDatabase):
        ids = [found["_id"] for found in target["t"].find({}, {"_id": 1})]
        there = {(own["a"], f"{own['b'].to_decimal():.2f}") for own in ids}
    else:
        there = {(a, f"{b:.2f}") for a, b in target.rows("SELECT a, b FROM t")}
    assert there == left


@pytest.mark.parametrize("mirror", ["mongo-mongo"], indirect=True)
def test_what_a_login_of_mongodb_needs(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan says what is lacking; with that, and no more, it works."""
    target = mirror.bench.target
    assert isinstance(target, MongoDatabase)
    mirror.fill()
    mirror.configure()
    mirror.run()
    own = hashlib.sha256(b"t").hexdigest()[:16]
    usual = ["find", "insert", "update", "remove", "listIndexes", "collStats"]
    grants: list[tuple[str, str, list[str]]] = [
        *((target.name, name, usual) for name in ("t", "dsp_commits", "dsp_locks")),
        (target.name, "", ["listCollections"]),
    ]
    plain = mirror.bench.store

    def login(*more: tuple[str, str, list[str]]) -> None:
        password = target.server.create_user("misser", [*grants, *more])
        host = target.server.uri(user="misser", password=password)

        def store(conn_id: str) -> Any:
            if conn_id != "target":
                return plain(conn_id)
            return MongoStore(conn_id, {"host": host}, target.name)

        monkeypatch.setattr(mirror.bench, "store", store)

    login()
    drop(mirror.bench.source, 3)
    with pytest.raises(Denied, match=r"may not find, insert, createCollection, dropCollection in"):
        mirror.run()
    login(
        (target.name, f"dsp_sent_{own}", ["find", "insert", "createCollection", "dropCollection"])
    )
    assert mirror.run().rows_deleted == 1
    assert mirror.alike()
