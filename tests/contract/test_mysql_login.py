"""Sessions on MySQL and MariaDB: what they set, and how a failed login reads."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import MySQLdb
import pytest

from dsp_airflow.engine.errors import ConfigError, Denied, DspError, Transient
from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.stores.mysql import login
from dsp_airflow.engine.stores.mysql.query import Connection, execute, one, quoted, rows, texts
from tests.servers import MySQLDatabase, MySQLFamilyServer, free_port

SECRET = "hunter-2-secret"
HOSTILE = {
    "sql_mode": "'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH'",
    "time_zone": "'+05:45'",
    "sql_select_limit": "3",
    "sql_auto_is_null": "1",
    "sql_safe_updates": "1",
    "foreign_key_checks": "0",
    "unique_checks": "0",
    "autocommit": "0",
    "completion_type": "1",
    "group_concat_max_len": "4",
    "character_set_results": "latin1",
    "collation_connection": "latin1_swedish_ci",
    "lock_wait_timeout": "7",
    "innodb_lock_wait_timeout": "7",
    "net_write_timeout": "7",
    "lc_messages": "'de_DE'",
    "default_storage_engine": "MyISAM",
    "explicit_defaults_for_timestamp": "0",
}
EXPECTED = {
    "sql_select_limit": str(2**64 - 1),
    "time_zone": "+00:00",
    "sql_auto_is_null": "OFF",
    "sql_safe_updates": "OFF",
    "foreign_key_checks": "ON",
    "unique_checks": "ON",
    "autocommit": "ON",
    "completion_type": "NO_CHAIN",
    "group_concat_max_len": str(2**30),
    "character_set_client": "utf8mb4",
    "character_set_connection": "utf8mb4",
    "character_set_results": "utf8mb4",
    "collation_connection": "utf8mb4_bin",
    "lock_wait_timeout": "30",
    "innodb_lock_wait_timeout": "30",
    "net_read_timeout": "3600",
    "net_write_timeout": "3600",
    "wait_timeout": "3600",
    "lc_messages": "en_US",
    "default_storage_engine": "InnoDB",
    "explicit_defaults_for_timestamp": "ON",
}
Open = Callable[..., Connection]


@pytest.fixture
def opened(my_db: MySQLDatabase) -> Iterator[Open]:
    """Opens sessions of ours on the database, and closes them at the end."""
    connections: list[Connection] = []

    def opened(options: SessionOptions | None = None, **changed: Any) -> Connection:
        arguments = {**my_db.arguments, **changed}
        connections.append(login.connect(arguments, options or SessionOptions(), "connection shop"))
        return connections[-1]

    yield opened
    for connection in connections:
        connection.close()


@pytest.fixture
def connection(opened: Open) -> Connection:
    return opened()


def settings(connection: Connection) -> dict[str, str]:
    found = texts(connection, "SHOW SESSION VARIABLES")
    return {str(name): str(value) for name, value in found}


def holds(found: dict[str, str]) -> None:
    assert {name: found[name] for name in EXPECTED} == EXPECTED
    isolation = found.get("transaction_isolation") or found["tx_isolation"]
    assert isolation == "READ-COMMITTED"
    assert (found.get("transaction_read_only") or found["tx_read_only"]) == "OFF"
    modes = set(found["sql_mode"].split(","))
    assert modes - {"TIME_ROUND_FRACTIONAL"} == set(login.MODES.split(","))


def test_settings_hold_whatever_the_init_command(opened: Open) -> None:
    changes = ", ".join(f"SESSION {name} = {value}" for name, value in HOSTILE.items())
    holds(settings(opened(init_command=f"SET {changes}")))
    holds(settings(opened(init_command="SET SESSION TRANSACTION READ ONLY")))


def test_settings_hold_whatever_the_server_does_to_each_session(
    my_db: MySQLDatabase, opened: Open
) -> None:
    """Of an ordinary login: the server spares administrators its init_connect."""
    password = my_db.server.create_user("plain", f"SELECT ON {my_db.name}.*")
    changes = ", ".join(f"SESSION {name} = {value}" for name, value in HOSTILE.items())
    [(before,)] = my_db.run("SELECT @@GLOBAL.init_connect")
    my_db.execute(f'SET GLOBAL init_connect = "SET @seen = 1, {changes}"')
    try:
        connection = opened(user="plain", password=password)
    finally:
        my_db.execute(f"SET GLOBAL init_connect = '{before}'")
        my_db.server.drop_user("plain")
    assert one(connection, "SELECT @seen") == ("1",)
    holds(settings(connection))


def test_a_setting_that_is_fixed_at_the_servers_start_stays(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MariaDB before 10.8 has explicit_defaults_for_timestamp."""
    monkeypatch.setattr(login, "_EXPLICIT", "innodb_read_only")
    assert settings(opened())["innodb_read_only"] == "OFF"


def test_ends_of_waits_are_rounded_up(opened: Open, my_db: MySQLDatabase) -> None:
    options = SessionOptions(
        lock=timedelta(milliseconds=1100), statement=timedelta(milliseconds=2500)
    )
    found = settings(opened(options))
    assert (found["innodb_lock_wait_timeout"], found["lock_wait_timeout"]) == ("2", "2")
    if my_db.server.product == "MariaDB":
        assert float(found["max_statement_time"]) == 2.5
    else:
        assert found["max_execution_time"] == "2500"
    found = settings(opened(SessionOptions(lock=timedelta(0))))
    assert (found["innodb_lock_wait_timeout"], found["lock_wait_timeout"]) == ("1", "1")
    ends = {float(found.get(name, 0)) for name in ("max_statement_time", "max_execution_time")}
    assert ends == {0.0}


def test_the_servers_list_shows_who_asks(opened: Open) -> None:
    connection = opened(SessionOptions("dsp:a*/b/*!c:copy"))
    [(text,)] = texts(
        connection,
        "SELECT info FROM information_schema.processlist WHERE id = connection_id()",
    )
    assert str(text).startswith("/* dsp:a_b_!c:copy */ SELECT info")


def test_a_peer_that_vanished_is_noticed(connection: Connection) -> None:
    with socket.socket(fileno=connection.fileno()) as peer:
        found = [
            peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        ]
        peer.detach()
    assert found == [1, 30]


# What the settings mean


def test_values_are_neither_bent_nor_refused(connection: Connection) -> None:
    execute(
        connection,
        "CREATE TABLE odd (id INT AUTO_INCREMENT PRIMARY KEY, d DATE, t DATETIME(3), "
        "c CHAR(5), s TEXT CHARACTER SET utf8mb4)",
    )
    text = quoted(connection, "back\\slash 'quote' \"double\" \0 \U0001f600\n")
    execute(
        connection,
        "INSERT INTO odd VALUES (0, '2024-02-30', '2024-01-01 00:00:00.9996', 'a', "
        f"{text}), (1, '0000-00-00', NULL, NULL, NULL), (2, '2024-00-00', NULL, NULL, NULL)",
    )
    assert texts(connection, "SELECT id, d, t, c FROM odd ORDER BY id") == [
        ("0", "2024-02-30", "2024-01-01 00:00:01.000", "a"),
        ("1", "0000-00-00", None, None),
        ("2", "2024-00-00", None, None),
    ]
    [(stored,)] = rows(connection, "SELECT s FROM odd WHERE id = 0")
    assert stored == "back\\slash 'quote' \"double\" \0 \U0001f600\n".encode()
    assert one(connection, "SELECT max(length(s)) FROM odd") == ("35",)


def test_rows_affected_are_rows_changed(connection: Connection) -> None:
    execute(connection, "CREATE TABLE n (id INT PRIMARY KEY, v INT)")
    assert execute(connection, "INSERT INTO n VALUES (1, 1), (2, 2)") == 2
    assert execute(connection, "UPDATE n SET v = 2") == 1
    assert execute(connection, "DELETE FROM n") == 2


def test_a_failed_or_many_times_answered_statement_leaves_nothing_unread(
    connection: Connection,
) -> None:
    execute(connection, "CREATE PROCEDURE two() BEGIN SELECT 1; SELECT 2; END")
    assert rows(connection, "CALL two()") == [(b"1",)]
    with pytest.raises(MySQLdb.Error):
        rows(connection, "SELECT nothing")
    assert execute(connection, "CALL two()") >= 0
    with pytest.raises(Transient, match="2 rows, not one, to: SELECT 1 UNION"):
        one(connection, "SELECT 1 UNION SELECT 2")
    assert one(connection, "SELECT 1, NULL") == ("1", None)


def test_a_load_of_ours_gets_its_file_and_nobody_else(
    connection: Connection, tmp_path: Path
) -> None:
    file = tmp_path / "rows"
    file.write_text("1\n2\n")
    execute(connection, "CREATE TABLE n (id INT PRIMARY KEY)")
    load = f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE n"
    assert execute(connection, load) == 2
    with pytest.raises(MySQLdb.Error, match="forbidden"):
        execute(connection, f"/* not at the beginning */ {load}")


# Logins that fail


def refused(arguments: dict[str, Any]) -> DspError:
    with pytest.raises(DspError) as caught:
        login.connect(arguments, SessionOptions(), "connection shop")
    assert SECRET not in f"{caught.value} {caught.value.__cause__}"
    return caught.value


def test_wrong_password(my: MySQLFamilyServer) -> None:
    error = refused({**my.arguments(), "password": SECRET})
    assert isinstance(error, Denied)
    assert str(error).startswith("connection shop: Access denied for user 'root'@")
    assert str(error).endswith("; correct login and password of the Airflow connection")


def test_no_such_schema(my: MySQLFamilyServer) -> None:
    error = refused(my.arguments("not_there"))
    assert isinstance(error, ConfigError)
    assert str(error) == (
        "connection shop: Unknown database 'not_there'; "
        "correct the schema of the Airflow connection"
    )


def test_schema_of_others(my_db: MySQLDatabase) -> None:
    password = my_db.server.create_user("plain")
    try:
        error = refused({**my_db.arguments, "user": "plain", "password": password})
    finally:
        my_db.server.drop_user("plain")
    assert isinstance(error, Denied)
    assert f"(GRANT ... ON `{my_db.name}`.*" in str(error)


@pytest.mark.parametrize(
    "changed", [{"host": "nowhere.invalid"}, {"port": 0}, {"unix_socket": "/nowhere/socket"}]
)
def test_nothing_listens(mariadb: MySQLFamilyServer, changed: dict[str, Any]) -> None:
    changed = {"port": free_port()} if changed == {"port": 0} else changed
    changed |= {"host": "localhost"} if "unix_socket" in changed else {}
    error = refused({**mariadb.arguments(), **changed})
    assert isinstance(error, Transient)
    assert str(error).startswith("connection shop: cannot connect: ")
    assert str(error).endswith("; check host, port and network, and that it is running")


def test_a_server_without_tls_is_refused_where_it_is_required(mariadb: MySQLFamilyServer) -> None:
    error = refused({**mariadb.arguments(), "ssl_mode": "REQUIRED"})
    assert isinstance(error, ConfigError)
    assert "the server does not offer TLS, and ssl_mode is REQUIRED" in str(error)


def test_a_certificate_that_nobody_vouches_for_is_refused(mysql: MySQLFamilyServer) -> None:
    error = refused({**mysql.arguments(), "ssl_mode": "VERIFY_IDENTITY"})
    assert isinstance(error, ConfigError)
    assert "certificate" in str(error)


def test_too_many_sessions(my: MySQLFamilyServer) -> None:
    password = my.create_user("plain")
    my.run("ALTER USER plain WITH MAX_USER_CONNECTIONS 1")
    arguments = {**my.arguments(), "user": "plain", "password": password}
    first = login.connect(arguments, SessionOptions(), "connection shop")
    try:
        error = refused(arguments)
    finally:
        first.close()
        my.drop_user("plain")
    assert isinstance(error, Transient)
    assert "too many sessions at once" in str(error)


def test_a_locked_account(my: MySQLFamilyServer) -> None:
    password = my.create_user("plain")
    my.run("ALTER USER plain ACCOUNT LOCK")
    try:
        error = refused({**my.arguments(), "user": "plain", "password": password})
    finally:
        my.drop_user("plain")
    assert isinstance(error, Denied)
    assert "locked" in str(error)


def test_tls_that_the_server_insists_on(mysql: MySQLFamilyServer) -> None:
    """MariaDB says no more than that access is denied."""
    my = mysql
    my.run("SET GLOBAL require_secure_transport = 1")
    try:
        with pytest.raises(DspError) as caught:
            login.connect(my.arguments(), SessionOptions(), "connection shop")
    finally:
        socketed = {"unix_socket": str(my.socket), "host": "localhost"}
        with my.connect(**socketed) as connection, connection.cursor() as cursor:
            cursor.execute("SET GLOBAL require_secure_transport = 0")
    assert "ssl_mode to REQUIRED" in str(caught.value)
