"""What indexes say of a table's keys."""

from __future__ import annotations

import pytest

from dsp_airflow.engine.errors import BadValue
from dsp_airflow.engine.stores.mysql.keys import Keys, refuse_twins
from dsp_airflow.engine.stores.mysql.login import is_mariadb
from dsp_airflow.engine.stores.mysql.query import Connection, execute, one
from tests.mysql.tables import projection


def keys_of(connection: Connection, not_null: set[str], **natives: str) -> Keys:
    schema = str(one(connection, "SELECT DATABASE()")[0])
    return Keys(connection, schema, "t", not_null, natives)


def test_indexes(connection: Connection) -> None:
    execute(
        connection,
        "CREATE TABLE t (a INT NOT NULL, b VARCHAR(99) NOT NULL, c INT, f FLOAT NOT NULL, d TEXT, "
        "g POINT NOT NULL, PRIMARY KEY (a, b), UNIQUE KEY by_b (b), UNIQUE KEY cut (a, b(9)), "
        "UNIQUE KEY maybe (a, c), UNIQUE KEY approx (f), KEY words (b), KEY deep (d(5), a), "
        "FULLTEXT KEY searched (d), SPATIAL KEY placed (g))",
    )
    hidden = "IGNORED" if is_mariadb(connection) else "INVISIBLE"
    execute(connection, f"ALTER TABLE t ADD UNIQUE KEY unused (c, a, b), ADD KEY off (c) {hidden}")
    execute(connection, "ALTER TABLE t DROP KEY unused, DROP KEY maybe, ADD UNIQUE maybe (a, c)")
    found = keys_of(connection, {"a", "b", "f", "g"}, f="float")
    assert found.primary == ("a", "b")
    assert found.unique == [("a", "b"), ("b",)]
    assert sorted(found.indexed) == ["a", "b", "d", "f"]
    assert found.unusable == [
        "approx is on f of type FLOAT, which no text equals; MODIFY it as DOUBLE",
        "cut is on the beginning of a column, b(9); create one on whole columns",
        "maybe is on c, which may be NULL; MODIFY it as NOT NULL",
    ]


@pytest.mark.parametrize("my", ["mysql"], indirect=True)
def test_an_expression_is_no_key(connection: Connection) -> None:
    execute(connection, "CREATE TABLE t (a INT NOT NULL, UNIQUE KEY odd ((a + 1)))")
    found = keys_of(connection, {"a"})
    assert found.unusable == ["odd is on an expression; create one on plain columns"]
    assert found.indexed == []


def test_a_key_that_was_staged_twice(connection: Connection) -> None:
    execute(connection, "CREATE TABLE t (k VARCHAR(9) COLLATE utf8mb4_general_ci, v INT)")
    execute(connection, "CREATE TEMPORARY TABLE stage LIKE t")
    what = projection(connection, "t", "k")
    execute(connection, "INSERT INTO stage VALUES ('a', 1), ('b', 2)")
    refuse_twins(connection, what, "stage", 1)
    execute(connection, "INSERT INTO stage VALUES ('A', 3)")
    with pytest.raises(BadValue, match=r"key \([aA]\) came twice .* Nothing of the batch"):
        refuse_twins(connection, what, "stage", 1)
