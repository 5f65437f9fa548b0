"""Digests and row hashes on the servers."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from dsp_airflow.engine.compare import digest_of
from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.model import KeyRange, Loss
from dsp_airflow.engine.stores.mysql import proof
from dsp_airflow.engine.stores.mysql.query import Connection, execute, one
from tests.mysql.conftest import Connect
from tests.mysql.tables import projection

NASTY = (
    "CREATE TABLE t (a INT, b VARCHAR(20) COLLATE utf8mb4_general_ci, c VARBINARY(9), "
    "d DATETIME(6), e ENUM('z', 'y'), f DOUBLE, g TIMESTAMP(3) NULL, v TEXT, PRIMARY KEY (a, b, e))"
)


@pytest.fixture
def nasty(connection: Connection) -> Connection:
    execute(connection, NASTY)
    execute(
        connection,
        "INSERT INTO t VALUES (1, 'A''\\\\', x'00ff', '2024-01-02 03:04:05.6', 'y', 0.1, "
        "'2024-01-01 00:00:00.120', 'x\\ty'), (1, 'b', NULL, NULL, 'z', -1e300, NULL, NULL), "
        "(2, '', '', '0000-00-00', 'z', 0, NULL, ''), (-7, 'ä😀', NULL, NULL, 'y', 1e-5, NULL, '')",
    )
    return connection


def test_digests_by_row_by_key_and_as_a_whole_agree(nasty: Connection) -> None:
    what = projection(nasty, "t", "a", "b", "e")
    found = list(proof.hashes(nasty, what, None, None))
    assert len({row.hash for row in found}) == 4
    assert proof.digest(nasty, what, None) == digest_of(found)
    assert proof.digest(nasty, what, None, [row.at for row in found]) == digest_of(found)
    by_key = list(proof.hashes(nasty, what, None, [row.at for row in found]))
    assert sorted(map(repr, by_key)) == sorted(map(repr, found))
    assert (("-7", "ä😀", "y"), ("-7", "ä😀", "y")) in [(row.key, row.at) for row in found]
    assert proof.count(nasty, what, KeyRange()) == 4


def test_the_hash_of_these_servers_sees_every_change(nasty: Connection) -> None:
    what = replace(projection(nasty, "t", "a", "b", "e"), method="sha1")
    keys = [row.at for row in proof.hashes(nasty, what, None, None)]
    whole = proof.digest(nasty, what, None)
    assert whole == proof.digest(nasty, what, None, keys)
    assert (whole.rows, whole.method) == (4, "sha1")
    seen = {whole.sum}
    changes = (
        *("c = x'00fe'", "c = NULL", "d = NULL", "d = '2024-01-02 03:04:05.600001'", "e = 'z'"),
        *("f = 0.10000000000000002", "g = NULL", "g = '2024-01-01 00:00:00.121'"),
        *("v = 'x\\ty '", "v = 'X\\ty'", "v = NULL", "v = ''", "b = 'a''\\\\'"),
    )
    for change in changes:
        execute(nasty, "START TRANSACTION")
        assert execute(nasty, f"UPDATE t SET {change} WHERE a = 1 AND e = 'y'") == 1
        seen.add(proof.digest(nasty, what, None).sum)
        execute(nasty, "ROLLBACK")
    assert len(seen) == len(changes) + 1


def test_texts_are_canonical(nasty: Connection) -> None:
    what = projection(nasty, "t", "a", "b", "e")
    key = ("1", "A'\\", "y")
    assert proof.field_texts(nasty, what, [key]) == {
        ("1", "A'\\", "y"): (
            *("1", "A'\\", "y", "00ff", "2024-01-02T03:04:05.600000", "0.1"),
            *("2024-01-01T00:00:00.120000Z", "x\ty"),
        )
    }


def test_ranges_meet_without_gap_or_overlap(connection: Connection) -> None:
    execute(connection, "CREATE TABLE t (a INT, b VARCHAR(9), c INT, PRIMARY KEY (a, b, c))")
    values = itertools.product(range(4), ("A", "b", "c d"), range(3))
    rows = ", ".join(f"({a}, '{b}', {c})" for a, b, c in values)
    execute(connection, f"INSERT INTO t VALUES {rows}")
    what = projection(connection, "t", "a", "b", "c", where="c <> 1")
    whole = proof.digest(connection, what, None)
    for number in (1, 2, 5, 23, 24, 25):
        total, after, parts = whole - whole, None, 0
        while upto := proof.edge(connection, what, KeyRange(after), number):
            total += proof.digest(connection, what, KeyRange(after, upto))
            after, parts = upto, parts + 1
        total += proof.digest(connection, what, KeyRange(after))
        assert total == whole
        assert parts == 24 // number


def test_pages_hold_every_row_also_of_a_key_that_is_none(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "PAGE", 3)
    execute(connection, "CREATE TABLE t (k VARCHAR(9) COLLATE utf8mb4_general_ci, v INT)")
    execute(connection, "INSERT INTO t VALUES ('a', 1), ('A', 2), ('a ', 3), ('a', 4), ('b', 5)")
    execute(connection, "INSERT INTO t VALUES ('B', 6), ('c', 7), ('d', 8), ('e', 9)")
    what = projection(connection, "t", "k")
    stream = proof.hashes(connection, what, None, None)
    found = []
    for row in stream:
        # The session may ask other things meanwhile.
        assert proof.field_texts(connection, what, [row.at])
        found.append(row)
    assert digest_of(found) == proof.digest(connection, what, None)
    assert len(found) == 9


def test_without_a_key_rows_come_in_order_of_their_hashes(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "PAGE", 2)
    execute(connection, "CREATE TABLE t (v INT, w VARCHAR(9))")
    execute(connection, "INSERT INTO t VALUES (1, 'a'), (1, 'a'), (NULL, NULL), (2, ''), (3, 'x')")
    what = projection(connection, "t")
    found = [row.hash for row in proof.hashes(connection, what, None, None)]
    assert found == sorted(found)
    assert len(found) == 5
    assert len(set(found)) == 4
    stream = proof.hashes(connection, what, None, None)
    next(stream)
    stream.close()
    assert proof.count(connection, what, KeyRange()) == 5


def test_a_row_that_outgrows_the_packet_has_no_digest(connect: Connect) -> None:
    connection = connect()
    packet = int(str(one(connection, "SELECT @@max_allowed_packet")[0]))
    execute(connection, "CREATE TABLE t (id INT PRIMARY KEY, b LONGBLOB, v INT)")
    execute(connection, "INSERT INTO t VALUES (1, 'small', 1), (2, NULL, 2)")
    execute(connection, f"INSERT INTO t VALUES (3, REPEAT('x', {packet // 2 + 1}), 3)")
    what = projection(connection, "t", "id")
    assert proof.digest(connection, what, KeyRange(None, ("2",))).rows == 2
    with pytest.raises(Refused, match="max_allowed_packet"):
        proof.digest(connection, what, None)
    with pytest.raises(Refused, match="max_allowed_packet"):
        list(proof.hashes(connection, what, None, None))
    try:
        # MySQL's HEX() knows no limit; what it shows must be all of it.
        (shown,) = proof.field_texts(connection, what, [("3",)]).values()
    except Refused as error:
        assert "max_allowed_packet" in str(error)  # noqa: PT017
    else:
        assert len(shown[1] or "") == packet + 2
    keyless = projection(connection, "t")
    with pytest.raises(Refused, match="max_allowed_packet"):
        list(proof.hashes(connection, keyless, None, None))
    assert proof.count(connection, what, KeyRange()) == 3


def test_losses_are_counted(connection: Connection) -> None:
    from dataclasses import replace

    execute(connection, "CREATE TABLE t (id INT PRIMARY KEY, v INT)")
    what = replace(
        projection(connection, "t", "id"),
        losses=(Loss("v", "clamp", "`v` > 5"), Loss("v", "null", "`v` > 50")),
    )
    assert proof.losses(connection, what, KeyRange()) == ()
    execute(connection, "INSERT INTO t VALUES (1, 1), (2, 7), (3, NULL), (4, 8)")
    (loss,) = proof.losses(connection, what, KeyRange())
    assert (loss.column, loss.rule, loss.values) == ("v", "clamp", 2)
    assert proof.holds_rows(connection, what)
