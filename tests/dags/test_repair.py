"""The DAG that copies once more what a check found to differ, by a form, and its approval."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from sqlalchemy import select

from dsp_airflow.approval.machine import State
from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.requests import Requests
from dsp_airflow.config.loading import load_task
from dsp_airflow.connections import open_store
from dsp_airflow.engine.errors import Mismatch, Transient
from dsp_airflow.notify import RunEnded
from dsp_airflow.opening import latest_run
from dsp_airflow.state import audit
from dsp_airflow.state.audit import Wanted
from dsp_airflow.state.receipts import verify
from dsp_airflow.state.repairs import Repairs
from dsp_airflow.state.tables import RECEIPTS
from tests.dags.conftest import Stepper, World
from tests.servers import SmtpSink

Build = Callable[..., Stepper]
TASK = """
name: it
owner: otto
retries: 0
jobs:
  - name: job
    type: warm
    source: {connection: flights_source, table: public.flights}
    target: {connection: flights_target}
    batch_size: 20
    check: {percent: 100}
    purge: manual
"""


def differing(world: World, steps: Build) -> Stepper:
    """A run of which two batches of five were found to differ."""
    world.fill(100)
    step = steps(TASK)
    step("job.plan")
    step("job.copy")
    world.target.execute(
        "UPDATE flights SET origin = 'XXX' WHERE id IN (5, 6)", "DELETE FROM flights WHERE id = 45"
    )
    with pytest.raises(AirflowFailException, match="3 rows differ"):
        step("job.check")
    return step


def mail_of(sent: SmtpSink, step: Stepper, event: Any, count: int) -> tuple[str, str]:
    ended = RunEnded(event, "it", "Move flights", "always", ("oncall@example.com",), "repair")
    reason = {} if event == "success" else {"reason": "task_failure"}
    given = SimpleNamespace(clear_number=count, conf={})
    ended({"dag": step.dag, "run_id": step.dag_run.run_id, "dag_run": given, **reason})
    mail = sent.wait_for_mails(count, 10)[-1]
    return str(mail["Subject"]), str(mail.get_content()).replace("\r\n", "\n")


def test_by_the_form(world: World, steps: Build, mails: SmtpSink) -> None:
    differing(world, steps)
    [run] = world.runs.recent()
    assert run.state == "failed"
    repair = steps(TASK, "it__repair", "by_hand")
    assert {t.task_id: set(t.downstream_task_ids) for t in repair.dag.tasks} == {
        "estimate": {"approval"},
        "approval": {"repair"},
        "repair": set(),
    }
    looked = repair("estimate", earlier_run="latest", only="all")
    assert looked == {"run": run.id, "rows": {"job": 40}}
    form = {"earlier_run": run.id, "only": "all"}
    # Killed once its batches wait for the copy: another try goes on with them.
    world.source.execute("ALTER TABLE flights RENAME TO away")
    with pytest.raises((AirflowFailException, Transient)):
        repair("repair", **form)
    (begun,) = Repairs(world.state).of_run(run.id)
    assert (begun.begun_by, begun.batches, begun.rows_found, begun.ended_at) == (
        "anna",
        [1, 3],
        3,
        None,
    )
    subject, said = mail_of(mails, repair, "failure", 1)
    assert subject == "[dsp] FAILED: Move flights (repair)"
    assert "REPAIR OF JOB job: not through" in said
    world.source.execute("ALTER TABLE away RENAME TO flights")
    with pytest.raises(AirflowFailException, match="batch 1 is not copied"):
        steps(TASK, "it__purge", "purge")("purge", job="job", earlier_run=run.id, batches="1")
    assert repair("repair", **form)["rows_different"] == 0
    assert world.count("origin <> 'XXX'") == (100, 100)
    (done,) = Repairs(world.state).of_run(run.id)
    assert (done.rows_found, done.rows_left, done.ended_at is None) == (3, 0, False)
    ended = world.runs.get(run.id)
    assert (ended.state, ended.error, ended.attempt) == ("succeeded", None, 1)
    told = [one.action for one in audit.recent(world.state, Wanted(actions=["repair"]), 9)]
    assert told == ["repair.end", "repair.begin", "repair.begin"]
    subject, said = mail_of(mails, repair, "success", 2)
    assert subject == "[dsp] OK: Move flights (repair)"
    assert "3 rows had differed. 2 batches were copied once more and compared:" in said
    assert "rows     3 had differed, 0 differ now" in said
    # A try that was killed at its very end did all that there was to do.
    assert repair("repair", **form)["rows_different"] == 0
    with pytest.raises(AirflowFailException, match="found a row to differ"):
        steps(TASK, "it__repair", "later")("estimate", earlier_run="latest", only="all")
    # What was repaired is deleted as after a check that had found nothing.
    purged = steps(TASK, "it__purge", "purge")(
        "purge", job="job", earlier_run=run.id, batches="all"
    )
    assert (purged["rows_purged"], purged["rows_kept"]) == (100, 0)
    assert world.count() == (0, 100)
    assert verify(world.state, run.id) == []
    with world.state.read() as connection:
        query = select(RECEIPTS.c.batch).where(RECEIPTS.c.run == run.id)
        assert sorted(connection.execute(query).scalars()) == [1, 2, 3, 4, 5]


def test_nothing_that_was_not_approved(
    world: World, steps: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    differing(world, steps)
    [run] = world.runs.recent()
    monkeypatch.setenv("AIRFLOW__DSP__ENFORCE_APPROVAL", "True")
    Roles(world.state).add("administrators", "olga", "test")
    requests, form = Requests(world.state), {"earlier_run": run.id, "only": "job"}

    def asked(step: Stepper) -> str:
        step("estimate", earlier_run="latest", only="all")
        with pytest.raises(AirflowFailException, match=r"nobody was asked|APPROVING"):
            step("repair", **form)
        with pytest.raises(TaskDeferred) as sleep:
            step("approval")
        return str(sleep.value.trigger.request)

    def approve(step: Stepper, request: str) -> None:
        requests.decide(request, "olga", approved=True)
        step.dag.get_task("approval").resume({}, {"request": request})

    first = steps(TASK, "it__repair", "first")
    request = requests.get(asked(first))
    assert (request.task_type, request.task, request.title) == (
        "repair",
        "it__repair",
        "it: repair",
    )
    [job] = request.evidence["jobs"]
    assert (job["rows"], job["subtypes"], job["deletes"]) == (40, ["insert", "update"], None)
    assert job["statements"][0].startswith("-- of 2 batches only: 1, 3\nSELECT")
    task = load_task(world.folder / "tasks" / "it.yaml")
    # More differs by then than was agreed to.
    world.target.execute("DELETE FROM flights WHERE id IN (70, 90)")
    with pytest.raises(Mismatch):
        latest_run(world.state, task, open_store).check_again("job")
    approve(first, request.id)
    with pytest.raises(AirflowFailException, match=r"would copy 80 rows .* approved for 40"):
        first("repair", **form)
    assert world.count() == (100, 97)
    second = steps(TASK, "it__repair", "second")
    later = asked(second)
    approve(second, later)
    assert second("repair", **form)["rows_different"] == 0
    assert (world.count(), requests.get(later).state) == (
        (100, 100),
        State.EXECUTION_SUCCEEDED,
    )
    told = {one.actor for one in audit.recent(world.state, Wanted(actions=["repair"]), 9)}
    assert told == {"anna"}
