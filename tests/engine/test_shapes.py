"""Names, keys, types and mappings that tables really have."""

from __future__ import annotations

from typing import Any

import pytest

from dsp_airflow.engine.errors import BadValue, ConfigError, Refused
from tests.engine.harness import Bench
from tests.servers import Database

Db = Bench[Database]


def moved(bench: Db, **job: Any) -> None:
    """Copies, checks everything, and purges."""
    bench.write(bench.job(**{"check": {"percent": 100}, "purge": "system", "batch_size": 7, **job}))
    found = bench.run(new=True)
    (one,) = found.jobs
    assert (one.rows_different, one.rows_kept) == (0, 0)
    assert one.rows_purged == one.rows_total == one.rows_written == one.rows_checked > 0


ODD = '"Übel.""Sch%ema"'
ODD_TABLE = '"select from.%s WHERE"'


def test_names_of_every_kind(bench: Db) -> None:
    for database in (bench.source, bench.target):
        database.execute(f"CREATE SCHEMA {ODD}")
    bench.source.execute(
        f'CREATE TABLE {ODD}.{ODD_TABLE} ("Id" int, "order" text, "日本 %d ""x""" int, '
        '"select" int, PRIMARY KEY ("order", "Id"))',
        f"INSERT INTO {ODD}.{ODD_TABLE} SELECT n, 'o' || n, n, n FROM generate_series(1, 30) n",
    )
    rows = bench.source.rows(f'SELECT * FROM {ODD}.{ODD_TABLE} ORDER BY "Id"')
    moved(bench, table=f"{ODD}.{ODD_TABLE}", where='"Id" > 0 and "日本 %d ""x""" <> 99')
    assert bench.target.rows(f'SELECT * FROM {ODD}.{ODD_TABLE} ORDER BY "Id"') == rows


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("smallint", "n"),
        ("bigint", "n * 9007199254740993"),
        ("numeric", "n * 1.00000000000000000001"),
        ("numeric(10,3)", "n / 3.0"),
        ("text", "chr(60 + n) || 'é' || n"),
        ("varchar(20)", "'K' || (n % 7) || ' ' || n"),
        ("char(9)", "'c' || n"),
        ("uuid", "md5(n::text)::uuid"),
        ("timestamptz", "timestamptz '2020-03-28 23:30+00' + n * interval '13 min 7 us'"),
        ("timestamp", "timestamp '2020-03-28' + n * interval '1 us'"),
        ("date", "date '0044-03-15 BC' + n * 400"),
        ("bytea", "decode(md5(n::text), 'hex')"),
        ("float8", "n / 3.0::float8"),
        ("boolean, k2 int", "n % 2 = 0, n"),
    ],
)
def test_keys_of_every_ordered_type(bench: Db, kind: str, value: str) -> None:
    columns = "k, k2" if "k2" in kind else "k"
    bench.source.execute(
        f"CREATE TABLE t (k {kind}, v text, PRIMARY KEY ({columns}))",
        f"INSERT INTO t SELECT {value}, 'v' || n FROM generate_series(1, 50) n",
    )
    rows = bench.source.rows("SELECT t::text FROM t ORDER BY 1")
    moved(bench)
    assert bench.target.rows("SELECT t::text FROM t ORDER BY 1") == rows


NASTY = [
    ("int", "-2147483648, 2147483647, 0, NULL"),
    ("bigint", "-9223372036854775808, 9223372036854775807"),
    (
        "numeric",
        "1.0, 1.00, 'NaN', 'Infinity', '-Infinity', 1e-40, 123456789012345678901234567890.5",
    ),
    ("numeric(12,2)", "0, -0.01, 9999999999.99, 'NaN'"),
    ("float4", "'NaN', 'Infinity', '-0', 0, 1e-45, 3.4028235e38, 0.1"),
    ("float8", "'NaN', '-Infinity', '-0', 0, 5e-324, 1.7976931348623157e308, 0.1"),
    ("boolean", "true, false, NULL"),
    (
        "text",
        (
            "'', ' ', 'a ', NULL, E'tab\\tnl\\ncr\\rbs\\\\ ff\\f vt\\v', "
            "'\\N', '\\.', 'é€😀', 'a''b\"'"
        ),
    ),
    ("varchar(5)", "'', 'a ', '😀😀😀😀😀'"),
    ("char(5)", "'', 'a ', 'abcde'"),
    ("bytea", "'\\x', '\\x00', '\\x00ff5c27', NULL"),
    ("date", "'0044-03-15 BC', 'infinity', '-infinity', '9999-12-31', '12345-01-01'"),
    ("time(3)", "'00:00', '23:59:59.999', '24:00'"),
    ("timestamp", "'infinity', '2020-02-29 23:59:59.999999', '4713-01-01 BC'"),
    ("timestamptz", "'-infinity', '2020-03-29 01:59:59.999999+00', '2020-10-25 00:30+00'"),
    ("uuid", "'00000000-0000-0000-0000-000000000000', md5('x')::uuid"),
    ("json", "'{\"a\":1, \"a\": 2}', '[1.0, 1e2, null]', 'null', '\"\\u00e9\"'"),
    ("jsonb", "'{\"b\":1,\"a\":12345678901234567890.10}', '[]', 'null'"),
    ("int[]", "'{}', '{1,NULL,3}', '[0:1]={1,2}', NULL"),
    ("text[]", '\'{"",NULL,"NULL","a,b","{"}\', \'{}\''),
    ("float8[]", "'{-0,0,NaN}'"),
    ("mood", "'sad', 'ok', 'it''s, \"fine\"'"),
    ("mood[]", "'{sad,ok}', '{}'"),
]


@pytest.mark.parametrize(("kind", "values"), NASTY, ids=[k for k, _ in NASTY])
def test_values_arrive_as_they_were(bench: Db, kind: str, values: str) -> None:
    bench.source.execute(
        "CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s, \"fine\"')",
        f"CREATE TABLE t (id int PRIMARY KEY, v {kind}, w {kind})",
        f"INSERT INTO t SELECT row_number() OVER (), v::{kind}, v::{kind} "
        f"FROM unnest(ARRAY[{_texts(values)}]) AS u(v)",
    )
    rows = bench.source.rows("SELECT id, v::text, w::text, pg_column_size(v) FROM t ORDER BY id")
    moved(bench)
    there = bench.target.rows("SELECT id, v::text, w::text, pg_column_size(v) FROM t ORDER BY id")
    assert there == rows
    mine = (
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 't'::regclass"
    )
    assert bench.source.rows(mine) == bench.target.rows(mine)


def _texts(values: str) -> str:
    return f"{values}" if values.startswith("'") else _quoted(values)


def _quoted(values: str) -> str:
    parts = [v.strip() for v in values.split(", ")]
    return ", ".join(
        v if v == "NULL" or v.startswith(("'", "E'", "md5")) else f"'{v}'" for v in parts
    )


def test_the_created_table_has_key_not_null_and_defaults(bench: Db) -> None:
    bench.source.execute(
        "CREATE TABLE t (a int NOT NULL, b text NOT NULL DEFAULT 'x''y',"
        " c timestamptz DEFAULT now(),"
        " d numeric(5,1), e int GENERATED ALWAYS AS (a * 2) STORED, f serial, PRIMARY KEY (b, a))",
        "INSERT INTO t (a, b, d) SELECT n, 'b' || n, n FROM generate_series(1, 20) n",
    )
    moved(bench)
    described = bench.target.rows(
        "SELECT column_name, is_nullable, column_default FROM information_schema.columns "
        "WHERE table_name = 't' ORDER BY ordinal_position"
    )
    assert described == [
        ("a", "NO", None),
        ("b", "NO", "'x''y'::text"),
        ("c", "YES", "now()"),
        ("d", "YES", None),
        ("e", "YES", None),
        ("f", "NO", None),
    ]
    key = bench.target.value(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE contype = 'p' AND conrelid = 't'::regclass"
    )
    assert key == "PRIMARY KEY (b, a)"


def test_mapping_renames_types_constants_and_expressions(bench: Db) -> None:
    bench.source.execute(
        "CREATE TABLE users (id int PRIMARY KEY, email text, name varchar(30),"
        " created_at timestamptz)",
        "INSERT INTO users SELECT n, 'U' || n || '@X.org', 'N' || n, '2020-01-01 00:00+00' "
        "FROM generate_series(1, 20) n",
    )
    moved(
        bench,
        table="public.users",
        target={"table": "public.dim_users"},
        columns=[
            {"source": "id", "target": "user_id", "type": "integer"},
            {"target": "email", "expression": "lower(email)"},
            {"source": "name", "target": "full_name", "type": "string"},
            {"source": "created_at"},
            {"target": "origin", "constant": "shop"},
            {"target": "version", "constant": 3},
        ],
        accept_loss=["email"],
    )
    assert bench.target.rows("SELECT * FROM dim_users ORDER BY user_id")[0][:3] == (
        1,
        "u1@x.org",
        "N1",
    )
    assert bench.target.rows("SELECT DISTINCT origin, version FROM dim_users") == [("shop", 3)]


def test_a_value_that_does_not_fit_stops_its_batch(bench: Db) -> None:
    bench.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, delay numeric)",
        "INSERT INTO t SELECT n, n / 10.0 FROM generate_series(1, 50) n",
        "UPDATE t SET delay = 4.25 WHERE id = 33",
    )
    bench.write(
        bench.job(
            batch_size=10,
            columns=[{"source": "id"}, {"source": "delay", "type": "decimal(6,1)"}],
        )
    )
    with pytest.raises(BadValue, match=r"column delay of the row with key 33: its value"):
        bench.run()
    job = bench.only()
    assert (job.state, job.rows_written, job.rows_failed) == ("failed", 30, 10)
    bench.source.execute("UPDATE t SET delay = 4.2 WHERE id = 33")
    assert bench.run().jobs[0].rows_written == 50


@pytest.mark.parametrize(
    ("target", "job", "message"),
    [
        ("CREATE TABLE t (id int PRIMARY KEY)", {}, "has no column 'v'"),
        ("CREATE TABLE t (id int, v text)", {}, r"no unique index on \(id\)"),
        ("CREATE TABLE t (id int PRIMARY KEY, v text, w int NOT NULL)", {}, "needs a value for w"),
        ("CREATE TABLE t (id int PRIMARY KEY, v date)", {}, "v"),
        ("CREATE TABLE t (id int PRIMARY KEY, v inet)", {}, "no meaningful conversion"),
        ("CREATE VIEW t AS SELECT 1 AS id", {}, "a view"),
        ("", {"table": "public.tt"}, "did you mean public.t"),
        ("", {"key": ["v"], "purge": "system"}, r"keeps \(v\) unique"),
        ("", {"key": ["idd"]}, "did you mean id"),
        ("", {"where": "vv = 'x'"}, "has no column 'vv'"),
        ("", {"columns": [{"source": "v"}]}, "key column id is not mapped"),
        ("", {"target": {"create": "never"}}, "create is never"),
        ("", {"target": {"table": "nowhere.t"}}, "schema 'nowhere' does not exist"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_written(
    bench: Db, target: str, job: dict[str, Any], message: str
) -> None:
    bench.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 2)"
    )
    if target:
        bench.target.execute(target)
    bench.write(bench.job(**job))
    with pytest.raises((ConfigError, Refused), match=message):
        bench.open().plan("copy")


def test_null_for_a_column_that_takes_none(bench: Db) -> None:
    bench.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, NULL)"
    )
    bench.target.execute("CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL)")
    bench.write(bench.job())
    with pytest.raises(BadValue, match="column v does not accept NULL"):
        bench.run()
    assert bench.target.value("SELECT count(*) FROM t") == 0


def test_error_on_conflict_names_the_row(bench: Db) -> None:
    bench.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (1, 2), (2, 2)"
    )
    bench.target.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t VALUES (2, 5)"
    )
    bench.write(bench.job(on_conflict="error"))
    with pytest.raises(BadValue, match=r"\(id\)=\(2\)"):
        bench.run()
    assert bench.target.rows("SELECT * FROM t") == [(2, 5)]


def test_a_secondary_unique_key_eats_no_row(bench: Db) -> None:
    bench.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, email text)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')"
    )
    bench.target.execute(
        "CREATE TABLE t (id int PRIMARY KEY, email text UNIQUE)", "INSERT INTO t VALUES (9, 'b')"
    )
    bench.write(bench.job())
    with pytest.raises(BadValue, match=r"\(email\)=\(b\)"):
        bench.run()
    assert bench.target.rows("SELECT * FROM t") == [(9, "b")]


def test_collations_that_order_differently(bench: Db) -> None:
    """The source sorts by C, the target does not: rows are matched by key, never by range."""
    bench.source.execute(
        'CREATE TABLE t (k text COLLATE "C" PRIMARY KEY, v int)',
        "INSERT INTO t SELECT CASE WHEN n % 2 = 0 THEN 'a' ELSE 'B' END || n, n "
        "FROM generate_series(1, 60) n",
    )
    others = bench.target.rows(
        "SELECT collname FROM pg_collation WHERE collname IN ('en-x-icu', 'C.utf8') ORDER BY 1 DESC"
    )
    bench.target.execute(f'CREATE TABLE t (k text COLLATE "{others[0][0]}" PRIMARY KEY, v int)')
    bench.write(bench.job(batch_size=7, check={"percent": 100}, purge="system"))
    run = bench.open()
    assert not run.plan("copy").ordered_alike
    run.copy("copy")
    assert run.check("copy").rows_different == 0
    bench.target.execute("UPDATE t SET v = -1 WHERE k = 'a20'")
    found = run.purge("copy")
    assert (found.rows_purged, found.rows_kept) == (59, 1)
    assert bench.source.rows("SELECT k FROM t") == [("a20",)]
