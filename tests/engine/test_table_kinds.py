"""Views, foreign tables, tables without a key, row-level security, keys of every standing."""

from __future__ import annotations

import psycopg.conninfo
import pytest

from dsp_airflow.engine.errors import BadValue, ConfigError, Denied, Mismatch, Refused
from tests.engine.scenes import ROWS, SMALL, Db, as_role, done

WHOLE = {"percent": 100}


def foreign(bench: Db, *far: str, columns: str = "id bigint, flag boolean, v text") -> None:
    """The source's table f stands in the target's database, as far.t."""
    server = bench.target
    login = psycopg.conninfo.conninfo_to_dict(server.uri)
    server.execute("CREATE SCHEMA far", *far)
    bench.source.execute(
        "CREATE EXTENSION postgres_fdw",
        "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS "
        f"(host '{login['host']}', port '{login['port']}', dbname '{login['dbname']}')",
        "CREATE USER MAPPING FOR CURRENT_USER SERVER far OPTIONS "
        f"(user '{login['user']}', password '{login['password']}')",
        f"CREATE FOREIGN TABLE f ({columns}) SERVER far "
        "OPTIONS (schema_name 'far', table_name 't')",
    )


# Views


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW"])
def test_a_view_is_copied_and_checked(bench: Db, kind: str) -> None:
    bench.source.execute(
        SMALL, ROWS.format(50), f"CREATE {kind} seen AS SELECT id, v || '!' AS v FROM t"
    )
    bench.write(bench.job(table="public.seen", key=["id"], batch_size=7, check=WHOLE))
    run = bench.open()
    plan = run.plan("copy")
    assert plan.source_shape.kind in ("view", "materialised view")
    assert plan.batches == 8
    done(run)
    assert bench.target.value("SELECT count(*) FROM seen WHERE v = 'v' || id || '!'") == 50
    assert bench.run(new=True).jobs[0].rows_different == 0


def test_a_view_that_changed_since_the_copy_raises_no_alarm(bench: Db) -> None:
    bench.source.execute(SMALL, ROWS.format(50), "CREATE VIEW seen AS SELECT id, v FROM t")
    bench.write(bench.job(table="public.seen", key=["id"], batch_size=7, check=WHOLE))
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    bench.source.execute("UPDATE t SET v = 'late' WHERE id = 7", "DELETE FROM t WHERE id = 8")
    assert run.check("copy").rows_different == 0
    bench.target.execute("UPDATE seen SET v = 'spoiled' WHERE id = 9")
    with pytest.raises(Mismatch):
        run.check_again("copy")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("(1, 'a'), (1, 'b')", r"key \(1\) stands in 2 rows"),
        ("(1, 'a'), (NULL, 'b')", "1 rows have NULL in the key"),
    ],
)
def test_a_declared_key_that_is_none_is_refused(bench: Db, rows: str, message: str) -> None:
    bench.source.execute(
        "CREATE TABLE t (id int, v text)",
        f"INSERT INTO t VALUES {rows}",
        "CREATE VIEW seen AS SELECT * FROM t",
    )
    for table in ("public.t", "public.seen"):
        bench.write(bench.job(table=table, key=["id"]))
        with pytest.raises(ConfigError, match=message):
            bench.open(new=True).plan("copy")


@pytest.mark.parametrize("on_conflict", ["update", "ignore", "error"])
@pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
def test_a_key_that_doubles_after_the_plan_loses_no_row(
    bench: Db, on_conflict: str, filled: bool
) -> None:
    bench.source.execute(
        "CREATE TABLE t (id int, v text)",
        "INSERT INTO t SELECT n, 'v' FROM generate_series(1, 10) n",
        "CREATE VIEW seen AS SELECT * FROM t",
    )
    if filled:
        bench.target.execute(
            "CREATE TABLE seen (id int PRIMARY KEY, v text)", "INSERT INTO seen VALUES (0, 'x')"
        )
        bench.target.execute("INSERT INTO seen VALUES (-1, 'x')")
    bench.write(bench.job(table="public.seen", key=["id"], on_conflict=on_conflict))
    run = bench.open()
    run.plan("copy")
    bench.source.execute("INSERT INTO t VALUES (5, 'twin')")
    with pytest.raises(BadValue, match=r"key \(5\) came twice"):
        run.copy("copy")
    assert bench.target.value("SELECT count(*) FROM seen WHERE id > 0") == 0


def test_a_key_that_was_copied_before_doubles_in_an_incremental_run(bench: Db) -> None:
    """The new row alone is in the window; it would take the place of the one copied before."""
    bench.source.execute(
        "CREATE TABLE t (id int, at int, v text)",
        "INSERT INTO t SELECT n, n, 'v' FROM generate_series(1, 10) n",
        "CREATE VIEW seen AS SELECT * FROM t",
    )
    bench.write(
        bench.job(
            table="public.seen",
            key=["id"],
            mode="incremental",
            cursor={"column": "at"},
            check=WHOLE,
        )
    )
    bench.run()
    bench.source.execute("INSERT INTO t VALUES (11, 11, 'v'), (3, 12, 'twin')")
    with pytest.raises(ConfigError, match=r"key \(3\) stands in 2 rows"):
        bench.open(new=True).plan("copy")
    assert bench.target.value("SELECT v FROM seen WHERE id = 3") == "v"


def test_no_view_is_purged_or_written_to(bench: Db) -> None:
    bench.source.execute(SMALL, "CREATE VIEW seen AS SELECT * FROM t")
    bench.write(bench.job(table="public.seen", key=["id"], purge="system"))
    with pytest.raises(Refused, match="seen is a view: purge the table that it reads"):
        bench.open().plan("copy")
    bench.target.execute(SMALL, "CREATE MATERIALIZED VIEW m AS SELECT * FROM t")
    bench.write(bench.job(target={"table": "public.m"}))
    with pytest.raises(Refused, match="m is a materialised view: only REFRESH fills it"):
        bench.open(new=True).plan("copy")


def test_a_materialised_view_that_holds_nothing_yet(bench: Db) -> None:
    bench.source.execute(SMALL, "CREATE MATERIALIZED VIEW m AS SELECT * FROM t WITH NO DATA")
    bench.write(bench.job(table="public.m", key=["id"]))
    with pytest.raises(Denied, match="REFRESH MATERIALIZED VIEW"):
        bench.open().plan("copy")


def test_a_view_with_columns_named_as_the_servers_own(bench: Db) -> None:
    bench.source.execute(
        SMALL, ROWS.format(9), 'CREATE VIEW seen AS SELECT id AS k, id AS "xmin", v AS ctid FROM t'
    )
    bench.write(
        bench.job(
            table="public.seen",
            key=["k"],
            check=WHOLE,
            columns=[{"source": "k"}, {"source": "xmin", "target": "x"}],
        )
    )
    run = bench.open()
    run.plan("copy")
    run.copy("copy")
    bench.target.execute("UPDATE seen SET x = 0 WHERE k = 3")
    with pytest.raises(Mismatch, match=r"1 rows differ.*changed 3"):
        run.check("copy")


# Foreign tables


def test_a_foreign_table_is_copied_and_checked(bench: Db) -> None:
    foreign(bench, "CREATE TABLE far.t (id bigint PRIMARY KEY, flag boolean, v text)")
    bench.target.execute(ROWS.format(50).replace("INTO t", "INTO far.t"))
    job = bench.job(
        table="public.f", target={"table": "public.t"}, key=["id"], batch_size=7, check=WHOLE
    )
    bench.write(job)
    run = bench.open()
    assert run.plan("copy").source_shape.kind == "foreign table"
    run.copy("copy")
    # Its rows carry no age; what changed since is told by the copy's digest.
    bench.target.execute("UPDATE far.t SET v = 'late' WHERE id = 7")
    assert run.check("copy").rows_different == 0
    assert bench.target.value("SELECT count(*) FROM t WHERE v = 'v' || id") == 50
    bench.write({**job, "purge": "system"})
    with pytest.raises(Refused, match="cannot be locked from here"):
        bench.open(new=True).plan("copy")
    bench.write(bench.job(table="public.t", target={"connection": "source", "table": "public.f"}))
    bench.source.execute(SMALL)
    with pytest.raises(Refused, match="f is a foreign table"):
        bench.open(new=True).plan("copy")


@pytest.mark.parametrize("through", ["f", "view", "partition"])
def test_texts_that_another_server_sorts_in_its_own_way(bench: Db, through: str) -> None:
    """The wrapper may send comparisons over, and sort here: no key may fall between two batches."""
    order = "und-x-icu"
    if not bench.target.rows("SELECT 1 FROM pg_collation WHERE collname = %s", order):
        order = "C"
    foreign(
        bench,
        f'CREATE TABLE far.t (k text COLLATE "{order}" PRIMARY KEY, v int)',
        "INSERT INTO far.t SELECT CASE WHEN n % 2 = 0 THEN 'a' ELSE 'B' END || n, n "
        "FROM generate_series(1, 60) n",
        columns="k text NOT NULL, v int",
    )
    table = "f"
    if through == "view":
        bench.source.execute("CREATE VIEW inner_one AS SELECT * FROM f")
        bench.source.execute("CREATE VIEW outer_one AS SELECT * FROM inner_one WHERE v > 0")
        table = "outer_one"
    elif through == "partition":
        bench.source.execute(
            "CREATE TABLE p (k text NOT NULL, v int) PARTITION BY LIST (v)",
            "ALTER TABLE p ATTACH PARTITION f DEFAULT",
        )
        table = "p"
    bench.write(
        bench.job(
            table=f"public.{table}",
            target={"table": "public.t"},
            key=["k"],
            batch_size=7,
            check=WHOLE,
        )
    )
    (job,) = bench.run().jobs
    assert (job.rows_total, job.rows_written, job.rows_different) == (60, 60, 0)
    assert bench.target.value("SELECT count(*) FROM t") == 60


def test_policies_of_the_other_server(bench: Db) -> None:
    """Unless that server is told to say so, it leaves rows out; the plan tells how."""
    made = "CREATE TABLE far.t (id bigint PRIMARY KEY, flag boolean, v text)"
    foreign(
        bench,
        made,
        ROWS.format(50).replace("INTO t", "INTO far.t"),
        "GRANT USAGE ON SCHEMA far TO public",
    )
    bench.target.execute(
        "ALTER TABLE far.t ENABLE ROW LEVEL SECURITY", "CREATE POLICY p ON far.t USING (id < 5)"
    )
    bench.write(bench.job(table="public.f", target={"table": "public.t"}, key=["id"]))
    with as_role(bench, "GRANT SELECT ON far.t TO hunter", side="target"):
        bench.source.execute(
            "ALTER USER MAPPING FOR CURRENT_USER SERVER far "
            "OPTIONS (SET user 'hunter', SET password 'x')"
        )
        bench.target.execute("GRANT ALL ON SCHEMA public TO hunter")
        warnings = " ".join(bench.open().plan("copy").warnings)
        assert "ALTER SERVER \"far\" OPTIONS (ADD options '-c row_security=off')" in warnings
        bench.source.execute("ALTER SERVER far OPTIONS (ADD options '-c row_security=off')")
        with pytest.raises(Denied, match="BYPASSRLS"):
            bench.open(new=True).plan("copy")


def test_a_wrapper_without_snapshots(bench: Db) -> None:
    bench.source.execute(
        "CREATE EXTENSION file_fdw",
        "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw",
        "CREATE FOREIGN TABLE f (id int) SERVER files OPTIONS (program 'seq 1 30')",
    )
    bench.write(bench.job(table="public.f", key=["id"], batch_size=7, check=WHOLE))
    run = bench.open()
    assert any("file_fdw gives no snapshot" in w for w in run.plan("copy").warnings)
    assert done(run).summary().jobs[0].rows_written == 30


# Row-level security


POLICY = (
    SMALL,
    ROWS.format(10),
    "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY p ON t USING (id < 5)",
)


def test_rows_that_a_policy_hides_make_no_copy(bench: Db) -> None:
    bench.source.execute(*POLICY)
    bench.write(bench.job(check=WHOLE))
    with as_role(bench, "GRANT SELECT ON t TO hunter"):
        with pytest.raises(Denied, match="BYPASSRLS"):
            bench.open().plan("copy")
        bench.source.execute("ALTER ROLE hunter BYPASSRLS")
        assert bench.run(new=True).jobs[0].rows_written == 10
        bench.source.execute("ALTER ROLE hunter NOBYPASSRLS", "ALTER TABLE t OWNER TO hunter")
        assert bench.run(new=True).jobs[0].rows_written == 10
        bench.source.execute("ALTER TABLE t FORCE ROW LEVEL SECURITY")
        with pytest.raises(Denied, match="NO FORCE"):
            bench.open(new=True).plan("copy")
        bench.source.execute("ALTER TABLE t OWNER TO CURRENT_USER")


def test_a_policy_below_a_view_or_on_the_target(bench: Db) -> None:
    bench.source.execute(*POLICY, "CREATE VIEW seen AS SELECT * FROM t")
    bench.write(bench.job(table="public.seen", key=["id"]))
    with as_role(bench, "ALTER VIEW seen OWNER TO hunter", "GRANT SELECT ON t TO hunter"):
        with pytest.raises(Denied, match="BYPASSRLS"):
            bench.open().plan("copy")
        bench.source.execute("ALTER VIEW seen OWNER TO CURRENT_USER")
    bench.target.execute(*POLICY)
    bench.write(bench.job())
    with (
        as_role(bench, "GRANT ALL ON t TO writer", side="target", name="writer"),
        pytest.raises(Denied, match="t from this role"),
    ):
        bench.open(new=True).plan("copy")
