"""Airflow Connections to MySQL and MariaDB, through MySqlHook, and their check."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from dsp_airflow.connections import Finding, check_connection
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.mysql import _renewed, mysql_arguments
from dsp_airflow.mysql_checks import version
from tests.servers import MySQLDatabase, MySQLFamilyServer, free_port

SECRET = "hunter-2-secret"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Airflow and its providers warn of themselves while they are imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def define(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Defines the connection `shop` as Airflow's JSON."""

    def define(**values: Any) -> None:
        given = {"conn_type": "mysql", "host": "db", "password": SECRET, **values}
        monkeypatch.setenv("AIRFLOW_CONN_SHOP", json.dumps(given))

    return define


def test_the_hooks_arguments_reach_the_driver(define: Any) -> None:
    define(
        login="anna",
        schema="shop",
        port=3307,
        extra={
            "charset": "latin1",
            "cursor": "dictcursor",
            "local_infile": True,
            "unix_socket": "/run/socket",
            "ssl_mode": "verify_ca",
            "ssl": {"ca": "/ca.pem"},
            "ssl_cert": "/cert.pem",
            "connect_timeout": "3",
            "compress": "true",
            "init_command": "SET ROLE reader",
        },
    )
    assert mysql_arguments("shop") == {
        "host": "db",
        "port": 3307,
        "user": "anna",
        "password": SECRET,
        "database": "shop",
        "unix_socket": "/run/socket",
        "ssl_mode": "VERIFY_CA",
        "ssl": {"ca": "/ca.pem", "cert": "/cert.pem"},
        "connect_timeout": 3,
        "compress": True,
        "init_command": "SET ROLE reader",
    }
    assert _renewed("shop") is None


def test_what_is_not_given_is_left_to_the_driver(define: Any) -> None:
    define(password="")
    assert mysql_arguments("shop") == {"host": "db", "port": 3306}


@pytest.mark.parametrize(
    ("extra", "mode"),
    [
        ({"ssl": {"ca": "/ca.pem"}}, "REQUIRED"),
        ({"ssl": '{"ca": "/ca.pem"}'}, "REQUIRED"),
        ({"ssl": True}, "REQUIRED"),
        ({"ssl_ca": "/ca.pem"}, "REQUIRED"),
        ({"client": "mysql-connector-python", "ssl_disabled": True}, "DISABLED"),
        ({"ssl_ca": "/ca.pem", "ssl_verify_cert": True}, "VERIFY_CA"),
        ({"ssl_verify_cert": "true", "ssl_verify_identity": "true"}, "VERIFY_IDENTITY"),
        ({"ssl_mode": "PREFERRED", "ssl": {"ca": "/ca.pem"}}, "PREFERRED"),
        ({}, None),
    ],
)
def test_tls_is_insisted_on_by_whoever_asks_for_it(
    define: Any, extra: dict[str, Any], mode: str | None
) -> None:
    define(extra=extra)
    assert mysql_arguments("shop").get("ssl_mode") == mode


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"sql_mode": SECRET}, "'sql_mode' in the extra field is not an option of ours"),
        ({"client_flag": 2}, "'client_flag' in the extra field is not an option of ours"),
        ({"conv": {}}, "'conv' in the extra field is not an option of ours"),
        ({"read_timeout": 5}, "'read_timeout' in the extra field is not an option of ours"),
        ({"sslmode": "require"}, "'sslmode' in the extra field is not an option of ours"),
        ({"connect_timeout": SECRET}, "'connect_timeout' in the extra field is not of type int"),
        ({"compress": SECRET}, "'compress' in the extra field is not of type bool"),
        ({"init_command": ["a"]}, "'init_command' in the extra field is not of type str"),
        ({"ssl_mode": SECRET}, "ssl_mode in the extra field is none of DISABLED, PREFERRED"),
        ({"ssl": {"certificate": SECRET}}, "'certificate' of ssl in the extra field is not"),
        ({"ssl": 5}, "'ssl' in the extra field is not an object"),
        ({"ssl": SECRET}, "MySqlHook cannot use it (JSONDecodeError); check its extra field"),
    ],
)
def test_an_extra_that_cannot_be_used_is_named(
    define: Any, extra: dict[str, Any], says: str
) -> None:
    define(extra=extra)
    with pytest.raises(ConfigError) as caught:
        mysql_arguments("shop")
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_iam_gives_a_token_for_every_session_and_only_over_tls(
    define: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.mysql.hooks.mysql import MySqlHook

    tokens = iter(["first", "second", "third"])
    monkeypatch.setattr(MySqlHook, "get_iam_token", lambda *_: (next(tokens), 3310))
    define(login="x", password="", schema="shop", extra={"iam": True, "aws_conn_id": "aws"})
    found = mysql_arguments("shop")
    assert (found["password"], found["port"], found["ssl_mode"]) == ("first", 3310, "REQUIRED")
    renew = _renewed("shop")
    assert renew is not None
    assert [renew()["password"], renew()["password"]] == ["second", "third"]


# Checking


def states(found: list[Finding]) -> dict[str, str]:
    return {one.subject: one.state for one in found}


def uri(database: MySQLDatabase, user: str, password: str) -> str:
    return database.server.uri(database.name, user=user, password=password)


def test_a_good_connection(my_db: MySQLDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", my_db.uri)
    found = check_connection("shop")
    told = {one.subject: one for one in found}
    assert states(found) == {
        "reachable": "ok",
        "login": "ok",
        "encryption": "ok",
        "clock": "ok",
        "version": "ok",
        "time zone": "ok",
        "sql_mode": "ok",
        "storage engine": "ok",
        "names of tables": "ok",
        "local_infile": "ok",
        "max_allowed_packet": "ok",
        "binary log": "ok",
        "durability": "warning",
        f"select in {my_db.name}": "ok",
        f"insert in {my_db.name}": "ok",
        f"update in {my_db.name}": "ok",
        f"delete in {my_db.name}": "ok",
        f"create in {my_db.name}": "ok",
        "temporary tables": "ok",
        "seeing triggers": "ok",
        "seeing foreign keys": "ok",
        "privileges": "warning",
    }
    assert told["version"].text == f"{my_db.server.product} {my_db.server.version}"
    assert told["reachable"].text == f"127.0.0.1:{my_db.server.port}/{my_db.name}"
    packet = "16 MiB" if my_db.server.product == "MariaDB" else "64 MiB"
    assert told["max_allowed_packet"].text.startswith(packet)


def test_privileges_of_tables_and_roles_count(
    my_db: MySQLDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with a pattern's sign, privileges on columns, and a role that is on by default."""
    name = my_db.name
    escaped = name.replace("_", "\\_")
    my_db.execute("CREATE TABLE goods (id INT, v INT)", "CREATE TABLE other (id INT)")
    password = my_db.server.create_user(
        "weak",
        f"SELECT (id), INSERT ON {name}.goods",
        f"INSERT ON {name}.other",
        f"CREATE TEMPORARY TABLES ON `{escaped}`.*",
    )
    for_whom = "FOR" if my_db.server.product == "MariaDB" else "TO"
    my_db.execute(
        "CREATE ROLE sweeper",
        f"GRANT DELETE ON `{escaped}`.* TO sweeper",
        "GRANT sweeper TO weak",
        f"SET DEFAULT ROLE sweeper {for_whom} weak",
    )
    try:
        monkeypatch.setenv("AIRFLOW_CONN_SHOP", uri(my_db, "weak", password))
        found = {one.subject: one for one in check_connection("shop")}
    finally:
        my_db.execute("DROP USER weak", "DROP ROLE sweeper")
    assert found[f"select in {name}"].text == "allowed on table goods by name"
    assert found[f"insert in {name}"].text == "allowed on 2 tables by name"
    assert found[f"delete in {name}"].text == "allowed"
    assert found["temporary tables"].text == "allowed"
    assert found[f"update in {name}"].state == "warning"
    assert found[f"create in {name}"].remedy == (
        f"if this is a target: GRANT CREATE ON `{name}`.* TO 'weak'@'%'"
    )
    assert "privileges" not in found


def test_the_remedy_is_a_statement_that_helps(
    my_db: MySQLDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = my_db.server.create_user("weak", f"CREATE TEMPORARY TABLES ON `{my_db.name}`.*")
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", uri(my_db, "weak", password))
    try:
        lacking = [one for one in check_connection("shop") if "not allowed" in one.text]
        for one in lacking:
            my_db.execute(one.remedy.rpartition(": ")[2])
        after = check_connection("shop")
    finally:
        my_db.server.drop_user("weak")
    assert len(lacking) == 7
    assert {one.subject for one in after if one.state != "ok"} == {"durability"}


def test_a_server_that_hinders_jobs(my: MySQLFamilyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hindering: dict[str, str | int | None] = {
        "local_infile": "OFF",
        "innodb_flush_log_at_trx_commit": 0,
        "read_only": 1,
        "explicit_defaults_for_timestamp": 0,
        "binlog_format": "STATEMENT",
        "default_storage_engine": "MyISAM",
        "lower_case_table_names": 1,
        "default_time_zone": "+05:45",
    }
    with type(my)(hindering, binlog=True) as server:
        monkeypatch.setenv("AIRFLOW_CONN_SHOP", server.uri("mysql"))
        found = {one.subject: one for one in check_connection("shop")}
    warned = {name for name, one in found.items() if one.state == "warning"}
    assert warned == {
        "local_infile",
        "durability",
        "binary log",
        "role of the server",
        "privileges",
    }
    assert "SET GLOBAL local_infile = 1" in found["local_infile"].remedy
    assert found["role of the server"].text == "read_only is on: it can only be read"
    assert found["names of tables"].text == "stored in lower case"
    assert found["time zone"].text == "+05:45; sessions of jobs use UTC"
    assert found["storage engine"].text.startswith("MyISAM")


def test_tls_is_told(mysql_db: MySQLDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", f"{mysql_db.uri}&ssl_mode=REQUIRED")
    found = {one.subject: one.text for one in check_connection("shop")}
    assert found["encryption"] == "TLS"


def test_wrong_password(my_db: MySQLDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", uri(my_db, "nobody", SECRET))
    [found] = check_connection("shop")
    assert (found.subject, found.state) == ("login", "failed")
    assert found.remedy == "correct login and password of the Airflow connection"
    assert SECRET not in str(found)


def test_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", f"mysql://a:{SECRET}@127.0.0.1:{free_port()}/x")
    [found] = check_connection("shop")
    assert (found.subject, found.state) == ("reachable", "failed")
    assert "check host, port and network" in found.remedy
    assert SECRET not in str(found)


def test_no_such_database(my: MySQLFamilyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", my.uri("not_there"))
    [found] = check_connection("shop")
    assert found.failed
    assert "Unknown database 'not_there'" in found.text


@pytest.mark.parametrize(
    ("text", "comment", "state", "told"),
    [
        ("8.0.11", "MySQL Community Server - GPL", "ok", "MySQL 8.0.11"),
        ("9.7.4-2", "(Debian)", "ok", "MySQL 9.7.4"),
        ("8.0.mysql_aurora.3.05.2", "MySQL Community Server (GPL)", "ok", "MySQL 8.0"),
        ("5.7.44-log", "MySQL Community Server (GPL)", "failed", "MySQL 5.7.44"),
        ("10.6.0-MariaDB", "mariadb.org binary distribution", "ok", "MariaDB 10.6.0"),
        ("5.5.5-10.11.6-MariaDB", "", "ok", "MariaDB 10.11.6"),
        ("10.5.29-MariaDB-log", "", "failed", "MariaDB 10.5.29"),
        ("5.7.25-OceanBase-v4.2.1", "OceanBase 4.2.1", "warning", "OceanBase"),
        ("5.7.25", "OceanBase_CE 4.3 (r1)", "warning", "OceanBase"),
        ("what", "", "failed", "MySQL what"),
    ],
)
def test_versions(text: str, comment: str, state: str, told: str) -> None:
    found = version(text, comment)
    assert found.state == state
    assert told in found.text
    assert bool(found.remedy) == (state != "ok")
