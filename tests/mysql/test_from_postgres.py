"""What PostgreSQL renders, read by LOAD DATA and by INSERTs."""

from __future__ import annotations

import pytest

from dsp_airflow.engine.stores.mysql import load
from dsp_airflow.engine.stores.mysql import relay as into
from dsp_airflow.engine.stores.mysql.query import rows
from dsp_airflow.engine.stores.postgres import relay
from tests.mysql.streams import columns_of, projected, session
from tests.servers import Database, MySQLDatabase

TEXTS = [
    "",
    "\\N",
    "NULL",
    '"',
    '","',
    "\\",
    '\\"',
    "a\tb\nc\rd\\e'f\"g\x01\x08\x0b\x0c\x1a\x7f",
    "\\.",
    "'),('",
    "\r\n",
    " blanks ",
    "\U0001f600 \u00df",
    "\\t\\n\\v\\f\\\\",
    None,
]


@pytest.mark.parametrize("wire", [into.CSV, into.TEXT])
def test_hostile_texts_and_bytes(pg_db: Database, my_db: MySQLDatabase, wire: str) -> None:
    columns = columns_of(
        id="int", text="text", blob="blob", bits="bit(3)", stamp="timestamp(6)", number="double"
    )
    my_db.execute(
        "CREATE TABLE u (id INT PRIMARY KEY, text TEXT, `blob` BLOB, bits BIT(3), "
        "stamp TIMESTAMP(6) NULL, number DOUBLE) CHARACTER SET utf8mb4"
    )
    pg_db.execute(
        "CREATE TABLE t (id int, text text, blob bytea, bits bit(3), stamp timestamptz, number "
        "double precision)"
    )
    with pg_db.connect() as source, session(my_db) as target:
        for n, text in enumerate(TEXTS):
            source.execute(
                "INSERT INTO t VALUES (%s, %s, convert_to(%s, 'UTF8'), B'101', "
                "'2024-05-06 07:08:09.123456+02', 1.5e-300)",
                (n, text, text),
            )
        what = projected("u", columns)
        stamp = "stamp AT TIME ZONE 'UTC'" if wire == into.CSV else "stamp"
        stream = relay.CopyOut(
            source,
            f"COPY (SELECT id, text, blob, bits, {stamp}, number FROM t ORDER BY id) TO STDOUT "
            f"({relay.options(wire)})",
        )
        source.execute("SET TimeZone = 'UTC'")
        assert load.fill(target, "u", what.fields, stream, wire, "u") == len(TEXTS)
        found = rows(target, "SELECT text, `blob`, bits + 0, stamp, number FROM u ORDER BY id")
    given = [None if text is None else text.encode() for text in TEXTS]
    expected = (b"5", b"2024-05-06 05:08:09.123456", b"1.5e-300")
    assert found == [(text, text, *expected) for text in given]
