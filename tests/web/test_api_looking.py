"""Plans and tests of connections over the API: bounded, read only, and without a secret."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dsp_airflow.approval.people import Roles
from dsp_airflow.config.loading import load_task
from dsp_airflow.connections import open_store
from dsp_airflow.drifting import drift_of, keep
from dsp_airflow.permissions.grants import Holder, Scope
from dsp_airflow.permissions.store import Grants
from dsp_airflow.state import audit
from dsp_airflow.state.audit import Wanted
from dsp_airflow.state.codec import dump
from dsp_airflow.state.database import StateDatabase
from tests.servers import Database
from tests.web.served import Served

SECRET = "hunter2-is+secret/§"


def task(tmp_path: Path, **job: Any) -> None:
    """A task between two connections."""
    file = tmp_path / "dags" / "tasks" / "flights.yaml"
    one = {
        "name": "one",
        "type": "warm",
        "source": {"connection": "shop_pg", "table": "public.flights"},
        "target": {"connection": "warehouse_pg"},
        **job,
    }
    file.write_text(yaml.safe_dump({"name": "flights", "owner": "olga", "jobs": [one]}))


def test_a_plan_of_real_databases(
    api: Served,
    state: StateDatabase,
    tmp_path: Path,
    pg18_db: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pg18_db.execute("CREATE TABLE flights (id bigint PRIMARY KEY, v text)")
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_PG", pg18_db.uri)
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE_PG", pg18_db.uri)
    task(tmp_path, target={"connection": "warehouse_pg", "table": "copied"})
    (first, second) = api.get("/connections", user="vera", role="VIEWER")["items"]
    assert first == {
        "name": "shop_pg",
        "type": "postgres",
        "tasks": ["flights"],
        "source_of": ["flights"],
        "target_of": [],
        "may_test": False,
    }
    assert second["target_of"] == ["flights"]
    # Who steers a task on it, or may read it by a grant, may test it.
    Roles(state).add("administrators", "anna", "anna")
    Grants(state).add(Holder("vera"), Scope("warehouse_pg"), ["read"], "anna")
    for user, tests in (("olga", [True, True]), ("vera", [False, True]), ("anna", [True, True])):
        found = api.get("/connections", user=user, role="VIEWER")["items"]
        assert [one["may_test"] for one in found] == tests, user
    for query, names in (
        ("used=target", ["warehouse_pg"]),
        ("name=SHOP", ["shop_pg"]),
        ("type=postgres&limit=1&offset=1", ["warehouse_pg"]),
        ("type=mysql", []),
    ):
        found = api.get(f"/connections?{query}")["items"]
        assert [one["name"] for one in found] == names, query
    answer = api("POST", "/plans", {"task": "flights"}, user="olga", role="VIEWER")
    assert answer.status_code == 200, answer.text
    (job,) = answer.json()["jobs"]
    assert job["error"] is None
    assert job["plan"]["ddl"][0].startswith("CREATE TABLE")
    assert pg18_db.value("SELECT count(*) FROM pg_class WHERE relname = 'copied'") == 0


def test_a_table_that_changed_is_accepted_as_it_was_seen(
    api: Served,
    state: StateDatabase,
    tmp_path: Path,
    pg18_db: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pg18_db.execute("CREATE TABLE flights (id bigint PRIMARY KEY, v text)")
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_PG", pg18_db.uri)
    task(tmp_path)
    source = open_store("shop_pg")
    (job,) = load_task(tmp_path / "dags" / "tasks" / "flights.yaml").jobs
    keep(state, "flights", drift_of(state, "flights", job, source), source, "r1")
    pg18_db.execute("ALTER TABLE flights DROP COLUMN v")

    def digest() -> str:
        shape = drift_of(state, "flights", job, source).shape
        return hashlib.sha256(dump(shape).encode()).hexdigest()

    def asked(path: str, body: dict[str, Any], user: str = "olga") -> Any:
        return api("POST", f"/tasks/flights/{path}", body, user=user, role="VIEWER")

    # It changes once more before somebody accepts what was seen.
    acceptance = {"job": "one", "digest": digest()}
    pg18_db.execute("ALTER TABLE flights ADD COLUMN w int")
    refused = asked("drift/accept", acceptance)
    assert (refused.status_code, "changed since you looked" in refused.text) == (409, True)
    assert asked("drift/accept", acceptance, "vera").status_code == 403
    done = asked("drift/accept", {"job": "one", "digest": digest()})
    assert (done.status_code, done.json()["accepted"], done.json()["run"]) == (200, True, "r1")
    assert [one["what"] for one in done.json()["changes"]] == [
        "column v dropped",
        "column w added (integer)",
    ]
    assert drift_of(state, "flights", job, source).require_taken() == []
    (told,) = audit.recent(state, Wanted(actions=["drift.accept"]), 9)
    assert (told.actor, told.object, told.address) == (
        "olga",
        "task flights job one",
        "192.0.2.7",
    )


def test_a_failing_connection_tells_no_secret(
    api: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {
        "conn_type": "postgres",
        "host": f"nowhere-{SECRET}.invalid",
        "login": "shop",
        "password": SECRET,
        "extra": {"sslpassword": "another-secret", "application_name": "x"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_PG", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE_PG", json.dumps(connection))
    task(tmp_path)
    for method, path, body in (
        ("POST", "/connections/shop_pg/test", {}),
        ("POST", "/plans", {"task": "flights"}),
        ("GET", "/connections", None),
        ("GET", "/tasks/flights", None),
    ):
        answer = api(method, path, body)
        assert answer.status_code == 200, answer.text
        assert SECRET not in str(answer.json())
        assert "hunter2" not in answer.text
        assert "another-secret" not in answer.text
        if path.endswith("/test"):
            (found,) = answer.json()["findings"]
            assert (found["subject"], found["state"]) == ("reachable", "failed")
            assert "nowhere-***.invalid" in found["text"]


def test_a_look_that_takes_too_long_is_killed(
    api: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_PG", "postgres://x:y@localhost/z")
    monkeypatch.setattr("dsp_airflow.web.children.SECONDS", 0.3)
    mark = f"{tmp_path.name}-sleeps"
    monkeypatch.setattr(
        "dsp_airflow.web.children._COMMAND", f"import time; time.sleep(60)  # {mark}"
    )
    task(tmp_path)
    answer = api("POST", "/connections/shop_pg/test")
    assert answer.status_code == 504
    assert answer.json()["detail"].startswith("nothing came of it within 0 seconds")
    left = subprocess.run(["/usr/bin/pgrep", "-f", mark], capture_output=True, check=False)
    assert left.stdout == b""
    monkeypatch.setattr("dsp_airflow.web.children.AT_ONCE", 0)
    answer = api("POST", "/connections/shop_pg/test")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
