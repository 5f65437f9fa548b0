"""Ends that no callback tells of: a process of its own records them and sends the mails."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dsp_airflow import listener
from dsp_airflow.notify import relay
from dsp_airflow.state.outbox import MailKey, Outbox
from tests.dags.conftest import Stepper, World
from tests.dags.test_steps_of_a_dag import Build, ready, task
from tests.servers import SmtpSink

MARKED = "Dag Run's state was manually set to `{}`."
NOTIFY = "notify: {when: always, to: [oncall@example.com]}"


def as_scheduled(dag: Any) -> Any:
    """The DAG as scheduler and API server have it: out of the metadata database."""
    from airflow.serialization.serialized_objects import DagSerialization

    return DagSerialization.from_dict(DagSerialization.to_dict(dag))


def dag_run(step: Stepper) -> Any:
    return SimpleNamespace(
        dag=as_scheduled(step.dag),
        dag_id=step.dag.dag_id,
        run_id=step.dag_run.run_id,
        clear_number=0,
        conf={},
    )


@pytest.fixture
def copied(world: World, steps: Build) -> Stepper:
    world.fill()
    step = ready(steps(task().replace("    jobs:", f"    {NOTIFY}\n    jobs:")))
    step("job.copy")
    return step


def test_a_run_marked_as_failed_is_recorded_and_told(
    world: World, copied: Stepper, mails: SmtpSink
) -> None:
    for _ in range(2):
        listener.on_dag_run_failed(dag_run(copied), MARKED.format("failed"))
    [mail] = mails.wait_for_mails(1, 90)
    assert mail["Subject"] == "[dsp] FAILED (marked by hand): flights"
    [run] = world.runs.recent()
    assert run.stop_requested
    assert (run.state, run.error) == ("failed", "somebody marked the run as failed in Airflow")
    said = " ".join(mail.get_content().split())
    assert "Job job was copied, and the next step had not begun." in said
    assert "Somebody marked the run as failed in Airflow." in said
    assert "2,500 of 2,500 rows" in said


def test_a_run_marked_as_succeeded_did_not_succeed(
    world: World, copied: Stepper, mails: SmtpSink
) -> None:
    listener.on_dag_run_success(dag_run(copied), MARKED.format("success"))
    [mail] = mails.wait_for_mails(1, 90)
    assert mail["Subject"] == "[dsp] OK (marked by hand): flights"
    assert "was marked as succeeded by hand" in mail.get_content()
    assert world.runs.recent()[0].state == "terminated"


def test_a_failure_is_left_to_the_callback_at_first(
    world: World, copied: Stepper, mails: SmtpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, Any]] = []
    monkeypatch.setattr(relay, "start", lambda **values: started.append(values))
    found = dag_run(copied)
    listener.on_dag_run_failed(found, "task_failure")
    listener.on_dag_run_success(found, "success")
    [given] = started
    from dsp_airflow.notify.ended import Told

    assert Told.load(given["told"]).post(relay.HEAD_START) is None
    [run] = world.runs.recent()
    outbox = Outbox(world.state)
    assert outbox.state(MailKey(run.id, 1, "failure")) == "new"
    assert outbox.claim() is None
    assert mails.mails() == []
    copied.dag.on_failure_callback(
        {"dag": copied.dag, "run_id": "by_test", "dag_run": found, "reason": "task_failure"}
    )
    assert len(mails.mails()) == 1
    assert outbox.wait() is None


def test_other_dags_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import DAG

    started: list[Any] = []
    monkeypatch.setattr(relay, "start", lambda **values: started.append(values))
    for dag in (None, as_scheduled(DAG("other")), as_scheduled(DAG("tagged", tags=["dsp"]))):
        listener.on_dag_run_failed(SimpleNamespace(dag=dag), "task_failure")
    assert started == []


def test_a_relay_does_not_wait_for_a_state_database_that_is_down(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__DSP__SQL_ALCHEMY_CONN", "postgresql://a:b@127.0.0.1:1/x")
    relay.run(told=None, letter=None)


def test_the_plugin_brings_the_listener() -> None:
    from dsp_airflow.web.plugin import DspPlugin

    assert DspPlugin.listeners == [listener]
