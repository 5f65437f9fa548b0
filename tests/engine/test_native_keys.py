"""Keys of every type that can be one: split, copied, checked, and purged by key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dsp_airflow.engine.errors import ConfigError
from tests.engine import natives
from tests.engine.harness import Bench
from tests.servers import Database, PostgresServer, fresh_database

Db = Bench[Database]

ENDLESS = "CASE n WHEN 1 THEN 'infinity' WHEN 2 THEN '-infinity'"
KEYS = [
    ("numeric", "CASE n WHEN 1 THEN 'NaN' WHEN 2 THEN '-Infinity' ELSE (n * 1.10)::text END"),
    (
        "date",
        f"{ENDLESS} ELSE (date '0040-01-01 BC' + n * 999)::text END",
    ),
    (
        "timestamptz(3)",
        f"{ENDLESS} ELSE (timestamptz '2020-03-29 00:00Z' + n * interval '7 min 1 ms')::text END",
    ),
    ("interval", "(n || ' days')"),
    ("interval(2)", "(n || '.25 sec')"),
    (
        "time with time zone",
        "('12:00:00+' || lpad((n % 15)::text, 2, '0') || ':' || lpad(n::text, 2, '0'))",
    ),
    ("inet", "('10.0.' || n || '.1/' || 8 + n % 24)"),
    ("cidr", "('10.' || n || '.0.0/16')"),
    ("macaddr", "('08:00:2b:01:02:' || lpad(to_hex(n), 2, '0'))"),
    ("bit(6)", "n::bit(6)::text"),
    ("bit varying(9)", "repeat('0', n % 3) || (n::bit(6))::text"),
    ("money", "n * 1.01"),
    ("pg_lsn", "'1/' || n"),
    ("oid", "n + 4294967200"),
    ("name", "'k' || n"),
    ('"char"', "chr(40 + n)"),
    ("int4range", "'[' || n || ',' || n + 5 || ')'"),
    ("numrange", "'[' || n || ',' || n + 5 || '.0]'"),
    ("integer[]", "'[' || n % 3 || ':' || n % 3 || ']={' || n || '}'"),
    ("text[]", "ARRAY['a' || n, NULL, '{']::text"),
    ("jsonb", "'{\"a\": ' || n || '.0}'"),
    ("tsvector", "'a' || n || ':1'"),
    ("hstore[]", "ARRAY['a=>' || n]::text"),
    ("citext", "CASE WHEN n % 2 = 0 THEN 'AbC' ELSE 'aBd' END || n"),
    ("ltree", "'Top.k' || n"),
    ("app.mood, k2 int", "'ok', n"),
    ("app.positive", "n"),
    ("app.price", "n * 1.5"),
    ("app.email", "'A@' || n"),
    ("app.point3", "'(' || n || ',,-0)'"),
    ("app.floats", "'[' || n || '.5,)'"),
    ("app.mood[], k2 text, k3 uuid", "'{ok,sad}', 'é ' || n, md5(n::text)::uuid"),
    ("char(4), k2 boolean, k3 bytea", "'a' || n, n % 2 = 0, decode(md5(n::text), 'hex')"),
]
"""Type, and SQL of the nth key's text."""


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
    for n, (kind, value) in enumerate(KEYS):
        columns = ", ".join(["k", "k2", "k3"][: kind.count(",") + 1 if "k2" in kind else 1])
        kinds = [part.split()[-1] if i else part for i, part in enumerate(kind.split(", "))]
        kinds = kinds if "k2" in kind else [kind]
        names = ", ".join(f"v{i}::text::{part}" for i, part in enumerate(kinds))
        values = ", ".join(f"v{i}" for i in range(len(kinds)))
        across.source.execute(
            f"CREATE TABLE k{n} (k {kind}, v int, PRIMARY KEY ({columns}))",
            f"INSERT INTO k{n} SELECT {names}, n FROM generate_series(1, 20) n, "
            f"LATERAL (SELECT {value}) AS u ({values})",
        )
        jobs.append(
            across.job(
                f"j{n}", f"public.k{n}", batch_size=7, check={"percent": 100}, purge="manual"
            )
        )
    across.write(*jobs)
    run = across.open()
    for n, (kind, _) in enumerate(KEYS):
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
