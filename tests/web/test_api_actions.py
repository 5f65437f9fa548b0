"""What a person does about a run over the API becomes a DAG run of Airflow, in his name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from dsp_airflow.approval.processes import Processes
from dsp_airflow.approval.requests import Requests
from dsp_airflow.state import audit
from dsp_airflow.state.audit import Wanted
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.repairs import Repairs
from dsp_airflow.state.rollbacks import Rollbacks
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.switches import Switches
from dsp_airflow.state.tables import JOBS
from tests.web.scene import differing, made
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


def test_a_run_is_undone_done_again_and_repaired_by_forms(
    api: Served, state: StateDatabase, tmp_path: Path
) -> None:
    scene = made(api, state, tmp_path / "dags")
    run = f"/runs/{scene.failed}"

    def begun(action: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        answer = api("POST", f"{run}/{action}", body, **UWE)
        assert answer.status_code == 202, answer.text
        dag, dag_run = answer.json()["dag_id"], answer.json()["dag_run_id"]
        found = api.airflow("GET", f"/api/v2/dags/{dag}/dagRuns/{dag_run}").json()
        assert found["triggering_user_name"] == "uwe"
        return dag, found["conf"]

    def refused(action: str, body: dict[str, Any], status: int, **who: Any) -> str:
        answer = api("POST", f"{run}/{action}", body, **(who or UWE))
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"].startswith("application/problem+json")
        return str(answer.json()["detail"])

    # What the forms of both DAGs get.
    form = {"run": scene.failed, "job": "all"}
    assert begun("rollback", {}) == ("flights__rollback", form)
    assert begun("rollback", {"again": True, "job": "one"}) == (
        "flights__rollback",
        {"run": scene.failed, "job": "one", "again": True},
    )
    assert "found a row to differ" in refused("repair", {}, 409)
    differing(state, scene.failed)
    assert begun("repair", {}) == ("flights__repair", form)
    for action in ("rollback", "repair"):
        assert "no job two" in refused(action, {"job": "two"}, 404)
        refused(action, {}, 403, user="vera", role="VIEWER")
        refused(action, {"job": 1}, 422)
    api.airflow("PATCH", "/api/v2/dags/flights", {"is_paused": True})
    assert "is paused in Airflow" in refused("rollback", {"again": True}, 409)
    api.airflow("PATCH", "/api/v2/dags/flights", {"is_paused": False})
    Switches(state).set("flights", "disabled", "anna", "moving")
    assert "disabled" in refused("rollback", {"again": True}, 409)
    Switches(state).set("flights", "offline", "anna", "moving")
    assert "offline" in refused("repair", {}, 409)
    Switches(state).set("flights", "enabled", "anna", "moved", back=True)
    # What the run's page shows of it.
    shown = api.get(run, **UWE)
    assert (shown["may_roll_back"], shown["may_re_execute"], shown["may_repair"]) == (True,) * 3
    assert shown["afterwards"]["repairable"] == ["one"]
    Repairs(state).begin(scene.failed, "one", "uwe")
    (repair,) = api.get(run, **UWE)["afterwards"]["repairs"]
    assert (repair["by"], repair["batches"], repair["rows_found"]) == ("uwe", 1, 2)
    assert repair["ended_at"] is None
    Repairs(state).end(scene.failed, "one", "uwe")
    rollbacks = Rollbacks(state)
    rollbacks.begin(scene.failed, "one", "uwe", "db public.flights", lambda _: None)
    assert api.get(run, **UWE)["rollback"] == "begun"
    counts = {"removed": 90, "restored": 7, "kept": 3}
    kept = [{"key": ["1"], "inserted": True, "why": "others have changed it since"}] * 3
    rollbacks.end(scene.failed, "one", "uwe", counts, kept)
    rollbacks.link(scene.failed, scene.run)
    shown = api.get(run, **UWE)
    (undone,) = shown["afterwards"]["rollbacks"]
    assert {name: undone[name] for name in counts} == counts
    assert undone["reasons"] == [{"why": "others have changed it since", "rows": 3}]
    may = [shown[name] for name in ("may_roll_back", "may_re_execute", "may_repair", "may_retry")]
    assert (shown["rollback"], shown["next_step"], may) == ("partly", None, [False] * 4)
    assert "was rolled back" in refused("retry", {}, 409)
    assert shown["afterwards"]["again"] == scene.run
    assert api.get(f"/runs/{scene.run}", **UWE)["afterwards"]["again_of"] == scene.failed
    states = {one["id"]: one["rollback"] for one in api.get("/runs", **UWE)["items"]}
    assert states == {scene.failed: "partly", scene.run: None}
    # Both have begun under a name and an address, as the audit tells.
    told = audit.recent(state, Wanted(actions=["repair", "rollback"]), 9)
    assert {one.actor for one in told} == {"uwe"}


def test_a_run_refused_for_its_table_says_which(
    api: Served, state: StateDatabase, tmp_path: Path
) -> None:
    scene = made(api, state, tmp_path / "dags")
    error = (
        "job one: public.flights is not as it was when run r1 found it: column v dropped (drift: "
        "fail). Look whether the copies are still what they should be, then accept it: dsp drift "
        "FILE --job one --accept"
    )
    Runs(state).finish(scene.run, "failed", error)
    shown = api.get(f"/runs/{scene.run}", **UWE)
    assert shown["afterwards"]["drifted"] == ["one"]
    assert "accept the table as it is" in shown["next_step"]
    assert api.get(f"/runs/{scene.failed}", **UWE)["afterwards"]["drifted"] == []
