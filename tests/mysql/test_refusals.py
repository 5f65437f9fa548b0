"""What speaks against reading, writing, purging and trusting."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from dsp_airflow.engine.stores.mysql import refusals
from dsp_airflow.engine.stores.mysql.query import Connection, execute
from dsp_airflow.engine.stores.mysql.tables import fingerprint
from tests.mysql.conftest import Connect
from tests.mysql.tables import projection
from tests.servers import MySQLDatabase

TABLES = (
    "CREATE TABLE t (id INT PRIMARY KEY, v INT)",
    "CREATE TABLE soft (id INT PRIMARY KEY) ENGINE = MyISAM",
    "CREATE TABLE gone (id INT PRIMARY KEY) ENGINE = MEMORY",
    "CREATE VIEW w AS SELECT id FROM t",
)


@pytest.fixture(autouse=True)
def table(connection: Connection) -> None:
    for statement in TABLES:
        execute(connection, statement)


@pytest.fixture
def few(my_db: MySQLDatabase, connect: Connect) -> Iterator[Callable[[], Connection]]:
    """Sessions of a login that may read ``t``, and what a test grants it before."""
    password = my_db.server.create_user("few", f"SELECT ON {my_db.name}.t")
    yield lambda: connect(user="few", password=password)
    my_db.server.drop_user("few")


def grant(database: MySQLDatabase, privileges: str, on: str) -> None:
    database.execute(f"GRANT {privileges} ON {on} TO few@'%'")


def test_nothing_speaks_against_a_plain_table(connection: Connection) -> None:
    assert refusals.read_refusals(connection, "t") == []
    assert refusals.read_warnings(connection, "`t`") == []
    assert refusals.purge_refusals(connection, "t", ()) == []
    assert refusals.target_refusals(connection, "t") == []
    what = projection(connection, "t", "id")
    for way in ("update", "ignore", "error"):
        assert refusals.write_refusals(connection, what, way, create=False) == []
    assert refusals.write_refusals(connection, what, "error", create=True) == []


def test_what_is_no_table_or_keeps_nothing(connection: Connection) -> None:
    for table in ("soft", "gone"):
        assert "shows no consistent state" in refusals.read_warnings(connection, table)[0]
        assert "cannot be locked" in refusals.purge_refusals(connection, table, ())[0]
        assert "may lose what was written" in refusals.target_refusals(connection, table)[0]
        what = projection(connection, table, "id")
        (why,) = refusals.write_refusals(connection, what, "update", create=False)
        assert "keeps half a batch when it fails: ALTER TABLE" in why
    assert refusals.read_refusals(connection, "w") == []
    assert "purge the table that it reads" in refusals.purge_refusals(connection, "w", ())[0]
    assert "is a view" in refusals.target_refusals(connection, "w")[0]
    assert refusals.read_refusals(connection, "none") == ["none does not exist"]
    assert refusals.purge_refusals(connection, "none", ()) == ["none does not exist"]
    assert refusals.target_refusals(connection, "none") == ["target none does not exist"]


def test_references(connection: Connection) -> None:
    execute(connection, "CREATE TABLE `pa-r é` (id INT PRIMARY KEY)")
    for n, action in enumerate(["CASCADE", "SET NULL", "RESTRICT", "NO ACTION"]):
        execute(
            connection,
            f"CREATE TABLE c{n} (id INT PRIMARY KEY, p INT, CONSTRAINT f{n} FOREIGN KEY (p) "
            f"REFERENCES `pa-r é` (id) ON DELETE {action} ON UPDATE CASCADE)",
        )
    why = refusals.purge_refusals(connection, "`pa-r é`", ())
    assert ["CASCADE" in why[0], "SET NULL" in why[1], len(why)] == [True, True, 2]
    assert ".pa-r é -> " in why[0]
    assert ".c0 (ON DELETE CASCADE, f0)" in why[0]


def test_triggers(connection: Connection) -> None:
    execute(connection, "CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW SET NEW.v = 1")
    assert refusals.purge_refusals(connection, "t", ()) == []
    execute(connection, "CREATE TRIGGER b AFTER DELETE ON t FOR EACH ROW SET @x = 1")
    (why,) = refusals.purge_refusals(connection, "t", ())
    assert why.startswith("delete trigger b on ")
    assert refusals.purge_refusals(connection, "t", ["b"]) == []
    # It would fire while foreign keys are not checked.
    execute(connection, "ALTER TABLE t ADD up INT, ADD FOREIGN KEY (up) REFERENCES t (id)")
    (why,) = refusals.purge_refusals(connection, "t", ["b"])
    assert "delete trigger b" in why
    assert "without checks of foreign keys" in why


def test_a_login_that_may_little(
    my_db: MySQLDatabase, few: Callable[[], Connection], connection: Connection
) -> None:
    login = few()
    assert refusals.read_refusals(login, "t") == []
    what = projection(connection, "t", "id")
    why = "\n".join(refusals.write_refusals(login, what, "update", create=False))
    assert "GRANT INSERT, UPDATE ON t" in why
    assert "GRANT CREATE TEMPORARY TABLES" in why
    why = "\n".join(refusals.write_refusals(login, what, "error", create=True))
    assert "may not create it: GRANT CREATE ON `t`" in why
    assert "which the login may not create; create it" in why
    why = "\n".join(refusals.purge_refusals(login, "t", ()))
    assert "GRANT DELETE, TRIGGER ON" in why
    assert "GRANT PROCESS ON *.*" in why
    grant(my_db, "DELETE, TRIGGER", f"{my_db.name}.t")
    grant(my_db, "PROCESS", "*.*")
    login = few()
    assert refusals.purge_refusals(login, "t", ()) == []
    # A reference from where this login sees nothing.
    execute(
        connection,
        "CREATE TABLE hidden (id INT PRIMARY KEY, FOREIGN KEY (id) REFERENCES t (id) "
        "ON DELETE CASCADE)",
    )
    assert "ON DELETE CASCADE" in refusals.purge_refusals(login, "t", ())[0]
    assert refusals.target_refusals(login, "t") == []
    assert not any("administrator" in warning for warning in refusals.warnings(login))


def test_columns_that_are_hidden_are_not_left_out(
    my_db: MySQLDatabase, few: Callable[[], Connection], connection: Connection
) -> None:
    my_db.execute(f"REVOKE SELECT ON {my_db.name}.t FROM few@'%'")
    grant(my_db, "SELECT (id)", f"{my_db.name}.t")
    (why,) = refusals.read_refusals(few(), "t")
    assert "may not read every column" in why


def test_a_fingerprint_shows_what_changes_a_deletion(connection: Connection) -> None:
    seen = {fingerprint(connection, "t")}
    for statement in (
        "ALTER TABLE t ADD w INT",
        "ALTER TABLE t MODIFY v BIGINT",
        "CREATE TRIGGER b AFTER DELETE ON t FOR EACH ROW SET @x = 1",
        "DROP TRIGGER b",
        "CREATE TABLE c (p INT, CONSTRAINT x FOREIGN KEY (p) REFERENCES t (id) ON DELETE CASCADE)",
        "DROP TABLE c",
        "ALTER TABLE t PARTITION BY HASH (id) PARTITIONS 2",
        "ALTER TABLE t REMOVE PARTITIONING",
        "ALTER TABLE t ENGINE = MyISAM",
        "DROP TABLE t",
    ):
        before = fingerprint(connection, "t")
        assert fingerprint(connection, "t") == before
        execute(connection, statement)
        now = fingerprint(connection, "t")
        assert now != before, statement
        seen.add(now)
    assert "no such table" in seen


def test_warnings(connection: Connection) -> None:
    found = refusals.warnings(connection)
    assert any("innodb_flush_log_at_trx_commit = 2" in text for text in found)
    assert any("administrator" in text for text in found)
    assert not any("local_infile" in text for text in found)
