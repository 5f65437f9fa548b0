"""Every type with hostile values between PostgreSQL, MariaDB and MySQL, both ways."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dsp_airflow.engine.errors import BadValue, DspError, Mismatch
from tests.engine.anywhere import databases
from tests.mysql import nasty as mine
from tests.mysql.pairs import Pair, Values
from tests.servers import (
    Database,
    fresh_mysql_database,
)
from tests.unit.engine import nasty

SAME = [("mysql", "mysql"), ("mariadb", "mysql"), ("mysql", "mariadb"), ("mariadb", "mariadb")]
OUT = [("mysql", "pg18"), ("mariadb", "pg18")]
IN = [("pg18", "mysql"), ("pg18", "mariadb")]


def named(ways: list[tuple[str, str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("pair", ways, ids=["-".join(w) for w in ways], indirect=True)


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    """Fresh databases on two servers."""
    with ExitStack() as stack:
        yield Pair(tmp_path, *databases(request, stack, *request.param))


ZEROS = ("0000-00-00", "2024-00-00", "2024-02-30", "2024-12-00")
"""Days of no calendar."""
JSON = ("json", [mine.quoted(text) for text in mine.JSON])
# The catalogs here tell labels in three bytes a character at most: others are refused.
LABELS = tuple(label for label in mine.ODD_LABELS if "😀" not in label)


def from_mysql(*, strict: bool) -> Values:
    """``strict``: without what PostgreSQL has no value for."""
    found = []
    for case in mine.CASES:
        values = [literal for literal, _ in case.values]
        if strict:
            values = [v for v in values if "\\0" not in v and not any(z in v for z in ZEROS)]
        if case.kind.name not in ("enum", "set"):
            found.append((case.native, values))
    listed = mine.labelled(LABELS)
    found.append((f"enum({listed})", [mine.quoted(label) for label in LABELS]))
    found.append((f"set({mine.labelled(LABELS[1:])})", ["''", "'a'", mine.quoted("it's,a")]))
    big = [("longtext", [f"REPEAT('é', {1 << 19})"]), ("longblob", [f"REPEAT(x'00ff', {1 << 19})"])]
    return [*found, *big, JSON]


@named(SAME)
def test_between_mysql_and_mariadb(pair: Pair) -> None:
    """Every type made anew, every value as it was."""
    values = from_mysql(strict=False)
    rows = pair.fill(values)
    raw = ", ".join(
        f"CAST(c{n} AS CHAR)" if native == "json" else f"HEX(c{n} + 0)" if "bit" in native
        else f"CONCAT(c{n})" for n, (native, _) in enumerate(values)
    )  # fmt: skip
    before = pair.source.rows(f"SELECT {raw} FROM t ORDER BY id")
    pair.moved(rows)
    after = pair.target.rows(f"SELECT {raw} FROM t ORDER BY id")
    for one, other in zip(before, after, strict=True):
        assert [n for n, (a, b) in enumerate(zip(one, other, strict=True)) if a != b] == []


@named(OUT)
def test_from_mysql_to_postgres(pair: Pair) -> None:
    values = from_mysql(strict=True)
    rows = pair.fill(values)
    pair.moved(rows)
    for n, case in enumerate(c for c in mine.CASES if c.kind.name not in ("enum", "set")):
        if case.kind.name not in ("float64", "duration", "other", "bytes", "timestamptz"):
            expected = [
                text.replace("T", " ") if case.kind.name == "timestamp" else text
                for literal, text in case.values
                if literal in values[n][1]
            ]
            shown = f"to_char(c{n}, 'YYYY-MM-DD HH24:MI:SS.US')"
            found = shown if case.kind.name == "timestamp" else f"c{n}::text"
            there = pair.target.rows(f"SELECT {found} FROM t ORDER BY id")
            assert [text for (text,) in there][: len(expected)] == expected, case


HELD: Values = [
    *((f"numeric({p},{s})", ["1.5", "-0.25", "0"]) for p, s in [(30, 20)]),
    ("varchar(3)", ["'a  '", "'é😀'", "''"]),
    ("json", ['\'{"a":1, "a":2}\'', "'18446744073709551615'", "' [1.5, null]'"]),
    ("jsonb", ['\'{"b":[1,2],"aa":null}\'', "'1.10'", "'{}'"]),
    *(("bit(5)", ["'10101'"]), ("bit(64)", [f"'{'1' * 64}'", f"'{'0' * 63}1'"])),
    *(("inet", ["'1.2.3.4/8'"]), ("tsvector", ["'a b'"]), ("int4range", ["'[1,5)'"])),
    *(("time(3)", ["'12:00:01.123'"]), ("timestamp(3)", ["'2024-01-01 00:00:00.123'"])),
    ("interval", ["'-1 year -2 months +3 days -00:00:04.000005'", "'178000000 years'"]),
    ("timestamptz", ["'2024-03-31 01:30+00'", "'2024-10-27 01:30+02'", "'1883-11-18 12:00+00'"]),
    ("text", ["repeat('é', 524288)", "E'\\f\\v\\b\\t\\n\\r\\\\N\\\\\\x1a'", "E'\\\\N'", "'a  '"]),
    ("bytea", ["decode(repeat('00ff27225c0a', 100000), 'hex')"]),
]


def from_postgres() -> Values:
    """Without what MySQL has no value for."""
    found = []
    for case in nasty.CASES:
        values = [
            literal
            for _, literal, text in case.values
            if not re.search(r"NaN|nfinity", text)
            and not (case.kind.name in ("date", "timestamp", "timestamptz") and text[0] in "+-")
            and text not in ("-0", *mine.MIDPOINTS)
        ]
        if "mood" in case.native or case.native in ("numeric", "numeric(3,-2)"):
            continue
        if case.kind.element is not None and case.kind.element.name in ("float64", "decimal"):
            continue
        found.append((case.native, values))
    return [*found, *HELD]


@named(IN)
def test_from_postgres_to_mysql(pair: Pair) -> None:
    values = [(native, of) for native, of in from_postgres() if "json" not in native]
    pair.moved(pair.fill(values))


@named(IN)
def test_what_is_spelled_differently_agrees(pair: Pair) -> None:
    """JSON, and doubles that lie between their fewest digits. A purge would keep such rows."""
    values = [(native, of) for native, of in from_postgres() if "json" in native]
    pair.fill([*values, ("numeric[]", ["'{1.0,1.50}'"]), ("float8", ["1e23"])])
    pair.write(pair.job(check={"percent": 100}))
    (job,) = pair.run().jobs
    assert job.rows_different == 0


REFUSED: list[tuple[str, str, str, str, str]] = [
    # Source, type, value, target, what is said.
    ("mysql", "text", "'a\\0b'", "pg18", "0x00"),
    ("mariadb", "date", "'0000-00-00'", "pg18", "out of range"),
    ("mysql", "date", "'2024-02-30'", "pg18", "out of range"),
    ("mariadb", "datetime", "'0000-00-00 00:00:00'", "pg18", "out of range"),
    ("mysql", "timestamp(3) NULL", "'0000-00-00 00:00:00'", "pg18", "out of range"),
    ("pg18", "double precision", "'NaN'", "mysql", "c0"),
    ("pg18", "real", "'-Infinity'", "mariadb", "c0"),
    ("pg18", "double precision", "'-0'", "mariadb", "c0"),
    ("pg18", "real", "'-0'", "mariadb", "c0"),
    ("mysql", "double", "'-0.0'", "mariadb", "c0"),
    ("pg18", "numeric(12,2)", "'NaN'", "mysql", "c0"),
    ("pg18", "date", "'infinity'", "mysql", "c0"),
    ("pg18", "date", "'10000-01-01'", "mariadb", "c0"),
    ("pg18", "date", "'10000-01-01'", "mysql", "c0"),
    ("pg18", "date", "'0044-03-15 BC'", "mysql", "c0"),
    ("pg18", "date", "'0044-03-15 BC'", "mariadb", "c0"),
    ("pg18", "timestamp", "'10000-01-01'", "mysql", "c0"),
    ("pg18", "timestamp", "'10000-01-01'", "mariadb", "c0"),
    ("pg18", "timestamptz", "'0001-12-31 23:00+00 BC'", "mysql", "c0"),
    ("pg18", "timestamptz", "'-infinity'", "mariadb", "c0"),
    ("pg18", "json", "'12345678901234567890123'", "mysql", "c0"),
    ("pg18", "jsonb", "'{\"a\":[0.12345678901234567890]}'", "mysql", "c0"),
    ("pg18", "jsonb", "'1e400'", "mariadb", "c0"),
    ("pg18", "numeric[]", "'{12345678901234567.25}'", "mysql", "c0"),
    ("pg18", "numeric", "'0.1234567890123456789012345678901'", "mysql", "c0"),
    ("pg18", "numeric", "'1e40'", "mariadb", "c0"),
]


@pytest.mark.parametrize(
    ("pair", "native", "value", "said"),
    [((source, target), native, value, said) for source, native, value, target, said in REFUSED],
    indirect=["pair"],
)
def test_what_the_other_cannot_hold_is_refused(
    pair: Pair, native: str, value: str, said: str
) -> None:
    """Never changed in silence: the batch fails and names the column, and nothing is written."""
    pair.fill([(native, [value])])
    pair.write(pair.job())
    run = pair.open()
    run.plan("copy")
    with pytest.raises(BadValue, match=said):
        run.copy("copy")
    assert pair.target.value("SELECT count(*) FROM t") == 0


UNREAD: list[tuple[str, str, str]] = [
    # Character set, octets that are no text in it, and such as are another spelling of one.
    ("cp1251", "d098", "d0"),
    ("greek", "ae", "e1"),
    ("gbk", "a2ab", "c4e3a1a1"),
    ("big5", "a15a", "a741"),
    ("cp932", "", "eee03ffbfc878afa58"),
    ("armscii8", "", "a43f29"),
    ("utf16", "", "003fd83dde00fffdff1f"),
]


@named([("mysql", "mysql"), ("mariadb", "mariadb"), ("mysql", "pg18")])
def test_octets_that_are_no_text_are_refused(pair: Pair) -> None:
    """The server makes ? of them, or U+FFFD, or NULL, and two rows would have one text."""
    sets = list(UNREAD)
    if pair.source.server.product == "MySQL":
        sets.append(("ucs2", "d83dde00", "0061"))
    columns = ", ".join(f"{name} varchar(9) CHARACTER SET {name}" for name, *_ in sets)
    good = ", ".join(f"_{name} x'{other}'" for name, _, other in sets)
    pair.source.execute(
        f"CREATE TABLE t (id int PRIMARY KEY, {columns})", f"INSERT INTO t VALUES (0, {good})"
    )
    for n, (name, octets, _) in enumerate(sets, 1):
        if octets:
            pair.source.execute(f"INSERT INTO t (id, {name}) VALUES ({n}, _{name} x'{octets}')")
            pair.write(pair.job())
            run = pair.open(new=True)
            run.plan("copy")
            with pytest.raises(BadValue, match=f"column {name}: a text has octets"):
                run.copy("copy")
            pair.source.execute(f"DELETE FROM t WHERE id = {n}")
    before = pair.source.rows(
        f"SELECT {', '.join(f'CONVERT({n} USING utf8mb4)' for n, *_ in sets)} FROM t"
    )
    pair.moved(1)
    plain = isinstance(pair.target, Database)
    shown = ", ".join(n if plain else f"CONVERT({n} USING utf8mb4)" for n, *_ in sets)
    assert pair.target.rows(f"SELECT {shown} FROM t") == before


@named([("mysql", "mysql"), ("mariadb", "mariadb")])
def test_a_key_that_is_no_text_ends_no_batch(pair: Pair) -> None:
    """A question mark in its place would leave the rows behind it out of all batches."""
    for collation, octets in (("cp1251_general_ci", "d098"), ("greek_bin", "61ae")):
        charset = collation.partition("_")[0]
        pair.source.execute(
            f"CREATE TABLE t (k varchar(9) CHARACTER SET {charset} COLLATE {collation} "
            "PRIMARY KEY, v varchar(9))",
            f"INSERT INTO t VALUES ('a', 'x'), (_{charset} x'{octets}', 'y')",
        )
        for size in (10, 1):
            pair.write(pair.job(batch_size=size))
            with pytest.raises(BadValue, match="column k: a text has octets"):
                pair.open(new=True).plan("copy")
        pair.source.execute("DROP TABLE t")


@named([("mysql", "mysql"), ("mysql", "pg18"), ("pg18", "mariadb")])
def test_a_planted_difference_of_any_column_is_found(pair: Pair) -> None:
    """One row for each column, that differs in it alone; the purge keeps them."""
    if isinstance(pair.source, Database):
        values = list(from_postgres())
    else:
        values = list(from_mysql(strict=isinstance(pair.target, Database)))
    full = [(native, [of[-1]] * (len(values) + 1)) for native, of in values]
    pair.fill(full)
    pair.write(pair.job(check={"percent": 100}, purge="manual"))
    run = pair.open()
    run.plan("copy")
    run.copy("copy")
    pair.target.execute(*(f"UPDATE t SET c{n} = NULL WHERE id = {n}" for n in range(len(values))))
    with pytest.raises(Mismatch):
        run.check("copy")
    found = {
        int(one.difference.key[0]): one.difference.columns
        for one in run.runs.differences(run.run.id)
    }
    assert found == {n: (f"c{n}",) for n in range(len(values))}
    with pytest.raises(DspError):
        run.purge("copy")
    assert pair.source.value("SELECT count(*) FROM t") == len(values) + 2


SLIGHTLY: list[tuple[str, str, str, str]] = [
    # Source, type, value, and another one nearby.
    ("mysql", "bigint unsigned", "18446744073709551615", "18446744073709551614"),
    ("mysql", "decimal(65,30)", "1.0", f"1.{'0' * 29}1"),
    ("mariadb", "double", "0.1", "0.10000000000000002"),
    ("mariadb", "float", "0.1", "0.10000001"),
    ("mysql", "double", "0", "'-0'"),
    ("mysql", "varchar(9)", "'a'", "'a '"),
    ("mariadb", "varchar(9) COLLATE utf8mb4_general_ci", "'a'", "'A'"),
    ("mysql", "varchar(9) COLLATE utf8mb4_0900_ai_ci", "'ss'", "'ß'"),
    ("mariadb", "varchar(9)", "''", "NULL"),
    ("mysql", "varchar(9)", "'é'", "'e\u0301'"),
    ("mysql", "varbinary(9)", "x'00'", "x'0000'"),
    ("mariadb", "datetime(6)", "'2024-01-01 00:00:00'", "'2024-01-01 00:00:00.000001'"),
    ("mysql", "date", "'0000-00-00'", "'2024-02-30'"),
    ("mysql", "time(6)", "'-00:00:00.000001'", "'00:00:00.000001'"),
    ("mysql", "bit(64)", f"b'{'1' * 64}'", f"b'{'1' * 63}0'"),
    ("mariadb", "enum('a','A b')", "'a'", "'A b'"),
    ("mysql", "set('a','b')", "'a,b'", "'b'"),
    ("mysql", "year", "2000", "'0000'"),
    ("mysql", "json", "'{\"a\": 1}'", '\'{"a": "1"}\''),
]


@pytest.mark.parametrize("name", ["mariadb", "mysql"])
def test_values_that_look_alike_are_told_apart(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue(name)
    pairs = [(native, a, b) for source, native, a, b in SLIGHTLY if source == name]
    with fresh_mysql_database(server) as source, fresh_mysql_database(server) as target:
        bench = Pair(tmp_path, source, target)
        bench.fill([(native, [a] * len(pairs)) for native, a, _ in pairs])
        bench.write(bench.job(check={"percent": 100}))
        run = bench.open()
        run.plan("copy")
        run.copy("copy")
        changes = (f"UPDATE t SET c{n} = {b} WHERE id = {n}" for n, (*_, b) in enumerate(pairs))
        bench.lenient(target, *changes)
        with pytest.raises(Mismatch):
            run.check("copy")
        found = {
            int(one.difference.key[0]): one.difference.columns
            for one in run.runs.differences(run.run.id)
        }
        assert found == {n: (f"c{n}",) for n in range(len(pairs))}
