"""Airflow Connections to MongoDB, through MongoHook, and their check."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from dsp_airflow.connections import Finding, check_connection, open_store
from dsp_airflow.engine.errors import ConfigError, Denied, Transient
from dsp_airflow.mongo import mongo_arguments
from dsp_airflow.mongo_checks import version
from tests.servers import MongoDatabase, MongoServer, free_port

SECRET = "hunter-2/secret@"


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
        given = {"conn_type": "mongo", "host": "db", "login": "anna", "password": SECRET, **values}
        monkeypatch.setenv("AIRFLOW_CONN_SHOP", json.dumps(given))

    return define


def test_the_hooks_arguments_reach_the_driver(define: Any) -> None:
    define(
        host="one:27018,two",
        schema="shop",
        extra={"ssl": True, "authSource": "admin", "replicaSet": "rs0", "w": "majority"},
    )
    assert mongo_arguments("shop") == (
        {
            "host": "mongodb://anna:hunter-2%2Fsecret%40@one:27018,two/shop",
            "tls": True,
            "authSource": "admin",
            "replicaSet": "rs0",
        },
        "shop",
    )
    store = open_store("shop")
    assert store.identity == "one:27018,two:27017/shop"
    assert SECRET not in repr(store)
    define(extra={"srv": True, "ssl": "true", "allow_insecure": "true"})
    arguments, database = mongo_arguments("shop")
    assert (arguments["tls"], arguments["tlsAllowInvalidCertificates"]) == (True, True)
    assert (arguments["host"].partition(":")[0], database) == ("mongodb+srv", "")
    assert open_store("shop").identity == "db/"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"extra": {"w": 1}}, "w in the extra field is 1"),
        ({"extra": {"srv": True}, "port": 27017}, "MongoHook cannot use it"),
        ({"extra": {"retryWritez": True}}, "retrywritez"),
        ({"extra": {"readPreference": "nearby"}}, "does not take it"),
    ],
)
def test_what_makes_no_connection(define: Any, values: dict[str, Any], told: str) -> None:
    define(**values)
    with (
        pytest.raises(ConfigError, match=rf"(?i)connection shop.*{told}") as error,
        open_store("shop").session(),
    ):
        pass
    assert SECRET not in str(error.value)
    assert "hunter" not in str(error.value)
    assert error.value.__cause__ is None


def test_who_is_not_let_in(mongo_db: MongoDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    server = mongo_db.server
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", server.airflow_uri(mongo_db.name, password=SECRET))
    with (
        pytest.raises(Denied, match=r"Authentication failed.*authSource") as error,
        open_store("shop").session(),
    ):
        pass
    assert "hunter" not in str(error.value)
    (found,) = check_connection("shop")
    assert (found.subject, found.state) == ("login", "failed")
    gone = f"mongo://127.0.0.1:{free_port()}/x?serverSelectionTimeoutMS=200"
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", gone)
    with pytest.raises(Transient, match="check host, port and"), open_store("shop").session():
        pass
    (found,) = check_connection("shop")
    assert (found.subject, found.state) == ("reachable", "failed")


def by_subject(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


def test_an_administrator_is_told_so(
    mongo_db: MongoDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", mongo_db.uri)
    found = by_subject(check_connection("shop"))
    assert {subject for subject, one in found.items() if one.state != "ok"} == {"privileges"}
    assert found["login"].text == f"root of admin, database {mongo_db.name}"
    assert found["version"].text.startswith("MongoDB 6.0")
    assert found["deployment"].text.startswith("replica set")
    assert "tls to true" in found["encryption"].text


def test_least_privileges(mongo_db: MongoDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/operations.md grants is enough, and what is missing is named."""
    server, name = mongo_db.server, mongo_db.name
    own = ["find", "insert", "update", "remove"]
    granted = [
        (name, "", ["listCollections", "listIndexes"]),
        (name, "orders", ["find"]),
        (name, "dsp_locks", own),
        (name, "dsp_commits", own),
    ]
    password = server.create_user("job", granted)
    uri = server.airflow_uri(name, user="job", password=password)
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", uri)
    found = by_subject(check_connection("shop"))
    assert found[f"find in {name}"].text == "allowed on collection orders by name"
    assert found["dsp_locks"].state == found["dsp_commits"].state == "ok"
    remove = found[f"remove in {name}"]
    assert remove.state == "warning"
    assert f'{{db: "{name}", collection: ""}}, actions: ["remove"]' in remove.remedy
    assert "privileges" not in found
    mongo_db["orders"].insert_one({"_id": 1})
    with open_store("shop").session() as session:
        shape = session.describe("orders")
        assert shape is not None
        assert session.read_refusals("orders") == []
        (why,) = session.purge_refusals("orders", ())
        assert "may not remove" in why
        assert session.read_refusals("secrets") == ["secrets does not exist"]


def test_a_server_that_stands_alone(
    mongo_alone: MongoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", mongo_alone.airflow_uri())
    found = by_subject(check_connection("shop"))
    assert "rs.initiate()" in found["deployment"].remedy
    assert found["database"].state == "warning"


@pytest.mark.parametrize(
    ("text", "state"), [("4.4.29", "failed"), ("5.0.0", "ok"), ("8.1.0-rc2", "ok")]
)
def test_versions(text: str, state: str) -> None:
    assert version(text).state == state
