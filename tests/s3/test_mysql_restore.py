"""Archives of MySQL's and MariaDB's tables, and their rows put back: there, and in PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dsp_airflow.config.loading import load_task
from dsp_airflow.engine.errors import BadValue, ConfigError, Refused
from dsp_airflow.restoring import Wish, of_manifest, of_run
from tests.s3.harness import Archives, finished
from tests.servers import Database, MySQLDatabase
from tests.servers.s3 import S3Server, fresh_bucket

NAMES = ["parquet", "csv", "jsonl"]
WHOLE: dict[str, Any] = {"check": {"percent": 100}, "purge": "manual"}

# Name, type, values.
TYPES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("i8", "TINYINT", ("-128", "127", "0")),
    ("u8", "TINYINT UNSIGNED", ("255", "0")),
    ("i16", "SMALLINT", ("-32768", "32767")),
    ("i24", "MEDIUMINT", ("-8388608", "8388607")),
    ("u24", "MEDIUMINT UNSIGNED", ("16777215", "0")),
    ("i32", "INT", ("-2147483648", "2147483647")),
    ("z32", "INT(8) UNSIGNED ZEROFILL", ("42", "0", "4294967295")),
    ("i64", "BIGINT", ("-9223372036854775808", "9223372036854775807")),
    ("u64", "BIGINT UNSIGNED", ("18446744073709551615", "0")),
    ("yes", "TINYINT(1)", ("5", "1", "0")),
    ("d9", "DECIMAL(9,2)", ("-9999999.99", "0.00", "1.50")),
    ("d38", "DECIMAL(38,10)", ("-9999999999999999999999999999.9999999999", "0.0000000001")),
    ("d65", "DECIMAL(65,30)", (f"-{'9' * 35}.{'9' * 30}", "0", "1.5")),
    ("f32", "FLOAT", ("0.1", "-3.4028234e38", "1.17549435e-38", "1e6", "16777216")),
    ("f64", "DOUBLE", ("0.1", "1e23", "-1.7976931348623157e308", "5e-324", "123456789012345680")),
    ("fd", "FLOAT(7,2)", ("0.1", "3", "-16777.22")),
    ("dd", "DOUBLE(12,3)", ("1.5", "0", "-7.125", "1e8", "0.001")),
    ("c", "CHAR(8)", ("''", "'a'", "'é \"x\"'", "'a\\tb\\nc'")),
    ("vc", "VARCHAR(300)", ("''", "'  both  '", "'a\\0b'", "'\\r\\n\\\\N'", "'\\\\N'", "'\"'")),
    ("l1", "VARCHAR(20) CHARACTER SET latin1", ("'é€'", "''")),
    ("u16", "VARCHAR(20) CHARACTER SET utf16", ("'é😀'",)),
    ("t", "LONGTEXT", ("''", "'😀,\"\"\\r\\n\\t\\0\\\\'", "REPEAT('é\"', 40000)", "'NULL'")),
    ("bin", "BINARY(4)", ("x'00ff0a22'", "x'61'")),
    ("vb", "VARBINARY(20)", ("x''", "x'00220a0d2c5c4e'")),
    ("bb", "LONGBLOB", ("x''", "x'5c4e'", "REPEAT(x'00ff2c22', 30000)")),
    ("d", "DATE", ("'0001-01-01'", "'9999-12-31'", "'2024-02-29'")),
    ("dt", "DATETIME", ("'0001-01-01'", "'9999-12-31 23:59:59'")),
    ("dt6", "DATETIME(6)", ("'2024-02-29 12:30:00.000001'", "'1969-12-31 23:59:59.999999'")),
    ("ts", "TIMESTAMP NULL", ("'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'")),
    ("ts3", "TIMESTAMP(3) NULL", ("'2024-10-27 01:30:00.123'",)),
    ("tm", "TIME", ("'-838:59:59'", "'838:59:59'", "'0'")),
    ("tm6", "TIME(6)", ("'-00:00:00.000001'", "'23:59:59.999999'")),
    ("y", "YEAR", ("1901", "2155", "0")),
    ("e", "ENUM('a', 'it''s', 'x,\"y')", ("'it''s'", "'x,\"y'")),
    ("s", "SET('a', 'b', 'c''d')", ("''", "'a,c''d'", "'b'")),
    ("j", "JSON", ('\'{"b": [1, 2.50, null], "a": "é\\\\\\\\n"}\'', "'null'", "'\"x\"'")),
    ("b1", "BIT(1)", ("b'1'", "b'0'")),
    ("b64", "BIT(64)", (f"b'{'1' * 64}'", "b'0'", "b'101'")),
    ("g", "GEOMETRY", ("ST_GeomFromText('POINT(1 2)', 4326)", "ST_GeomFromText('POINT(3 4)')")),
)
BEYOND = ("0000-00-00", "2024-00-00", "2024-05-00", "2024-02-30", "1900-02-29", "0000-05-01")


def typed(database: MySQLDatabase) -> list[str]:
    """A table ``t`` of every value of every type; its columns."""
    columns = ", ".join(f"{name} {kind}" for name, kind, _ in TYPES)
    rows = max(len(values) for _, _, values in TYPES)
    database.execute(
        f"CREATE TABLE t (id BIGINT PRIMARY KEY, {columns})",
        "INSERT INTO t (id) VALUES (0)",
        *(
            f"INSERT INTO t VALUES ({n + 1}, {', '.join(v[n % len(v)] for _, _, v in TYPES)})"
            for n in range(rows)
        ),
    )
    return [name for name, _, _ in TYPES]


def shown(database: MySQLDatabase, names: list[str], table: str = "t") -> list[Any]:
    """Every value as hex of what the server itself prints."""
    bits = {name for name, kind, _ in TYPES if kind.startswith("BIT")}
    columns = ", ".join(f"HEX({name}{' + 0' * (name in bits)})" for name in names)
    return database.run(f"SELECT id, {columns} FROM {table} ORDER BY id")


@pytest.fixture
def jobs(tmp_path: Path, my_db: MySQLDatabase, moto: S3Server) -> Archives:
    """MariaDB and MySQL in turn."""
    return Archives(tmp_path, my_db, my_db, place=fresh_bucket(moto))


def job(jobs: Archives, **more: Any) -> None:
    table = {"source": {"table": f"{jobs.source.name}.t"}}
    jobs.write(jobs.job(**{**WHOLE, **table, **more}))


def through(jobs: Archives) -> Any:
    run = jobs.open()
    run.plan("copy")
    run.copy("copy")
    found = run.check("copy")
    assert (found.rows_checked, found.rows_different) == (found.rows_total, 0)
    return run


@pytest.mark.parametrize("name", NAMES)
def test_every_type_is_archived_purged_and_put_back(jobs: Archives, name: str) -> None:
    names = typed(jobs.source)
    before = shown(jobs.source, names)
    job(jobs, batch_size=3, target={"format": name})
    run = through(jobs)
    found = run.purge("copy")
    assert [d.difference for d in run.runs.differences(run.run.id)] == []
    assert (found.rows_purged, found.rows_kept) == (len(before), 0)
    assert jobs.source.value("SELECT COUNT(*) FROM t") == 0

    done = jobs.restore()
    assert (done.rows_checked, done.rows_different) == (len(before), 0)
    assert shown(jobs.source, names) == before

    again = f"{jobs.source.name}.again"
    assert jobs.restore(table=again).rows_checked == len(before)
    assert shown(jobs.source, names, "again") == before
    described = (
        "SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE, COLLATION_NAME FROM "
        "information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = '{}' "
        "ORDER BY ORDINAL_POSITION"
    )
    assert jobs.source.run(described.format("again")) == jobs.source.run(described.format("t"))


@pytest.mark.parametrize("name", NAMES)
def test_days_that_no_calendar_has(jobs: Archives, name: str) -> None:
    jobs.source.execute(
        "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'",
        "CREATE TABLE t (id INT PRIMARY KEY, d DATE, dt DATETIME(3), ts TIMESTAMP NULL)",
        *(
            f"INSERT INTO t VALUES ({n}, '{day}', '{day} 01:02:03.5', "
            f"{'NULL' if n % 2 else repr('0000-00-00 00:00:00')})"
            for n, day in enumerate((*BEYOND, "2024-02-29"))
        ),
    )
    before = jobs.source.run("SELECT * FROM t ORDER BY id")
    assert [row[1] for row in before] == [*BEYOND, "2024-02-29"]
    job(jobs, target={"format": name})
    run = through(jobs)
    assert run.purge("copy").rows_purged == len(before)
    assert jobs.restore().rows_checked == len(before)
    assert jobs.source.run("SELECT * FROM t ORDER BY id") == before


def test_partitions_hold_every_row_once(jobs: Archives) -> None:
    jobs.source.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, kind VARCHAR(20) COLLATE utf8mb4_general_ci)",
        "INSERT INTO t VALUES (1, 'a'), (2, 'A'), (3, 'a '), (4, 'á'), (5, NULL), (6, ''), "
        "(7, 'it''s \\\\ \"x\"'), (8, 'a')",
    )
    before = jobs.source.run("SELECT * FROM t ORDER BY id")
    partition = [{"name": "of", "expression": "kind"}]
    job(jobs, target={"partitions": partition})
    run = through(jobs)
    objects = [o for batch in jobs.manifest()["batches"] for o in batch["objects"]]
    assert sorted(o["rows"] for o in objects) == [1, 1, 1, 1, 1, 1, 2]
    assert run.purge("copy").rows_purged == len(before)
    assert jobs.restore().rows_checked == len(before)
    assert jobs.source.run("SELECT * FROM t ORDER BY id") == before


KEYS = (
    ("ENUM('b', 'a')", "'a'", "'b'"),
    ("SET('b', 'a')", "'a,b'", "'b'"),
    ("BIT(9)", "b'101'", "b'1'"),
    ("YEAR", "2024", "0"),
    ("TIME(6)", "'-100:00:00.5'", "'10:00:00'"),
    ("DATETIME(3)", "'2024-01-01 10:00:00.25'", "'0000-00-00'"),
    ("TIMESTAMP", "'2024-01-01 10:00:00'", "'2024-01-02 00:00:00'"),
    ("VARBINARY(9)", "x'00ff'", "x''"),
    ("VARCHAR(9)", "'é'", "''"),
    ("INT(6) ZEROFILL", "42", "7"),
)


@pytest.mark.parametrize("kind", KEYS, ids=lambda kind: kind[0].partition("(")[0].lower())
def test_keys_of_every_type(
    mariadb_db: MySQLDatabase, tmp_path: Path, moto: S3Server, kind: Any
) -> None:
    """Rows are found by them: in what a purge deletes, keeps and tells."""
    jobs = Archives(tmp_path, mariadb_db, mariadb_db, place=fresh_bucket(moto))
    native, one, other = kind
    jobs.source.execute(
        "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'",
        f"CREATE TABLE t (k {native} PRIMARY KEY, v INT)",
        f"INSERT INTO t VALUES ({one}, 1), ({other}, 2)",
    )
    job(jobs)
    run = through(jobs)
    jobs.source.execute(f"UPDATE t SET v = 3 WHERE k = {other}")
    done = run.purge("copy")
    assert (done.rows_purged, done.rows_kept) == (1, 1)
    assert jobs.source.run("SELECT v FROM t") == [("3",)]
    jobs.source.execute("DELETE FROM t")
    assert jobs.restore().rows_different == 0
    assert jobs.source.run("SELECT v FROM t ORDER BY v") == [("1",), ("2",)]


@pytest.mark.parametrize(
    ("where", "wanted"),
    [("id > 3 AND name LIKE 'É%'", ["4", "5"]), ("name IS NULL", ["7"]), ("`id` = 100", [])],
)
def test_only_what_matches_is_put_back(jobs: Archives, where: str, wanted: list[str]) -> None:
    """The target's server judges, by its own collation."""
    jobs.source.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(9) COLLATE utf8mb4_general_ci)",
        "INSERT INTO t VALUES (1, 'é1'), (2, 'x'), (4, 'é2'), (5, 'É\\n'), (6, ''), (7, NULL)",
    )
    job(jobs, purge="manual")
    run = through(jobs)
    run.purge("copy")
    assert jobs.restore(where=where).rows_written == len(wanted)
    assert [row[0] for row in jobs.source.run("SELECT id FROM t ORDER BY id")] == wanted
    # Rules go by characters.
    jobs.source.execute("DELETE FROM t")
    rules = {"column": "name", "operator": "starts_with", "value": "É"}
    assert finished(jobs.going_back(jobs.by_rules(rules))).rows_written == 1
    assert jobs.source.run("SELECT id FROM t") == [("5",)]


# Between systems

CROSS = (
    "id BIGINT PRIMARY KEY, i24 MEDIUMINT, u64 BIGINT UNSIGNED, yes TINYINT(1), n DECIMAL(12,2), "
    "f DOUBLE, s VARCHAR(40), t LONGTEXT, b VARBINARY(20), d DATE, dt DATETIME(6), "
    "ts TIMESTAMP(6) NULL, tm TIME(6), y YEAR, e ENUM('a', 'b'), st SET('a', 'b'), j JSON"
)
VALUES = [
    (
        "(1, -5, 18446744073709551615, 1, 1.50, 1e23, 'é\\t\"', '\\\\N\\n', x'00ff', '2024-02-29', "
        "'2024-02-29 01:02:03.5', '2024-02-29 01:02:03.000001', '-100:00:00.5', 2024, 'b', 'a,b', "
        "'{\"a\": [1, true]}')"
    ),
    "(2, NULL, 0, 0, NULL, 0, '', '', x'', NULL, NULL, NULL, NULL, 1999, NULL, '', '[]')",
]


def test_what_is_put_back_with_the_rows_that_belong_to_them(jobs: Archives) -> None:
    """By a key of texts in another charset, whose collation takes a for A."""
    jobs.source.execute(
        "CREATE TABLE p (name VARCHAR(9), n INT, v INT, PRIMARY KEY (name, n)) CHARSET latin1",
        "CREATE TABLE c (id INT PRIMARY KEY, of_name VARCHAR(9), of_n INT, "
        "FOREIGN KEY (of_name, of_n) REFERENCES p (name, n) ON DELETE CASCADE) CHARSET latin1",
        "CREATE TABLE g (id INT PRIMARY KEY, c INT, FOREIGN KEY (c) REFERENCES c (id) "
        "ON DELETE CASCADE)",
        "INSERT INTO p VALUES ('é', 1, 1), ('a', 1, 2), ('a', 2, 2), ('b', 1, 9)",
        "INSERT INTO c VALUES (1, 'É', 1), (2, 'A', 1), (3, 'a', 2), (4, NULL, 1), (5, 'b', 1)",
        "INSERT INTO g VALUES (1, 1), (2, 2), (3, 2), (4, 4), (5, 5)",
    )
    whole = {"purge": "system", "check": {"percent": 100}}
    more: dict[str, dict[str, Any]] = {
        "p": {"where": "v < 9"},
        "c": {"belongs_to": "p"},
        "g": {"belongs_to": "c"},
    }
    tables = [
        jobs.job(n, f"{jobs.source.name}.{n}", target={"prefix": n}, **whole, **more[n])
        for n in more
    ]
    jobs.write(*tables)
    jobs.run()

    def ids(*names: str) -> list[list[str]]:
        return [
            [str(r[0]) for r in jobs.source.rows(f"SELECT id FROM {n} ORDER BY 1")] for n in names
        ]

    assert ids("c", "g") == [["4", "5"], ["4", "5"]]
    task = of_run(
        jobs.state,
        load_task(jobs.file),
        None,
        "p",
        Wish(where="name = 'A' AND n = 1 OR v = 1", children=True),
        jobs.store,
    )
    run = jobs.going_back(task)
    for one in run.task.jobs:
        run.plan(one.name)
        run.copy(one.name)
        run.check(one.name)
    found = {one.name: one.rows_written for one in run.finish().jobs}
    assert found == {"p": 2, "c": 2, "g": 3}
    assert ids("c", "g") == [["1", "2", "4", "5"], ["1", "2", "3", "4", "5"]]

    def refused(job: str, **wish: Any) -> str:
        given = Wish(children=True, **wish)
        with pytest.raises(ConfigError) as caught:
            of_run(jobs.state, load_task(jobs.file), None, job, given, jobs.store)
        return str(caught.value)

    assert "no job of task task belongs to it" in refused("g")
    assert "q is one table, and rows of c, g go with its rows" in refused("p", table="q")


def by_manifest(jobs: Archives, table: str, **wish: Any) -> Any:
    assert jobs.place is not None
    (key,) = [key for key in jobs.objects() if key.endswith("_manifest.json")]
    given = Wish(connection="target", table=table, **wish)
    return of_manifest(f"s3://{jobs.place.name}/{key}", "archive", given, jobs.store)


def test_mysql_to_postgresql(jobs: Archives, pg18_db: Database) -> None:
    jobs.source.execute(f"CREATE TABLE t ({CROSS})", f"INSERT INTO t VALUES {', '.join(VALUES)}")
    job(jobs, purge="none")
    through(jobs)
    jobs.target = pg18_db
    done = finished(jobs.going_back(by_manifest(jobs, "public.t")))
    assert (done.rows_written, done.rows_checked, done.rows_different) == (2, 2, 0)
    assert pg18_db.rows("SELECT i24, u64::text, yes, n::text, s, t, e, st, y, tm::text FROM t") == [
        (-5, "18446744073709551615", 1, "1.50", 'é\t"', "\\N\n", "b", "a,b", 2024, "-100:00:00.5"),
        (None, "0", 0, None, "", "", None, "", 1999, None),
    ]
    assert pg18_db.rows("SELECT dt::text, (ts AT TIME ZONE 'UTC')::text FROM t WHERE id = 1") == [
        ("2024-02-29 01:02:03.5", "2024-02-29 01:02:03.000001")
    ]


def postgres_archive(
    tmp_path: Path,
    source: Database,
    target: MySQLDatabase,
    moto: S3Server,
    columns: str,
    *rows: str,
) -> Archives:
    jobs = Archives(tmp_path, source, target, place=fresh_bucket(moto))
    source.execute(f"CREATE TABLE t ({columns})", f"INSERT INTO t VALUES {', '.join(rows)}")
    jobs.write(jobs.job(check={"percent": 100}, purge="none"))
    through(jobs)
    return jobs


def test_postgresql_to_mysql(
    tmp_path: Path, pg18_db: Database, my_db: MySQLDatabase, moto: S3Server
) -> None:
    jobs = postgres_archive(
        tmp_path,
        pg18_db,
        my_db,
        moto,
        "id bigint PRIMARY KEY, yes bool, n numeric(12,2), f float8, s varchar(40), t text, "
        "b bytea, d date, dt timestamp, tz timestamptz, tm time, u uuid, j jsonb",
        "(1, true, 1.5, 1e23, E'é\\t\"', E'\\\\N\\n', '\\x00ff', '2024-02-29', "
        "'2024-02-29 01:02:03.5', '2024-02-29 01:02:03.000001+00', '23:59:59.5', "
        "'0b0e1d6c-3f1d-4c1f-9d3c-0a1b2c3d4e5f', '{\"a\": [1, true]}')",
        "(2, false, NULL, 0, '', '', '', NULL, NULL, NULL, NULL, NULL, '[]')",
    )
    table = f"{my_db.name}.t"
    done = finished(jobs.going_back(by_manifest(jobs, table)))
    assert (done.rows_written, done.rows_checked, done.rows_different) == (2, 2, 0)
    assert my_db.run("SELECT yes, n, s, t, HEX(b), d, dt, tz, tm, u FROM t ORDER BY id") == [
        (
            *("1", "1.50", 'é\t"', "\\N\n", "00FF", "2024-02-29", "2024-02-29 01:02:03.500000"),
            *("2024-02-29 01:02:03.000001", "23:59:59.500000"),
            "0b0e1d6c-3f1d-4c1f-9d3c-0a1b2c3d4e5f",
        ),
        ("0", None, "", "", "", None, None, None, None, None),
    ]
    found = finished(jobs.going_back(by_manifest(jobs, f"{my_db.name}.some", where="id = 1")))
    assert found.rows_written == 1


@pytest.mark.parametrize(
    ("kind", "value", "error", "told"),
    [
        ("date", "'infinity'", BadValue, "d"),
        ("timestamp", "'0044-01-01 BC'", BadValue, "d"),
        ("float8", "'NaN'", BadValue, "d"),
        ("interval", "'1 month'", ConfigError, "d was interval and is varchar"),
        ("numeric", "1.5", ConfigError, "d was numeric and is decimal"),
        ("int[]", "'{1}'", ConfigError, "d was integer"),
        ("inet", "'10.0.0.1'", ConfigError, "d was inet and is longtext"),
    ],
)
def test_what_mysql_has_not(
    tmp_path: Path,
    pg18_db: Database,
    mariadb_db: MySQLDatabase,
    moto: S3Server,
    kind: str,
    value: str,
    error: type[Exception],
    told: str,
) -> None:
    columns = f"id int PRIMARY KEY, d {kind}"
    jobs = postgres_archive(tmp_path, pg18_db, mariadb_db, moto, columns, f"(1, {value})")
    with pytest.raises(error, match=told):
        finished(jobs.going_back(by_manifest(jobs, f"{mariadb_db.name}.t")))
    if mariadb_db.run("SHOW TABLES LIKE 't'"):
        assert mariadb_db.value("SELECT COUNT(*) FROM t") == 0


def test_a_row_that_is_too_large(jobs: Archives) -> None:
    jobs.source.execute(
        "CREATE TABLE t (id INT PRIMARY KEY, t LONGTEXT)",
        "INSERT INTO t VALUES (1, REPEAT('x', 200000))",
    )
    job(jobs, max_row_size="100kB")
    with pytest.raises(Refused, match="max_row_size"):
        jobs.run()
    assert jobs.batches() == []


CHANGED = (
    # As it was archived, as it stands there, a value that it keeps, and one that it would change.
    ("VARBINARY(4)", "BINARY(4)", "x'00010203'", "x'61'"),
    ("DOUBLE", "DOUBLE(7,2)", "1.25", "1.125"),
    ("FLOAT", "FLOAT(7,2)", "0.1", "0.125"),
    ("VARCHAR(4)", "CHAR(4)", "' b'", "'b '"),
)


def test_columns_that_would_change_a_value(jobs: Archives) -> None:
    """Into a table that stands there: a value that would not stay as it is, is an error."""
    archived = ", ".join(f"c{n} {mine}" for n, (mine, *_) in enumerate(CHANGED))
    standing = ", ".join(f"c{n} {theirs}" for n, (_, theirs, *_) in enumerate(CHANGED))
    kept = ", ".join(good for *_, good, _ in CHANGED)
    jobs.source.execute(
        f"CREATE TABLE t (id INT PRIMARY KEY, {archived})",
        f"CREATE TABLE other (id INT PRIMARY KEY, {standing})",
        f"INSERT INTO t VALUES (0, {kept})",
        *(
            f"INSERT INTO t (id, c{n}) VALUES ({n + 1}, {bad})"
            for n, (*_, bad) in enumerate(CHANGED)
        ),
    )
    job(jobs, purge="none", batch_size=1)
    through(jobs)
    other = f"{jobs.source.name}.other"
    assert jobs.restore(table=other, batches="1").rows_checked == 1
    values = "SELECT id, HEX(c0), c1 + 0e0, c2 * 1e0, c3 FROM"
    before = jobs.source.run(f"{values} t WHERE id = 0")
    assert jobs.source.run(f"{values} other") == before
    for n in range(len(CHANGED)):
        with pytest.raises(BadValue, match=rf"column c{n}, key \({n + 1}\)"):
            jobs.restore(table=other, batches=str(n + 2))
    assert jobs.source.value("SELECT COUNT(*) FROM other") == 1
