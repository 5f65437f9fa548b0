"""Purges that leave the row with the newest AUTO_INCREMENT value."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import MySQLdb
import pytest

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import KeyRange
from dsp_airflow.engine.stores.mysql.purge import MySQLPurge
from dsp_airflow.engine.stores.mysql.query import Connection, execute
from tests.conftest import NewMySQLDatabase
from tests.mysql.conftest import Connect
from tests.mysql.pairs import Pair
from tests.mysql.tables import projection
from tests.servers import Database, MySQLDatabase

ALL = KeyRange(None, None)


def test_every_purge_keeps_it(tmp_path: Path, new_my_db: NewMySQLDatabase) -> None:
    """The key is another one, and the filter decides whether the newest row is among them."""
    pair = Pair(tmp_path, new_my_db(), new_my_db())
    pair.source.execute(
        "CREATE TABLE t (code varchar(9) COLLATE utf8mb4_bin PRIMARY KEY, "
        "n bigint unsigned NOT NULL AUTO_INCREMENT, v int, KEY (n))",
        "INSERT INTO t (code, v) VALUES ('e', 1), ('d', 2), ('c', 3), ('b', 4), ('a', 5)",
    )
    more: Any = {"check": {"percent": 100}, "purge": "system", "batch_size": 2}
    pair.write(pair.job(keep_last_auto_increment=True, where="v < 5", **more))
    (job,) = pair.run().jobs
    assert (job.rows_purged, job.rows_kept) == (4, 0)

    pair.source.execute("INSERT INTO t (code, v) VALUES ('f', 0), ('g', 0), ('h', 9)")
    pair.write(pair.job(keep_last_auto_increment=True, **more))
    (job,) = pair.run(new=True).jobs
    assert (job.rows_written, job.rows_purged, job.rows_kept) == (4, 3, 1)
    latest = pair.latest()
    (found,) = latest.runs.differences(latest.run.id)
    assert (found.difference.kind, found.difference.key) == ("newest", ("h",))
    assert "keep_last_auto_increment" in found.difference.reason
    assert pair.source.run("SELECT n FROM t") == [("8",)]

    pair.source.execute("INSERT INTO t (code, v) VALUES ('i', 0)")
    (job,) = pair.run(new=True).jobs
    assert (job.rows_purged, job.rows_kept) == (1, 1)
    assert pair.source.run("SELECT code, n FROM t") == [("i", "9")]


def test_it_stays_while_the_others_go(
    connect: Connect, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(connection, "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT)")
    execute(connection, "INSERT INTO t (v) VALUES (1), (2), (3), (4)")
    session, other, hasty = connect(), connect(), connect(lock=1)
    what = dataclasses.replace(projection(session, "t", "id"), numbered="`id`")
    # Rows of others that are not committed are no row yet, and are not waited for.
    execute(other, "START TRANSACTION")
    execute(other, "INSERT INTO t (v) VALUES (5)")
    work = MySQLPurge(session)
    assert work.take(what, ALL) is None
    work.undo()
    taken = work.take_keys(what, [("1",), ("2",), ("4",)])
    assert [row.at for row in taken] == [("1",), ("2",)]
    assert work.newest(what) == [("4",)]
    with pytest.raises(MySQLdb.OperationalError):
        execute(hasty, "DELETE FROM t WHERE id = 4")
    execute(other, "COMMIT")
    work.commit()
    work.undo()
    # The next transaction sees the newer one, so that this one may go.
    assert [row.at for row in work.take_keys(what, [("4",), ("5",)])] == [("4",)]
    work.undo()
    # A range without it is deleted in one go.
    taken_whole = work.take(what, KeyRange(None, ("3",)))
    assert taken_whole is not None
    assert taken_whole.rows == 1
    work.undo()
    execute(connection, "DELETE FROM t")
    assert work.newest(what) == ()
    taken_whole = work.take(what, ALL)
    assert taken_whole is not None
    assert taken_whole.rows == 0
    work.close()


def test_what_has_no_such_column(
    tmp_path: Path, mariadb_db: MySQLDatabase, pg18_db: Database
) -> None:
    for source, target in ((mariadb_db, pg18_db), (pg18_db, mariadb_db)):
        pair = Pair(tmp_path, source, target)
        pair.source.execute("CREATE TABLE t (id int PRIMARY KEY)")
        pair.write(pair.job(keep_last_auto_increment=True, purge="manual"))
        with pytest.raises(ConfigError, match=r"t has no AUTO_INCREMENT column"):
            pair.open(new=True).plan("copy")
        pair.source.execute("DROP TABLE t")
