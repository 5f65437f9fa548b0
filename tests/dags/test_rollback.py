"""The DAG that undoes what an earlier run wrote, by a form."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from airflow.sdk.exceptions import AirflowFailException

from dsp_airflow.state import audit
from dsp_airflow.state.audit import Wanted
from tests.dags.conftest import Stepper, World

TASK = """
name: it
owner: otto
jobs:
  - name: copy
    type: warm
    source: {connection: flights_source, table: public.flights}
    target: {connection: flights_target}
    rollback: true
"""


def test_by_the_form(world: World, steps: Callable[..., Stepper]) -> None:
    world.fill(100)
    copy = steps(TASK)
    for name in ("copy.plan", "copy.copy", "copy.check"):
        copy(name)
    step = steps(TASK, "it__rollback", "by_hand")
    assert {t.task_id: set(t.downstream_task_ids) for t in step.dag.tasks} == {
        "estimate": {"approval"},
        "approval": {"rollback"},
        "rollback": set(),
    }
    assert set(step.dag.params) == {"run", "job"}
    form = {"earlier_run": "latest", "only": "all"}
    looked = step("estimate", **form)
    assert looked["rows"] == {"copy": 100}
    found = step("rollback", **form | {"earlier_run": looked["run"]})
    assert found["rows"] == {"copy": {"removed": 100, "restored": 0, "kept": 0}}
    assert world.target.value("SELECT count(*) FROM flights") == 0
    told = [one.action for one in audit.recent(world.state, Wanted(actions=["rollback"]), 9)]
    assert sorted(told) == ["rollback.begin", "rollback.end"]
    # A clear of a step of the run that is over does not bring it back.
    with pytest.raises(AirflowFailException, match="was rolled back"):
        copy("copy.copy")


def test_only_what_was_approved(
    world: World, steps: Callable[..., Stepper], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fill(10)
    copy = steps(TASK)
    for name in ("copy.plan", "copy.copy"):
        copy(name)
    monkeypatch.setenv("AIRFLOW__DSP__ENFORCE_APPROVAL", "True")
    step = steps(TASK, "it__rollback", "by_hand")
    step("estimate", earlier_run="latest", only="all")
    with pytest.raises(AirflowFailException, match="approv"):
        step("rollback", earlier_run="latest", only="all")
    assert world.target.value("SELECT count(*) FROM flights") == 10
