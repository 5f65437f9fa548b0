"""Runs that somebody ends by hand, and tasks that are switched off, as Airflow sees them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from dsp_airflow.notify.end import End
from dsp_airflow.state.outbox import MailKey, Outbox
from dsp_airflow.state.switches import Switches
from dsp_airflow.steps import TaskRun
from tests.dags.conftest import Stepper, World
from tests.dags.test_mails import context, ended, text
from tests.dags.test_steps_of_a_dag import Build, copied, ready, task
from tests.servers import SmtpSink

TWO = """
    name: flights
    execution: parallel
    retries: 3
    jobs:
      - name: first
        type: warm
        source: {connection: flights_source, table: public.flights}
        target: {connection: flights_target, table: public.flights}
        check: none
      - name: second
        type: warm
        source: {connection: flights_source, table: public.flights}
        target: {connection: flights_target, table: public.copies}
        check: none
"""


def test_a_stop_ends_every_branch_and_only_a_clear_goes_on(world: World, steps: Build) -> None:
    world.fill()
    step = steps(TWO)
    for name in ("estimate", "approval", "first.plan", "second.plan"):
        step(name)
    [run] = world.runs.recent()
    world.runs.request_stop(run.id, "ann", "wrong table")
    with pytest.raises(AirflowFailException, match="ann asked it to stop: wrong table"):
        step("first.copy")
    # What comes later by itself, be it a retry, stops too.
    step.tries["second.copy"] = (1, 3)
    with pytest.raises(AirflowFailException, match=f"run {run.id} has ended: ann asked it"):
        step("second.copy")
    again = world.runs.get(run.id)
    assert (again.state, again.attempt, again.stop_requested_by) == ("terminated", 1, "ann")

    # One step is cleared while the DAG run goes on with other branches.
    step.tries["first.copy"] = (1, 4)
    assert step("first.copy")["rows_written"] == 2500
    again = world.runs.get(run.id)
    assert (again.state, again.attempt, again.stop) == ("running", 2, None)
    assert step("second.copy")["rows_written"] == 2500
    assert world.runs.get(run.id).state == "succeeded"


def test_a_step_that_begins_as_another_ends_the_run_does_not_revive_it(
    world: World, steps: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has looked at the run a moment before."""
    world.fill()
    step = ready(steps(task(retries=3)))
    [run] = world.runs.recent()
    begin = TaskRun.begin

    def late(self: TaskRun, *arguments: Any) -> None:
        world.runs.request_stop(run.id, "ann")
        world.runs.finish(run.id, "terminated")
        begin(self, *arguments)

    monkeypatch.setattr(TaskRun, "begin", late)
    with pytest.raises(AirflowFailException, match="has ended: ann asked it to stop"):
        step("job.copy")
    found = world.runs.get(run.id)
    assert (found.state, found.attempt, found.stop_requested_by) == ("terminated", 1, "ann")


def test_a_cleared_dag_run_goes_on_from_its_first_step(world: World, steps: Build) -> None:
    world.fill()
    step = steps(task(retries=3))
    step("estimate")
    [run] = world.runs.recent()
    world.runs.request_stop(run.id, "ann")
    with pytest.raises(AirflowFailException, match="ann asked it to stop"):
        step("estimate")
    assert world.runs.get(run.id).state == "terminated"
    step.clear("estimate", "approval", "job.plan")
    ready(step)
    assert step("job.copy")["rows_written"] == 2500


@pytest.mark.parametrize("when", ["failure", "success"])
def test_a_terminated_run_is_told_as_what_it_is(
    world: World, steps: Build, mails: SmtpSink, when: str
) -> None:
    world.fill()
    step = ready(steps(task()))
    [run] = world.runs.recent()
    world.runs.request_stop(run.id, "ann", "the disk\nis full")
    with pytest.raises(AirflowFailException):
        step("job.copy")
    for _ in range(2):
        ended(when=when)(context(step, reason="task_failure"))
    if when == "success":
        assert mails.mails() == []
        return
    [mail] = mails.wait_for_mails(1, 10)
    assert mail["Subject"] == "[dsp] TERMINATED (by ann): Move old flights"
    said = " ".join(text(mail).split())
    assert said.startswith("Move old flights was TERMINATED by ann. Your data is safe.")
    assert "stopped at the edge of a batch, as ann asked it to stop: the disk is full." in said
    assert "Nothing, if that was meant. To go on, clear the DAG run in Airflow" in said
    assert Outbox(world.state).state(MailKey(run.id, 1, "terminated")) == "sent"


def test_a_killed_step_of_a_run_that_was_to_stop_is_terminated(world: World, steps: Build) -> None:
    """Who works on it died before he heard of it; Airflow tells of the end."""
    world.fill()
    step = ready(steps(task()))
    [run] = world.runs.recent()
    world.runs.request_stop(run.id, "ann", "now")
    assert ended(when="never").letter(End.of_callback(context(step))) is None
    found = world.runs.get(run.id)
    assert (found.state, found.error) == ("terminated", "ann asked it to stop: now")


def scheduled(step: Stepper, run_type: str = "scheduled") -> Stepper:
    step.dag_run.run_type = run_type
    return step


def test_a_disabled_task_is_skipped_by_its_schedule_and_refused_by_hand(
    world: World, steps: Build, mails: SmtpSink
) -> None:
    world.fill()
    tasks = Switches(world.state)
    tasks.set("flights", "disabled", "ann", "moving house")
    why = r"task flights is disabled by ann at .* \(moving house\), so no run of it begins; dsp"
    with pytest.raises(AirflowSkipException, match=why):
        scheduled(steps(task()))("estimate")
    with pytest.raises(AirflowFailException, match=why):
        scheduled(steps(task()), "manual")("estimate")
    assert world.runs.recent() == []
    # Nobody is told every night of what somebody did on purpose.
    for event in ("success", "failure"):
        assert ended(event).letter(End.of_callback(context(steps(task())))) is None
    refused = steps(task())
    refused.dag_run.start_date = world.state.now() - timedelta(seconds=1)
    tasks.set("flights", "enabled", "ann")
    # Airflow may tell of the end when the task is already switched on again.
    assert ended().letter(End.of_callback(context(refused))) is None
    refused.dag_run.start_date = world.state.now() + timedelta(seconds=1)
    assert ended().letter(End.of_callback(context(refused))) is not None
    assert scheduled(steps(task()))("estimate")["rows"] == {"job": 2500}


def test_a_run_that_has_begun_goes_on_and_one_that_has_ended_does_not(
    world: World, steps: Build
) -> None:
    world.fill()
    step = ready(scheduled(steps(task(retries=1))))
    tasks = Switches(world.state)
    tasks.set("flights", "disabled", "ann")
    step("job.copy")
    world.target.execute("DELETE FROM flights WHERE id = 5")
    with pytest.raises(AirflowFailException, match="differ"):
        step("job.check")
    assert world.runs.recent()[0].state == "failed"
    step.clear("job.check")
    with pytest.raises(AirflowFailException, match="flights is disabled by ann"):
        step("job.check")
    tasks.set("flights", "enabled", "ann")
    with pytest.raises(AirflowFailException, match="differ"):
        step("job.check")


def test_an_offline_task_deletes_nothing_by_hand_and_a_disabled_one_may(
    world: World, steps: Build, mails: SmtpSink
) -> None:
    world.fill()
    copied(world, steps)
    tasks = Switches(world.state)
    tasks.set("flights", "offline", "ann")
    values: dict[str, Any] = {"job": "job", "earlier_run": "latest", "batches": "1"}
    step = steps(task("manual"), "flights__purge", "by_hand")
    with pytest.raises(AirflowFailException, match=r"flights is offline by ann .* --from-offline"):
        step("purge", **values)
    assert world.count() == (2500, 2500)
    end = End.of_callback(context(step, reason="task_failure"))
    assert ended(act="purge").letter(end) is None
    tasks.set("flights", "disabled", "ann", back=True)
    assert step("purge", **values)["rows_purged"] == 500
