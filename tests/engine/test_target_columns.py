"""What columns of a target do by themselves: identity, generation, sequences, triggers; names."""

from __future__ import annotations

from typing import Any

import pytest

from dsp_airflow.engine.errors import ConfigError, Denied, Mismatch
from dsp_airflow.engine.stores.postgres import query, sequences
from tests.engine.scenes import ROWS, SMALL, Db, as_role, done

WHOLE = {"percent": 100}


class Told:
    """An onlooker that keeps what it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def on(self, event: object) -> None:
        self.texts.append(str(getattr(event, "text", "")))


def copied(bench: Db, **job: Any) -> list[str]:
    """A new run, planned, copied and checked; what was told beside the batches."""
    bench.write(bench.job(**{"check": WHOLE, "batch_size": 7, **job}))
    run = bench.open(new=True)
    run.watch = told = Told()
    run.plan("copy")
    done(run)
    run.finish()
    return [t for t in told.texts if t]


# Generated columns


def virtual(bench: Db) -> list[str]:
    """Kinds of generated columns that the server knows."""
    with bench.source.connect() as connection:
        new = connection.info.server_version >= 180000
    return ["STORED", "VIRTUAL"] if new else ["STORED"]


def test_generated_columns_on_either_side(bench: Db) -> None:
    for kind in virtual(bench):
        for database in (bench.source, bench.target):
            database.execute("DROP TABLE IF EXISTS both_sides, ours, theirs")
        made = f"(id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) {kind})"
        plain = "(id int PRIMARY KEY, a int, g int)"
        rows = "SELECT n, n FROM generate_series(1, 20) n"
        bench.source.execute(
            f"CREATE TABLE both_sides {made}",
            f"INSERT INTO both_sides {rows}",
            f"CREATE TABLE ours {made}",
            f"INSERT INTO ours {rows}",
            f"CREATE TABLE theirs {plain}",
            "INSERT INTO theirs SELECT n, n, -n FROM generate_series(1, 20) n",
        )
        bench.target.execute(
            f"CREATE TABLE both_sides {made}",
            "INSERT INTO both_sides VALUES (3, 99)",
            f"CREATE TABLE ours {plain}",
            f"CREATE TABLE theirs {made}",
        )
        for table in ("both_sides", "ours"):
            copied(bench, table=f"public.{table}", purge="manual")
            assert bench.target.value(f"SELECT count(*) FROM {table} WHERE g = 2 * id") == 20
        # Its own values are not copied: that is said, and nothing of it may be purged.
        bench.write(bench.job(table="public.theirs"))
        plan = bench.open(new=True).plan("copy")
        assert any("g is not copied: public.theirs generates its own" in w for w in plan.warnings)
        assert "does not hold all of g" in plan.purge_refusals[0]


def test_a_column_that_is_generated_otherwise_is_told(bench: Db) -> None:
    for database, factor in ((bench.source, 2), (bench.target, 3)):
        database.execute(
            "CREATE TABLE t (id int PRIMARY KEY, a int, "
            f"g int GENERATED ALWAYS AS (a * {factor}) STORED)"
        )
    bench.write(bench.job())
    (told,) = [w for w in bench.open().plan("copy").warnings if "generated" in w]
    assert "(a * 3)" in told
    assert "(a * 2)" in told


def test_a_key_that_the_target_generates(bench: Db) -> None:
    bench.source.execute("CREATE TABLE t (id int, k int PRIMARY KEY)")
    bench.target.execute(
        "CREATE TABLE t (id int, k int GENERATED ALWAYS AS (id * 2) STORED PRIMARY KEY)"
    )
    bench.write(bench.job())
    with pytest.raises(ConfigError, match="key column k is generated in the target"):
        bench.open().plan("copy")


# Identity and sequences


IDENTITY = "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text)"


def test_an_identity_goes_on_after_the_copied_keys(bench: Db) -> None:
    bench.source.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    bench.source.execute("INSERT INTO t SELECT n, 'v' FROM generate_series(1, 30) n")
    bench.target.execute(IDENTITY, "INSERT INTO t (v) VALUES ('theirs')")
    (told,) = copied(bench)
    assert "column id of public.t moved to 30" in told
    # Nothing to do any more, and never backwards.
    assert copied(bench) == []
    bench.target.execute("SELECT setval('t_id_seq', 100)")
    assert copied(bench) == []
    bench.target.execute("INSERT INTO t (v) VALUES ('next')")
    assert bench.target.value("SELECT max(id) FROM t") == 101


def test_a_created_target_has_plain_columns(bench: Db) -> None:
    """A copy makes no numbers of its own."""
    bench.source.execute(IDENTITY, "INSERT INTO t (v) SELECT 'v' FROM generate_series(1, 9)")
    assert copied(bench) == []
    assert bench.target.value("SELECT count(*) FROM pg_class WHERE relkind = 'S'") == 0


@pytest.mark.parametrize(
    ("sequence", "values", "expected"),
    [
        ("", (1, 50), 51),
        ("INCREMENT 10", (1, 50), 51),
        ("INCREMENT 10", (1, 51), 61),
        ("INCREMENT -1", (-50, -1), -51),
        ("INCREMENT -7 MINVALUE -1000000 START -1", (-50, -1), -57),
        ("", (1, 90_000), 90_001),
        ("INCREMENT -1", (-90_000, -1), -90_001),
        ("START 1000 MINVALUE 1000", (1, 50), 1000),
        ("MAXVALUE 60 INCREMENT 4", (1, 58), None),
        ("CACHE 20", (1, 50), 51),
    ],
)
def test_sequences_of_every_kind_hand_out_no_copied_value(
    bench: Db, sequence: str, values: tuple[int, int], expected: int | None
) -> None:
    bench.source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    bench.source.execute(f"INSERT INTO t VALUES ({values[0]}), ({values[1]})")
    bench.target.execute(
        f"CREATE SEQUENCE s {sequence}", "CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('s'))"
    )
    copied(bench)
    if expected is None:
        # Its last number before the end lies behind the copied ones: it must not hand one out.
        with pytest.raises(Exception, match="reached maximum"):
            bench.target.execute("INSERT INTO t DEFAULT VALUES")
        return
    bench.target.execute("INSERT INTO t DEFAULT VALUES")
    found = bench.target.rows("SELECT id FROM t WHERE id NOT IN (%s, %s)", *values)
    step = -1 if expected < 0 else 1
    assert len(found) == 1
    # A cache may skip some, never repeat one.
    assert step * found[0][0] >= step * expected
    if "CACHE" not in sequence:
        assert found == [(expected,)]


def test_a_sequence_that_others_draw_from_is_never_set_back(
    bench: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at it and the move, somebody draws further than the copied values."""
    bench.source.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    bench.source.execute("INSERT INTO t SELECT n, 'v' FROM generate_series(1, 30) n")
    bench.target.execute(IDENTITY)
    plain = query.one

    def drawn(connection: Any, statement: str, values: Any = None) -> Any:
        found = plain(connection, statement, values)
        if statement.startswith("SELECT last_value"):
            bench.target.execute("SELECT nextval('t_id_seq') FROM generate_series(1, 500)")
        return found

    monkeypatch.setattr(sequences, "one", drawn)
    copied(bench)
    assert bench.target.value("SELECT last_value FROM t_id_seq") >= 500


def test_a_sequence_that_the_role_may_not_move_is_told_with_the_remedy(bench: Db) -> None:
    bench.source.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    bench.source.execute("INSERT INTO t VALUES (30, 'v')")
    bench.target.execute(IDENTITY)
    grants = ("GRANT CREATE ON SCHEMA public TO hunter", "GRANT ALL ON t TO hunter")
    with as_role(bench, *grants, side="target"):
        bench.write(bench.job())
        plan = bench.open().plan("copy")
        remedy = 'GRANT SELECT, UPDATE ON SEQUENCE "public"."t_id_seq" TO'
        assert any(remedy in w for w in plan.warnings)
        (told,) = copied(bench)
        assert remedy in told
        bench.target.execute("GRANT SELECT, UPDATE ON SEQUENCE t_id_seq TO hunter")
        (told,) = copied(bench)
        assert "moved to 30" in told


# Triggers and rules of the target


def test_a_trigger_that_changes_what_is_written_is_found_by_the_check(bench: Db) -> None:
    bench.source.execute(SMALL, ROWS.format(10))
    bench.target.execute(
        SMALL,
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN IF NEW.id = 3 THEN NEW.v := upper(NEW.v); END IF; RETURN NEW; END'",
        "CREATE TRIGGER tg BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
    )
    bench.write(bench.job(check=WHOLE))
    with pytest.raises(Mismatch, match=r"1 rows differ.*changed 3 \(v\)"):
        bench.run()


def test_rules_on_insert_are_refused(bench: Db) -> None:
    bench.source.execute(SMALL)
    bench.target.execute(SMALL, "CREATE RULE r AS ON INSERT TO t DO INSTEAD NOTHING")
    bench.write(bench.job())
    with pytest.raises(Denied, match=r"rules on INSERT or UPDATE \(r\)"):
        bench.open().plan("copy")
    bench.target.execute("ALTER TABLE t DISABLE RULE r")
    bench.open(new=True).plan("copy")


# Columns and names


def test_as_many_columns_as_there_can_be(bench: Db) -> None:
    """Some of them were dropped; the second run merges."""
    names = [f"c{n}" for n in range(1590)]
    bench.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, gone int, "
        + ", ".join(f"{n} smallint" for n in names)
        + ")",
        "ALTER TABLE t DROP COLUMN gone",
        "ALTER TABLE t DROP COLUMN c77",
        "INSERT INTO t SELECT generate_series(1, 10)",
    )
    copied(bench)
    bench.source.execute("UPDATE t SET c1500 = 7 WHERE id = 4")
    copied(bench)
    assert bench.target.rows("SELECT id FROM t WHERE c1500 = 7") == [(4,)]


def test_a_table_without_columns(bench: Db) -> None:
    bench.source.execute("CREATE TABLE t ()")
    bench.write(bench.job())
    with pytest.raises(ConfigError, match="has no columns"):
        bench.open().plan("copy")


LONG = "n" * 60 + "äx"
"""63 characters of 64 bytes."""


def test_names_as_long_as_they_may_be_and_longer(bench: Db) -> None:
    fits = LONG[:-1] + "x"[:0]
    assert len(fits.encode()) == 62
    for name, refused in ((fits + "y", False), (LONG + "y", True)):
        bench.source.execute("DROP TABLE IF EXISTS t", SMALL, ROWS.format(5))
        bench.write(bench.job(check=WHOLE, target={"table": f"public.{name}"}))
        if refused:
            with pytest.raises(ConfigError, match="at most 63 bytes"):
                bench.open(new=True).plan("copy")
        else:
            bench.run(new=True)
            assert bench.target.value(f'SELECT count(*) FROM "{name}"') == 5
    bench.write(bench.job(columns=[{"source": "id"}, {"source": "v", "target": LONG + "y"}]))
    with pytest.raises(ConfigError, match="at most 63 bytes"):
        bench.open(new=True).plan("copy")


def test_a_table_found_by_the_search_path(bench: Db) -> None:
    for place in (bench.source, bench.target):
        place.execute(
            "CREATE SCHEMA one",
            "CREATE SCHEMA two",
            "CREATE TABLE two.t (id int PRIMARY KEY)",
            f"ALTER DATABASE {place.name} SET search_path = one, two, public",
        )
    bench.source.execute("INSERT INTO two.t SELECT generate_series(1, 9)")
    copied(bench, table="t", purge="manual")
    assert bench.target.value("SELECT count(*) FROM two.t") == 9


def test_an_unlogged_source(bench: Db) -> None:
    bench.source.execute(SMALL.replace("TABLE", "UNLOGGED TABLE"), ROWS.format(20))
    bench.write(bench.job(purge="system", check=WHOLE))
    (job,) = bench.run().jobs
    assert (job.rows_purged, job.rows_kept) == (20, 0)


# What a plan says


def test_a_plan_names_what_has_no_index(bench: Db) -> None:
    bench.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, v text, w text)",
        "INSERT INTO t VALUES (1, now(), 'a', 'b')",
    )
    job = bench.job(mode="incremental", cursor={"column": "at"}, where="v = 'a' and w = 'b'")
    bench.write(job)
    warnings = " ".join(bench.open().plan("copy").warnings)
    assert "no index on cursor column at" in warnings
    assert "no index on filter column v or w" in warnings
    bench.source.execute("CREATE INDEX ON t (at)", "CREATE INDEX ON t (w)")
    assert "no index" not in " ".join(bench.open(new=True).plan("copy").warnings)
