"""An Airflow for the tests of this folder: metadata database, DAG folder, state database."""

from __future__ import annotations

import contextlib
import shutil
import textwrap
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from airflow.sdk.exceptions import TaskDeferred

from dsp_airflow.state.database import StateDatabase, open_state, upgrade
from dsp_airflow.state.runs import Runs
from tests.servers import Database, SmtpSink

LOADER = Path(__file__).parents[2] / "dags" / "dsp_tasks.py"


@dataclass
class World:
    """Two databases, a DAG folder, the state."""

    folder: Path
    source: Database
    target: Database
    state: StateDatabase

    @property
    def runs(self) -> Runs:
        return Runs(self.state)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / "tasks" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def fill(self, rows: int = 2500) -> None:
        self.source.execute(
            "CREATE TABLE flights (id bigint PRIMARY KEY, origin text, delay numeric(6,1), "
            "at timestamptz NOT NULL)",
            "INSERT INTO flights SELECT n, 'JFK' || n % 7, n / 10.0, "
            f"'2013-01-01'::timestamptz + n * interval '1 hour' FROM generate_series(1, {rows}) n",
        )

    def count(self, where: str = "true") -> tuple[int, int]:
        """Rows in source and target."""
        query = f"SELECT count(*) FROM flights WHERE {where}"
        there = self.target.value("SELECT to_regclass('public.flights') IS NOT NULL")
        return self.source.value(query), self.target.value(query) if there else 0


@pytest.fixture(autouse=True)
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here no scheduler has to hear of a step that sleeps."""
    monkeypatch.setattr("dsp_airflow.triggers.rest.LEAST", 0.0)


@pytest.fixture
def world(
    airflow_db: Path,
    pg15_db: Database,
    pg18_db: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    from airflow import settings

    source, target = pg15_db, pg18_db
    # Airflow knows one DAG folder for the whole session.
    folder = Path(settings.DAGS_FOLDER)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(LOADER, folder)
    monkeypatch.setenv("AIRFLOW__DSP__SQL_ALCHEMY_CONN", f"sqlite:///{tmp_path / 'state.db'}")
    monkeypatch.setenv("AIRFLOW_CONN_FLIGHTS_SOURCE", source.uri)
    monkeypatch.setenv("AIRFLOW_CONN_FLIGHTS_TARGET", target.uri)
    upgrade()
    with open_state() as state:
        yield World(folder, source, target, state)
    for relay in relays(tmp_path):
        relay.kill()
        relay.wait(10)


def relays(folder: Path) -> list[psutil.Process]:
    """The processes that send mails from a state database in the folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if "dsp_airflow.notify" in process.cmdline() and str(folder) in process.environ().get(
                "AIRFLOW__DSP__SQL_ALCHEMY_CONN", ""
            ):
                found.append(process)
    return found


@pytest.fixture
def mails(smtp_sink: SmtpSink, monkeypatch: pytest.MonkeyPatch) -> SmtpSink:
    """The inbox that smtp_default leads to."""
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", smtp_sink.airflow_uri)
    return smtp_sink


@pytest.fixture
def run_dag(world: World) -> Callable[..., Any]:
    """Runs a DAG of the folder in this process and gives the DAG run."""

    def run(dag_id: str, **values: Any) -> Any:
        from airflow.dag_processing.dagbag import DagBag

        with warnings.catch_warnings():
            # Those of Airflow and of what it is made of.
            warnings.simplefilter("ignore")
            bag = DagBag(world.folder)
            assert bag.import_errors == {}
            return bag.dags[dag_id].test(**values)

    return run


class Stepper:
    """Executes single steps of a DAG, as Airflow would in one DAG run."""

    def __init__(self, dag: Any, run_id: str = "by_test") -> None:
        self.dag = dag
        self.dag_run = SimpleNamespace(
            dag_id=dag.dag_id,
            run_id=run_id,
            triggering_user_name="anna",
            start_date=datetime.now(UTC),
            clear_number=0,
        )
        self.tries: dict[str, tuple[int, int]] = {}
        self.kept: list[tuple[str, Any]] = []
        self.pushed: dict[str, Any] = {}
        self.keep: Callable[[str, Any], None] = lambda key, value: self.kept.append((key, value))

    def __call__(self, task_id: str, **changes: Any) -> Any:
        """Another try, with some of the operator's arguments replaced (mapped or rendered)."""
        tried, most = self.tries.get(task_id, (0, self.dag.get_task(task_id).retries))
        self.tries[task_id] = (tried + 1, most)
        operator, context = self._prepared(task_id, changes)
        return self._quietly(type(operator).execute.__wrapped__, operator, context)

    def resume(self, task_id: str, left: TaskDeferred, event: str, **changes: Any) -> Any:
        """The same try goes on after its trigger fired, as Airflow does it in a new process."""
        operator, context = self._prepared(task_id, changes)
        values = {**(left.kwargs or {}), "event": event}
        return self._quietly(operator.resume_execution, left.method_name, values, context)

    def _prepared(self, task_id: str, changes: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        operator = self.dag.get_task(task_id)
        if operator.is_mapped:
            operator = operator.unmap({**changes})
        # As the form of a DAG of purges has it unless somebody chooses.
        usual = {"act": "delete"} if hasattr(operator, "act") else {}
        for name, value in (usual | changes).items():
            setattr(operator, name, value)
        tried, most = self.tries[task_id]
        return operator, {
            "dag": self.dag,
            "dag_run": self.dag_run,
            "run_id": self.dag_run.run_id,
            "task": operator,
            "ti": SimpleNamespace(try_number=tried, max_tries=most, xcom_push=self._push),
            "task_state_store": SimpleNamespace(set=self.keep),
        }

    @staticmethod
    def _quietly(act: Callable[..., Any], *arguments: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return act(*arguments)

    def _push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def clear(self, *task_ids: str) -> None:
        """As Airflow does it for a DAG run that has ended."""
        for task_id in task_ids:
            tried, _ = self.tries.get(task_id, (0, 0))
            self.tries[task_id] = (tried, tried + self.dag.get_task(task_id).retries)
        self.dag_run.start_date = datetime.now(UTC)
        self.dag_run.clear_number += 1


@pytest.fixture
def steps(world: World) -> Callable[..., Stepper]:
    """Steps of the DAG made of a task file's text."""

    def build(text: str, dag_id: str | None = None, run_id: str = "by_test") -> Stepper:
        from dsp_airflow.config.loading import load_task
        from dsp_airflow.dag_factory import build_dags

        path = world.write("it", text)
        dags = {dag.dag_id: dag for dag in build_dags(load_task(path), path)}
        return Stepper(dags[dag_id] if dag_id else next(iter(dags.values())), run_id)

    return build
