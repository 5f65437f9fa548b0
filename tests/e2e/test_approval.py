"""Approval in a real Airflow: a task sleeps in a triggerer, and people decide meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.records import Request
from dsp_airflow.approval.requests import Requests
from dsp_airflow.demo.rest import AirflowApi
from dsp_airflow.demo.standalone import AirflowStandalone
from dsp_airflow.state.database import StateDatabase, open_state, upgrade
from tests.e2e.conftest import REPOSITORY, RUN_SECONDS
from tests.servers import Database, PostgresServer, SmtpSink, fresh_database

MAIL_SECONDS = 240.0
"""The process that sends has to load Airflow first."""
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

BY_HAND = """\
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import DAG
from dsp_airflow.sensors.approval import ApprovalSensor

CLEANUP = "DELETE FROM orders WHERE id <= 10"

with DAG("clean_up", schedule=None):
    ApprovalSensor(
        task_id="approval",
        asks_for="database_change",
        subtypes=["delete"],
        connections=["shop"],
        definition=CLEANUP,
    ) >> SQLExecuteQueryOperator(task_id="clean_up", conn_id="shop", sql=CLEANUP, autocommit=True)
"""
TASK = """\
name: archive
retries: 0
jobs:
  - name: orders
    type: warm
    source: {connection: shop, table: public.orders}
    target: {connection: warehouse, table: public.orders}
    purge: system
"""


@dataclass
class Gated:
    """An Airflow in which nothing works without approval."""

    airflow: AirflowStandalone
    api: AirflowApi
    source: Database
    target: Database
    state: StateDatabase
    smtp: SmtpSink

    def asked(self, dag: str) -> Request:
        """The request of a run that was just triggered."""
        self.api.wait_for_dag(dag, 120)
        self.api.unpause(dag)
        self.api.trigger(dag, "first")

        def states() -> dict[str, str]:
            return {t.task: str(t.state) for t in self.api.task_instances(dag, "first")}

        assert self.api.wait_for(lambda: states().get("approval") == "deferred", 240), states()
        [found] = [r for r in Requests(self.state).recent() if r.key == f"{dag}/first"]
        return found

    def ended(self, dag: str) -> str:
        return self.api.wait_for_run(dag, "first", RUN_SECONDS)

    def settles(self, request: Request, state: str) -> bool:
        return self.api.wait_for(lambda: Requests(self.state).get(request.id).state == state, 120)


@pytest.fixture(scope="module")
def gated(pg18: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    home: Path = tmp_path_factory.mktemp("gated")
    (home / "dags" / "tasks").mkdir(parents=True)
    (home / "dags" / "clean_up.py").write_text(BY_HAND)
    (home / "dags" / "tasks" / "archive.yaml").write_text(TASK)
    loader = (REPOSITORY / "dags" / "dsp_tasks.py").read_text()
    (home / "dags" / "dsp_tasks.py").write_text(loader)
    with ExitStack() as stack:
        source, target, state = (stack.enter_context(fresh_database(pg18)) for _ in range(3))
        source.execute(
            "CREATE TABLE orders (id int PRIMARY KEY)",
            "INSERT INTO orders SELECT generate_series(1, 100)",
        )
        upgrade(state.uri)
        smtp = stack.enter_context(SmtpSink())
        airflow = AirflowStandalone(
            home,
            dags=home / "dags",
            plugins=REPOSITORY / "plugins",
            state_url=state.uri,
            connections={
                "shop": source.uri,
                "warehouse": target.uri,
                "smtp_default": smtp.airflow_uri,
            },
            settings={
                "AIRFLOW__DSP__ENFORCE_APPROVAL": "True",
                "AIRFLOW__DSP__MAIL_DOMAIN": "example.com",
            },
        )
        stack.enter_context(airflow)
        api = airflow.wait_until_ready()
        stack.callback(api.close)
        database = stack.enter_context(open_state(state.uri))
        Roles(database).add("administrators", "root", "test")
        # As `admin` triggers the runs, that user may not decide on them.
        Roles(database).add("administrators", "admin", "root")
        yield Gated(airflow, api, source, target, database, smtp)


def test_a_dag_of_somebody_else_waits_and_is_executed(gated: Gated) -> None:
    request = gated.asked("clean_up")
    assert (request.requester, request.evidence["definition"][:6]) == ("admin", "DELETE")
    assert gated.source.value("SELECT count(*) FROM orders") == 100
    Requests(gated.state).decide(request.id, "root", approved=True)
    assert gated.ended("clean_up") == "success"
    assert gated.source.value("SELECT count(*) FROM orders") == 90
    # Airflow's listener tells of the end, as the DAG has no callback of ours.
    assert gated.settles(request, "EXECUTION_SUCCEEDED")
    assert gated.api.wait_for(lambda: bool(gated.smtp.mails()), MAIL_SECONDS)
    mail = gated.smtp.mails()[0]
    assert (mail["To"], mail["Subject"]) == (
        "root@example.com",
        "[dsp] APPROVAL NEEDED: clean_up (database_change)",
    )
    assert f"{gated.airflow.url}/dags/clean_up/runs/first" in mail.get_content()


def test_a_no_ends_the_run_of_a_task_file(gated: Gated) -> None:
    request = gated.asked("archive")
    Requests(gated.state).decide(request.id, "root", "not today", approved=False)
    assert gated.ended("archive") == "failed"
    log = gated.airflow.task_log("archive", "first", "approval")
    assert "the request was rejected: by root: not today; nothing was executed" in log
    assert gated.target.value("SELECT to_regclass('public.orders') IS NULL")
