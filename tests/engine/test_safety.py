"""Ways to lose a row or to be told a falsehood, each tried on real servers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import psycopg.conninfo
import pytest

from dsp_airflow.engine.errors import (
    BadValue,
    ConfigError,
    DspError,
    Mismatch,
    Refused,
    Transient,
)
from dsp_airflow.engine.ports import Store
from dsp_airflow.engine.stores import postgres as postgres_store
from dsp_airflow.engine.stores.postgres import PostgresSession, PostgresStore
from dsp_airflow.steps import TaskRun
from tests.engine.harness import Bench
from tests.engine.scenes import ROWS, SMALL, Db, done, small
from tests.servers import fresh_database, postgres

# Digests


@pytest.mark.parametrize("first", range(2, 7))
def test_values_that_moved_between_rows_of_the_source_survive(bench: Db, first: int) -> None:
    """A flag moves from one row to another after the copy: neither row is in the target."""
    run = done(small(bench))
    bench.source.execute(f"UPDATE t SET flag = NOT flag WHERE id IN (1, {first})")
    before = bench.source.rows(f"SELECT * FROM t WHERE id IN (1, {first}) ORDER BY id")
    found = run.purge("copy")
    left = bench.source.rows("SELECT * FROM t ORDER BY id")
    there = bench.target.rows(f"SELECT * FROM t WHERE id IN (1, {first}) ORDER BY id")
    assert (left, there == before) == (before, False)
    assert (found.rows_purged, found.rows_kept) == (98, 2)


@pytest.mark.parametrize("first", range(2, 7))
def test_values_exchanged_in_the_target_fail_the_check(bench: Db, first: int) -> None:
    """Two rows of the target carry each other's text."""
    run = small(bench)
    run.copy("copy")
    bench.target.execute(
        f"UPDATE t AS a SET v = b.v FROM t AS b WHERE a.id IN (1, {first}) "
        f"AND b.id IN (1, {first}) AND a.id <> b.id"
    )
    with pytest.raises(Mismatch):
        run.check("copy")


# Late writers


def overtaken(
    bench: Db, monkeypatch: pytest.MonkeyPatch, slow: TaskRun, other: Callable[[], object]
) -> None:
    """The first write waits, its rows read already, until ``other`` was tried."""
    write = PostgresSession.write
    begun: list[int] = []

    def late(self: PostgresSession, *args: Any, **more: Any) -> Any:
        if not begun:
            begun.append(1)
            bench.source.execute("UPDATE t SET v = 'last' WHERE id = 7")
            with pytest.raises(Transient, match="other runs have been copying"):
                other()
        return write(self, *args, **more)

    monkeypatch.setattr(PostgresSession, "write", late)
    with contextlib.suppress(DspError):
        # It may be told that the batch is no longer its own; what matters is what stands.
        done(slow).purge("copy")
    look = "SELECT v FROM t WHERE id = 7"
    assert ("last",) in bench.source.rows(look) + bench.target.rows(look)


def planned(bench: Db) -> TaskRun:
    run = bench.open(new=True)
    run.plan("copy")
    return run


@pytest.mark.usefixtures("impatient")
def test_a_slow_run_does_not_write_over_what_another_run_purged(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It read its batch before the row changed, and would write it after the row was purged."""
    small(bench, 10).copy("copy")
    bench.target.execute("TRUNCATE t")
    overtaken(bench, monkeypatch, planned(bench), lambda: done(planned(bench)).purge("copy"))


@pytest.mark.usefixtures("impatient")
def test_a_worker_that_was_taken_over_does_not_write_over_what_was_purged(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease ran out while it had read its batch."""
    run = small(bench, 10)

    def takes_over() -> None:
        with bench.state.write() as connection:
            connection.exec_driver_sql("UPDATE batches SET lease_until = '2000-01-01 00:00:00'")
        done(bench.latest()).purge("copy")

    overtaken(bench, monkeypatch, run, takes_over)


@pytest.mark.usefixtures("impatient")
def test_a_worker_of_an_earlier_attempt_does_not_write_over_what_was_purged(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is planned anew, copied and purged while an old worker holds what it read."""
    run = small(bench, 10)

    def anew() -> None:
        again = bench.latest()
        again.plan("copy", anew=True)
        done(again).purge("copy")

    overtaken(bench, monkeypatch, run, anew)


# Other jobs on the table


def test_a_purge_waits_for_a_job_that_could_not_be_planned(bench: Db) -> None:
    """The second job of the table has no batches yet, which is not the same as being through."""
    bench.source.execute(SMALL, ROWS.format(10))
    bench.write(
        bench.job("first", purge="manual"),
        bench.job("second", target={"table": "public.elsewhere", "create": "never"}),
    )
    run = bench.open()
    run.plan("first")
    run.copy("first")
    run.check("first")
    with pytest.raises(ConfigError):
        run.plan("second")
    with pytest.raises(Refused, match="second"):
        run.purge("first")
    assert bench.source.value("SELECT count(*) FROM t") == 10


def test_a_purge_waits_for_a_job_that_is_planned_anew(bench: Db) -> None:
    """A new attempt of the second job has dropped its plan."""
    bench.source.execute(SMALL, ROWS.format(10))
    bench.write(
        bench.job("first", purge="manual"), bench.job("second", target={"table": "public.t2"})
    )
    run = bench.open()
    run.plan("first")
    run.copy("first")
    run.check("first")
    run.plan("second")
    run.runs.new_attempt(run.run.id, "second")
    with pytest.raises(Refused, match="second"):
        run.purge("first")
    assert bench.source.value("SELECT count(*) FROM t") == 10


def test_a_purge_waits_for_a_job_that_reads_the_table_by_another_host_name(bench: Db) -> None:
    """Two Airflow connections may lead to one database."""
    bench.source.execute(SMALL, ROWS.format(10))
    second = bench.job("second", target={"table": "public.t2"})
    second["source"]["connection"] = "alias"
    bench.write(bench.job("first", purge="manual"), second)
    plain = bench.store
    where = psycopg.conninfo.conninfo_to_dict(bench.source.uri)

    def store(conn_id: str) -> Store:
        if conn_id != "alias":
            return plain(conn_id)
        found = PostgresStore("alias", where)
        found.identity = "db1.example.org:5432/shop"
        return found

    bench.store = store  # type: ignore[method-assign]
    run = bench.open()
    run.plan("first")
    run.copy("first")
    run.check("first")
    with pytest.raises(Refused, match="second"):
        run.purge("first")
    assert bench.source.value("SELECT count(*) FROM t") == 10


# Checks


def test_a_check_after_the_purge_does_not_claim_rows_it_could_not_compare(bench: Db) -> None:
    """The source is empty, the batches have no digest, and the target was spoiled."""
    run = small(bench, 100, batch_size=10, check={"percent": 10})
    done(run).purge("copy")
    (sampled,) = [b for b in run.runs.batches(run.run.id, "copy") if b.sampled]
    first = 10 * sampled.number - 9
    bench.target.execute(f"UPDATE t SET v = 'spoiled' WHERE id NOT BETWEEN {first} AND {first + 9}")
    found = run.check_again("copy", 100.0)
    assert found.rows_checked == 10


def test_a_check_counts_only_rows_it_compared_when_keys_sort_differently(bench: Db) -> None:
    """Every row changed in the source since, and the target's copy was spoiled."""
    bench.source.execute(
        "CREATE TABLE t (k text PRIMARY KEY, v text)",
        "INSERT INTO t SELECT 'k' || n, 'v' FROM generate_series(1, 20) n",
    )
    bench.target.execute('CREATE TABLE t (k text COLLATE "C" PRIMARY KEY, v text)')
    bench.write(bench.job(purge="manual", check={"percent": 100}))
    run = bench.open()
    plan = run.plan("copy")
    assert not plan.ordered_alike
    run.copy("copy")
    bench.source.execute("UPDATE t SET v = 'changed since'")
    bench.target.execute("UPDATE t SET v = 'spoiled'")
    with pytest.raises(Mismatch):
        run.check("copy")


def test_rows_that_ignore_left_are_no_difference_when_keys_sort_differently(bench: Db) -> None:
    """``ignore`` was asked to leave the target's row; the check holds it against the copy."""
    bench.source.execute(
        "CREATE TABLE t (k text PRIMARY KEY, v text)",
        "INSERT INTO t SELECT 'k' || n, 'v' FROM generate_series(1, 20) n",
    )
    bench.target.execute(
        'CREATE TABLE t (k text COLLATE "C" PRIMARY KEY, v text)',
        "INSERT INTO t VALUES ('k7', 'theirs')",
    )
    bench.write(bench.job(on_conflict="ignore", check={"percent": 100}))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    assert run.check("copy").rows_different == 0


def test_a_created_target_sorts_as_the_plan_believes(bench: Db) -> None:
    """The source's key has a collation of its own, the created table the database's."""
    collation = "und-x-icu"
    if not bench.source.rows("SELECT 1 FROM pg_collation WHERE collname = %s", collation):
        collation = "C"  # Nothing else sorts differently there: the plan must know at least that.
    bench.source.execute(
        f'CREATE TABLE t (k text COLLATE "{collation}" PRIMARY KEY, v int)',
        "INSERT INTO t SELECT chr(64 + n), n FROM generate_series(1, 26) n",
        "INSERT INTO t SELECT chr(96 + n), n FROM generate_series(1, 26) n",
    )
    bench.write(bench.job(purge="system", batch_size=5, check={"percent": 100}))
    (job,) = bench.run().jobs
    assert (job.rows_different, job.rows_purged, job.rows_kept) == (0, 52, 0)


# Types


def test_an_array_of_blank_padded_texts_is_no_exact_copy(bench: Db) -> None:
    """``char(n)[]`` loses the blanks at the end of its elements, as ``char(n)`` does."""
    bench.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(5)[])",
        "INSERT INTO t VALUES (1, ARRAY['a ', 'b'])",
    )
    bench.target.execute("CREATE TABLE t (id int PRIMARY KEY, v char(5)[])")
    bench.write(bench.job(purge="system", check={"percent": 100}))
    with pytest.raises(Refused, match="does not hold all of v"):
        bench.run()
    assert bench.source.value("SELECT v::text FROM t") == '{"a ",b}'


# Counts and reasons


def test_a_row_that_left_the_filter_is_reported_beside_one_that_is_new(bench: Db) -> None:
    """As many rows came as went: both are kept and both are named."""
    run = done(small(bench, 100, where="v <> 'gone'"))
    bench.source.execute(
        "DELETE FROM t WHERE id = 50",
        "UPDATE t SET v = 'gone' WHERE id = 7",
        "INSERT INTO t VALUES (50, true, 'new'), (-1, true, 'new')",
    )
    found = run.purge("copy")
    assert sorted(bench.source.rows("SELECT id FROM t")) == [(-1,), (7,), (50,)]
    kinds = sorted(d.difference.kind for d in run.runs.differences(run.run.id))
    assert (found.rows_kept, kinds) == (3, ["changed", "left_filter", "new"])


def test_a_purge_is_not_stuck_on_another_rows_key(bench: Db) -> None:
    """The target's key holds more than the source's type; such a row is nobody's business."""
    bench.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t SELECT n, 'v' FROM generate_series(1, 10) n",
    )
    bench.target.execute(
        "CREATE TABLE t (id numeric PRIMARY KEY, v text)", "INSERT INTO t VALUES (3.5, 'other')"
    )
    bench.write(bench.job(purge="system", check={"percent": 100}, where="v <> 'gone'"))
    run = bench.open()
    run.plan("copy")
    done(run)
    bench.source.execute("UPDATE t SET v = 'gone' WHERE id = 7")
    found = run.purge("copy")
    assert (found.rows_purged, found.rows_kept) == (9, 1)


def test_an_aborted_purge_of_forgotten_outcome_is_done_again(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit log reaches back no further; a row had left the filter."""
    run = done(small(bench, 100, where="v <> 'gone'"))
    bench.source.execute("UPDATE t SET v = 'gone' WHERE id = 7")
    commit = postgres_store.purge.PostgresPurge.commit
    lost: list[int] = []

    def failing(self: Any) -> None:
        if not lost:
            lost.append(1)
            raise Transient("the connection broke before COMMIT was sent")
        commit(self)

    monkeypatch.setattr(postgres_store.purge.PostgresPurge, "commit", failing)
    monkeypatch.setattr(PostgresSession, "outcome", lambda *_: "unknown")
    with pytest.raises(Transient):
        run.purge("copy")
    found = run.purge("copy")
    assert (found.rows_purged, bench.source.value("SELECT count(*) FROM t")) == (99, 1)


# Privileges and targets


def test_a_purge_by_the_privileges_that_were_asked_for(bench: Db) -> None:
    """SELECT and DELETE were said to be enough; then one row of a batch differs."""
    bench.source.execute(
        SMALL,
        ROWS.format(100),
        "DROP ROLE IF EXISTS hunter",
        "CREATE ROLE hunter LOGIN PASSWORD 'x' NOSUPERUSER",
        "GRANT SELECT, DELETE ON t TO hunter",
    )
    try:
        plain = bench.store
        where = psycopg.conninfo.conninfo_to_dict(bench.source.uri)

        def store(conn_id: str) -> Store:
            if conn_id == "source":
                return PostgresStore(conn_id, {**where, "user": "hunter", "password": "x"})
            return plain(conn_id)

        bench.store = store  # type: ignore[method-assign]
        bench.write(bench.job(purge="system", check={"percent": 100}))
        run = bench.open()
        run.plan("copy")
        done(run)
        bench.source.execute("UPDATE t SET v = 'late' WHERE id = 7")
        found = run.purge("copy")
        assert (found.rows_purged, found.rows_kept) == (99, 1)
    finally:
        bench.source.execute("DROP OWNED BY hunter", "DROP ROLE hunter")


def test_a_merge_into_a_table_with_an_identity_that_is_no_key(bench: Db) -> None:
    """The second run finds all rows there and has nothing to change."""
    made = ("CREATE TABLE t (id int PRIMARY KEY, seq int GENERATED ALWAYS AS IDENTITY, v text)",)
    bench.source.execute(*made, "INSERT INTO t (id, v) SELECT n, 'v' FROM generate_series(1, 9) n")
    bench.target.execute(*made)
    bench.write(bench.job(check={"percent": 100}))
    bench.run()
    bench.run(new=True)


def test_a_key_that_would_be_narrowed_is_refused_in_every_column(bench: Db) -> None:
    """The second column of the primary key is narrowed."""
    bench.source.execute(
        "CREATE TABLE t (a int, b text, PRIMARY KEY (a, b))", "INSERT INTO t VALUES (1, 'abcdef')"
    )
    bench.target.execute("CREATE TABLE t (a int, b varchar(3), PRIMARY KEY (a, b))")
    bench.write(bench.job())
    with pytest.raises(ConfigError, match="key column b"):
        bench.open().plan("copy")


def test_a_target_key_of_another_scale_is_the_same_row(bench: Db) -> None:
    """7 and 7.0 are one key: ``update`` has to make the row the source's, or say it cannot."""
    bench.source.execute(
        "CREATE TABLE t (id numeric PRIMARY KEY, v text)",
        "INSERT INTO t SELECT n, 'v' FROM generate_series(1, 10) n",
    )
    bench.target.execute(
        "CREATE TABLE t (id numeric PRIMARY KEY, v text)", "INSERT INTO t VALUES (7.0, 'old')"
    )
    bench.write(bench.job(purge="system", check={"percent": 100}))
    (job,) = bench.run().jobs
    assert (job.rows_purged, job.rows_kept) == (10, 0)


def test_a_kept_row_has_a_reason_when_only_its_json_is_spelled_differently(bench: Db) -> None:
    """It is kept and counted; the report has to name it."""
    bench.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v json)",
        """INSERT INTO t SELECT n, '{"a": 1}' FROM generate_series(1, 10) n""",
    )
    bench.write(bench.job(purge="system", check={"percent": 100}))
    run = bench.open()
    run.plan("copy")
    done(run)
    bench.target.execute("""UPDATE t SET v = '{"a":1}' WHERE id = 7""")
    found = run.purge("copy")
    assert found.rows_kept == len(run.runs.differences(run.run.id))


@pytest.mark.parametrize("version", ["15", "18"])
def test_a_partition_fed_by_a_subscription_is_no_safe_target(
    tmp_path: Path, version: Literal["15", "18"]
) -> None:
    """The subscription is on the partitioned table, the target is its partition."""
    with (
        postgres(version, settings={"wal_level": "logical"}) as server,
        fresh_database(server) as source,
        fresh_database(server) as target,
    ):
        source.execute(
            SMALL,
            "CREATE PUBLICATION p FOR TABLE t",
            "SELECT pg_create_logical_replication_slot('s', 'pgoutput')",
        )
        target.execute(
            "CREATE TABLE t (id bigint PRIMARY KEY, flag boolean, v text) PARTITION BY RANGE (id)",
            "CREATE TABLE part PARTITION OF t FOR VALUES FROM (0) TO (1000)",
            f"CREATE SUBSCRIPTION s CONNECTION '{source.uri}' PUBLICATION p "
            "WITH (create_slot = false, slot_name = 's', copy_data = false)",
        )
        source.execute(ROWS.format(10))
        try:
            bench = Bench(tmp_path, source, target)
            bench.write(bench.job(purge="system", target={"table": "public.part"}))
            deadline = time.monotonic() + 20
            while target.value("SELECT count(*) FROM t") < 10 and time.monotonic() < deadline:
                time.sleep(0.2)
            with pytest.raises(Refused, match="subscription"):
                bench.run()
            assert source.value("SELECT count(*) FROM t") == 10
        finally:
            target.execute(
                "ALTER SUBSCRIPTION s DISABLE",
                "ALTER SUBSCRIPTION s SET (slot_name = NONE)",
                "DROP SUBSCRIPTION s",
            )
            deadline = time.monotonic() + 20
            while source.value("SELECT count(*) FROM pg_replication_slots WHERE active"):
                assert time.monotonic() < deadline
                time.sleep(0.2)
            source.execute("SELECT pg_drop_replication_slot('s')")


def test_an_identity_that_cannot_be_updated_is_named(bench: Db) -> None:
    made = ("CREATE TABLE t (id int PRIMARY KEY, seq int GENERATED ALWAYS AS IDENTITY, v text)",)
    bench.source.execute(*made, "INSERT INTO t (id, v) SELECT n, 'v' FROM generate_series(1, 9) n")
    bench.target.execute(*made, "INSERT INTO t (id, v) VALUES (9, 'first')")
    bench.write(bench.job(check={"percent": 100}))
    with pytest.raises(BadValue, match="key 9 has another value in seq"):
        bench.run()


def test_a_table_that_is_all_identity(bench: Db) -> None:
    made = ("CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)",)
    bench.source.execute(*made, "INSERT INTO t SELECT FROM generate_series(1, 9)")
    bench.target.execute(*made, "INSERT INTO t SELECT FROM generate_series(1, 3)")
    bench.write(bench.job(purge="system", check={"percent": 100}))
    (job,) = bench.run().jobs
    assert (job.rows_written, job.rows_purged, job.rows_kept) == (9, 9, 0)


# The world around


def test_databases_that_are_serializable_by_default(bench: Db) -> None:
    for place in (bench.source, bench.target):
        place.execute(
            f"ALTER DATABASE {place.name} SET default_transaction_isolation = 'serializable'"
        )
    run = done(small(bench, 100, batch_size=10, workers=3))
    bench.source.execute("UPDATE t SET v = 'x' WHERE id = 7")
    found = run.purge("copy")
    assert (found.rows_purged, found.rows_kept) == (99, 1)


SOURCE_SETTINGS = {
    "DateStyle": "'SQL, DMY'",
    "extra_float_digits": "-5",
    "bytea_output": "'escape'",
    "TimeZone": "'Asia/Kathmandu'",
    "standard_conforming_strings": "off",
    "search_path": "''",
    "quote_all_identifiers": "on",
    "IntervalStyle": "'iso_8601'",
}
TARGET_SETTINGS = {
    "DateStyle": "'German'",
    "TimeZone": "'America/New_York'",
    "quote_all_identifiers": "on",
    "session_replication_role": "replica",
}


def test_settings_of_the_databases_do_not_matter(bench: Db) -> None:
    for place, settings in ((bench.source, SOURCE_SETTINGS), (bench.target, TARGET_SETTINGS)):
        place.execute(*(f"ALTER DATABASE {place.name} SET {n} = {v}" for n, v in settings.items()))
    bench.source.execute(
        "CREATE TABLE public.t (id timestamptz PRIMARY KEY, a float8, b bytea, c timestamp, "
        "d date, e numeric[], f date[], g timestamptz[])",
        "INSERT INTO public.t SELECT now() + n * interval '1 hour', n / 3.0, "
        "decode(md5(n::text), 'hex'), now(), now(), ARRAY[n / 7.0], ARRAY[now()::date], "
        "ARRAY[now()] FROM generate_series(1, 100) n",
    )
    bench.write(bench.job(purge="system", batch_size=10, check={"percent": 100}))
    (job,) = bench.run().jobs
    assert (job.rows_purged, job.rows_kept, job.rows_different) == (100, 0, 0)


@pytest.mark.parametrize("timing", ["TRIGGER", "CONSTRAINT TRIGGER"])
@pytest.mark.parametrize("changed", [False, True], ids=["whole", "by_row"])
def test_a_trigger_that_deletes_the_copy_deletes_no_row(
    bench: Db, timing: str, changed: bool
) -> None:
    """It was accepted, and both tables are in one database: the copy would go with the row."""
    deferred = "DEFERRABLE INITIALLY DEFERRED" if timing.startswith("C") else ""
    bench.source.execute(
        SMALL,
        ROWS.format(10),
        "CREATE TABLE arch (LIKE t INCLUDING ALL)",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN DELETE FROM arch WHERE id = OLD.id; RETURN NULL; END'",
        f"CREATE {timing} tg AFTER DELETE ON t {deferred} FOR EACH ROW EXECUTE FUNCTION f()",
    )
    job = bench.job(purge="system", accept_triggers=["tg"], check={"percent": 100})
    job["target"] = {"connection": "source", "table": "public.arch"}
    bench.write(job)
    run = bench.open()
    run.plan("copy")
    done(run)
    if changed:
        bench.source.execute("UPDATE t SET v = 'late' WHERE id = 7")
    found = run.purge("copy")
    assert (found.rows_purged, found.rows_kept) == (0, 10)
    left = [bench.source.value(f"SELECT count(*) FROM {name}") for name in ("t", "arch")]
    assert left == [10, 10]


def test_a_row_that_a_trigger_keeps_is_kept(bench: Db) -> None:
    run = small(bench, 10, accept_triggers=["tg"])
    bench.source.execute(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN IF OLD.id = 3 THEN RETURN NULL; END IF; RETURN OLD; END'",
        "CREATE TRIGGER tg BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION f()",
    )
    found = done(run).purge("copy")
    assert (found.rows_purged, found.rows_kept) == (9, 1)
    (kept,) = run.runs.differences(run.run.id)
    assert "a trigger keeps it" in kept.difference.reason
    assert bench.source.rows("SELECT id FROM t") == [(3,)]
