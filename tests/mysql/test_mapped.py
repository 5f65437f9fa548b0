"""Keys, policies and tables made anew between PostgreSQL, MariaDB and MySQL."""

from __future__ import annotations

from typing import Any

import pytest

from dsp_airflow.engine.errors import BadValue, ConfigError, Refused
from dsp_airflow.engine.model import LossCount
from tests.mysql.pairs import Pair
from tests.mysql.test_values import named, pair

__all__ = ["pair"]

KEYS: list[tuple[tuple[str, str], str, list[str]]] = [
    (("mysql", "pg18"), "enum('b','a','it''s')", ["'b'", "'a'", "'it\\'s'"]),
    (("mariadb", "mysql"), "set('b','a')", ["'b'", "'a,b'", "''"]),
    (("mysql", "pg18"), "bit(64)", ["b'1'", f"b'{'1' * 64}'"]),
    (("mariadb", "pg18"), "time(6)", ["'-01:00:00.5'", "'838:59:59'", "'00:00:00'"]),
    (("mysql", "mariadb"), "varchar(20)", ["'a'", "'B'", "'é'", "'😀'", "'zz'"]),
    (("mysql", "pg18"), "datetime(6)", ["'2024-01-01 00:00:00.1'", "'1001-01-01'"]),
    (("pg18", "mysql"), "text", ["'a'", "'A'", "'a '", "'é'", "'😀'", "''"]),
    (("pg18", "mariadb"), 'varchar(9) COLLATE "C"', ["'a'", "'A'", "'a '", "'é'", "'😀'"]),
    (("pg18", "mysql"), "timestamptz", ["'2024-01-01 00:00:00.1+00'", "'2024-01-01 00:00+00'"]),
    (("pg18", "mariadb"), "bytea", ["'\\x00'", "'\\x0000'", "'\\xff'", "''"]),
    (("pg18", "mysql"), "boolean", ["true", "false"]),
    (("pg18", "mysql"), "double precision", ["1.5", "-2", "1e300"]),
]


@pytest.mark.parametrize(("pair", "native", "values"), KEYS, indirect=["pair"])
def test_keys(pair: Pair, native: str, values: list[str]) -> None:
    """Rows are found by their keys on either side: copied, checked and purged."""
    pair.source.execute(
        f"CREATE TABLE t (k {native} NOT NULL PRIMARY KEY, v int)",
        *(f"INSERT INTO t VALUES ({value}, {n})" for n, value in enumerate(values)),
    )
    pair.moved(len(values))


@named([("pg18", "mysql"), ("pg18", "mariadb")])
def test_keys_that_meet_in_the_target_are_refused(pair: Pair) -> None:
    """Its collation takes them for one, which the source does not."""
    pair.source.execute(
        "CREATE TABLE t (k varchar(9) PRIMARY KEY)", "INSERT INTO t VALUES ('a'), ('A')"
    )
    pair.target.execute("CREATE TABLE t (k varchar(9) COLLATE utf8mb4_general_ci PRIMARY KEY)")
    pair.write(pair.job())
    with pytest.raises(ConfigError, match="takes several texts for one"):
        pair.open().plan("copy")


@named([("mysql", "mysql"), ("mariadb", "mariadb")])
def test_keys_that_meet_are_named_where_there_are_any(pair: Pair) -> None:
    """Also where there are none yet, the plan refuses: the row of tomorrow would stop the job."""
    columns = "n int, `dsp text` varchar(9) CHARACTER SET utf8mb4 COLLATE {}"
    for database, collation in (
        (pair.source, "utf8mb4_bin"),
        (pair.target, "utf8mb4_unicode_ci"),
    ):
        key = "PRIMARY KEY (n, `dsp text`)"
        database.execute(f"CREATE TABLE t ({columns.format(collation)}, {key})")
    pair.source.execute("INSERT INTO t VALUES (1, 'zoë'), (2, 'ZOE'), (3, 'x')")
    pair.write(pair.job())
    with pytest.raises(ConfigError, match=r"could meet in one key; give it a collation"):
        pair.open().plan("copy")
    pair.source.execute("INSERT INTO t VALUES (2, 'zoë')")
    with pytest.raises(ConfigError, match=r"meet in one key, as 'ZOE' and 'zoë' do; give it"):
        pair.open().plan("copy")


@named([("pg18", "mysql"), ("pg18", "mariadb")])
def test_a_row_too_wide_keeps_its_long_texts_elsewhere(pair: Pair) -> None:
    pair.moved(pair.fill([("varchar(4000)", ["'x'"]), ("varchar(9)", ["'y'"])] * 6))
    kinds = pair.target.rows(
        "SELECT DATA_TYPE FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() "
        "AND TABLE_NAME = 't' AND COLUMN_NAME LIKE 'c%' ORDER BY ORDINAL_POSITION"
    )
    assert {kind for (kind,) in kinds[1::2]} == {"varchar"}
    assert "longtext" in {kind for (kind,) in kinds[::2]}


@named([("pg18", "mysql"), ("pg18", "mariadb")])
def test_what_the_server_will_not_create_is_told_by_the_plan(pair: Pair) -> None:
    """Texts without a length share what room an index has; other keys and rows may be too wide."""
    wide = ", ".join(f"c{n} varchar(60)" for n in range(250))
    for columns, key in (
        ("a varchar(800)", "a"),
        ("a varchar(700), b varchar(70), v int", "a, b"),
        (f"a int, {wide}", "a"),
    ):
        pair.source.execute(f"CREATE TABLE t ({columns}, PRIMARY KEY ({key}))")
        pair.write(pair.job())
        with pytest.raises(Refused, match=r"too (long|large).*map columns to shorter types"):
            pair.open(new=True).plan("copy")
        pair.source.execute("DROP TABLE t")
    pair.source.execute(
        "CREATE TABLE t (a text, b text, n bigint, c text, d text, PRIMARY KEY (a, b, n, c, d))",
        "INSERT INTO t VALUES ('a', 'b', 1, 'c', repeat('é', 190)), ('a', 'b', 1, 'c', '')",
    )
    pair.moved(2)
    assert "dsp_tried" not in str(pair.target.rows("SHOW TABLES"))


DEFAULTS = (
    "a varchar(9) DEFAULT 'it''s'",
    "b int DEFAULT -5",
    "c datetime(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3)",
    "d timestamp NULL DEFAULT NULL",
    "e decimal(5,2) NOT NULL DEFAULT 1.50",
    "f bit(3) DEFAULT b'101'",
    "g varchar(9) DEFAULT (CONCAT('a','b'))",
    "h int GENERATED ALWAYS AS (b + 1) STORED",
    "i int INVISIBLE",
    "j varbinary(3) DEFAULT x'00ff'",
    "k varchar(20) NOT NULL DEFAULT ''",
    "l enum('x','y') DEFAULT 'y'",
    "m date DEFAULT '2000-01-01'",
    "n varchar(30) DEFAULT 'a\\\\b'",
)


@named([("mysql", "mariadb"), ("mariadb", "mysql"), ("mysql", "pg18")])
def test_defaults_mean_the_same_or_are_left_out(pair: Pair) -> None:
    pair.source.execute(
        f"CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, {', '.join(DEFAULTS)})",
        "INSERT INTO t (a) VALUES ('x')",
    )
    pair.moved(1)
    if pair.named(pair.target, "t") == "t":
        pair.target.execute("INSERT INTO t (id) VALUES (7)")
        given = pair.target.rows("SELECT a, b, e, f + 0, g, j, k, l, m, n FROM t WHERE id = 7")[0]
        plain = ["it's", "-5", "1.50", "5", "None", "None", "", "y", "2000-01-01", "a\\b"]
        assert [str(value) for value in given] == plain


Lossy = tuple[tuple[str, str], str, str, list[str], list[str], list[Any]]
LOSSY: list[Lossy] = [
    # Way, source, target, values that fit, values that do not, the nearest ones.
    (("mysql", "pg18"), "bigint unsigned", "bigint", ["5"], ["18446744073709551615"], [2**63 - 1]),
    (("mariadb", "pg18"), "varchar(9)", "varchar(3)", ["'abc'"], ["'abcd'"], ["abc"]),
    (("mysql", "pg18"), "decimal(10,4)", "numeric(6,2)", ["1.25"], ["1.2345"], ["1.23"]),
    (("pg18", "mysql"), "bigint", "int", ["7"], ["2147483648"], [2**31 - 1]),
    (("pg18", "mariadb"), "text", "varchar(3)", ["'é😀'"], ["'abcd'"], ["abc"]),
    (("pg18", "mysql"), "numeric", "decimal(5,2)", ["1.25"], ["1e9", "'NaN'"], ["999.99"]),
    (("mariadb", "mysql"), "double", "float", ["0.5"], ["0.1"], []),
]


def lossy(pair: Pair, source: str, target: str, values: list[str], on_loss: str) -> None:
    rows = ", ".join(f"({n}, {value})" for n, value in enumerate(values))
    pair.source.execute(
        f"CREATE TABLE t (id int PRIMARY KEY, v {source})", f"INSERT INTO t VALUES {rows}"
    )
    pair.target.execute(f"CREATE TABLE t (id int PRIMARY KEY, v {target})")
    columns = [{"source": "id"}, {"source": "v", "on_loss": on_loss}]
    pair.write(pair.job(columns=columns, check={"percent": 100}))


@pytest.mark.parametrize("on_loss", ["error", "null", "clamp"])
@pytest.mark.parametrize(
    ("pair", "source", "target", "fitting", "unfit", "nearest"), LOSSY, indirect=["pair"]
)
def test_policies(
    pair: Pair,
    source: str,
    target: str,
    fitting: list[str],
    unfit: list[str],
    nearest: list[Any],
    on_loss: str,
) -> None:
    """What does not fit is an error, NULL or the nearest value; it is counted, and checked."""
    if on_loss != "error":
        unfit = [value for value in unfit if value != "'NaN'"]
    lossy(pair, source, target, fitting + unfit, on_loss)
    run = pair.open()
    if on_loss == "clamp" and not nearest:
        with pytest.raises(ConfigError, match="has no nearest value"):
            run.plan("copy")
        return
    run.plan("copy")
    if on_loss == "error":
        with pytest.raises(BadValue, match="column v"):
            run.copy("copy")
        assert pair.target.value("SELECT count(*) FROM t") == 0
        return
    run.copy("copy")
    assert run.check("copy").rows_different == 0
    assert pair.only().losses == (LossCount("v", on_loss, len(unfit)),)
    there = pair.target.rows("SELECT v FROM t ORDER BY id")[len(fitting) :]
    wanted = nearest if on_loss == "clamp" else [None] * len(unfit)
    assert [str(value) for (value,) in there] == [str(value) for value in wanted]


BENT: list[tuple[str, str, str, list[str]]] = [
    # Source, target, a value that stays as it is, and such as the server changes in silence.
    ("varchar(9)", "enum('a','b')", "'b'", ["'1'", "'A'", "'a '"]),
    ("enum('a','B')", "enum('a','b')", "'a'", ["'B'"]),
    ("varchar(9)", "set('a','b')", "'a,b'", ["'3'", "'b,a'", "'b,b'", "'A'"]),
    ("varbinary(4)", "binary(4)", "x'61626300'", ["x'616263'"]),
    ("binary(2)", "binary(4)", "NULL", ["x'6162'"]),
    ("double", "double(10,2)", "1.25", ["1.239"]),
    ("double(10,3)", "double(12,2)", "-1.25", ["1.239"]),
    ("float", "float(7,2)", "1.1", ["1.239"]),
    ("float(7,2)", "float(8,3)", "1.1", []),
    ("double", "double(10,3)", "3", []),
    ("decimal(9,3)", "double(10,2)", "1.25", ["1.239"]),
    ("int", "double(10,2)", "7", []),
]


@named([("mysql", "mysql"), ("mariadb", "mariadb")])
def test_what_a_server_would_change_in_silence(pair: Pair) -> None:
    """No warning tells of it: labels spelled otherwise, zeros at the end, digits rounded away."""
    numbered = list(enumerate(BENT))
    for database, at in ((pair.source, 0), (pair.target, 1)):
        listed = ", ".join(f"c{n} {case[at]} NULL" for n, case in numbered)
        database.execute(f"CREATE TABLE t (id int PRIMARY KEY, {listed})")
    pair.source.execute(f"INSERT INTO t VALUES (0, {', '.join(case[2] for case in BENT)})")
    bent = [(n, value) for n, (*_, values) in numbered for value in values]
    for row, (n, value) in enumerate(bent, 1):
        pair.source.execute(f"INSERT INTO t (id, c{n}) VALUES ({row}, {value})")
    columns = [{"source": name} for name in ("id", *(f"c{n}" for n, _ in numbered))]
    for row, (n, _) in enumerate(bent, 1):
        pair.write(pair.job(columns=columns, where=f"id = {row}"))
        run = pair.open(new=True)
        run.plan("copy")
        with pytest.raises(BadValue, match=f"column c{n}: a value does not fit"):
            run.copy("copy")
    for n, case in numbered:
        if case[3]:
            columns[n + 1]["on_loss"] = "null"
    pair.write(pair.job(columns=columns, check={"percent": 100}))
    (job,) = pair.run(new=True).jobs
    assert job.rows_different == 0
    losses = {loss.column: loss.values for loss in pair.only().losses}
    assert losses == {f"c{n}": len(case[3]) for n, case in numbered if case[3]}
    assert pair.target.rows("SELECT * FROM t WHERE id = 0") == pair.source.rows(
        "SELECT * FROM t WHERE id = 0"
    )


BENT_BY_THE_OTHER: list[tuple[str, str, str, list[str]]] = [
    ("text", "set('a','b')", "'a,b'", ["'3'", "'b,a'", "'A'"]),
    ("text", "set('a','b')", "''", []),
    ("smallint", "year", "1999", ["5", "0"]),
    ("bytea", "binary(2)", "'\\x6100'", ["'\\x61'"]),
    ("float8", "double(10,2)", "1.25", ["1.239"]),
    ("float8", "double(10,3)", "1.5", []),
    ("real", "float(7,2)", "1.1", ["1.239"]),
    ("smallint", "tinyint", "-128", ["128"]),
]


@named([("pg18", "mysql")])
def test_what_a_server_would_change_in_silence_of_another_system(pair: Pair) -> None:
    numbered = list(enumerate(BENT_BY_THE_OTHER))
    for database, at in ((pair.source, 0), (pair.target, 1)):
        listed = ", ".join(f"c{n} {case[at]} NULL" for n, case in numbered)
        database.execute(f"CREATE TABLE t (id int PRIMARY KEY, {listed})")
    good = ", ".join(case[2] for case in BENT_BY_THE_OTHER)
    pair.source.execute(f"INSERT INTO t VALUES (0, {good})")
    bent = [(n, value) for n, (*_, values) in numbered for value in values]
    for row, (n, value) in enumerate(bent, 1):
        pair.source.execute(f"INSERT INTO t (id, c{n}) VALUES ({row}, {value})")
        pair.write(pair.job(where=f"id = {row}"))
        run = pair.open(new=True)
        run.plan("copy")
        with pytest.raises(BadValue, match=f"column c{n}"):
            run.copy("copy")
    lossy = [f"c{n}" for n, _ in numbered]
    check = {"percent": 100}
    pair.write(pair.job(where="id = 0", check=check, purge="system", accept_loss=lossy))
    (job,) = pair.run(new=True).jobs
    assert (job.rows_written, job.rows_different, job.rows_purged) == (1, 0, 1)
