"""The grants that the documentation gives for MySQL and MariaDB are enough, and not too many."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dsp_airflow.engine.errors import Denied
from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.stores.mysql import grants, login
from dsp_airflow.engine.stores.mysql.query import Connection, execute, rows, texts
from dsp_airflow.engine.stores.mysql.translate import translating
from tests.servers import MySQLDatabase

DOCS = Path(__file__).parents[2] / "docs" / "privileges.md"
ROLES = {"source": ("read", "purge"), "target": ("create",)}


def documented(role: str) -> list[str]:
    """The GRANT statements of a role."""
    text = DOCS.read_text()
    blocks = [
        text[text.index(f"### MySQL and MariaDB: {what}\n") :].split("```")[1]
        for what in ROLES[role]
    ]
    return [grant for block in blocks for grant in re.findall(r"GRANT [^;]+", block)]


def of(role: str, login_name: str, database: MySQLDatabase) -> Iterator[Connection]:
    password = database.server.create_user(login_name)
    for grant in documented(role):
        database.execute(re.sub(r" ON (shop|warehouse)\.", f" ON {database.name}.", grant))
    arguments = {**database.arguments, "user": login_name, "password": password}
    connection = login.connect(arguments, SessionOptions(), "connection shop")
    yield connection
    connection.close()
    database.server.drop_user(login_name)


@pytest.fixture
def reader(my_db: MySQLDatabase) -> Iterator[Connection]:
    my_db.execute(
        "CREATE TABLE flights (id INT PRIMARY KEY)",
        "CREATE TABLE other (id INT PRIMARY KEY)",
        "CREATE TABLE hidden (id INT, FOREIGN KEY (id) REFERENCES flights (id) ON DELETE CASCADE)",
        "INSERT INTO flights VALUES (1), (2)",
        "CREATE TRIGGER more AFTER DELETE ON flights FOR EACH ROW "
        "INSERT INTO other VALUES (OLD.id)",
    )
    yield from of("source", "reader", my_db)


@pytest.fixture
def writer(my_db: MySQLDatabase) -> Iterator[Connection]:
    yield from of("target", "writer", my_db)


def test_a_source_is_read_and_purged(reader: Connection, my_db: MySQLDatabase) -> None:
    execute(reader, "START TRANSACTION")
    assert rows(reader, "SELECT id FROM flights WHERE id = 1 FOR UPDATE") == [(b"1",)]
    assert execute(reader, "DELETE FROM flights WHERE id = 1") == 1
    execute(reader, "COMMIT")
    seen = "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = database()"
    assert texts(reader, seen) == [("more",)]
    held = grants.held(reader, my_db.name)
    assert (held.on("TRIGGER", "flights"), held.on("TRIGGER", "other")) == (True, False)
    assert "PROCESS" in held.everywhere
    view = "innodb_sys_foreign" if login.is_mariadb(reader) else "innodb_foreign"
    seen = f"SELECT for_name FROM information_schema.{view} WHERE ref_name LIKE '%/flights'"
    assert texts(reader, seen) == [(f"{my_db.name}/hidden",)]
    for statement in ("INSERT INTO flights VALUES (9)", "SELECT id FROM other"):
        with pytest.raises(Denied), translating("shop"):
            rows(reader, statement)


def test_a_target_is_created_and_filled(writer: Connection) -> None:
    execute(writer, "CREATE TABLE flights_archive (id INT PRIMARY KEY, v INT)")
    execute(writer, "CREATE TABLE dsp_commits (id INT PRIMARY KEY)")
    execute(writer, "START TRANSACTION")
    execute(writer, "CREATE TEMPORARY TABLE staging (id INT PRIMARY KEY, v INT)")
    execute(writer, "INSERT INTO staging VALUES (1, 1), (2, 2)")
    execute(writer, "ALTER TABLE staging ADD INDEX (v)")
    execute(writer, "INSERT INTO flights_archive SELECT id, 0 FROM staging")
    update = "UPDATE flights_archive a JOIN staging s ON a.id = s.id SET a.v = s.v"
    assert execute(writer, update) == 2
    execute(writer, "INSERT INTO dsp_commits VALUES (1)")
    execute(writer, "DELETE FROM dsp_commits")
    execute(writer, "COMMIT")
    assert rows(writer, "SELECT id FROM flights_archive LOCK IN SHARE MODE") == [(b"1",), (b"2",)]
    execute(writer, "DROP TEMPORARY TABLE staging")
    for statement in ("DELETE FROM flights_archive", "CREATE TABLE other (id INT)"):
        with pytest.raises(Denied), translating("shop"):
            execute(writer, statement)
