"""Steps of a DAG fail without a retry, and touch nothing, where a grant is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from dsp_airflow.approval.people import Roles
from dsp_airflow.permissions.grants import Holder, Scope
from dsp_airflow.permissions.settings import NOT_ENFORCED
from dsp_airflow.permissions.store import Grants
from tests.dags.conftest import Stepper, World

Build = Callable[..., Stepper]
TASK = """
    name: flights
    owner: data
    retries: 3
    jobs:
      - name: job
        type: warm
        source: {connection: flights_source, table: public.flights}
        target: {connection: flights_target, table: public.flights}
        batch_size: 500
        check: {percent: 100}
        purge: manual
"""
SOURCE, TARGET = Scope("flights_source"), Scope("flights_target")


@pytest.fixture(autouse=True)
def enforced(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__DSP__ENFORCE_GRANTS", "True")
    Roles(world.state).add("administrators", "root", "root")


def grant(world: World, user: str, scope: Scope, *privileges: str) -> str:
    return Grants(world.state).add(Holder(user), scope, privileges, "root").id


def refused(step: Stepper, task_id: str, told: str, **changes: Any) -> None:
    with pytest.raises(AirflowFailException, match=told):
        step(task_id, **changes)


def test_owner_and_triggering_user_in_every_step(
    world: World, steps: Build, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fill(1000)
    step = steps(TASK)
    refused(step, "estimate", r"data \(owner of task flights\) has no grant to read .*: root can")
    grant(world, "data", SOURCE, "read")
    grant(world, "data", TARGET, "write")
    refused(step, "estimate", r"anna \(who started this\) has no grant to read .*flights_source")
    [run] = world.runs.recent()
    assert run.state == "failed"
    assert "nothing was touched" in (run.error or "")
    mine = grant(world, "anna", SOURCE, "read"), grant(world, "anna", TARGET, "read")
    # A step may be cleared, and runs alone: each asks by itself.
    step.clear("estimate")
    step("estimate")
    step("job.plan")
    Grants(world.state).revoke(mine[1], "root")
    refused(step, "job.copy", r"anna \(who started this\) has no grant to read .*flights_target")
    assert world.count() == (1000, 0)
    grant(world, "anna", TARGET, "read")
    step.clear("job.copy")
    step("job.copy")
    Grants(world.state).revoke(mine[0], "root")
    refused(step, "job.check", "anna .* flights_source")
    # A scheduled run is its owner's alone.
    step.dag_run.triggering_user_name = None
    step.clear("job.check")
    step("job.check")
    assert world.count() == (1000, 1000)

    by_hand = steps(TASK, "flights__purge")
    tasks = [one.task_id for one in by_hand.dag.topological_sort()]
    estimate = next(name for name in tasks if "estimate" in name)
    purge = next(name for name in tasks if "purge" in name)
    given = {"job": "job", "batches": "all", "earlier_run": "latest"}
    refused(by_hand, estimate, "data .* purge", **given)
    refused(by_hand, purge, "data .* purge", **given)
    grant(world, "data", Scope("flights_source", "public", "flights"), "purge")
    grant(world, "anna", SOURCE, "read")
    refused(by_hand, purge, r"anna \(who asked for this\) has no grant to purge", **given)
    refused(by_hand, purge, "anna .* purge", **given, act="mark_deleted")
    assert world.count() == (1000, 1000)
    grant(world, "anna", SOURCE, "purge")
    by_hand.clear(purge)
    by_hand(purge, **given)
    assert world.count() == (0, 1000)
    assert NOT_ENFORCED not in capsys.readouterr().out
    monkeypatch.setenv("AIRFLOW__DSP__ENFORCE_GRANTS", "False")
    steps(TASK, run_id="another")("estimate")
    assert NOT_ENFORCED in capsys.readouterr().out


def test_a_dag_fails_at_its_first_step_without_a_retry(
    world: World, run_dag: Callable[..., Any]
) -> None:
    world.fill(100)
    grant(world, "data", SOURCE, "read")
    grant(world, "data", TARGET, "write")
    world.write("flights", TASK)
    done = run_dag("flights")
    states = {one.task_id: one.state for one in done.get_task_instances()}
    assert (done.state, states["estimate"]) == ("failed", "failed")
    assert set(states.values()) == {"failed", "upstream_failed"}
    [run] = world.runs.recent()
    assert "(who started this) has no grant to read" in (run.error or "")
    assert world.count() == (100, 0)
