"""Proof or no delete: every way in which a row must survive a purge, and is reported."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dsp_airflow.engine import definition
from dsp_airflow.engine.errors import Mismatch, Refused, Transient
from dsp_airflow.engine.model import Plan
from dsp_airflow.engine.ports import Store
from dsp_airflow.engine.stores import postgres
from dsp_airflow.engine.stores.postgres import PostgresSession
from dsp_airflow.steps import TaskRun
from tests.engine.harness import Bench
from tests.engine.test_main_job import fill
from tests.servers import Database

Db = Bench[Database]


def copied(bench: Db, rows: int = 500, **more: Any) -> TaskRun:
    fill(bench, rows)
    bench.write(bench.job(**{"purge": "system", "batch_size": 100, "where": "id > 0", **more}))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    run.check("copy")
    return run


def kept(run: TaskRun) -> list[tuple[str, tuple[str, ...], str]]:
    found = run.runs.differences(run.run.id)
    return [(d.difference.kind, d.difference.key, d.difference.reason) for d in found]


@pytest.mark.parametrize(
    ("where", "statement", "kind", "reason"),
    [
        ("target", "UPDATE t SET name = 'x' WHERE id = 7", "changed", "changed in the target"),
        ("target", "DELETE FROM t WHERE id = 7", "missing", "removed from the target"),
        ("source", "UPDATE t SET name = 'x' WHERE id = 7", "changed", "changed in the source"),
        ("source", "UPDATE t SET ok = NOT ok WHERE id = 7", "changed", "changed in the source"),
    ],
)
def test_a_row_that_differs_survives(
    bench: Db, where: str, statement: str, kind: str, reason: str
) -> None:
    run = copied(bench)
    getattr(bench, where).execute(statement)
    found = run.purge("copy")
    assert (found.rows_purged, found.rows_kept) == (499, 1)
    assert bench.source.rows("SELECT id FROM t") == [(7,)]
    ((one_kind, key, why),) = kept(run)
    assert (one_kind, key) == (kind, ("7",))
    assert why.startswith(reason)


def test_a_new_row_in_the_range_survives(bench: Db) -> None:
    run = copied(bench)
    bench.source.execute("UPDATE t SET id = 1000 WHERE id = 7", "INSERT INTO t (id) VALUES (7)")
    found = run.purge("copy")
    assert (found.rows_purged, found.rows_kept) == (499, 1)
    assert sorted(bench.source.rows("SELECT id FROM t")) == [(7,), (1000,)]


def test_a_row_that_left_the_filter_survives(bench: Db) -> None:
    run = copied(bench, where="amount < 1000")
    bench.source.execute("UPDATE t SET amount = 5000 WHERE id = 7")
    found = run.purge("copy")
    assert (found.rows_purged, found.rows_kept) == (499, 1)
    assert bench.source.rows("SELECT id FROM t") == [(7,)]
    assert kept(run) == [("left_filter", ("7",), "no longer matches the filter")]


@pytest.mark.parametrize(
    ("where", "statement", "message"),
    [
        (
            "source",
            "CREATE TABLE child (t bigint REFERENCES t ON DELETE CASCADE)",
            r"public.t -> public.child \(ON DELETE CASCADE, child_t_fkey\)",
        ),
        (
            "source",
            "CREATE TABLE child (t bigint REFERENCES t ON DELETE SET NULL)",
            "ON DELETE SET NULL",
        ),
        ("target", "ALTER TABLE t SET UNLOGGED", "UNLOGGED"),
        ("source", "ALTER TABLE t ADD COLUMN extra int", "column extra added"),
        ("target", "ALTER TABLE t DROP COLUMN name", "column name dropped"),
        ("source", "DROP TABLE t CASCADE", "gone"),
        (
            "source",
            """CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
            CREATE TRIGGER watch AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION f()""",
            "delete trigger watch",
        ),
        ("source", "CREATE RULE r AS ON DELETE TO t DO ALSO NOTHING", "DELETE rule"),
    ],
)
def test_nothing_is_deleted_when_the_tables_are_unfit(
    bench: Db, where: str, statement: str, message: str
) -> None:
    run = copied(bench)
    getattr(bench, where).execute(statement)
    with pytest.raises(Refused, match=message):
        run.purge("copy")
    if "DROP TABLE" not in statement:
        assert bench.source.value("SELECT count(*) FROM t") == 500


def test_an_unfit_table_is_refused_before_the_copy(bench: Db) -> None:
    fill(bench, 10)
    bench.source.execute("CREATE TABLE child (t bigint REFERENCES t ON DELETE CASCADE)")
    bench.write(bench.job(purge="system"))
    run = bench.open()
    with pytest.raises(Refused, match="ON DELETE CASCADE"):
        run.plan("copy")


def test_an_edited_definition_deletes_nothing(bench: Db) -> None:
    run = copied(bench)
    bench.write(bench.job(purge="system", batch_size=100, where="id > 1"))
    edited = bench.latest()
    with pytest.raises(Refused, match="edited after run"):
        edited.purge("copy")
    assert bench.source.value("SELECT count(*) FROM t") == 500
    assert run.summary().jobs[0].state == "checked"


def test_a_connection_that_leads_elsewhere_deletes_nothing(bench: Db) -> None:
    run = copied(bench)
    there = run.open_store

    def elsewhere(conn_id: str) -> Store:
        store = there(conn_id)
        if conn_id == "target":
            store.identity = "elsewhere:5432/warehouse"
        return store

    run.open_store = elsewhere
    with pytest.raises(Refused, match="leads elsewhere"):
        run.purge("copy")
    assert bench.source.value("SELECT count(*) FROM t") == 500


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("DELETE FROM batches WHERE number = 3", "no record of batch 3"),
        ("UPDATE batches SET copied_at = NULL WHERE number = 3", "not copied"),
    ],
)
def test_a_batch_without_its_record_deletes_nothing(bench: Db, harm: str, message: str) -> None:
    run = copied(bench)
    with bench.state.write() as connection:
        connection.exec_driver_sql(harm)
    with pytest.raises(Refused, match=message):
        run.purge("copy")
    assert bench.source.value("SELECT count(*) FROM t") == 500


def test_altered_before_the_first_batch(bench: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the tables were verified, and before anything tells that they are altered."""
    run = copied(bench)
    derived = definition.verify_derived

    def altering(plan: Plan, anew: Plan) -> None:
        derived(plan, anew)
        bench.source.execute("ALTER TABLE t ADD extra text DEFAULT 'in no copy'")

    monkeypatch.setattr(definition, "verify_derived", altering)
    with pytest.raises(Refused, match="column extra added"):
        run.purge("copy")
    assert bench.source.value("SELECT count(*) FROM t") == 500


def test_altered_between_two_batches(bench: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    run = copied(bench)
    seen = 0
    fingerprint = PostgresSession.fingerprint

    def altering(self: PostgresSession, table: str) -> str:
        nonlocal seen
        seen += 1
        if seen == 5:
            bench.target.execute("ALTER TABLE t SET UNLOGGED")
        return fingerprint(self, table)

    monkeypatch.setattr(PostgresSession, "fingerprint", altering)
    with pytest.raises(Refused, match="altered during the purge"):
        run.purge("copy")
    assert bench.source.value("SELECT count(*) FROM t") >= 300
    assert run.summary().jobs[0].rows_purged + bench.source.value("SELECT count(*) FROM t") == 500


def test_a_dropped_column_needs_acceptance(bench: Db) -> None:
    fill(bench, 10)
    job = bench.job(purge="system", columns=[{"source": "id"}, {"source": "name"}])
    bench.write(job)
    with pytest.raises(Refused, match="amount, at, ok"):
        bench.open().plan("copy")
    lost = ["amount", "at", "ok", "data", "j", "f", "d", "u", "tags"]
    bench.write(job | {"accept_loss": lost})
    found = bench.run(new=True)
    assert found.jobs[0].rows_purged == 10


def test_a_lost_acknowledgement_of_the_commit_is_counted_once(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied(bench)
    commit = postgres.purge.PostgresPurge.commit
    lost: list[int] = []

    def losing(self: object) -> None:
        commit(self)  # type: ignore[arg-type]
        if not lost:
            lost.append(1)
            raise Transient("the connection broke after COMMIT was sent")

    monkeypatch.setattr(postgres.purge.PostgresPurge, "commit", losing)
    with pytest.raises(Transient):
        run.purge("copy")
    found = run.purge("copy")
    assert (found.rows_purged, found.rows_kept) == (500, 0)
    assert bench.source.value("SELECT count(*) FROM t") == 0


def test_a_commit_that_never_happened_is_done_again(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied(bench)
    commit: Callable[[object], None] = postgres.purge.PostgresPurge.commit  # type: ignore[assignment]
    lost: list[int] = []

    def failing(self: object) -> None:
        if not lost:
            lost.append(1)
            raise Transient("the connection broke before COMMIT was sent")
        commit(self)

    monkeypatch.setattr(postgres.purge.PostgresPurge, "commit", failing)
    with pytest.raises(Transient):
        run.purge("copy")
    assert bench.source.value("SELECT count(*) FROM t") == 500
    found = run.purge("copy")
    assert (found.rows_purged, found.rows_kept) == (500, 0)


def test_ignored_rows_are_never_taken_for_copies(bench: Db) -> None:
    """``ignore`` left another row in the target: the source's row has no copy."""
    fill(bench, 100)
    bench.write(
        bench.job(purge="system", batch_size=50, on_conflict="ignore", check={"percent": 100})
    )
    run = bench.open()
    run.plan("copy")
    bench.target.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, name text, amount numeric(12,2), at timestamptz, "
        "ok boolean, data bytea, j jsonb, f float8, d date, u uuid, tags int[])",
        "INSERT INTO t (id, name) VALUES (7, 'theirs')",
    )
    found = run.copy("copy")
    assert found.rows_written == 99
    assert run.check("copy").rows_different == 0
    found = run.purge("copy")
    assert (found.rows_purged, found.rows_kept) == (99, 1)
    assert bench.source.rows("SELECT id FROM t") == [(7,)]
    assert bench.target.value("SELECT name FROM t WHERE id = 7") == "theirs"


def test_a_failed_check_stops_the_purge(bench: Db) -> None:
    fill(bench, 300)
    bench.write(bench.job(purge="system", batch_size=100, check={"percent": 100}))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    bench.target.execute("UPDATE t SET name = 'x' WHERE id = 7")
    with pytest.raises(Mismatch):
        run.check("copy")
    with pytest.raises(Refused, match=r"not checked|differ"):
        run.purge("copy")
    assert bench.source.value("SELECT count(*) FROM t") == 300


def test_two_jobs_on_one_table_wait_for_each_other(bench: Db) -> None:
    fill(bench, 100)
    bench.write(
        bench.job("first", purge="system"),
        bench.job("second", target={"table": "public.t2"}),
    )
    run = bench.open()
    run.plan("first")
    run.copy("first")
    run.check("first")
    with pytest.raises(Refused, match="second is not copied"):
        run.purge("first")
    assert bench.source.value("SELECT count(*) FROM t") == 100


def test_a_table_is_not_its_own_copy(bench: Db) -> None:
    fill(bench, 10)
    job = bench.job(purge="system")
    job["target"] = {"connection": "source", "table": "t"}
    bench.write(job)
    with pytest.raises(Refused, match="its own target"):
        bench.open().plan("copy")


def test_the_receipt_tells_what_was_proved(bench: Db) -> None:
    run = copied(bench)
    run.purge("copy")
    with bench.state.read() as connection:
        bodies = connection.exec_driver_sql("SELECT body FROM receipts ORDER BY seq").scalars()
        receipts = [json.loads(b) for b in bodies]
    assert [r["batch"] for r in receipts] == [1, 2, 3, 4, 5]
    assert all(r["rows"] == 100 and r["source_digest"] == r["target_digest"] for r in receipts)


def test_a_row_locked_elsewhere_is_waited_for(bench: Db) -> None:
    run = copied(bench)
    with bench.source.connect() as other:
        other.execute("BEGIN")
        other.execute("UPDATE t SET name = 'late' WHERE id = 7")
        timer = threading.Timer(1.0, lambda: other.execute("COMMIT"))
        timer.start()
        found = run.purge("copy")
        timer.join()
    assert (found.rows_purged, found.rows_kept) == (499, 1)
    assert bench.source.value("SELECT name FROM t WHERE id = 7") == "late"
