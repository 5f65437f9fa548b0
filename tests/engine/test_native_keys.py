"""Keys of every type that can be one: split, copied, checked, and purged by key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dsp_airflow.engine.errors import ConfigError, Refused
from tests.engine import natives
from tests.engine.harness import Bench
from tests.servers import Database, PostgresServer, fresh_database

Db = Bench[Database]


@pytest.fixture
def across(pg15: PostgresServer, pg18: PostgresServer, tmp_path: Path) -> Iterator[Db]:
    with fresh_database(pg15) as source, fresh_database(pg18) as target:
        extensions = [f"CREATE EXTENSION {name}" for name in natives.EXTENSIONS]
        source.execute(*extensions, *natives.TYPES)
        target.execute(*extensions, "CREATE SCHEMA app")
        yield Bench(tmp_path, source, target)


def test_keys_of_every_type(across: Db) -> None:
    """One task, a job a type: one row is changed late and stays, the rest is purged."""
    jobs = []
    for n in range(len(natives.KEYS)):
        across.source.execute(*natives.key_table(n))
        jobs.append(
            across.job(
                f"j{n}", f"public.k{n}", batch_size=7, check={"percent": 100}, purge="manual"
            )
        )
    across.write(*jobs)
    run = across.open()
    for n, (kind, _) in enumerate(natives.KEYS):
        name = f"j{n}"
        run.plan(name)
        run.copy(name)
        assert run.check(name).rows_checked == 20, kind
        before = across.source.rows(f"SELECT t::text FROM k{n} t ORDER BY 1")
        assert across.target.rows(f"SELECT t::text FROM k{n} t ORDER BY 1") == before, kind
        across.target.execute(f"UPDATE k{n} SET v = -1 WHERE v = 9")
        done = run.purge(name)
        assert (done.rows_purged, done.rows_kept) == (19, 1), kind
        assert across.source.rows(f"SELECT v FROM k{n}") == [(9,)], kind


def icu(column: str) -> list[str]:
    return [
        "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        f"CREATE TABLE t ({column} PRIMARY KEY, v text COLLATE ci)",
    ]


@pytest.fixture
def pg15_bench(tmp_path: Path, pg15: PostgresServer) -> Iterator[Db]:
    """Both databases where there is ICU."""
    with fresh_database(pg15) as source, fresh_database(pg15) as target:
        yield Bench(tmp_path, source, target)


@pytest.mark.parametrize("mine", ["k text COLLATE ci", 'k text COLLATE "C"'])
def test_keys_under_a_collation_that_ignores_case(pg15_bench: Db, mine: str) -> None:
    """Same collation: copied, the spelling too. Other one: two rows could meet in one key."""
    bench = pg15_bench
    bench.source.execute(
        *icu(mine), "INSERT INTO t SELECT 'Key' || n, 'V' || n FROM generate_series(1, 30) n"
    )
    bench.target.execute(*icu("k text COLLATE ci"), "INSERT INTO t VALUES ('kEY7', 'v7')")
    bench.write(bench.job(batch_size=7, check={"percent": 100}, purge="system"))
    if '"C"' in mine:
        with pytest.raises(ConfigError, match="two rows could meet in one key"):
            bench.run()
        return
    (job,) = bench.run().jobs
    assert (job.rows_different, job.rows_purged) == (0, 30)
    look = 'SELECT k, v FROM t ORDER BY k COLLATE "C"'
    assert ("Key7", "V7") in bench.target.rows(look)
    assert len(bench.target.rows(look)) == 30


def test_values_under_a_collation_that_ignores_case(pg15_bench: Db) -> None:
    bench = pg15_bench
    bench.source.execute(*icu("k int"), "INSERT INTO t VALUES (1, 'a'), (2, 'B')")
    bench.write(bench.job(check={"percent": 100}))
    bench.run()
    run = bench.latest()
    bench.target.execute("UPDATE t SET v = 'A' WHERE k = 1")
    run.runs.reopen(run.run.id, "copy", "check")
    with pytest.raises(Exception, match="1 rows differ"):
        run.check("copy")


@pytest.mark.parametrize(
    ("mine", "theirs", "message"),
    [
        ("text", "citext", "two rows could meet in one key"),
        ("numeric", "numeric(9,1)", "would make keys meet"),
        ("hidden.citext", "text", "on the search path"),
        ("hstore", "hstore", "no operator <="),
    ],
)
def test_keys_that_cannot_be_trusted(pg15_bench: Db, mine: str, theirs: str, message: str) -> None:
    made: list[Any] = []
    for database, kind in ((pg15_bench.source, mine), (pg15_bench.target, theirs)):
        schema = "hidden" if "hidden" in kind else "public"
        made.append(kind)
        database.execute(
            "CREATE SCHEMA hidden",
            f"CREATE EXTENSION citext SCHEMA {schema}",
            "CREATE EXTENSION hstore",
            f"CREATE TABLE t (k {kind} PRIMARY KEY)",
        )
    pg15_bench.write(pg15_bench.job())
    with pytest.raises(ConfigError, match=message):
        pg15_bench.open().plan("copy")


@pytest.mark.parametrize(
    ("kind", "rows", "change"),
    [
        (
            'text COLLATE "C"',
            "('B'), ('C'), ('Z'), ('a')",
            'ALTER TABLE t ALTER id TYPE text COLLATE "und-x-icu"',
        ),
        (
            "letter",
            "('d'), ('e'), ('f')",
            "ALTER TYPE letter RENAME VALUE 'f' TO 'g'; ALTER TYPE letter RENAME VALUE 'd' TO 'f'",
        ),
    ],
)
def test_a_key_that_sorts_otherwise_than_planned_is_refused(
    pg15_db: Database, pg18_db: Database, tmp_path: Path, kind: str, rows: str, change: str
) -> None:
    """The batches of one order leave out rows that stand beyond them in another."""
    bench = Bench(tmp_path, pg15_db, pg18_db)
    pg15_db.execute(
        "CREATE TYPE letter AS ENUM ('d', 'e', 'f')",
        f"CREATE TABLE t (id {kind} PRIMARY KEY)",
        f"INSERT INTO t VALUES {rows}",
    )
    pg18_db.execute("CREATE TABLE t (id text PRIMARY KEY)")
    bench.write(bench.job(batch_size=2, check={"percent": 100}))
    run = bench.open()
    run.plan("copy")
    pg15_db.execute(*change.split("; "))
    with pytest.raises(Refused, match="sorts its key otherwise"):
        run.copy("copy")
