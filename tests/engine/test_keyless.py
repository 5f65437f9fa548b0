"""Tables without a key, and unique indexes that are none."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from dsp_airflow.engine.errors import ConfigError, DspError, Mismatch, Refused, Transient
from dsp_airflow.state.ledger import SqlLedger
from tests.contract.places import Leg, PostgresPlace, Table
from tests.engine.scenes import ROWS, SMALL, Db, done

WHOLE = {"percent": 100}

BARE = "CREATE TABLE t (a int, v text)"
DOUBLES = "INSERT INTO t SELECT n % 5, 'v' || n % 3 FROM generate_series(1, 60) n"


def test_a_table_without_a_key_is_copied_as_a_whole(bench: Db) -> None:
    bench.source.execute(BARE, DOUBLES, "INSERT INTO t VALUES (NULL, NULL), (NULL, NULL)")
    bench.write(bench.job(batch_size=7, check=WHOLE))
    run = bench.open()
    plan = run.plan("copy")
    assert (plan.batches, plan.key) == (1, ())
    assert any("one transaction" in w for w in plan.warnings)
    done(run)
    every = "SELECT t::text FROM t ORDER BY 1"
    assert bench.target.rows(every) == bench.source.rows(every)
    # Repeating the steps doubles nothing; a new run says why it cannot go.
    run.copy("copy")
    assert bench.target.value("SELECT count(*) FROM t") == 62
    run.finish()
    with pytest.raises(Refused, match=r"holds rows.*empty the target"):
        bench.open(new=True).plan("copy")


@pytest.mark.parametrize(
    ("statement", "number", "kinds"),
    [
        ("DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE a = 1)", 1, {"missing"}),
        ("INSERT INTO t VALUES (1, 'v1')", 1, {"extra"}),
        ("UPDATE t SET v = 'x' WHERE ctid = (SELECT min(ctid) FROM t)", 2, {"missing", "extra"}),
    ],
)
def test_doubles_are_counted_by_the_check(
    bench: Db, statement: str, number: int, kinds: set[str]
) -> None:
    bench.source.execute(BARE, DOUBLES)
    bench.write(bench.job(check=WHOLE))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    bench.target.execute(statement)
    with pytest.raises(Mismatch, match=f"{number} rows differ"):
        run.check("copy")
    assert {d.difference.kind for d in run.runs.differences(run.run.id)} == kinds


def test_what_came_since_is_no_difference_without_a_key_either(bench: Db) -> None:
    bench.source.execute(BARE, DOUBLES)
    bench.write(bench.job(check=WHOLE))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    bench.source.execute("INSERT INTO t VALUES (1, 'v1')", "DELETE FROM t WHERE a = 3")
    assert run.check("copy").rows_different == 0
    bench.target.execute("UPDATE t SET v = 'x' WHERE ctid = (SELECT min(ctid) FROM t)")
    with pytest.raises(Mismatch):
        run.check_again("copy")


def test_a_commit_whose_acknowledgement_was_lost_doubles_nothing(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.source.execute(BARE, DOUBLES)
    bench.write(bench.job(check=WHOLE))
    run = bench.open()
    run.plan("copy")

    def lost(self: Any, *args: Any) -> None:
        raise Transient("the record was lost")

    with monkeypatch.context() as patch:
        patch.setattr(SqlLedger, "copied", lost)
        with pytest.raises(Transient):
            run.copy("copy")
    assert bench.target.value("SELECT count(*) FROM t") == 60
    done(run)
    assert bench.target.value("SELECT count(*) FROM t") == 60


def test_rows_that_came_into_the_target_after_the_plan(bench: Db) -> None:
    bench.source.execute(BARE, DOUBLES)
    bench.target.execute(BARE)
    bench.write(bench.job(check=WHOLE))
    run = bench.open()
    run.plan("copy")
    bench.target.execute("INSERT INTO t VALUES (9, 'theirs')")
    with pytest.raises(Refused, match="which of them are copies"):
        run.copy("copy")
    assert bench.target.rows("SELECT * FROM t") == [(9, "theirs")]


def test_two_runs_that_fill_one_table_at_once(bench: Db) -> None:
    """Both have seen it empty; the second waits for the first, and then looks again."""
    for database in (bench.source, bench.target):
        database.execute(BARE)
    bench.source.execute(DOUBLES)
    ours, theirs = PostgresPlace(bench.source), PostgresPlace(bench.target)
    table = Table("t", {}, ())
    refused: list[BaseException] = []

    def second() -> None:
        try:
            Leg(ours, theirs, "binary").copy(table)
        except Refused as error:
            refused.append(error)

    thread = threading.Thread(target=second)

    def meanwhile() -> None:
        thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        deadline = time.monotonic() + 20
        while not bench.target.value(waiting) and time.monotonic() < deadline:
            time.sleep(0.05)

    Leg(ours, theirs, "binary").copy(table, on_start=meanwhile)
    thread.join()
    assert bench.target.value("SELECT count(*) FROM t") == 60
    assert len(refused) == 1


@pytest.mark.parametrize(
    ("job", "error", "message"),
    [
        ({"purge": "system"}, Refused, "no row can be told from its doubles"),
        (
            {"mode": "incremental", "cursor": {"column": "a"}},
            ConfigError,
            "no key, and mode: incremental merges rows by their key",
        ),
        ({"key": ["a"], "purge": "system", "where": "a > 99"}, Refused, "no unique index"),
    ],
)
def test_what_needs_a_key(bench: Db, job: dict[str, Any], error: Any, message: str) -> None:
    bench.source.execute(BARE, DOUBLES)
    bench.write(bench.job(check=WHOLE, **job))
    with pytest.raises(error, match=message):
        bench.open().plan("copy")


NEAR = [
    ("CREATE UNIQUE INDEX i ON t (a) WHERE a > 0", "i is partial"),
    ("CREATE UNIQUE INDEX i ON t (lower(v))", "i is on an expression"),
    ("CREATE UNIQUE INDEX i ON t (v)", "i is on v, which may be NULL"),
    ("CREATE UNIQUE INDEX i ON t (v) NULLS NOT DISTINCT", "i is on v, which may be NULL"),
    ("ALTER TABLE t ADD CONSTRAINT i UNIQUE (a) DEFERRABLE", "i is DEFERRABLE"),
    ("ALTER TABLE t ADD CONSTRAINT i EXCLUDE (a WITH =)", "i is an exclusion constraint"),
]


def test_unique_indexes_that_are_no_key_are_named_with_the_remedy(bench: Db) -> None:
    bench.source.execute("CREATE TABLE t (a int NOT NULL, v text)")
    bench.write(bench.job(key=["a"], purge="system"))
    for statement, message in NEAR:
        bench.source.execute(statement)
        with pytest.raises(Refused, match=message):
            bench.open(new=True).plan("copy")
        bench.source.execute("ALTER TABLE t DROP CONSTRAINT IF EXISTS i", "DROP INDEX IF EXISTS i")


def test_a_unique_set_without_a_primary_key(bench: Db) -> None:
    bench.source.execute(
        "CREATE TABLE t (a int NOT NULL, b text NOT NULL, v text, UNIQUE (b, a))",
        "INSERT INTO t SELECT n, 'b' || n, 'v' FROM generate_series(1, 30) n",
    )
    bench.write(bench.job())
    with pytest.raises(ConfigError, match=r"such as \[b, a\]"):
        bench.open().plan("copy")
    bench.write(bench.job(key=["a", "b"], purge="system", batch_size=7, check=WHOLE))
    (job,) = bench.run().jobs
    assert (job.rows_purged, job.rows_kept) == (30, 0)


@pytest.mark.parametrize("on_conflict", ["update", "ignore", "error"])
def test_an_index_that_is_dropped_after_the_plan(bench: Db, on_conflict: str) -> None:
    """Of two rows of one key the second is not passed over as one that was there."""
    bench.source.execute(SMALL, ROWS.format(10))
    bench.target.execute(SMALL, "INSERT INTO t VALUES (0, true, 'x')")
    bench.write(bench.job(on_conflict=on_conflict, key=["id"], where="id < 99"))
    run = bench.open()
    run.plan("copy")
    bench.target.execute("INSERT INTO t VALUES (-1, true, 'x')")
    bench.source.execute(
        "ALTER TABLE t DROP CONSTRAINT t_pkey",
        "CREATE INDEX ON t (id)",
        "INSERT INTO t VALUES (5, true, 'twin')",
    )
    with pytest.raises(DspError):
        run.copy("copy")
    assert bench.target.value("SELECT count(*) FROM t WHERE id > 0") == 0
