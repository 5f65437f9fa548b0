"""The DAG that undoes what an earlier run wrote, by a form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred
from airflow.utils.session import create_session
from sqlalchemy import select, update

from dsp_airflow.approval.machine import State
from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.requests import Requests
from dsp_airflow.state import audit
from dsp_airflow.state.audit import Wanted
from dsp_airflow.state.rollbacks import Rollbacks
from dsp_airflow.state.switches import Switches
from tests.dags.conftest import Stepper, World
from tests.servers import SmtpSink
from tests.web.scene import told_to_airflow

TASK = """
name: it
display_name: Move flights
owner: otto
retries: 0
notify: {when: always, to: [oncall@example.com]}
jobs:
  - name: copy
    type: warm
    source: {connection: flights_source, table: public.flights}
    target: {connection: flights_target}
    rollback: true
"""


def test_by_the_form_and_again(
    world: World,
    steps: Callable[..., Stepper],
    run_dag: Callable[..., Any],
    mails: SmtpSink,
) -> None:
    world.fill(100)
    world.write("it", TASK)
    copy = steps(TASK)
    for name in ("copy.plan", "copy.copy", "copy.check"):
        copy(name)
    [run] = world.runs.recent()
    world.target.execute("UPDATE flights SET origin = 'mine' WHERE id <= 3")
    step = steps(TASK, "it__rollback", "by_hand")
    assert {t.task_id: set(t.downstream_task_ids) for t in step.dag.tasks} == {
        "estimate": {"approval"},
        "approval": {"rollback"},
        "rollback": {"again"},
        "again": {"trigger"},
        "trigger": set(),
    }
    assert set(step.dag.params) == {"run", "job", "again"}
    Switches(world.state).set("it", "disabled", "anna", "moving")
    form = {"earlier_run": "latest", "only": "all", "again": "True"}
    with pytest.raises(AirflowFailException, match="disabled"):
        step("estimate", **form)
    with pytest.raises(AirflowFailException, match="was not rolled back"):
        step("again", **form)
    Switches(world.state).set("it", "enabled", "anna", "moved")
    told_to_airflow(world.folder)
    (world.folder / "loader.py").unlink()
    with create_session() as session:
        session.execute(update(DagModel).where(DagModel.dag_id == "it").values(is_paused=False))
    done = run_dag("it__rollback", run_conf={"run": run.id, "job": "all", "again": True})
    assert done.state == "success"
    with create_session() as session:
        begun = list(session.scalars(select(DagRun).where(DagRun.dag_id == "it")))
    assert [(one.run_id, one.run_type) for one in begun] == [
        (f"again__{run.id}", "operator_triggered")
    ]
    (undone,) = Rollbacks(world.state).of_run(run.id)
    assert (undone.removed, undone.restored, undone.kept) == (97, 0, 3)
    # The new run is one of the task's own DAG, linked before that has begun.
    (new,) = [one for one in world.runs.recent() if one.id != run.id]
    assert (undone.again, new.external_key, new.state) == (
        new.id,
        f"it/again__{run.id}",
        "planned",
    )
    assert world.target.value("SELECT count(*) FROM flights") == 3
    told = [one.action for one in audit.recent(world.state, Wanted(actions=["rollback"]), 9)]
    assert sorted(told) == ["rollback.begin", "rollback.end"]
    [mail] = mails.wait_for_mails(1, 10)
    said = " ".join(str(mail.get_content()).split())
    assert "97 rows removed that the run had inserted, 0 set back" in said
    assert f"3 rows kept. WHAT TO DO - Nothing. Run {new.id} does the work again." in said
    assert "- 3 others have changed it since" in said
    assert mail["Subject"] == "[dsp] OK (3 rows kept): Move flights (rollback)"
    # A clear of a step of the run that is over does not bring it back.
    with pytest.raises(AirflowFailException, match="was rolled back"):
        copy("copy.copy")
    # Nobody asked: the steps that do it again are skipped.
    with pytest.raises(AirflowSkipException):
        step("again", **form | {"again": "False", "earlier_run": run.id})


def test_only_what_was_approved(
    world: World, steps: Callable[..., Stepper], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fill(10)
    copy = steps(TASK)
    for name in ("copy.plan", "copy.copy", "copy.check"):
        copy(name)
    monkeypatch.setenv("AIRFLOW__DSP__ENFORCE_APPROVAL", "True")
    Roles(world.state).add("administrators", "olga", "test")
    step, form = steps(TASK, "it__rollback", "by_hand"), {"earlier_run": "latest", "only": "all"}
    step("estimate", **form)
    with pytest.raises(AirflowFailException, match="nobody was asked to approve"):
        step("rollback", **form)
    with pytest.raises(TaskDeferred) as sleep:
        step("approval")
    requests = Requests(world.state)
    request = requests.get(sleep.value.trigger.request)
    assert (request.task_type, request.requester) == ("rollback", "anna")
    [job] = request.evidence["jobs"]
    assert "10 rows of public.flights that run" in job["deletes"]
    with pytest.raises(AirflowFailException, match="APPROVING"):
        step("rollback", **form)
    assert world.target.value("SELECT count(*) FROM flights") == 10
    requests.decide(request.id, "olga", approved=True)
    step.dag.get_task("approval").resume({}, {"request": request.id})
    step("rollback", **form)
    assert world.target.value("SELECT count(*) FROM flights") == 0
    assert requests.get(request.id).state == State.EXECUTION_SUCCEEDED
