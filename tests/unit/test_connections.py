"""Airflow Connections to stores, through the providers' hooks."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from dsp_airflow import connections, postgres
from dsp_airflow.connections import Finding, check_connection, open_store
from dsp_airflow.engine.errors import ConfigError
from tests.servers import Database, free_port

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
        given = {"conn_type": "postgres", "host": "db", "password": SECRET, **values}
        monkeypatch.setenv("AIRFLOW_CONN_SHOP", json.dumps(given))

    return define


def arguments(conn_id: str = "shop") -> dict[str, Any]:
    store: Any = open_store(conn_id)
    return dict(store._renew())


def test_importing_the_module_imports_no_airflow() -> None:
    code = "import dsp_airflow.connections, sys; print('airflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_unknown_connection_names_id_and_remedy() -> None:
    with pytest.raises(ConfigError) as caught:
        open_store("shop_pg")
    assert str(caught.value) == (
        "there is no Airflow connection 'shop_pg'; create it under Admin > Connections, "
        "or set AIRFLOW_CONN_SHOP_PG"
    )


def test_unsupported_type_names_the_supported_ones(define: Any) -> None:
    define(conn_type="oracle")
    with pytest.raises(ConfigError, match=r"shop is of type oracle.*supported are: postgres"):
        open_store("shop")


@pytest.mark.parametrize("text", ["{not json", "postgres://a:hunter-2-secret@[::/x"])
def test_unreadable_connection_keeps_its_secret(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", text)
    with pytest.raises(ConfigError) as caught:
        open_store("shop")
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_hooks_arguments_reach_the_driver(define: Any) -> None:
    define(
        login="anna",
        schema="shop",
        port=5433,
        extra={
            "sslmode": "verify-full",
            "sslrootcert": "/ca.pem",
            "options": "-c search_path=a",
            "connect_timeout": 3,
            "target_session_attrs": "read-write",
            "cursor": "dictcursor",
            "sqlalchemy_scheme": "postgresql+psycopg",
        },
    )
    found = arguments()
    assert (
        found
        | {
            "host": "db",
            "port": 5433,
            "user": "anna",
            "password": SECRET,
            "dbname": "shop",
            "sslmode": "verify-full",
            "sslrootcert": "/ca.pem",
            "options": "-c search_path=a",
            "connect_timeout": 3,
            "target_session_attrs": "read-write",
        }
        == found
    )
    assert not {"cursor", "row_factory", "sqlalchemy_scheme"} & found.keys()


def test_a_service_file_may_say_everything(define: Any) -> None:
    define(host="", password="", extra={"service": "shop"})
    found = arguments()
    assert found["service"] == "shop"
    assert not {"host", "user", "password", "dbname"} & found.keys()


def test_iam_gives_login_and_token(define: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    monkeypatch.setattr(PostgresHook, "get_iam_token", lambda *_: ("iam_user", "token", 5439))
    define(login="x", password="", schema="shop", extra={"iam": True, "aws_conn_id": "aws"})
    found = arguments()
    assert (found["user"], found["password"], found["port"]) == ("iam_user", "token", 5439)


@pytest.mark.parametrize("extra", [{"ssl_mode": SECRET}, {"keepalives": {"a": SECRET}}])
def test_an_extra_that_libpq_does_not_know_is_named(define: Any, extra: dict[str, Any]) -> None:
    define(extra=extra)
    with pytest.raises(ConfigError) as caught:
        open_store("shop")
    assert f"{next(iter(extra))!r} in the extra field is not a parameter" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_the_store_shows_no_secret(define: Any) -> None:
    define(login="anna", schema="shop")
    store = open_store("shop")
    assert SECRET not in f"{store!r} {store} {store.name} {store.identity}"
    assert store.identity == "db:5432/shop"


# Checking


def states(found: list[Finding]) -> dict[str, str]:
    return {one.subject: one.state for one in found}


def test_a_good_connection(pg_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", pg_db.uri)
    found = check_connection("shop")
    assert not any(one.failed for one in found)
    assert states(found) == {
        "reachable": "ok",
        "login": "ok",
        "encryption": "ok",
        "version": "ok",
        "clock": "ok",
        "time zone": "ok",
        "encoding": "ok",
        "temporary tables": "ok",
        "create in schema public": "ok",
        "privileges": "warning",
    }


def test_missing_privileges_say_the_grant(
    pg15_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    pg15_db.execute(
        "CREATE ROLE weak LOGIN PASSWORD 'weak'",
        f"REVOKE TEMPORARY ON DATABASE {pg15_db.name} FROM PUBLIC",
    )
    try:
        host = pg15_db.uri.rpartition("@")[2]
        monkeypatch.setenv("AIRFLOW_CONN_SHOP", f"postgresql://weak:weak@{host}")
        found = {one.subject: one for one in check_connection("shop")}
    finally:
        pg15_db.execute("DROP ROLE weak")
    assert found["temporary tables"].remedy == (
        f'if this is a target: GRANT TEMPORARY ON DATABASE "{pg15_db.name}" TO "weak"'
    )
    assert found["create in schema public"].remedy == (
        'if this is a target: GRANT CREATE ON SCHEMA "public" TO "weak"'
    )
    assert "privileges" not in found


def test_wrong_password(pg15_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    host = pg15_db.uri.rpartition("@")[2]
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", f"postgresql://nobody:{SECRET}@{host}")
    [found] = check_connection("shop")
    assert (found.subject, found.state) == ("login", "failed")
    assert found.remedy == "correct login and password of the Airflow connection"
    assert SECRET not in str(found)


def test_nothing_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", f"postgresql://a:{SECRET}@127.0.0.1:{free_port()}/x")
    [found] = check_connection("shop")
    assert (found.subject, found.state) == ("reachable", "failed")
    assert "check host, port and network" in found.remedy
    assert SECRET not in str(found)


def test_no_such_database(pg15_db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = pg15_db.uri.replace(f"/{pg15_db.name}", "/not_there")
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", uri)
    [found] = check_connection("shop")
    assert found.failed
    assert 'database "not_there" does not exist' in found.text


def test_a_check_of_a_connection_says_so_on_the_server(
    pg_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever name the Airflow connection gives: like a job's sessions, it says what it is for."""
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", f"{pg_db.uri}?application_name=somebody")
    seen: list[tuple[str]] = []

    def looking(look: Any) -> Any:
        def both(connection: Any) -> Any:
            query = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"
            seen.extend(connection.execute(query).fetchall())
            return look(connection)

        return both

    monkeypatch.setattr(postgres, "_server", looking(postgres._server))
    assert not any(found.failed for found in check_connection("shop"))
    with open_store("shop").having(connections.CHECK).session() as session:
        looking(lambda _: None)(session.connection)  # type: ignore[attr-defined]
    assert seen == [("dsp:check-connection",)] * 2
