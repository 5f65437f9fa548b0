"""More ways to lose a row or to be told a falsehood, each tried on real servers."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from dsp_airflow.config.loading import load_task
from dsp_airflow.engine.errors import BadValue, DspError, Mismatch, Refused, Transient
from dsp_airflow.engine.stores import postgres as postgres_store
from dsp_airflow.engine.stores.postgres import PostgresSession
from dsp_airflow.opening import open_run
from dsp_airflow.steps import TaskRun
from tests.engine.scenes import ROWS, SMALL, Db, done, small

# Two purges


@pytest.mark.usefixtures("impatient")
def test_two_purges_do_not_prove_by_what_the_other_deletes(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One task archives t, another moves it back: each is the other's proof."""
    run = done(small(bench, 10))
    job = bench.job(purge="system", check={"percent": 100})
    job["source"]["connection"], job["target"] = "target", {"connection": "source"}
    file = bench.folder / "back.yaml"
    file.write_text(yaml.safe_dump({"name": "back", "jobs": [job]}))
    back = open_run(bench.state, load_task(file), file, bench.store)
    back.begin()
    back.plan("copy")
    done(back)
    commit = postgres_store.purge.PostgresPurge.commit
    begun: list[int] = []

    def late(self: Any) -> None:
        if not begun:
            begun.append(1)
            with contextlib.suppress(Transient):
                back.purge("copy")
        commit(self)

    monkeypatch.setattr(postgres_store.purge.PostgresPurge, "commit", late)
    with contextlib.suppress(Transient):
        run.purge("copy")
    look = "SELECT id FROM t"
    assert len({*bench.source.rows(look), *bench.target.rows(look)}) == 10


# Who was overtaken


def outlived(
    bench: Db, monkeypatch: pytest.MonkeyPatch, slow: TaskRun, other: Callable[[], object]
) -> None:
    """The first write waits, its rows read already, until ``other`` has copied newer ones."""
    write = PostgresSession.write
    begun: list[int] = []

    def late(self: PostgresSession, *args: Any, **more: Any) -> Any:
        if not begun:
            begun.append(1)
            bench.source.execute("UPDATE t SET v = 'last' WHERE id = 7")
            other()
        return write(self, *args, **more)

    monkeypatch.setattr(PostgresSession, "write", late)
    with contextlib.suppress(DspError):
        slow.copy("copy")
    assert bench.target.value("SELECT v FROM t WHERE id = 7") == "last"


def test_a_worker_that_was_taken_over_does_not_write_over_newer_rows(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease ran out; the other one finished the job, and the markers were forgotten."""
    run = small(bench, 10, purge="none")

    def takes_over() -> None:
        with bench.state.write() as connection:
            connection.exec_driver_sql("UPDATE batches SET lease_until = '2000-01-01 00:00:00'")
        done(bench.latest())

    outlived(bench, monkeypatch, run, takes_over)


def test_a_worker_of_an_earlier_attempt_does_not_write_over_newer_rows(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job was planned anew, copied and checked while an old worker held what it had read."""
    run = small(bench, 10, purge="none")

    def anew() -> None:
        again = bench.latest()
        again.plan("copy", anew=True)
        done(again)

    outlived(bench, monkeypatch, run, anew)


# Triggers of the target


def test_an_update_that_a_trigger_swallows_is_noticed_among_others(bench: Db) -> None:
    """Nine rows are updated, the tenth is not."""
    bench.source.execute(SMALL, ROWS.format(10))
    bench.target.execute(
        SMALL,
        "INSERT INTO t SELECT n, false, 'old' FROM generate_series(1, 10) n",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN IF OLD.id = 7 THEN RETURN NULL; END IF; RETURN NEW; END'",
        "CREATE TRIGGER tg BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()",
    )
    bench.write(bench.job(check="none"))
    with pytest.raises(Mismatch, match="swallow"):
        bench.run()


# Keys of several spellings


def spelled(bench: Db, *late: str) -> TaskRun:
    """A checked copy by a numeric key; one row changed since, so that the purge goes by rows."""
    bench.source.execute(
        "CREATE TABLE t (id numeric NOT NULL, v text)",
        "CREATE UNIQUE INDEX u ON t (id)",
        "INSERT INTO t SELECT n, 'v' FROM generate_series(1, 10) n",
    )
    bench.write(bench.job(purge="system", key=["id"], check={"percent": 100}))
    run = bench.open()
    run.plan("copy")
    done(run)
    bench.source.execute("UPDATE t SET v = 'late' WHERE id = 3", *late)
    return run


def limited(monkeypatch: pytest.MonkeyPatch, first: Callable[[], None]) -> None:
    """A purge that takes its rows again and again fails; ``first`` happens before it takes any."""
    take = postgres_store.purge.PostgresPurge.take_keys
    calls: list[int] = []

    def counted(self: Any, *args: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            first()
        if len(calls) > 20:
            pytest.fail("the purge takes the same rows again and again")
        return take(self, *args)

    monkeypatch.setattr(postgres_store.purge.PostgresPurge, "take_keys", counted)


def test_a_key_that_is_spelled_anew_meanwhile(bench: Db, monkeypatch: pytest.MonkeyPatch) -> None:
    """7 becomes 7.0, which is the same key, after the purge has read it."""
    run = spelled(bench)
    limited(monkeypatch, lambda: bench.source.execute("UPDATE t SET id = 7.0 WHERE id = 7"))
    found = run.purge("copy")
    assert (found.rows_purged, found.rows_kept) == (8, 2)


def test_a_key_that_is_unique_no_longer(bench: Db) -> None:
    """Only one of 7 and 7.0 was copied."""
    run = spelled(bench, "DROP INDEX u", "INSERT INTO t VALUES (7.0, 'only here')")
    with pytest.raises(Refused, match="no unique index"):
        run.purge("copy")
    assert bench.source.value("SELECT count(*) FROM t") == 11


# No false alarm


@pytest.mark.parametrize("sampled", [True, False], ids=["sampled", "counted"])
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("UPDATE t SET v = 'late' WHERE id = 10", "UPDATE t SET v = 'x' WHERE id = 11"),
        ("UPDATE t SET v = 'late' WHERE id = 10", "DELETE FROM t WHERE id = 11"),
        ("DELETE FROM t WHERE id = 10", "UPDATE t SET v = 'x' WHERE id = 11"),
        ("DELETE FROM t WHERE id = 10", "DELETE FROM t WHERE id = 11"),
        ("INSERT INTO t VALUES (13)", "UPDATE t SET v = 'x' WHERE id = 11"),
    ],
)
def test_no_alarm_when_the_targets_other_rows_live_on(
    bench: Db, source: str, target: str, sampled: bool
) -> None:
    """The copy is whole; the source moved on, and so did a row that was never of this job."""
    bench.source.execute(SMALL, "INSERT INTO t SELECT n, true, 'v' FROM generate_series(2,100,2) n")
    bench.target.execute(SMALL, "INSERT INTO t SELECT n, true, 'w' FROM generate_series(1,99,2) n")
    size, percent = (50, 100) if sampled else (25, 1)
    bench.write(bench.job(batch_size=size, check={"percent": percent}))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    bench.source.execute(source)
    bench.target.execute(target)
    assert run.check("copy").rows_different == 0


def test_no_alarm_when_a_row_came_for_one_that_went_and_keys_sort_differently(bench: Db) -> None:
    """As many rows as were copied, but not the same keys."""
    bench.source.execute(
        "CREATE TABLE t (k text PRIMARY KEY, v text)",
        "INSERT INTO t SELECT 'k' || n, 'v' FROM generate_series(10, 30) n",
    )
    bench.target.execute('CREATE TABLE t (k text COLLATE "C" PRIMARY KEY, v text)')
    bench.write(bench.job(check={"percent": 100}))
    run = bench.open()
    assert not run.plan("copy").ordered_alike
    run.copy("copy")
    bench.source.execute("DELETE FROM t WHERE k = 'k17'", "INSERT INTO t VALUES ('k17x', 'new')")
    assert run.check("copy").rows_different == 0


# Jobs that share a target


def halves(bench: Db) -> TaskRun:
    """Two jobs that copy one half each of a table into one target."""
    bench.source.execute(SMALL, ROWS.format(100))
    more: dict[str, Any] = {"purge": "manual", "check": {"percent": 100}}
    bench.write(
        bench.job("even", where="id % 2 = 0", **more), bench.job("odd", where="id % 2 = 1", **more)
    )
    return bench.open()


def test_rows_of_another_job_are_not_counted_as_kept(bench: Db) -> None:
    run = halves(bench)
    for name in ("even", "odd"):
        run.plan(name)
        run.copy(name)
        run.check(name)
    bench.source.execute("UPDATE t SET v = 'late' WHERE id = 10")
    found = run.purge("even")
    assert (found.rows_purged, found.rows_kept) == (49, 1)


def test_rows_of_another_job_are_no_difference(bench: Db) -> None:
    """Both jobs copy before either checks, as in parallel."""
    run = halves(bench)
    for name in ("even", "odd"):
        run.plan(name)
        run.copy(name)
    assert [run.check(name).rows_different for name in ("even", "odd")] == [0, 0]


# on_conflict: ignore


def left_by_ignore(bench: Db, **job: Any) -> TaskRun:
    """A copied job whose target keeps ten rows of its own."""
    bench.source.execute(SMALL, ROWS.format(100))
    bench.target.execute(
        SMALL, "INSERT INTO t SELECT n, true, 'theirs' FROM generate_series(5, 95, 10) n"
    )
    bench.write(bench.job(on_conflict="ignore", **job))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    return run


def test_rows_that_ignore_left_are_no_difference_when_checked_by_hand(bench: Db) -> None:
    run = left_by_ignore(bench, batch_size=10, check={"percent": 10})
    run.check("copy")
    assert run.check_again("copy", 100.0).rows_different == 0


def test_rows_that_ignore_left_are_not_counted_beside_one_that_differs(bench: Db) -> None:
    run = left_by_ignore(bench, check={"percent": 100})
    bench.target.execute("DELETE FROM t WHERE id = 7")
    with pytest.raises(Mismatch, match=": 1 rows differ"):
        run.check("copy")


def test_a_row_that_ignore_left_is_kept_for_that_reason(bench: Db) -> None:
    run = left_by_ignore(bench, purge="system", check={"percent": 100})
    run.check("copy")
    run.purge("copy")
    reasons = {d.difference.reason for d in run.runs.differences(run.run.id)}
    assert "changed in the target since the copy" not in reasons


# Merging


def filled(bench: Db, *more: str) -> None:
    """A target that holds every key with old values."""
    bench.source.execute(SMALL, ROWS.format(10))
    old = "INSERT INTO t SELECT n, false, 'old' FROM generate_series(1, 10) n"
    bench.target.execute(SMALL, old, *more)
    bench.write(bench.job(check={"percent": 100}))


def test_a_merge_does_not_fire_what_watches_the_key(bench: Db) -> None:
    filled(
        bench,
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN RAISE EXCEPTION ''keys are for good''; END'",
        "CREATE TRIGGER tg BEFORE UPDATE OF id ON t FOR EACH ROW EXECUTE FUNCTION f()",
    )
    assert bench.run().jobs[0].rows_written == 10


def test_a_merge_does_not_wait_for_who_refers_to_a_row(bench: Db) -> None:
    """A transaction on a child table is open; an update of other columns need not wait for it."""
    filled(bench, "CREATE TABLE child (t bigint REFERENCES t)")
    bench.write(bench.job(check={"percent": 100}, timeouts={"lock": "1s"}))
    with bench.target.connect() as other:
        other.execute("BEGIN")
        other.execute("INSERT INTO child VALUES (7)")
        assert bench.run().jobs[0].rows_written == 10


# Timeouts of the databases


def test_timeouts_of_the_databases_do_not_end_a_long_batch(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One session works while the other waits with a lock."""
    for place in (bench.source, bench.target):
        names = "('idle_session_timeout', 'transaction_timeout')"
        for (name,) in place.rows(f"SELECT name FROM pg_settings WHERE name IN {names}"):
            place.execute(f"ALTER DATABASE {place.name} SET {name} = '500ms'")
    run = done(small(bench, 10))
    take = postgres_store.purge.PostgresPurge.take

    def slow(self: Any, *args: Any) -> Any:
        found = take(self, *args)
        time.sleep(1)
        return found

    monkeypatch.setattr(postgres_store.purge.PostgresPurge, "take", slow)
    assert run.purge("copy").rows_purged == 10


# The ledger


def test_an_edited_plan_deletes_nothing(bench: Db) -> None:
    """Somebody took a column out of the stored plan, and with it out of the proof."""
    run = done(small(bench, 10))
    bench.source.execute("UPDATE t SET v = 'only here' WHERE id = 7")
    with bench.state.write() as connection:
        plan = json.loads(connection.exec_driver_sql("SELECT plan FROM jobs").scalar_one())
        for side in (plan["source"], plan["target"]):
            side["fields"] = [f for f in side["fields"] if f["column"] != "v"]
        connection.exec_driver_sql("UPDATE jobs SET plan = ?", (json.dumps(plan),))
    with contextlib.suppress(Refused):
        run.purge("copy")
    assert bench.source.rows("SELECT v FROM t WHERE id = 7") == [("only here",)]


# Values of several spellings


def test_many_rows_of_json_that_are_only_spelled_differently(bench: Db) -> None:
    """More of them than a report holds; every value agrees."""
    bench.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v json)",
        """INSERT INTO t SELECT n, '{"a": 1}' FROM generate_series(1, 1500) n""",
    )
    bench.write(bench.job(check={"percent": 100}))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    bench.target.execute("""UPDATE t SET v = '{"a":1}'""")
    assert run.check("copy").rows_different == 0


# Guarded casts


def test_a_negative_zero_in_an_array_is_not_lost_silently(bench: Db) -> None:
    bench.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v float8[])", "INSERT INTO t VALUES (1, '{-0}')"
    )
    bench.target.execute("CREATE TABLE t (id int PRIMARY KEY, v numeric[])")
    bench.write(bench.job(check={"percent": 100}))
    with pytest.raises(BadValue, match="does not fit"):
        bench.run()


# Counts


def test_bytes_are_counted_when_an_acknowledgement_was_lost(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small(bench, 10)
    write = PostgresSession.write
    lost: list[int] = []

    def losing(self: PostgresSession, *args: Any, **more: Any) -> Any:
        found = write(self, *args, **more)
        if not lost:
            lost.append(1)
            raise Transient("the connection broke after COMMIT was sent")
        return found

    monkeypatch.setattr(PostgresSession, "write", losing)
    with pytest.raises(Transient):
        run.copy("copy")
    found = run.copy("copy")
    assert (found.rows_written, found.bytes > 0) == (10, True)
