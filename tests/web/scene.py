"""A small installation: a task in Airflow and in a file, its runs, a request, people and grants."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import update

from dsp_airflow.approval.matching import Touched
from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.processes import Processes
from dsp_airflow.approval.requests import Requests
from dsp_airflow.approval.subject import Subject
from dsp_airflow.config.definition import normalise
from dsp_airflow.config.loading import load_task
from dsp_airflow.config.process_loading import parse_process
from dsp_airflow.permissions.grants import Holder, Scope
from dsp_airflow.permissions.store import Grants
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.tables import BATCHES
from tests.state.samples import batches, plan
from tests.web.served import Served

TASK = {
    "name": "flights",
    "owner": "olga",
    "approval": "Two",
    "jobs": [
        {
            "name": "one",
            "type": "warm",
            "source": {"connection": "shop_pg", "table": "public.flights"},
            "target": {"connection": "warehouse_pg"},
            "purge": "manual",
            "rollback": True,
        }
    ],
}
PROCESS = """
name: Two
task_type: warm
levels:
  - nodes: [{role: owners}, {user: anna}]
"""
LOADER = "from dsp_airflow.dag_factory import dags_in\nglobals().update(dags_in({folder!r}))\n"


@dataclass(frozen=True)
class Scene:
    """The ids of what there is."""

    run: str
    failed: str
    """A run of Airflow."""
    request: str
    grant: str


def told_to_airflow(folder: Path) -> None:
    """Airflow's metadata database gets the DAGs, as its DAG processor would write them."""
    import structlog
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.collection import update_dag_parsing_results_in_db
    from airflow.dag_processing.processor import DagFileParseRequest, _parse_file
    from airflow.utils.session import create_session

    loader = folder / "loader.py"
    loader.write_text(LOADER.format(folder=str(folder / "tasks")))
    request = DagFileParseRequest(file=str(loader), bundle_path=folder, bundle_name="dags-folder")
    result = _parse_file(request, structlog.get_logger())
    assert result is not None
    assert not result.import_errors
    with create_session() as session:
        bundles = DagBundlesManager()  # type: ignore[no-untyped-call]
        bundles.sync_bundles_to_db(session=session)
        session.commit()
        update_dag_parsing_results_in_db(
            "dags-folder",
            None,
            result.serialized_dags,
            {},
            1.0,
            set(),
            session,
            files_parsed={("dags-folder", "loader.py")},
        )
        session.commit()


def begun(state: StateDatabase, file: Path, key: str | None = None) -> str:
    """A run with one planned job of three batches."""
    runs = Runs(state)
    run = runs.start("flights", str(file), normalise(load_task(file)), "d" * 64, external_key=key)
    runs.add_job(
        run.id,
        "one",
        0,
        source_table="public.flights",
        source_connection="shop_pg",
        source_identity="db:5432/shop",
        purge_mode="manual",
        check_percent=10.0,
        check_seed=7,
    )
    SqlLedger(state, run.id, "one").planned(plan("one"), batches(3))
    return run.id


def made(api: Served, state: StateDatabase, dags: Path) -> Scene:
    """All of it; Airflow has a DAG run `manual__1` of the task."""
    file = dags / "tasks" / "flights.yaml"
    file.write_text(yaml.safe_dump(TASK))
    told_to_airflow(dags)
    for dag in ("flights", "flights__purge", "flights__rollback", "flights__repair"):
        path = f"/api/v2/dags/{dag}"
        assert api.airflow("PATCH", path, {"is_paused": False}).status_code == 200
    body = {"logical_date": None, "dag_run_id": "manual__1"}
    answer = api.airflow("POST", "/api/v2/dags/flights/dagRuns", body)
    assert answer.status_code in {200, 409}, answer.text
    roles = Roles(state)
    for role, user in (("administrators", "anna"), ("owners", "otto"), ("others", "paul")):
        roles.add(role, user, "anna")
    processes = Processes(state, dags / "processes")
    processes.create(parse_process(PROCESS, "test"), "anna")
    subject = Subject(
        task="flights",
        title="Move flights",
        task_type="warm",
        subtypes=frozenset({"insert"}),
        connections=(Touched("shop_pg"),),
        bound={"text": "one"},
        shown={"definition": {"text": "one"}},
        rows=100,
        process="Two",
    )
    run = begun(state, file)
    failed = begun(state, file, "flights/manual__1")
    Runs(state).finish(failed, "failed", "cannot connect to db:5432")
    request = Requests(state, processes=processes).ask(f"cli/{run}", subject, "rita")
    grant = Grants(state).add(Holder("otto"), Scope("shop_pg", "public"), ["read"], "anna")
    return Scene(run, failed, request.id, grant.id)


def differing(state: StateDatabase, run: str, rows: int = 2) -> None:
    """A check has found rows of its second batch to differ."""
    values = {"rows_different": rows, "checked_at": state.now(), "copied_at": state.now()}
    with state.write() as connection:
        its = (BATCHES.c.run == run) & (BATCHES.c.number == 2)
        connection.execute(update(BATCHES).where(its).values(**values))


class Again:
    """Puts the state database back to what it was."""

    def __init__(self, api: Served, state: StateDatabase) -> None:
        self._api = api
        self._file = Path(state.url.database or "")
        self._kept = self._file.with_suffix(".kept")
        state.close()
        shutil.copy(self._file, self._kept)

    def __call__(self) -> None:
        """As when this was made."""
        self._api.api.state.dsp.close()
        for end in ("-wal", "-shm"):
            Path(f"{self._file}{end}").unlink(missing_ok=True)
        shutil.copy(self._kept, self._file)


def filled(path: str, scene: Scene, **more: Any) -> str:
    """A route's path with the names of the scene."""
    names = {
        "run": scene.run,
        "job": "one",
        "task": "flights",
        "request": scene.request,
        "name": "Two",
        "type": "warm",
        "role": "others",
        "user": "paul",
        "grant": scene.grant,
        "connection": "shop_pg",
    }
    return path.format(**names | more)
