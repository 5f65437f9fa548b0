"""Partitioned tables and tables that inherit, on both sides."""

from __future__ import annotations

from typing import Any

import pytest

from dsp_airflow.engine.errors import BadValue, ConfigError, Denied, Refused, Transient
from dsp_airflow.engine.model import Projection
from dsp_airflow.engine.stores import postgres as postgres_store
from dsp_airflow.engine.stores.postgres import PostgresSession, proof
from tests.engine.scenes import Db, as_role, done
from tests.servers import Database

COLUMNS = "(id int, region text, v text, PRIMARY KEY (id, region))"


def by_region(database: Database, name: str = "t") -> None:
    """Two levels: by list, then by range and by hash; columns in another order in one of them."""
    database.execute(
        f"CREATE TABLE {name} {COLUMNS} PARTITION BY LIST (region)",
        f"CREATE TABLE {name}_eu PARTITION OF {name} FOR VALUES IN ('eu') PARTITION BY RANGE (id)",
        f"CREATE TABLE {name}_eu1 PARTITION OF {name}_eu FOR VALUES FROM (MINVALUE) TO (50)",
        f"CREATE TABLE {name}_eu2 (v text, gone int, region text NOT NULL, id int NOT NULL)",
        f"ALTER TABLE {name}_eu2 DROP COLUMN gone",
        f"ALTER TABLE {name}_eu ATTACH PARTITION {name}_eu2 FOR VALUES FROM (50) TO (MAXVALUE)",
        f"CREATE TABLE {name}_us PARTITION OF {name} FOR VALUES IN ('us') PARTITION BY HASH (id)",
        f"CREATE TABLE {name}_us0 PARTITION OF {name}_us FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        f"CREATE TABLE {name}_us1 PARTITION OF {name}_us FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    )


FILL = (
    "INSERT INTO t SELECT n, CASE WHEN n % 2 = 0 THEN 'eu' ELSE 'us' END, 'v' || n "
    "FROM generate_series(1, 100) n"
)
JOB: dict[str, Any] = {"batch_size": 13, "purge": "system", "check": {"percent": 100}}


def planned(bench: Db, **job: Any) -> Any:
    bench.write(bench.job(**{**JOB, **job}))
    run = bench.open()
    run.plan("copy")
    return run


@pytest.mark.parametrize("there", [False, True], ids=["created", "partitioned"])
def test_a_partitioned_table_is_copied_checked_and_purged_through_its_root(
    bench: Db, there: bool
) -> None:
    by_region(bench.source)
    bench.source.execute(FILL)
    if there:
        by_region(bench.target)
        # The merge meets rows that are alike, others that are not, and gaps.
        bench.target.execute(
            "INSERT INTO t SELECT n, CASE WHEN n % 2 = 0 THEN 'eu' ELSE 'us' END, "
            "CASE WHEN n % 3 = 0 THEN 'old' ELSE 'v' || n END FROM generate_series(1, 60) n"
        )
    rows = bench.source.rows("SELECT id, region, v FROM t ORDER BY 1")
    run = done(planned(bench))
    plan = run.plan("copy")
    assert (plan.source_shape.kind, plan.source_shape.parts) == ("partitioned table", 4)
    if there:
        batches = [b.copied.written for b in _copied(run)]
        counted = [
            sum(getattr(w, n) for w in batches) for n in ("inserted", "updated", "unchanged")
        ]
        assert counted == [40, 20, 40]
    found = run.purge("copy")
    assert (found.rows_purged, found.rows_kept, found.rows_different) == (100, 0, 0)
    assert bench.target.rows("SELECT id, region, v FROM t ORDER BY 1") == rows
    assert bench.source.value("SELECT count(*) FROM t") == 0


def _copied(run: Any) -> list[Any]:
    from dsp_airflow.state.ledger import SqlLedger

    ledger = SqlLedger(run.database, run.run.id, "copy")
    found = []
    while (claim := ledger.claim("purge")) is not None:
        found.append(claim)
    for claim in found:
        ledger.release(claim)
    return found


def test_a_row_without_a_partition_is_named_with_the_remedy(bench: Db) -> None:
    bench.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t SELECT generate_series(1, 30)"
    )
    bench.target.execute(
        "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (1) TO (25)",
    )
    bench.write(bench.job(batch_size=10))
    with pytest.raises(BadValue, match=r"\(id\) = \(25\).*PARTITION OF t DEFAULT"):
        bench.run()
    assert bench.target.value("SELECT count(*) FROM t") == 20
    bench.target.execute("CREATE TABLE rest PARTITION OF t DEFAULT")
    bench.run()
    assert bench.target.value("SELECT count(*) FROM t") == 30


def test_partitions_that_come_after_the_plan(bench: Db) -> None:
    """On both sides there was none yet."""
    for database in (bench.source, bench.target):
        database.execute("CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)")
        database.execute("CREATE TABLE a PARTITION OF t FOR VALUES FROM (0) TO (10)")
    bench.source.execute("INSERT INTO t SELECT n, 'v' FROM generate_series(0, 9) n")
    bench.target.execute("DROP TABLE a")
    run = planned(bench, batch_size=4)
    bench.target.execute(
        "CREATE TABLE rest PARTITION OF t DEFAULT", "INSERT INTO t VALUES (2, 'old'), (3, 'v')"
    )
    bench.source.execute("CREATE TABLE b PARTITION OF t FOR VALUES FROM (10) TO (20)")
    found = done(run).purge("copy")
    assert (found.rows_purged, found.rows_kept) == (10, 0)


def test_the_key_of_a_partitioned_target_holds_its_partition_key(bench: Db) -> None:
    bench.source.execute("CREATE TABLE t (id int PRIMARY KEY, region text NOT NULL, v text)")
    by_region(bench.target)
    bench.write(bench.job())
    with pytest.raises(ConfigError, match=r"partition key: declare the columns of \(id, region\)"):
        bench.open().plan("copy")
    bench.source.execute("INSERT INTO t VALUES (1, 'eu', 'a')")
    bench.write(bench.job(key=["id", "region"], check={"percent": 100}))
    bench.run()
    assert bench.target.rows("SELECT * FROM t") == [(1, "eu", "a")]


def test_rows_of_an_attached_partition_are_new_and_those_of_a_detached_one_not_deleted(
    bench: Db,
) -> None:
    """The attached rows are older than the copy, and were not in the table then."""
    by_region(bench.source)
    bench.source.execute(
        FILL,
        "CREATE TABLE asia (LIKE t INCLUDING ALL)",
        "INSERT INTO asia SELECT n, 'asia', 'x' FROM generate_series(1, 20) n",
    )
    run = planned(bench)
    run.copy("copy")
    bench.source.execute(
        "ALTER TABLE t ATTACH PARTITION asia FOR VALUES IN ('asia')",
        "ALTER TABLE t DETACH PARTITION t_us",
    )
    bench.target.execute("UPDATE t SET v = 'spoiled' WHERE id = 99")
    bench.target.execute("UPDATE t SET v = 'v99' WHERE id = 99")
    assert run.check("copy").rows_different == 0
    found = run.purge("copy")
    kinds = {d.difference.kind for d in run.runs.differences(run.run.id)}
    assert (found.rows_purged, found.rows_kept, kinds) == (50, 20, {"new"})
    assert bench.source.value("SELECT count(*) FROM t_us") == 50
    assert bench.source.value("SELECT count(*) FROM asia") == 20


def test_rows_of_an_attached_partition_are_no_mismatch(bench: Db) -> None:
    """A copy that is surely wrong is looked at row by row; the attached rows are not blamed."""
    by_region(bench.source)
    bench.source.execute(
        FILL,
        "CREATE TABLE asia (LIKE t INCLUDING ALL)",
        "INSERT INTO asia SELECT n, 'asia', 'x' FROM generate_series(1, 20) n",
    )
    run = planned(bench, batch_size=1000)
    run.copy("copy")
    bench.source.execute("ALTER TABLE t ATTACH PARTITION asia FOR VALUES IN ('asia')")
    bench.target.execute("UPDATE t SET v = 'spoiled' WHERE id = 99")
    with pytest.raises(Exception, match="1 rows differ"):
        run.check("copy")


def test_a_partition_attached_in_the_middle_of_a_purge_deletes_nothing(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes between digest and deletion, with as many rows as a trigger keeps."""
    by_region(bench.source)
    bench.source.execute(
        "INSERT INTO t SELECT n, 'eu', 'v' || n FROM generate_series(1, 10) n",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN IF OLD.id = 3 THEN RETURN NULL; END IF; RETURN OLD; END'",
        "CREATE TRIGGER tg BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION f()",
        "CREATE TABLE asia (LIKE t INCLUDING ALL)",
        "INSERT INTO asia VALUES (5, 'asia', 'never copied')",
    )
    run = done(planned(bench, batch_size=100, accept_triggers=["tg"]))
    digest = proof.digest

    def attached(*args: Any) -> Any:
        found = digest(*args)
        bench.source.execute("ALTER TABLE t ATTACH PARTITION asia FOR VALUES IN ('asia')")
        monkeypatch.undo()
        return found

    monkeypatch.setattr(proof, "digest", attached)
    with pytest.raises(Refused, match="altered during the purge"):
        run.purge("copy")
    assert bench.source.value("SELECT count(*) FROM t") == 11


def test_a_purge_of_forgotten_outcome_counts_no_detached_row(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was aborted; the commit log says nothing of it, and the rows went with their partition."""
    by_region(bench.source)
    bench.source.execute("INSERT INTO t SELECT n, 'us', 'v' FROM generate_series(1, 10) n")
    run = done(planned(bench, batch_size=100))

    def failing(self: Any) -> None:
        raise Transient("the connection broke before COMMIT was sent")

    with monkeypatch.context() as patch:
        patch.setattr(postgres_store.purge.PostgresPurge, "commit", failing)
        with pytest.raises(Transient):
            run.purge("copy")
    bench.source.execute("ALTER TABLE t DETACH PARTITION t_us")
    monkeypatch.setattr(PostgresSession, "outcome", lambda *_: "unknown")
    found = run.purge("copy")
    assert (found.rows_purged, bench.source.value("SELECT count(*) FROM t_us")) == (0, 10)


UNFIT = [
    (
        "source",
        "CREATE TABLE c (id int, r text, FOREIGN KEY (id, r) REFERENCES t_eu1 ON DELETE CASCADE)",
        r"public.t -> public.c \(ON DELETE CASCADE, c_id_r_fkey\)",
    ),
    (
        "source",
        """CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
        CREATE TRIGGER watch AFTER DELETE ON t_us1 FOR EACH ROW EXECUTE FUNCTION f()""",
        "delete trigger watch",
    ),
    ("source", "CREATE RULE r AS ON DELETE TO t_us1 DO ALSO NOTHING", "DELETE rule"),
    ("target", "ALTER TABLE t_us1 SET UNLOGGED", "partition public.t_us1 is UNLOGGED"),
    ("target", "CREATE RULE r AS ON DELETE TO t_us1 DO ALSO NOTHING", "has rules"),
]


@pytest.mark.parametrize(("side", "statement", "message"), UNFIT, ids=[m for *_, m in UNFIT])
def test_what_a_partition_has_counts_for_the_whole(
    bench: Db, side: str, statement: str, message: str
) -> None:
    by_region(bench.source)
    by_region(bench.target)
    bench.source.execute(FILL)
    run = done(planned(bench))
    getattr(bench, side).execute(statement)
    with pytest.raises(Refused, match=message):
        run.purge("copy")
    assert bench.source.value("SELECT count(*) FROM t") == 100


def test_a_reference_to_the_root_is_named_once(bench: Db) -> None:
    by_region(bench.source)
    bench.source.execute(
        "CREATE TABLE c (id int, r text, FOREIGN KEY (id, r) REFERENCES t ON DELETE CASCADE)"
    )
    bench.write(bench.job(**JOB))
    with pytest.raises(Refused) as caught:
        bench.open().plan("copy")
    assert str(caught.value).count("ON DELETE CASCADE") == 1


def test_a_partition_whose_trigger_swallows_rows(bench: Db) -> None:
    by_region(bench.source)
    by_region(bench.target)
    bench.source.execute(FILL)
    bench.target.execute(
        "INSERT INTO t VALUES (1, 'us', 'old')",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER tg BEFORE INSERT ON t_eu2 FOR EACH ROW EXECUTE FUNCTION f()",
    )
    bench.write(bench.job(**{**JOB, "batch_size": 1000}))
    with pytest.raises(Exception, match="swallow"):
        bench.run()
    assert bench.target.value("SELECT count(*) FROM t") == 1


def test_an_identity_of_a_partitioned_target(bench: Db) -> None:
    """Versions before 17 know none; the sequence of a default has to do there."""
    bench.source.execute("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (7), (40)")
    with bench.target.connect() as connection:
        new = connection.info.server_version >= 170000
    kind = "GENERATED ALWAYS AS IDENTITY" if new else "DEFAULT nextval('s')"
    bench.target.execute(
        "CREATE SEQUENCE s",
        f"CREATE TABLE t (id int {kind} PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE t1 PARTITION OF t DEFAULT",
    )
    bench.write(bench.job(check={"percent": 100}))
    bench.run()
    bench.run(new=True)
    bench.target.execute("INSERT INTO t DEFAULT VALUES")
    assert bench.target.rows("SELECT id FROM t ORDER BY 1") == [(7,), (40,), (41,)]


@pytest.mark.parametrize("other", ["t_eu", "t_us1", "seen", "t"])
def test_a_purge_waits_for_jobs_that_read_the_same_rows_by_another_name(
    bench: Db, other: str
) -> None:
    """A partition, a partition of a partition, a view of one."""
    by_region(bench.source)
    bench.source.execute(FILL, "CREATE VIEW seen AS SELECT * FROM t_eu1 WHERE id < 9")
    rest = bench.job(
        "rest", f"public.{other}", target={"table": "public.rest"}, key=["id", "region"]
    )
    bench.write(bench.job(**JOB), rest)
    run = bench.open()
    for name in ("copy", "rest"):
        run.plan(name)
    done(run)
    with pytest.raises(Refused, match="job rest is not copied"):
        run.purge("copy")
    run.copy("rest")
    run.check("rest")
    assert run.purge("copy").rows_purged == 100


@pytest.mark.parametrize(("source", "target"), [("t", "t_eu"), ("t_eu1", "t"), ("t", "t_us1")])
def test_a_part_is_no_copy_of_the_whole(bench: Db, source: str, target: str) -> None:
    """A purge would delete both; the proof, read by another session, would still see them."""
    by_region(bench.source)
    bench.source.execute(FILL)
    job = bench.job(table=f"public.{source}", where="region = 'eu'", **JOB)
    job["target"] = {"connection": "source", "table": f"public.{target}"}
    bench.write(job)
    with pytest.raises(Refused, match="no copy"):
        bench.open().plan("copy")


def test_who_copies_into_a_partition_meets_who_proves_by_the_whole(bench: Db) -> None:
    by_region(bench.target)

    def projection(table: str) -> Any:
        with bench.store("target").session() as session:
            shape = session.describe(table)
        assert shape is not None
        dialect = bench.store("target").dialect
        return Projection(dialect.qualified(shape), shape.table, (), ())

    whole, part = projection("t"), projection("t_us1")
    with (
        bench.store("target").session() as one,
        bench.store("target").session() as other,
        one.proving(whole),
    ):
        patience, postgres_store.PATIENCE = postgres_store.PATIENCE, 1
        try:
            with pytest.raises(Transient), other.writing(part):
                pass
        finally:
            postgres_store.PATIENCE = patience


# Inheritance


PARENT = (
    "CREATE TABLE t (id int PRIMARY KEY, v text)",
    "CREATE TABLE child (extra int, PRIMARY KEY (id)) INHERITS (t)",
    "INSERT INTO t SELECT n, 'p' || n FROM generate_series(1, 10) n",
    "INSERT INTO child SELECT n, 'c' || n, n FROM generate_series(11, 20) n",
)


def test_a_parent_is_copied_with_its_children_once_its_key_is_proved(bench: Db) -> None:
    bench.source.execute(*PARENT)
    bench.write(bench.job(batch_size=3, check={"percent": 100}))
    run = bench.open()
    plan = run.plan("copy")
    assert any("proved for every batch" in w for w in plan.warnings)
    done(run)
    assert bench.target.value("SELECT count(DISTINCT v) FROM t") == 20


def test_a_key_that_stands_in_parent_and_child_is_named(bench: Db) -> None:
    bench.source.execute(*PARENT, "INSERT INTO child VALUES (5, 'twin', 0)")
    bench.write(bench.job())
    with pytest.raises(ConfigError, match=r"key \(5\) stands in 2 rows"):
        bench.open().plan("copy")


def test_a_parent_is_neither_purged_nor_written(bench: Db) -> None:
    bench.source.execute(*PARENT)
    bench.write(bench.job(purge="system"))
    with pytest.raises(Refused, match="purge each by itself"):
        bench.open().plan("copy")
    bench.target.execute(*PARENT)
    bench.write(bench.job())
    with pytest.raises(Refused, match="which could double"):
        bench.open(new=True).plan("copy")


def test_a_child_is_a_table_like_any_other(bench: Db) -> None:
    bench.source.execute(*PARENT)
    bench.target.execute(*PARENT, "DELETE FROM child")
    bench.write(bench.job(table="public.child", purge="system", check={"percent": 100}))
    (job,) = bench.run().jobs
    assert (job.rows_purged, job.rows_kept) == (10, 0)
    assert bench.source.value("SELECT count(*) FROM t") == 10


def test_row_level_security_of_a_partitioned_table(bench: Db) -> None:
    """A role that would see a part of the rows is refused; nothing of a part is a copy."""

    by_region(bench.source)
    bench.source.execute(
        FILL, "ALTER TABLE t ENABLE ROW LEVEL SECURITY", "CREATE POLICY p ON t USING (id < 5)"
    )
    with as_role(bench, "GRANT SELECT ON t TO hunter"):
        bench.write(bench.job())
        with pytest.raises(Denied, match="BYPASSRLS"):
            bench.open().plan("copy")
