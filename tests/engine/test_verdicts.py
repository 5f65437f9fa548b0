"""Verdicts and reports that were false once: what was missed, and what was blamed wrongly."""

from __future__ import annotations

from typing import Any

import pytest

from dsp_airflow.engine.errors import Mismatch
from dsp_airflow.steps import TaskRun
from tests.engine.scenes import ROWS, SMALL, Db, done, small


def test_a_missing_row_is_noticed_while_a_transaction_was_open(bench: Db) -> None:
    """It began before the rows were inserted, so every row is younger than the horizon."""
    with bench.source.connect() as other:
        other.execute("BEGIN")
        other.execute("SELECT pg_current_xact_id()")
        bench.source.execute(
            SMALL, "INSERT INTO t SELECT n, true, 'v' FROM generate_series(2, 100, 2) n"
        )
        bench.target.execute(SMALL, "INSERT INTO t VALUES (11, true, 'theirs')")
        bench.write(bench.job(check={"percent": 100}))
        run = bench.open()
        run.plan("copy")
        run.copy("copy")
    bench.target.execute("DELETE FROM t WHERE id = 10")
    with pytest.raises(Mismatch):
        run.check("copy")


def ignored(bench: Db, percent: int) -> TaskRun:
    """A second run, which finds every row there as it is; then five of them are spoiled."""
    bench.source.execute(SMALL, ROWS.format(100))
    bench.write(bench.job(on_conflict="ignore", batch_size=50, check={"percent": percent}))
    bench.run()
    run = bench.open(new=True)
    run.plan("copy")
    run.copy("copy")
    return run


def test_rows_that_ignore_found_equal_excuse_nothing(bench: Db) -> None:
    """The batch was chosen after it had been copied."""
    run = ignored(bench, 1)
    run.check("copy")
    (plain,) = [b for b in run.runs.batches(run.run.id, "copy") if not b.sampled]
    first = 50 * plain.number - 49
    bench.target.execute(f"UPDATE t SET v = 'spoiled' WHERE id BETWEEN {first} AND {first + 4}")
    with pytest.raises(Mismatch):
        run.check_again("copy", 100.0)


def test_rows_that_ignore_found_equal_are_counted_when_spoiled(bench: Db) -> None:
    run = ignored(bench, 100)
    bench.target.execute("UPDATE t SET v = 'spoiled' WHERE id % 20 = 0")
    with pytest.raises(Mismatch, match=": 5 rows differ"):
        run.check("copy")


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("kind", ["json", "jsonb"])
def test_a_json_that_python_cannot_read_stops_no_purge(bench: Db, kind: str, deep: bool) -> None:
    big = "repeat('[', 3000) || '1' || repeat(']', 3000)" if deep else "repeat('9', 5000)"
    bench.source.execute(
        f"CREATE TABLE t (id int PRIMARY KEY, v {kind})",
        f"INSERT INTO t SELECT n, ({big})::{kind} FROM generate_series(1, 10) n",
    )
    bench.write(bench.job(purge="system", check={"percent": 100}))
    run = bench.open()
    run.plan("copy")
    done(run)
    bench.target.execute("UPDATE t SET v = '1' WHERE id = 7")
    found = run.purge("copy")
    assert (found.rows_purged, found.rows_kept) == (9, 1)


@pytest.mark.parametrize("percent", [100, 1], ids=["sampled", "counted"])
def test_no_alarm_when_a_later_run_copied_a_row_into_the_range(bench: Db, percent: int) -> None:
    """The row stands in both tables; somebody clears the check of the run before."""
    bench.source.execute(SMALL, "INSERT INTO t SELECT n, true, 'v' FROM generate_series(2,100,2) n")
    bench.write(bench.job(batch_size=25, check={"percent": percent}))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    bench.source.execute("INSERT INTO t VALUES (7, true, 'new'), (77, true, 'new')")
    later = bench.open(new=True)
    later.plan("copy")
    done(later)
    assert run.check("copy").rows_different == 0


def test_rows_of_another_job_are_not_kept_while_a_transaction_was_open(bench: Db) -> None:
    more: dict[str, Any] = {"purge": "manual", "check": {"percent": 100}}
    with bench.source.connect() as other:
        other.execute("BEGIN")
        other.execute("SELECT pg_current_xact_id()")
        bench.source.execute(SMALL, ROWS.format(100))
        bench.write(
            bench.job("even", where="id % 2 = 0", **more),
            bench.job("odd", where="id % 2 = 1", **more),
        )
        run = bench.open()
        for name in ("even", "odd"):
            run.plan(name)
            run.copy(name)
            run.check(name)
    bench.source.execute("UPDATE t SET v = 'late' WHERE id = 10")
    found = run.purge("even")
    assert (found.rows_purged, found.rows_kept) == (49, 1)


def test_a_row_of_an_earlier_window_is_not_kept_by_this_run(bench: Db) -> None:
    bench.source.execute(
        "CREATE TABLE t (id bigint PRIMARY KEY, at bigint, v text)",
        "INSERT INTO t SELECT n, n, 'v' FROM generate_series(1, 10) n",
    )
    bench.write(
        bench.job(
            mode="incremental", cursor={"column": "at"}, purge="manual", check={"percent": 100}
        )
    )
    bench.run()
    bench.source.execute("INSERT INTO t SELECT n, n, 'v' FROM generate_series(11, 20) n")
    bench.source.execute("UPDATE t SET at = 15 WHERE id = 1")
    run = bench.open(new=True)
    run.plan("copy")
    done(run)
    bench.source.execute("UPDATE t SET at = 30 WHERE id = 5")
    found = run.purge("copy")
    left = bench.source.value("SELECT count(*) FROM t")
    assert (found.rows_total - found.rows_purged, found.rows_kept, left) == (0, 0, 8)


@pytest.mark.parametrize("step", ["check", "copy"])
def test_a_step_cleared_after_the_purge_leaves_the_job_succeeded(bench: Db, step: str) -> None:
    run = done(small(bench, 10))
    run.purge("copy")
    run.finish()
    run.begin()
    getattr(run, step)("copy")
    assert bench.only().state == "succeeded"


@pytest.mark.parametrize(
    ("native", "value", "wanted"),
    [
        ("timestamp", "now()", "timestamp"),
        ("timestamptz", "now()", "timestamptz"),
        ("timestamp(3)", "now()", "timestamp"),
        ("time", "now()::time", "time"),
        ("boolean", "true", "int8"),
        ("integer", "7", "decimal(20,2)"),
        ("varchar(5)", "'a'", "string"),
    ],
)
def test_a_purge_after_the_target_was_created_by_a_named_type(
    bench: Db, native: str, value: str, wanted: str
) -> None:
    """The table that was designed and the one that came to be are one plan."""
    bench.source.execute(
        f"CREATE TABLE t (id int PRIMARY KEY, v {native})",
        f"INSERT INTO t SELECT n, {value} FROM generate_series(1, 10) n",
    )
    columns = [{"source": "id"}, {"source": "v", "type": wanted}]
    bench.write(bench.job(purge="system", columns=columns))
    run = bench.open()
    run.plan("copy")
    assert done(run).purge("copy").rows_purged == 10


@pytest.mark.parametrize("purge", ["none", "manual", "system"])
def test_an_empty_table_is_done_as_any_other(bench: Db, purge: str) -> None:
    bench.source.execute(SMALL)
    bench.write(bench.job(purge=purge))
    found = bench.run()
    assert (found.state, found.jobs[0].state) == ("succeeded", "succeeded")
