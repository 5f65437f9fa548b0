"""Rows that somebody removed from the source by hand: recorded only when none of them stands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from dsp_airflow.engine.errors import Refused, Transient
from dsp_airflow.engine.gone import Unproved
from dsp_airflow.state import receipts
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.state.records import BatchStatus
from dsp_airflow.state.relied import relied_on
from dsp_airflow.state.tables import RECEIPTS
from dsp_airflow.steps import TaskRun
from tests.engine.anywhere import databases
from tests.engine.harness import Bench
from tests.mysql.pairs import Pair
from tests.s3.harness import Archives, archives
from tests.servers import Database, MongoDatabase, MySQLDatabase
from tests.servers.s3 import fresh_bucket

Db = Bench[Database]
PLACES = [
    ("pg18", "pg18"),
    ("pg15", "mariadb"),
    ("mariadb", "pg18"),
    ("mysql", "mysql"),
    ("mongo", "mongo"),
    ("pg18", "s3"),
    ("mariadb", "s3"),
    ("mongo", "s3"),
]


@pytest.fixture(params=PLACES, ids="-".join)
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench[Any]]:
    """Forty rows 0, 10 ... 390 in the source, copied and checked in batches of ten."""
    source, target = request.param
    with ExitStack() as stack:
        bench: Bench[Any]
        if target == "s3":
            (database,) = databases(request, stack, source)
            bench = archives(tmp_path, database, fresh_bucket(request.getfixturevalue("moto")))
        else:
            bench = Pair(tmp_path, *databases(request, stack, source, target))
        put(bench.source, *range(0, 400, 10))
        table = "public.t" if isinstance(bench.source, Database) else "t"
        job = bench.job(table=table) if target == "s3" else bench.job()
        bench.write({**job, "check": {"percent": 100}, "purge": "manual", "batch_size": 10})
        yield bench


def put(database: Any, *ids: int) -> None:
    """Rows of these keys, in a table that is made when it is missing."""
    if isinstance(database, MongoDatabase):
        database["t"].insert_many([{"_id": n, "v": n} for n in ids])
        return
    database.execute(
        "CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY, v int)",
        f"INSERT INTO t VALUES {', '.join(f'({n}, {n})' for n in ids)}",
    )


def remove(database: Any, first: int, last: int) -> None:
    if isinstance(database, MongoDatabase):
        database["t"].delete_many({"_id": {"$gte": first, "$lte": last}})
    else:
        database.execute(f"DELETE FROM t WHERE id BETWEEN {first} AND {last}")


def change(database: Any, key: int) -> None:
    if isinstance(database, MongoDatabase):
        database["t"].update_one({"_id": key}, {"$set": {"v": -1}})
    else:
        database.execute(f"UPDATE t SET v = -1 WHERE id = {key}")


def lose(bench: Bench[Any]) -> None:
    """The copy of batch 3 is not whole any more."""
    if not isinstance(bench, Archives):
        remove(bench.target, 250, 250)
        return
    assert bench.place is not None
    (key,) = [key for key in bench.batches() if "batch=3" in key]
    bench.place.client.delete_object(Bucket=bench.place.name, Key=key)


def copied(bench: Bench[Any]) -> TaskRun:
    run = bench.open()
    (job,) = run.task.jobs
    for step in (run.plan, run.copy, run.check):
        step(job.name)
    return run


def batch(run: TaskRun, number: int) -> BatchStatus:
    return run.runs.batches(run.run.id, "copy")[number - 1]


def stands(run: TaskRun) -> list[tuple[str, int | None, int, int | None]]:
    found = run.runs.batches(run.run.id, "copy")
    return [(b.source_data, b.rows_gone, b.rows_purged, b.rows_kept) for b in found]


def bodies(run: TaskRun) -> list[dict[str, Any]]:
    with run.database.read() as connection:
        rows = connection.execute(select(RECEIPTS.c.body).order_by(RECEIPTS.c.seq)).scalars()
        return [json.loads(body) for body in rows]


UNTOUCHED = ("unprocessed", None, 0, None)


def test_only_what_is_gone_is_recorded(anywhere: Bench[Any]) -> None:
    bench, source = anywhere, anywhere.source
    run = copied(bench)
    assert stands(run) == [UNTOUCHED] * 4
    # Of batch 1 one row stays, with other values; into batch 2 a row has come.
    remove(source, 10, 190)
    change(source, 0)
    put(source, 155)
    first, third = run.mark_deleted("copy", {1, 2, 3}, "ann")
    assert (first.batch, first.rows, len(first.keys)) == (1, 1, 1)
    assert "0" in first.keys[0]
    assert (third.batch, third.rows, len(third.keys)) == (3, 10, 5)
    assert "10 rows still stand in the source" in str(third)
    assert stands(run) == [UNTOUCHED, ("processed", 10, 0, 0), UNTOUCHED, UNTOUCHED]
    assert (batch(run, 2).state, batch(run, 1).state) == ("purged", "checked")
    (body,) = bodies(run)
    assert body["gone"] == {"rows": 10, "by": "ann"}
    assert (body["batch"], body["rows"], body["kept"]) == (2, 0, 0)
    assert body["source_digest"].endswith(":0:0")
    assert body["target_digest"].split(":")[1] == "10"
    # Once more: nothing is left to do.
    assert run.mark_deleted("copy", {2}, "bob") == []
    assert receipts.head(run.database).seq == 1

    # Kept by a purge, a batch stays what it is as long as the row stands.
    assert run.purge("copy", {1}).rows_kept == 1
    (again,) = run.mark_deleted("copy", {1}, "ann")
    assert again == first
    assert stands(run)[0] == ("kept", None, 0, 1)
    remove(source, 0, 0)
    assert run.mark_deleted("copy", {1}, "ann") == []
    assert stands(run)[0] == ("processed", 10, 0, 0)

    # Gone from both is lost, and no reason to mark anything.
    remove(source, 200, 290)
    lose(bench)
    (lost,) = run.mark_deleted("copy", {3}, "ann")
    assert lost.rows == 0
    assert "has 9 rows there and had 10" in lost.why or "is gone" in lost.why
    assert stands(run)[2] == UNTOUCHED

    # What is left is purged as always.
    run.purge("copy", {4})
    assert stands(run)[3] == ("processed", None, 10, 0)
    assert receipts.verify(run.database) == []
    assert run.summary().jobs[0].rows_gone == 20
    # Nobody may replace the target: what is gone stands only there.
    relied = relied_on(run.database, body["target"])
    assert relied is not None
    assert relied.rows == 30


def test_a_purge_that_was_interrupted_is_recorded_as_what_it_was(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bench.source, *range(20))
    bench.write(bench.job(check={"percent": 100}, purge="manual", batch_size=10))
    run = copied(bench)

    def cut(*_: object) -> None:
        raise Transient("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(SqlLedger, "purged", cut)
        with pytest.raises(Transient):
            run.purge("copy", {1})
        # The rows of batch 2 were removed by hand; their record is cut off, too.
        remove(bench.source, 10, 19)
        with pytest.raises(Transient):
            run.mark_deleted("copy", {2}, "ann")
    assert bench.source.value("SELECT count(*) FROM t") == 0
    assert stands(run) == [UNTOUCHED] * 2
    assert run.mark_deleted("copy", None, "ann") == []
    assert stands(run) == [("processed", None, 10, 0), ("processed", 10, 0, 0)]
    assert [body["gone"] for body in bodies(run)] == [None, {"rows": 10, "by": "ann"}]
    assert receipts.verify(run.database) == []


def test_a_row_that_left_the_filter_stands_and_one_of_another_job_is_no_obstacle(
    bench: Db,
) -> None:
    put(bench.source, *range(20))
    jobs = [
        bench.job(
            name, where=where, check={"percent": 100}, purge="manual", target={"table": "public.t"}
        )
        for name, where in (("copy", "v < 10"), ("others", "v >= 10"))
    ]
    bench.write(*jobs)
    run = bench.open()
    for step in (run.plan, run.copy, run.check):
        for job in run.task.jobs:
            step(job.name)
    bench.source.execute("UPDATE t SET v = 50 WHERE id = 3", "DELETE FROM t WHERE v < 10")
    (found,) = run.mark_deleted("copy", None, "ann")
    assert found == Unproved(
        1, "stand in the source and match the job's filter no longer", 1, ("3",)
    )
    remove(bench.source, 3, 3)
    assert run.mark_deleted("copy", None, "ann") == []
    assert stands(run) == [("processed", 10, 0, 0)]
    assert bench.source.value("SELECT count(*) FROM t") == 10


def test_a_target_that_sorts_otherwise_is_asked_by_keys(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        bench = Pair(tmp_path, *databases(request, stack, "mariadb", "pg18"))
        source: MySQLDatabase = bench.source
        rows = ", ".join(f"('{chr(65 + n)}x', {n})" for n in range(20))
        source.execute(
            "CREATE TABLE t (id varchar(20) COLLATE utf8mb4_general_ci PRIMARY KEY, v int)",
            f"INSERT INTO t VALUES {rows}",
        )
        bench.write(bench.job(check={"percent": 100}, purge="manual", batch_size=10))
        run = copied(bench)
        plan = SqlLedger(run.database, run.run.id, "copy").plan()
        assert plan is not None
        assert not plan.ordered_alike
        source.execute("DELETE FROM t WHERE v BETWEEN 1 AND 9", "INSERT INTO t VALUES ('Ay', 99)")
        (found,) = run.mark_deleted("copy", {1}, "ann")
        assert (found.rows, found.keys) == (1, ("Ax",))
        source.execute("DELETE FROM t WHERE v = 0")
        assert run.mark_deleted("copy", {1}, "ann") == []
        assert stands(run) == [("processed", 10, 0, 0), UNTOUCHED]


def test_what_is_not_copied_or_stays_is_refused(bench: Db) -> None:
    put(bench.source, *range(20))
    bench.write(bench.job(purge="manual", batch_size=10), name="first")
    run = bench.open()
    run.plan("copy")
    with pytest.raises(Refused, match="is not copied"):
        run.mark_deleted("copy", {1}, "ann")
    run.copy("copy")
    with pytest.raises(Refused, match="is not checked"):
        run.mark_deleted("copy", {1}, "ann")
    bench.write(bench.job(batch_size=10), name="second")
    run = copied(bench)
    bench.source.execute("DELETE FROM t")
    with pytest.raises(Refused, match="purge: none"):
        run.mark_deleted("copy", {1}, "ann")
    assert stands(run) == [UNTOUCHED] * 2
