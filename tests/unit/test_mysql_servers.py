"""MariaDB and MySQL, which other tests stand on, and how a run tells of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import MySQLdb
import pytest

from tests.conftest import NewMySQLDatabase
from tests.servers import (
    MariaDBServer,
    MySQLDatabase,
    MySQLFamilyServer,
    MySQLMissingError,
    MySQLServer,
    ServerError,
    ServerReport,
    fresh_mysql_database,
)
from tests.servers.mysql import mysql_folder

ROOT = Path(__file__).parents[2]
ODD: dict[str, str | int] = {
    "local_infile": 0,
    "lower_case_table_names": 1,
    "max_allowed_packet": "1M",
    "sql_mode": "ANSI",
}


def test_database_is_fresh_and_unicode(my_db: MySQLDatabase) -> None:
    assert my_db.run("SHOW TABLES") == []
    my_db.execute("CREATE TABLE t (v text)", "INSERT INTO t VALUES ('ü€😀')")
    assert my_db.rows("SELECT v, length(v) FROM t") == [("ü€😀", 9)]
    assert my_db.value("SELECT %s + 1", 1) == 2
    assert my_db.value("SELECT @@character_set_database") == "utf8mb4"


def test_run_gives_text(my_db: MySQLDatabase) -> None:
    [row] = my_db.run("SELECT 1, 1.50, NULL, DATE '2024-02-29', x'ff41'")
    assert row == ("1", "1.50", None, "2024-02-29", "\\xffA")


def test_versions(mariadb_db: MySQLDatabase, mysql_db: MySQLDatabase) -> None:
    assert mariadb_db.server.version.startswith("10.11.")
    assert mysql_db.server.version.startswith("9.")


def test_the_driver_connects_through_tcp_and_socket(my_db: MySQLDatabase) -> None:
    with my_db.connect() as connection:
        assert connection.get_host_info().startswith("127.0.0.1")
    with my_db.connect(host="localhost", unix_socket=str(my_db.server.socket)) as connection:
        assert "socket" in connection.get_host_info()


def test_airflow_connects_with_the_uri(my_db: MySQLDatabase) -> None:
    from airflow.providers.mysql.hooks.mysql import MySqlHook
    from airflow.sdk import Connection

    my_db.execute("CREATE TABLE t (v varchar(9))", "INSERT INTO t VALUES ('😀')")
    hook = MySqlHook(connection=Connection.from_uri(my_db.uri, conn_id="any"))
    assert hook.get_records("SELECT v FROM t") == (("😀",),)


def test_user_has_its_grants_only(my_db: MySQLDatabase) -> None:
    my_db.execute("CREATE TABLE t (id int)", "CREATE TABLE secret (id int)")
    password = my_db.server.create_user("reader", f"SELECT ON `{my_db.name}`.t")
    try:
        with my_db.connect(user="reader", password=password) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT * FROM t")
            with pytest.raises(MySQLdb.OperationalError, match="denied to user 'reader'"):
                cursor.execute("SELECT * FROM secret")
        with pytest.raises(MySQLdb.OperationalError, match="Access denied"):
            my_db.connect(user="reader", password="wrong")
    finally:
        my_db.server.drop_user("reader")


def test_a_database_in_use_is_dropped(new_my_db: NewMySQLDatabase, my: MySQLFamilyServer) -> None:
    with fresh_mysql_database(my) as database:
        database.execute("CREATE TABLE t (id int)")
        left_open = database.connect(autocommit=False)
        left_open.cursor().execute("SELECT * FROM t")
    assert database.name not in [name for (name,) in my.run("SHOW DATABASES")]
    assert new_my_db().name != new_my_db().name


@pytest.mark.parametrize("kind", [MariaDBServer, MySQLServer])
def test_odd_options_a_kill_and_the_end(
    kind: type[MySQLFamilyServer], request: pytest.FixtureRequest
) -> None:
    if kind is MySQLServer:
        request.getfixturevalue("mysql_installed")
    with kind(ODD, binlog=True, zone="Asia/Tokyo") as server:
        folder, pid = server.folder, server.pid
        names = "@@local_infile, @@lower_case_table_names, @@max_allowed_packet, @@log_bin"
        assert server.run(f"SELECT {names}") == [("0", "1", str(1 << 20), "1")]
        assert "ANSI_QUOTES" in str(server.run("SELECT @@GLOBAL.sql_mode"))
        assert server.run("SELECT @@time_zone, FROM_UNIXTIME(0)") == [
            ("SYSTEM", "1970-01-01 09:00:00")
        ]
        server.run("CREATE DATABASE d", "CREATE TABLE d.T (id int)", "INSERT INTO d.t VALUES (1)")
        server.kill()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        server.restart()
        assert server.run("SELECT id FROM d.t") == [("1",)]
        pid = server.pid
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_start_failure_shows_the_log() -> None:
    with pytest.raises(ServerError, match="unknown variable 'no_such_option=1'"):
        MariaDBServer({"no_such_option": 1}).start()


def test_missing_mariadb_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("dsp_airflow.demo.mariadb.DEBIAN_MARIADB", tmp_path / "absent")
    with pytest.raises(ServerError, match="MariaDB is missing; run: scripts/system-packages test"):
        MariaDBServer().start()


def test_mysql_that_was_not_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(MySQLMissingError, match="not fetched yet; run: scripts/mysql-server"):
        mysql_folder()


def test_fetching_fails_loudly_and_leaves_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An apt-get that reaches no mirror."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "apt-get").write_text("#!/bin/sh\necho no network >&2\nexit 100\n")
    (programs / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done = subprocess.run(
        [ROOT / "scripts/mysql-server"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "*** MySQL 9 could not be had: no Debian mirror" in done.stderr
    with pytest.raises(MySQLMissingError, match="no Debian mirror of this machine"):
        mysql_folder()
    left = {path.name for path in (tmp_path / "cache" / "dsp-airflow").iterdir()}
    assert left == {"mysql-is-missing", "mysql.lock"}


@pytest.mark.parametrize(("processes", "required"), [("1", ""), ("0", "1")])
def test_a_run_without_mysql_says_so(processes: str, required: str, tmp_path: Path) -> None:
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("PYTEST")},
        "XDG_CACHE_HOME": str(tmp_path),
        "DSP_REQUIRE_MYSQL": required,
    }
    test = f"{Path(__file__).relative_to(ROOT)}::test_odd_options_a_kill_and_the_end[MySQLServer]"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", test, "--numprocesses", processes],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
    )
    if required:
        assert done.returncode == 1
        assert "MySQLMissingError: it was not fetched yet" in done.stdout
    else:
        assert done.returncode == 0
        assert "\nMySQL 9: NOT TESTED, because it was not fetched yet" in done.stdout
        assert "1 skipped" in done.stdout


def test_the_report_merges_processes() -> None:
    report, other = ServerReport(), ServerReport()
    report.used.add("MariaDB 10.11.19")
    other.merge({"servers_used": ["MariaDB 10.11.19", "MySQL 9.7.4"], "servers_missing": {}})
    told: dict[str, Any] = {"servers_used": sorted(other.used), "servers_missing": {"X": "why"}}
    report.merge(told)
    assert report.lines() == (
        ["Tested on MariaDB 10.11.19, MySQL 9.7.4"],
        ["X: NOT TESTED, because why"],
    )
