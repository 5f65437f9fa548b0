"""An Airflow for the tests of this folder: metadata database, DAG folder, state database."""

from __future__ import annotations

import shutil
import textwrap
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

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
