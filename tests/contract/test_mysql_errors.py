"""Errors of MySQL and MariaDB, each provoked on the real server, become the engine's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import MySQLdb
import pytest

from dsp_airflow.engine.errors import (
    BadValue,
    ConfigError,
    Contended,
    Denied,
    DspError,
    Refused,
    Transient,
)
from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.stores.mysql import login
from dsp_airflow.engine.stores.mysql.query import Connection, execute, one, rows
from dsp_airflow.engine.stores.mysql.translate import message, translated, translating
from tests.servers import MySQLDatabase

SECRET = "sécret-4711"
QUICK = SessionOptions(lock=timedelta(seconds=1))
Open = Callable[..., Connection]


@pytest.fixture
def opened(my_db: MySQLDatabase) -> Iterator[Open]:
    """Opens sessions of ours on the database, and closes them at the end."""
    connections: list[Connection] = []

    def opened(options: SessionOptions = QUICK, **changed: Any) -> Connection:
        arguments = {**my_db.arguments, **changed}
        connections.append(login.connect(arguments, options, "connection shop"))
        return connections[-1]

    my_db.execute(
        "CREATE TABLE mother (id INT PRIMARY KEY)",
        "CREATE TABLE goods (id INT PRIMARY KEY, code VARCHAR(20) CHARACTER SET utf8mb4 UNIQUE, "
        "small TINYINT, at DATETIME, body JSON, must INT NOT NULL DEFAULT 1, "
        "none INT NOT NULL, owner INT, CONSTRAINT adult CHECK (small > 1), "
        "CONSTRAINT owned FOREIGN KEY (owner) REFERENCES mother (id))",
        "CREATE TABLE parts (id INT PRIMARY KEY) PARTITION BY RANGE (id) "
        "(PARTITION a VALUES LESS THAN (10))",
        "INSERT INTO mother VALUES (1)",
        f"INSERT INTO goods (id, code, none, owner) VALUES (1, '{SECRET}', 0, 1)",
    )
    yield opened
    for connection in connections:
        connection.close()


def failure(
    connection: Connection, statement: str, options: SessionOptions | None = None
) -> DspError:
    with pytest.raises(DspError) as caught, translating("shop: goods", options):
        execute(connection, statement)
    assert str(caught.value).startswith("shop: goods: ")
    assert isinstance(caught.value.__cause__, MySQLdb.Error)
    assert SECRET not in str(caught.value)
    assert "4711" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("statement", "kind", "says"),
    [
        (f"INSERT goods (id, code, none) VALUES (2, '{SECRET}', 0)", BadValue, "for key"),
        (f"INSERT goods (id, code, none) VALUES (2, '{SECRET * 9}', 0)", BadValue, "'code' at row"),
        (f"INSERT goods (id, none) VALUES (2, '{SECRET}')", BadValue, "none"),
        ("INSERT goods (id, none, small) VALUES (2, 0, 4711)", BadValue, "'small' at row 1"),
        (f"INSERT goods (id, none, at) VALUES (2, 0, '{SECRET}')", BadValue, "at` at row 1|'at'"),
        (f"INSERT goods (id, none, body) VALUES (2, 0, '{SECRET}')", BadValue, "body"),
        ("INSERT goods (id, none, must) VALUES (2, 0, NULL)", BadValue, "must.*does not accept"),
        ("INSERT goods (id) VALUES (2)", BadValue, "none.*does not accept"),
        ("INSERT goods (id, none, small) VALUES (2, 0, 1)", BadValue, "adult"),
        ("INSERT parts VALUES (4711)", BadValue, "create a partition for it"),
        ("INSERT goods (id, none, owner) VALUES (2, 0, 4711)", Refused, "owned.*copy the rows"),
        ("DELETE FROM mother", Refused, "owned.*purge the rows that"),
        ("SELECT 1 FROM missing", ConfigError, "missing.*dropped or renamed"),
        ("SELECT missing FROM goods", ConfigError, "missing.*dropped or renamed"),
        ("SELECT 1 FROM nowhere.goods", ConfigError, "nowhere"),
        (f"SELECT FROM WHERE code = '{SECRET}'", ConfigError, "near FROM WHERE code = at line 1"),
        ("SELECT missing(1)", ConfigError, "missing"),
        ("SELECT cast(1 AS UNSIGNED) - 4711", BadValue, "out of range"),
        (
            "CREATE TABLE w (a VARCHAR(16000), b VARCHAR(16000))",
            Refused,
            "map columns to shorter types",
        ),
        ("CREATE TABLE w (a VARCHAR(769) CHARACTER SET utf8mb4 PRIMARY KEY)", Refused, "shorter"),
        ("CREATE TABLE w (a POINT PRIMARY KEY) ENGINE = MEMORY", Refused, "cannot do that"),
    ],
)
def test_what_a_statement_breaks(
    opened: Open, statement: str, kind: type[DspError], says: str
) -> None:
    error = failure(opened(), statement)
    assert type(error) is kind, error
    assert re.search(says, str(error)), error


def test_a_lock_that_somebody_holds(opened: Open) -> None:
    holder, other = opened(), opened()
    execute(holder, "START TRANSACTION")
    rows(holder, "SELECT 1 FROM goods WHERE id = 1 FOR UPDATE")
    for statement in ("UPDATE goods SET must = 2 WHERE id = 1", "ALTER TABLE goods ADD x INT"):
        error = failure(other, statement, QUICK)
        assert type(error) is Contended
        assert "a lock was not to be had within 1s (timeouts.lock)" in str(error)


def test_a_deadlock(opened: Open, my_db: MySQLDatabase) -> None:
    my_db.execute("CREATE TABLE pair (id INT PRIMARY KEY)", "INSERT INTO pair VALUES (1), (2)")
    one_side, other = opened(SessionOptions()), opened(SessionOptions())
    for connection, row in ((one_side, 1), (other, 2)):
        execute(connection, "START TRANSACTION")
        execute(connection, f"UPDATE pair SET id = id + 10 WHERE id = {row}")
    # Sent, not waited for.
    one_side.send_query(b"UPDATE pair SET id = 3 WHERE id = 2")

    def wait() -> None:
        with translating("shop: pair"):
            try:
                execute(other, "UPDATE pair SET id = 3 WHERE id = 1")
            finally:
                one_side.read_query_result()

    with pytest.raises(DspError) as caught:
        wait()
    assert type(caught.value) is Contended
    assert "the server undid the transaction, retry" in str(caught.value)


def test_a_statement_that_takes_too_long(opened: Open) -> None:
    options = SessionOptions(statement=timedelta(seconds=1))
    slow = "SELECT count(*) FROM information_schema.columns a, information_schema.columns b, "
    slow += "information_schema.columns c WHERE a.column_name < b.column_type"
    error = failure(opened(options), slow, options)
    assert type(error) is Transient
    assert "a statement may take 1s (timeouts.statement)" in str(error)


def test_a_session_that_somebody_ends(my_db: MySQLDatabase) -> None:
    connection = login.connect(my_db.arguments, QUICK, "connection shop")
    (number,) = one(connection, "SELECT connection_id()")
    my_db.execute(f"KILL {number}")
    for _ in range(2):
        error = failure(connection, "SELECT 1")
        assert type(error) is Transient
        assert "retry" in str(error)
    connection.close()
    assert type(failure(connection, "SELECT 1")) is Transient


def test_privileges_that_lack(opened: Open, my_db: MySQLDatabase) -> None:
    name = my_db.name
    password = my_db.server.create_user("weak", f"SELECT (id) ON {name}.goods")
    try:
        connection = opened(user="weak", password=password)
        told = [
            failure(connection, statement)
            for statement in (
                "DELETE FROM goods",
                "SELECT 1 FROM mother",
                "SELECT code FROM goods",
                "CREATE TEMPORARY TABLE t (id INT)",
                "SET GLOBAL local_infile = 1",
            )
        ]
    finally:
        my_db.server.drop_user("weak")
    assert {type(error) for error in told} == {Denied}
    texts = [str(error) for error in told]
    assert "(GRANT DELETE ON " in texts[0]
    assert "(GRANT SELECT ON " in texts[1]
    assert "'code'" in texts[2]
    assert f"(GRANT ... ON `{name}`.*; for staging CREATE TEMPORARY TABLES)" in texts[3]


def test_locking_rows_needs_more_than_reading_on_mysql(
    mysql_db: MySQLDatabase,
) -> None:
    mysql_db.execute("CREATE TABLE goods (id INT)")
    password = mysql_db.server.create_user("weak", f"SELECT ON {mysql_db.name}.*")
    arguments = {**mysql_db.arguments, "user": "weak", "password": password}
    connection = login.connect(arguments, QUICK, "connection shop")
    try:
        error = failure(connection, "SELECT id FROM goods FOR UPDATE")
    finally:
        connection.close()
        mysql_db.server.drop_user("weak")
    assert type(error) is Denied
    assert "(GRANT DELETE, as for a purge)" in str(error)


def test_a_server_that_is_only_read(opened: Open, my_db: MySQLDatabase) -> None:
    password = my_db.server.create_user("weak", f"ALL ON {my_db.name}.*")
    connection = opened(user="weak", password=password)
    my_db.execute("SET GLOBAL read_only = 1")
    try:
        error = failure(connection, "DELETE FROM goods")
    finally:
        my_db.execute("SET GLOBAL read_only = 0")
        my_db.server.drop_user("weak")
    assert type(error) is Refused
    assert "the server is read-only: name the primary for writing" in str(error)
    execute(connection, "START TRANSACTION READ ONLY")
    assert type(failure(connection, "DELETE FROM goods")) is Refused


def test_a_file_that_the_server_does_not_take(
    opened: Open, my_db: MySQLDatabase, tmp_path: Path
) -> None:
    file = tmp_path / "rows"
    file.write_text("5\n")
    connection = opened()
    my_db.execute("SET GLOBAL local_infile = 0")
    try:
        error = failure(connection, f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE mother")
    finally:
        my_db.execute("SET GLOBAL local_infile = 1")
    assert type(error) is Refused
    assert str(error).endswith("; allow it on the server: SET GLOBAL local_infile = 1")


def test_a_packet_that_is_too_large(opened: Open, my_db: MySQLDatabase) -> None:
    [(before,)] = my_db.run("SELECT @@GLOBAL.max_allowed_packet")
    my_db.execute("CREATE TABLE wide (body LONGTEXT)", "SET GLOBAL max_allowed_packet = 1048576")
    try:
        connection = opened()
    finally:
        my_db.execute(f"SET GLOBAL max_allowed_packet = {before}")
    for statement in (
        "INSERT INTO wide SELECT repeat('x', 2000000)",
        f"INSERT INTO wide VALUES ('{'x' * 2_000_000}')",
    ):
        error = failure(connection, statement)
        assert type(error) is Refused, error
        assert "raise max_allowed_packet on the server" in str(error)
        assert one(connection, "SELECT 1") == ("1",)


def test_a_full_table(opened: Open, my_db: MySQLDatabase) -> None:
    connection = opened()
    execute(connection, "SET SESSION max_heap_table_size = 16384")
    execute(connection, "CREATE TABLE small (t CHAR(250)) ENGINE = MEMORY")
    error = failure(
        connection,
        "INSERT INTO small SELECT 'x' FROM information_schema.columns",
    )
    assert type(error) is Transient
    assert str(error).endswith("; make room on the server, then retry")


@pytest.mark.parametrize(
    ("number", "text", "kind"),
    [
        (1005, 'Can\'t create table `a`.`b` (errno: 135 "No more room")', "make room"),
        (1030, 'Got error 28 "No space left on device" from storage engine InnoDB', "make room"),
        (3, "Error writing file '/tmp/x' (Errcode: 28 \"No space left on device\")", "make room"),
        (1040, "Too many connections", "too many sessions"),
        (1053, "Server shutdown in progress", "the connection was lost"),
        (2013, "Lost connection to server during query", "the connection was lost"),
        (1105, "Unknown error", "Unknown error"),
        (4711, "of tomorrow", "of tomorrow"),
    ],
)
def test_what_cannot_be_provoked_here(number: int, text: str, kind: str) -> None:
    error = translated(MySQLdb.OperationalError(number, text), "shop")
    assert type(error) is Transient
    assert kind in str(error)


def test_messages_of_any_kind_are_read() -> None:
    """The driver gives numbers, texts, neither; a text is not always one."""
    assert message(MySQLdb.InterfaceError(0, "")) == "error 0 without a message"
    assert message(MySQLdb.Error()) == "error -1 without a message"
    assert message(MySQLdb.Error(b"caf\xe9")) == "caf\ufffd"
    assert message(MySQLdb.Error(1, None)) == "None"
    assert type(translated(MySQLdb.NotSupportedError("no such thing"), "x")) is Transient
