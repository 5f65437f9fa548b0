"""One real Airflow for the tests of this folder, with a DAG folder, databases and an inbox."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest

from dsp_airflow.demo.rest import AirflowApi
from dsp_airflow.demo.standalone import AirflowStandalone
from dsp_airflow.state.database import open_state, upgrade
from dsp_airflow.state.runs import Runs
from tests.servers import (
    Database,
    PostgresServer,
    SmtpSink,
    StatsdListener,
    fresh_database,
)

REPOSITORY = Path(__file__).parents[2]
RUN_SECONDS = 240.0
LOG_SECONDS = 30.0

TASKS = {
    "archive": """\
        name: archive
        display_name: Old orders
        notify: {when: always, to: [oncall@example.com]}
        jobs:
          - name: orders
            type: warm
            source: {connection: shop, table: public.orders}
            target: {connection: warehouse, table: public.orders}
            where: "id <= 1000"
            batch_size: 200
            check: {percent: 100}
            purge: system
        """,
    "missing": """\
        name: missing
        display_name: Nothing there
        retries: 0
        notify: {when: failure, to: [oncall@example.com, boss@example.com]}
        jobs:
          - name: ghosts
            type: warm
            source: {connection: shop, table: public.ghosts}
            target: {connection: warehouse, table: public.ghosts}
            check: {percent: 10}
            purge: none
        """,
    "by_hand": """\
        name: by_hand
        jobs:
          - name: events
            type: warm
            source: {connection: shop, table: public.events}
            target: {connection: warehouse, table: public.events}
            batch_size: 100
            check: {percent: 100}
            purge: manual
        """,
    "held": """\
        name: held
        jobs:
          - name: visits
            type: warm
            source: {connection: shop, table: public.visits}
            target: {connection: warehouse, table: public.visits}
            timeouts: {lock: 10m}
            check: none
        """,
    "nightly": """\
        name: nightly
        display_name: Every night
        notify: {when: failure, to: [oncall@example.com]}
        jobs:
          - name: nights
            type: warm
            source: {connection: shop, table: public.visits}
            target: {connection: warehouse, table: public.nights}
            batch_size: 10
            shards: 2
            limits: {window: "SHUT"}
            check: none
        """,
    "once": """\
        name: once
        schedule: {once: 2020-03-29T02:30+07:00}
        notify: {when: always, to: [once@example.com]}
        jobs:
          - name: visits
            type: warm
            source: {connection: shop, table: public.visits}
            target: {connection: warehouse, table: public.once}
            check: none
        """,
    "broken": """\
        name: broken
        jobs:
          - name: orders
            type: warm
            source: {connection: shop, tabel: public.orders}
            target: {connection: warehouse, table: public.orders}
        """,
}

# Waits for what another task writes.
WAITING = """\
from airflow.sdk import DAG, Asset, task

ORDERS = Asset("x-dsp://warehouse/public.orders")

with DAG("after_archive", schedule=[ORDERS], is_paused_upon_creation=False):

    @task(inlets=[ORDERS])
    def look(triggering_asset_events):
        (event,) = triggering_asset_events[ORDERS]
        assert event.extra["rows_written"] == 1000, event.extra

    look()
"""

# It shows that tasks of this Airflow are kept from the metadata database, as everywhere else.
PROBE = """\
from airflow.sdk import DAG, task

with DAG("probe", schedule=None):

    @task
    def reach_for_the_metadata_database():
        from airflow.models.dag import DagModel
        from airflow.utils.session import create_session

        try:
            with create_session() as session:
                session.query(DagModel).all()
        except RuntimeError as error:
            assert "not allowed" in str(error), error
        else:
            raise AssertionError("a task can use Airflow's ORM")

    reach_for_the_metadata_database()
"""


def logged(airflow: AirflowStandalone, step: tuple[str, str, str], *words: str) -> None:
    """Wait for words in the log of a step, given as DAG, run and task.

    What ends a step is known before the last lines of its log are written.
    """
    deadline = time.monotonic() + LOG_SECONDS
    while missing := [word for word in words if word not in (log := airflow.task_log(*step))]:
        assert time.monotonic() < deadline, f"{missing} not in {log}"
        time.sleep(0.2)


@dataclass
class World:
    """Airflow and what surrounds it."""

    airflow: AirflowStandalone
    api: AirflowApi
    source: Database
    target: Database
    runs: Runs
    smtp: SmtpSink
    metrics: StatsdListener

    def run(self, dag: str, run: str = "first", **conf: str) -> str:
        """Run a DAG to its end and return the state it ended in."""
        self.api.wait_for_dag(dag, 120)
        self.api.unpause(dag)
        self.api.trigger(dag, run, conf)
        return self.api.wait_for_run(dag, run, RUN_SECONDS)

    def dsp(self, *arguments: str) -> str:
        """The command, as on the scheduler's machine; what it says on both outputs."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")}
        done = subprocess.run(
            [str(Path(sys.executable).parent / "dsp"), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**kept, **self.airflow.settings},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def logs(self, dag: str, run: str = "first") -> str:
        """The ends of all task logs of a run, for the message of a test that fails."""
        tasks = self.api.task_instances(dag, run)
        return "\n".join(
            f"{t.task} {t.state}\n{self.airflow.task_log(dag, run, t.task)}" for t in tasks
        )

    def mails_about(self, title: str) -> list[EmailMessage]:
        return [mail for mail in self.smtp.mails() if title in str(mail["Subject"])]


@pytest.fixture(scope="module")
def world(pg18: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("standalone")
    with ExitStack() as stack:
        source, target, state, metadata = (
            stack.enter_context(fresh_database(pg18)) for _ in range(4)
        )
        _fill(source)
        upgrade(state.uri)
        smtp = stack.enter_context(SmtpSink())
        metrics = stack.enter_context(StatsdListener())
        airflow = AirflowStandalone(
            home,
            dags=_dags_folder(home / "dags"),
            plugins=REPOSITORY / "plugins",
            state_url=state.uri,
            metadata_url=metadata.uri,
            connections={
                "shop": source.uri,
                "warehouse": target.uri,
                "smtp_default": smtp.airflow_uri,
            },
            # Approval and grants have tests of their own; these are about what comes after them.
            settings={
                **metrics.settings,
                "AIRFLOW__DSP__ENFORCE_APPROVAL": "False",
                "AIRFLOW__DSP__ENFORCE_GRANTS": "False",
            },
        )
        stack.enter_context(airflow)
        api = airflow.wait_until_ready()
        stack.callback(api.close)
        runs = Runs(stack.enter_context(open_state(state.uri)))
        yield World(airflow, api, source, target, runs, smtp, metrics)


def _dags_folder(folder: Path) -> Path:
    (folder / "tasks").mkdir(parents=True)
    shutil.copy(REPOSITORY / "dags" / "dsp_tasks.py", folder)
    (folder / "probe.py").write_text(PROBE)
    (folder / "waiting.py").write_text(WAITING)
    for name, text in TASKS.items():
        file = folder / "tasks" / f"{name}.yaml"
        file.write_text(textwrap.dedent(text).replace("SHUT", shut()))
    return folder


def shut() -> str:
    """A window that opens in some hours."""
    now = datetime.now(UTC)
    return f"{now + timedelta(hours=3):%H:%M}-{now + timedelta(hours=4):%H:%M}"


def _fill(source: Database) -> None:
    source.execute(
        "CREATE TABLE orders (id bigint PRIMARY KEY, customer text, total numeric(12, 2))",
        "INSERT INTO orders SELECT n, 'Customer ' || n % 97, n / 7.0 "
        "FROM generate_series(1, 2500) AS n",
        "CREATE TABLE visits (id bigint PRIMARY KEY, page text)",
        "INSERT INTO visits SELECT n, '<script>' || n FROM generate_series(1, 50) AS n",
        "CREATE TABLE events (id bigint PRIMARY KEY, what text NOT NULL)",
        "INSERT INTO events SELECT n, 'event ' || n FROM generate_series(1, 500) AS n",
    )
