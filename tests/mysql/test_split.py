"""Cutting tables into batches."""

from __future__ import annotations

import itertools

import pytest

from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.engine.model import Batch, BatchSize, KeyRange
from dsp_airflow.engine.stores.mysql import proof
from dsp_airflow.engine.stores.mysql.query import Connection, execute, one
from dsp_airflow.engine.stores.mysql.split import split
from tests.mysql.tables import projection

LARGE = 64 * 2**20


def filled(connection: Connection, columns: str, *values: str) -> None:
    execute(connection, f"CREATE TABLE t ({columns})")
    execute(connection, f"INSERT INTO t VALUES {', '.join(values)}")


def test_by_number(connection: Connection) -> None:
    filled(
        connection,
        "a INT, b INT, v INT, PRIMARY KEY (a, b)",
        *(f"({n // 4}, {n % 4}, {n})" for n in range(10)),
    )
    what = projection(connection, "t", "a", "b")
    batches, size = split(connection, what, BatchSize(4), LARGE)
    assert batches == [
        Batch(1, KeyRange(None, ("0", "3")), 4),
        Batch(2, KeyRange(("0", "3"), ("1", "3")), 4),
        Batch(3, KeyRange(("1", "3"), ("2", "1")), 2),
    ]
    assert size > 0
    whole, _ = split(connection, what, BatchSize(10), LARGE)
    assert whole == [Batch(1, KeyRange(None, ("2", "1")), 10)]
    some = projection(connection, "t", "a", "b", where="v % 3 = 0")
    batches, _ = split(connection, some, BatchSize(3), LARGE)
    assert [(b.within.upto, b.rows) for b in batches] == [(("1", "2"), 3), (("2", "1"), 1)]
    none = projection(connection, "t", "a", "b", where="v > 99")
    assert split(connection, none, BatchSize(3), LARGE) == (
        [],
        split(connection, none, BatchSize(3), LARGE)[1],
    )
    assert one(connection, "SELECT @@autocommit")[0] == "1"


@pytest.mark.parametrize("seen", [1, 2, 100])
def test_by_weight(connection: Connection, monkeypatch: pytest.MonkeyPatch, seen: int) -> None:
    monkeypatch.setattr("dsp_airflow.engine.stores.mysql.split.FIRST", seen)
    sizes = [10, 10, 10, 50, 10, 10, 10, 10, 10, 0, 0, 30, 5, 5]
    filled(
        connection,
        "id INT PRIMARY KEY, v LONGTEXT",
        *(f"({n}, REPEAT('x', {size}))" for n, size in enumerate(sizes)),
    )
    what = projection(connection, "t", "id")
    batches, total = split(connection, what, BatchSize(4, 30), LARGE)
    assert [b.rows for b in batches] == [3, 1, 3, 4, 1, 2]
    assert [b.number for b in batches] == [1, 2, 3, 4, 5, 6]
    assert total == sum(sizes)
    for batch in batches:
        assert proof.count(connection, what, batch.within) == batch.rows
    assert batches[0].within.after is None
    assert batches[-1].within.upto == ("13",)
    assert all(x.within.upto == y.within.after for x, y in itertools.pairwise(batches))


def test_rows_too_large(connection: Connection) -> None:
    packet = int(str(one(connection, "SELECT @@max_allowed_packet")[0]))
    filled(
        connection,
        "id INT PRIMARY KEY, v LONGTEXT, b LONGBLOB",
        *("(1, 'x', 'x')", "(2, REPEAT('x', 2000), NULL)"),
    )
    what = projection(connection, "t", "id")
    with pytest.raises(Refused, match=r"key \('2',\) has 2,000 bytes, more than max_row_size"):
        split(connection, what, BatchSize(10), 1999)
    execute(connection, f"INSERT INTO t VALUES (3, NULL, REPEAT('x', {packet // 2 + 1}))")
    with pytest.raises(Refused, match=rf"text of {packet + 2:,} bytes .* max_allowed_packet"):
        split(connection, what, BatchSize(10), 2**40)


def test_without_a_key(connection: Connection) -> None:
    filled(connection, "v INT", "(1)", "(1)", "(2)")
    what = projection(connection, "t", where="v = 1")
    assert split(connection, what, BatchSize(1), LARGE)[0] == [Batch(1, KeyRange(), 2)]
    execute(connection, "DELETE FROM t")
    assert split(connection, what, BatchSize(1), LARGE)[0] == []


def test_a_loose_key_is_proved(connection: Connection) -> None:
    filled(connection, "k VARCHAR(9) COLLATE utf8mb4_general_ci, v INT", "('a', 1)", "('b', 2)")
    what = projection(connection, "t", "k", loose=True)
    assert len(split(connection, what, BatchSize(1), LARGE)[0]) == 2
    execute(connection, "INSERT INTO t VALUES ('B ', 3)")
    with pytest.raises(ConfigError, match=r"stands in 2 rows, so \(`k`\) is no key"):
        split(connection, what, BatchSize(1), LARGE)
    execute(connection, "UPDATE t SET k = NULL WHERE v = 3")
    with pytest.raises(ConfigError, match="1 rows have NULL in the key"):
        split(connection, what, BatchSize(1), LARGE)


def test_a_view(connection: Connection) -> None:
    filled(connection, "id INT PRIMARY KEY, v VARCHAR(2000)", "(1, 'abc')", "(2, 'x')")
    execute(connection, "CREATE VIEW w AS SELECT id, v FROM t")
    batches, _ = split(connection, projection(connection, "w", "id"), BatchSize(1, 100), LARGE)
    assert [b.rows for b in batches] == [1, 1]
