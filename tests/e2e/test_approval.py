"""Approval and grants in a real Airflow: tasks sleep in a triggerer, and people decide meanwhile.

All runs are asked for at once, by one user, and each test decides on its own. Airflow's users are
SimpleAuthManager's, and FAB's.
"""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.records import Request
from dsp_airflow.approval.requests import Requests
from dsp_airflow.demo.rest import AirflowApi
from dsp_airflow.demo.standalone import AirflowStandalone
from dsp_airflow.engine.errors import Denied
from dsp_airflow.permissions.grants import Holder, Scope
from dsp_airflow.permissions.store import Grants
from dsp_airflow.state.database import StateDatabase, open_state, upgrade
from tests.e2e.conftest import REPOSITORY, RUN_SECONDS, logged
from tests.e2e.fab import AirflowWithFab
from tests.servers import Database, PostgresServer, SmtpSink, fresh_database

MAIL_SECONDS = 240.0
"""The process that sends has to load Airflow first."""
SLEEP_SECONDS = 240.0
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

BY_HAND = """\
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import DAG
from dsp_airflow.sensors.approval import ApprovalSensor

CLEANUP = "DELETE FROM clean_up WHERE id <= 10"

for name, process in (("clean_up", "match"), ("late", "Late")):
    with DAG(name, schedule=None):
        ApprovalSensor(
            task_id="approval",
            asks_for="database_change",
            subtypes=["delete"],
            connections=["shop"],
            definition=CLEANUP,
            process=process,
        ) >> SQLExecuteQueryOperator(
            task_id="clean_up", conn_id="shop", sql=CLEANUP, autocommit=True
        )
"""
TASK = """\
name: {name}
owner: {owner}
retries: 0
jobs:
  - name: job
    type: warm
    source: {{connection: {connection}, table: public.{name}}}
    target: {{connection: warehouse, table: public.{name}}}
    purge: system
"""
TASKS = ("archive", "rejected", "edited")
OWNER = "daria"
FAILS = {
    # Its owner is nobody who has grants; another connection is not granted to who triggers.
    "unowned": {"owner": "dora", "connection": "shop"},
    "unseen": {"owner": OWNER, "connection": "office"},
}
GRANTS = (
    (OWNER, "shop", ("read", "purge")),
    (OWNER, "office", ("read", "purge")),
    (OWNER, "warehouse", ("write",)),
    ("rita", "shop", ("read",)),
    ("rita", "warehouse", ("read",)),
    *((who, on, ("approve",)) for who in ("anna", "otto") for on in ("shop", "warehouse")),
)
BY_HANDS = ("clean_up", "late")
PROCESSES = """\
name: FourEyes
task_type: warm
levels: [{nodes: [{role: owners}, {user: anna}]}]
---
name: Late
task_type: database_change
priority: 900
connections: {names: [nowhere, shop]}
levels: [{nodes: [{role: ghosts}]}]
validity: {approval: 5s}
---
name: Administrators
task_type: database_change
priority: 1
"""
USER = "rita"
"""Triggers all runs."""
VIEWER = "vera"
"""Only looks."""


@dataclass
class Gated:
    """An Airflow in which nothing works without approval."""

    airflow: AirflowStandalone
    api: AirflowApi
    source: Database
    target: Database
    state: StateDatabase
    smtp: SmtpSink
    requests: Requests

    def begin(self, dag: str) -> None:
        self.api.wait_for_dag(dag, 120)
        self.api.unpause(dag)
        self.api.trigger(dag, "first")

    def asked(self, dag: str) -> Request:
        """The request of a run; its task sleeps."""

        def states() -> dict[str, str]:
            return {t.task: str(t.state) for t in self.api.task_instances(dag, "first")}

        asleep = self.api.wait_for(lambda: states().get("approval") == "deferred", SLEEP_SECONDS)
        assert asleep, (dag, states(), self.airflow.task_log(dag, "first", "approval"))
        found = self.requests.find(f"{dag}/first")
        assert found is not None
        return found

    def ended(self, dag: str) -> str:
        return self.api.wait_for_run(dag, "first", RUN_SECONDS)

    def settles(self, request: Request, state: str) -> bool:
        return self.api.wait_for(lambda: self.requests.get(request.id).state == state, 120)

    def dsp(self, user: str, *arguments: str) -> tuple[int, str]:
        """The command, by somebody."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")}
        acts = {"AIRFLOW__DSP__CLI_USERS": f"{getpass.getuser()}={user}"}
        done = subprocess.run(
            [str(Path(sys.executable).parent / "dsp"), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**kept, **self.airflow.settings, **acts},
        )
        return done.returncode, done.stdout + done.stderr

    def asks(self, user: str, method: str, path: str, body: Any = None) -> httpx.Response:
        """The REST API, by somebody who logs in to Airflow."""
        who = {"username": user, "password": self.airflow.password_of(user)}
        with httpx.Client(base_url=self.airflow.url, timeout=60, trust_env=False) as client:
            token = client.post("/auth/token", json=who).raise_for_status().json()["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            return client.request(method, f"/dsp/api/v1{path}", json=body)

    def counts(self, table: str) -> tuple[int, int]:
        """Rows in source and target."""
        there = self.target.value(f"SELECT to_regclass('public.{table}') IS NOT NULL")
        query = f"SELECT count(*) FROM {table}"
        return self.source.value(query), self.target.value(query) if there else 0


def fill(home: Path, source: Database) -> None:
    """A DAG folder with tasks, processes and a DAG that somebody wrote by hand."""
    dags = home / "dags"
    for folder in ("tasks", "processes"):
        (dags / folder).mkdir(parents=True)
    (dags / "by_hand.py").write_text(BY_HAND)
    (dags / "dsp_tasks.py").write_text((REPOSITORY / "dags" / "dsp_tasks.py").read_text())
    for number, text in enumerate(PROCESSES.split("---\n")):
        (dags / "processes" / f"{number}.yaml").write_text(text)
    given = {**{name: {"owner": OWNER, "connection": "shop"} for name in TASKS}, **FAILS}
    for name in (*given, "clean_up"):
        source.execute(
            f"CREATE TABLE {name} (id int PRIMARY KEY)",
            f"INSERT INTO {name} SELECT generate_series(1, 100)",
        )
        if name in given:
            (dags / "tasks" / f"{name}.yaml").write_text(TASK.format(name=name, **given[name]))


def started(kind: str, home: Path, values: dict[str, Any]) -> AirflowStandalone:
    if kind == "fab":
        fabs = {"admin": "Admin", USER: "Op", "otto": "User", VIEWER: "Viewer"}
        return AirflowWithFab(home, users=fabs, **values)
    users = f"admin:admin,{USER}:op,otto:user,{VIEWER}:viewer"
    values["settings"]["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"] = users
    return AirflowStandalone(home, **values)


@pytest.fixture(scope="module", params=["simple", pytest.param("fab", marks=pytest.mark.soak)])
def gated(
    request: pytest.FixtureRequest, pg18: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gated]:
    home: Path = tmp_path_factory.mktemp("gated")
    with ExitStack() as stack:
        source, target, state, metadata = (
            stack.enter_context(fresh_database(pg18)) for _ in range(4)
        )
        fill(home, source)
        upgrade(state.uri)
        smtp = stack.enter_context(SmtpSink())
        values = {
            "dags": home / "dags",
            "plugins": REPOSITORY / "plugins",
            "state_url": state.uri,
            "metadata_url": metadata.uri,
            "connections": {
                "shop": source.uri,
                "office": source.uri,
                "warehouse": target.uri,
                "smtp_default": smtp.airflow_uri,
            },
            # That nothing works unapproved and without grants, nobody has to ask for.
            "settings": {"AIRFLOW__DSP__MAIL_DOMAIN": "example.com"},
        }
        airflow = started(request.param, home, values)
        stack.enter_context(airflow)
        api = airflow.wait_until_ready()
        stack.callback(api.close)
        database = stack.enter_context(open_state(state.uri))
        roles = Roles(database)
        for role, user in (
            ("administrators", "root"),
            *(("owners", name) for name in ("otto", "olga", USER)),
        ):
            roles.add(role, user, "root")
        for user, connection, privileges in GRANTS:
            Grants(database).add(Holder(user), Scope(connection), privileges, "root")
        for dag in (*TASKS, *FAILS, *BY_HANDS):
            api.wait_for_dag(dag, 120)
        api.login(USER, airflow.password_of(USER))
        found = Gated(airflow, api, source, target, database, smtp, Requests(database))
        for dag in (*TASKS, *FAILS, *BY_HANDS):
            found.begin(dag)
        yield found


def test_who_sleeps_holds_no_slot(gated: Gated) -> None:
    for dag in (*TASKS, "clean_up"):
        request = gated.asked(dag)
        assert request.requester == USER
    # Nobody decides on it, and after five seconds nobody can.
    assert gated.ended("late") == "failed"
    gated.api.login("admin", gated.airflow.password)
    pool = gated.api.get("/pools/default_pool")
    assert (pool["occupied_slots"], pool["running_slots"]) == (0, 0)
    assert pool["deferred_slots"] == len(TASKS) + 1


def test_what_nobody_can_decide_expires(gated: Gated) -> None:
    assert gated.ended("late") == "failed"
    found = gated.requests.find("late/first")
    assert found is not None
    assert (found.state, found.process.name) == ("APPROVAL_EXPIRED", "Late")
    said = "APPROVAL_EXPIRED: by dsp: the time for approval ended at"
    logged(gated.airflow, ("late", "first", "approval"), said)
    assert gated.counts("clean_up")[0] == 100


@pytest.mark.parametrize(
    ("dag", "missing"),
    [
        ("unowned", "dora (owner of task unowned) has no grant to"),
        ("unseen", f"{USER} (who started this) has no grant to read connection office"),
    ],
)
def test_without_a_grant_nothing_is_even_looked_at(gated: Gated, dag: str, missing: str) -> None:
    assert gated.ended(dag) == "failed"
    logged(gated.airflow, (dag, "first", "estimate"), missing, "can give it: dsp grant add")
    assert gated.requests.find(f"{dag}/first") is None
    assert gated.counts(dag) == (100, 0)


def test_two_people_agree_and_it_is_executed(gated: Gated) -> None:
    request = gated.asked("archive")
    [job] = request.evidence["jobs"]
    assert job["deletes"].startswith("up to 100 rows of public.archive")
    # Who asked is one of the owners, and may not be the one who agrees; who was one is none.
    with pytest.raises(Denied, match="asked for this"):
        gated.requests.decide(request.id, USER, approved=True)
    assert Roles(gated.state).remove("owners", "olga", "root")
    with pytest.raises(Denied, match="may not decide here"):
        gated.requests.decide(request.id, "olga", approved=True)
    with pytest.raises(Denied, match="may not decide here"):
        gated.requests.decide(request.id, "anna", approved=True)
    code, said = gated.dsp("otto", "approve", request.id)
    assert (code, "it waits for user anna (anna)" in said) == (0, True), said
    with pytest.raises(Denied, match="may not decide here"):
        gated.requests.decide(request.id, "otto", approved=True)
    assert gated.counts("archive") == (100, 0)
    code, said = gated.dsp("anna", "approve", request.id)
    assert code == 0, said
    assert gated.ended("archive") == "success"
    assert gated.counts("archive") == (0, 100)
    assert gated.settles(request, "EXECUTION_SUCCEEDED")
    assert [d.actor for d in gated.requests.get(request.id).decisions] == ["otto", "anna"]


def test_an_edit_after_the_approval_ends_the_run(gated: Gated) -> None:
    request = gated.asked("edited")
    file = gated.airflow.home / "dags" / "tasks" / "edited.yaml"
    file.write_text(file.read_text().replace("purge: system", "where: id > 5\n    purge: system"))
    gated.requests.decide(request.id, "otto", approved=True)
    gated.requests.decide(request.id, "anna", approved=True)
    assert gated.ended("edited") == "failed"
    logged(gated.airflow, ("edited", "first", "job.plan"), "was edited after run")
    assert gated.counts("edited") == (100, 0)


def test_a_no_ends_the_run_of_a_task_file(gated: Gated) -> None:
    request = gated.asked("rejected")
    seen = {"version": request.version, "digest": request.digest, "comment": "not today"}
    reject = f"/requests/{request.id}/reject"
    # Who rules Airflow is no member of the node, and who asked may not, though one.
    administrators = {"admin": True, USER: False, "otto": False, VIEWER: False}
    for user, is_one in administrators.items():
        assert gated.asks(user, "GET", "/me").json()["administrator"] is is_one
    for user in ("admin", USER, VIEWER):
        assert gated.asks(user, "POST", reject, seen).status_code == 403
    for user, decides in {"otto": True, "admin": False, VIEWER: False}.items():
        waiting = gated.asks(user, "GET", "/requests?whose=waiting-for-me").json()["items"]
        assert (request.id in {one["id"] for one in waiting}) is decides, user
    (run,) = gated.asks(VIEWER, "GET", "/runs?task=rejected").json()["items"]
    assert gated.asks(VIEWER, "GET", f"/runs/{run['id']}").json()["may_steer"] is False
    for path in ("/tasks/rejected/run", "/tasks/rejected/disable", f"/runs/{run['id']}/terminate"):
        assert gated.asks(VIEWER, "POST", path, {}).status_code == 403, path
    assert gated.asks(VIEWER, "GET", "/processes").status_code == 403
    answer = gated.asks("otto", "POST", reject, seen)
    assert (answer.status_code, answer.json()["state"]) == (200, "REJECTED"), answer.text
    assert gated.ended("rejected") == "failed"
    said = "the request was rejected: by otto: not today; nothing was executed"
    logged(gated.airflow, ("rejected", "first", "approval"), said)
    assert gated.counts("rejected") == (100, 0)


def test_a_dag_of_somebody_else_waits_and_is_executed(gated: Gated) -> None:
    request = gated.asked("clean_up")
    assert request.evidence["definition"].startswith("DELETE")
    assert gated.counts("clean_up")[0] == 100
    gated.requests.decide(request.id, "root", approved=True)
    assert gated.ended("clean_up") == "success"
    assert gated.counts("clean_up")[0] == 90
    # Airflow's listener tells of the end, as the DAG has no callback of ours.
    assert gated.settles(request, "EXECUTION_SUCCEEDED")
    subject = "[dsp] APPROVAL NEEDED: clean_up (database_change)"

    def told() -> list[Any]:
        return [mail for mail in gated.smtp.mails() if mail["Subject"] == subject]

    assert gated.api.wait_for(lambda: bool(told()), MAIL_SECONDS)
    [mail] = told()
    assert "root@example.com" in mail["To"]
    assert f"{gated.airflow.url}/dags/clean_up/runs/first" in mail.get_content()
