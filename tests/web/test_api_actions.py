"""What a person does about a run over the API becomes a DAG run of Airflow, in his name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from dsp_airflow.approval.processes import Processes
from dsp_airflow.approval.requests import Requests
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.switches import Switches
from dsp_airflow.state.tables import JOBS
from tests.web.scene import made
from tests.web.served import Served

UWE: dict[str, Any] = {"user": "uwe", "role": "USER"}


def test_a_run_tells_whom_it_waits_for(api: Served, state: StateDatabase, tmp_path: Path) -> None:
    scene = made(api, state, tmp_path / "dags")

    def told() -> list[str]:
        found = api.get(f"/runs/{scene.run}", **UWE)
        assert found["request"] == scene.request
        return [one["text"] for one in found["notes"]]

    requests = Requests(state, processes=Processes(state, tmp_path / "dags" / "processes"))
    (note,) = told()
    assert note.startswith("waits for approval by role owners (otto), until 20")
    requests.decide(scene.request, "otto", approved=True)
    assert told()[0].startswith("waits for approval by user anna (anna), until 20")
    requests.decide(scene.request, "anna", approved=True)
    (note,) = told()
    assert note.startswith("is approved, and waits until its request is executed, until 20")
    requests.execute(scene.request, "rita")
    assert told() == []


def test_forms_of_the_dag_of_purges(api: Served, state: StateDatabase, tmp_path: Path) -> None:
    scene = made(api, state, tmp_path / "dags")
    path = f"/runs/{scene.run}/jobs/one"
    for action, more in (("purge", {}), ("mark-deleted", {"act": "mark_deleted"})):
        answer = api("POST", f"{path}/{action}", {"batches": " 1, 3 - 3"}, **UWE)
        begun = answer.json()
        assert (answer.status_code, begun["dag_id"]) == (202, "flights__purge")
        its = f"/api/v2/dags/flights__purge/dagRuns/{begun['dag_run_id']}"
        dag_run = api.airflow("GET", its).json()
        form = {"job": "one", "batches": "1,3-3", "run": scene.run}
        assert dag_run["conf"] == form | more
        assert dag_run["triggering_user_name"] == "uwe"


@pytest.mark.parametrize("action", ["purge", "mark-deleted"])
def test_what_the_dag_of_purges_is_not_asked(
    api: Served, state: StateDatabase, tmp_path: Path, action: str
) -> None:
    scene = made(api, state, tmp_path / "dags")
    dag_runs = "/api/v2/dags/flights__purge/dagRuns?limit=1"
    before = api.airflow("GET", dag_runs).json()["total_entries"]

    def refused(job: str, batches: Any, status: int) -> str:
        path = f"/runs/{scene.run}/jobs/{job}/{action}"
        answer = api("POST", path, {"batches": batches}, **UWE)
        assert answer.status_code == status, answer.text
        return str(answer.json()["detail"])

    assert "batches 1 to 3; there is no 4" in refused("one", "2-4", 422)
    assert "'1-'" in refused("one", "1-", 422)
    refused("one", 1, 422)
    assert "no job two" in refused("two", "all", 404)
    Switches(state).set("flights", "offline", "anna", "moving")
    assert "offline" in refused("one", "all", 409)
    with state.write() as connection:
        connection.execute(update(JOBS).values(purge_mode="system"))
    assert "says purge: system" in refused("one", "all", 409)
    assert api.airflow("GET", dag_runs).json()["total_entries"] == before
