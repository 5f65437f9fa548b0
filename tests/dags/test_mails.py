"""Mails about the ends of runs really arrive, once."""

from __future__ import annotations

from collections.abc import Callable
from email.message import EmailMessage
from types import SimpleNamespace
from typing import Any

import pytest

from dsp_airflow.notify import RunEnded
from dsp_airflow.notify.end import link
from dsp_airflow.state.outbox import MailKey, Outbox
from tests.dags.conftest import Stepper, World
from tests.dags.test_steps_of_a_dag import Build, ready, task
from tests.servers import SmtpSink


def ended(event: Any = "failure", when: str = "always", **values: Any) -> RunEnded:
    return RunEnded(event, "flights", "Move old flights", when, ("oncall@example.com",), **values)


def context(step: Stepper | None = None, **values: Any) -> dict[str, Any]:
    """What Airflow gives to a DAG callback."""
    if step is None:
        return {"dag": SimpleNamespace(dag_id="flights"), "run_id": "by_test", **values}
    return {"dag": step.dag, "run_id": step.dag_run.run_id, "dag_run": step.dag_run, **values}


def text(mail: EmailMessage) -> str:
    content = mail.get_content()
    assert mail.get_content_type() == "text/plain"
    return str(content)


@pytest.fixture
def failed_check(world: World, steps: Build) -> Stepper:
    """A run of which one row was found to differ."""
    world.fill()
    step = ready(steps(task()))
    step("job.copy")
    world.target.execute("UPDATE flights SET origin = 'XXX' WHERE id = 77")
    with pytest.raises(Exception, match="differ"):
        step("job.check")
    return step


def test_a_failure_says_what_where_and_what_to_do(
    world: World, failed_check: Stepper, mails: SmtpSink
) -> None:
    ended()(context(failed_check, reason="task_failure"))
    [mail] = mails.wait_for_mails(1, 10)
    assert mail["X-RcptTo"] == mail["To"] == "oncall@example.com"
    assert mail["Subject"] == "[dsp] Move old flights failed"
    [run] = world.runs.recent()
    lines = text(mail).splitlines()
    assert lines[0] == "Move old flights FAILED."
    assert "Task:     flights" in lines
    assert f"Run:      {run.id}  (Airflow: by_test)" in lines
    error = next(line for line in lines if line.startswith("Error:"))
    assert "1 rows differ between source and target" in error
    assert f"Look at:  {link('flights', 'by_test')}" in lines
    assert "Job job: failed" in lines
    counts = {line.strip() for line in lines}
    assert "rows copied              2,500 of 2,500" in counts
    assert "rows different               1" in counts
    assert "rows purged                  0" in counts
    assert any(line.startswith("Is a retry safe? Yes.") for line in lines)


def test_one_mail_however_often_the_callback_comes(
    world: World, failed_check: Stepper, mails: SmtpSink
) -> None:
    for _ in range(3):
        ended()(context(failed_check))
    assert len(mails.mails()) == 1
    [run] = world.runs.recent()
    assert Outbox(world.state).state(MailKey(run.id, 1, "failure")) == "sent"


def test_a_clear_that_fails_again_is_told_again(
    world: World, failed_check: Stepper, mails: SmtpSink
) -> None:
    ended()(context(failed_check))
    failed_check.clear("job.check")
    with pytest.raises(Exception, match="differ"):
        failed_check("job.check")
    ended()(context(failed_check))
    assert len(mails.mails()) == 2


@pytest.mark.parametrize(
    ("when", "events"),
    [
        ("never", []),
        ("failure", ["failure"]),
        ("success", ["success"]),
        ("always", ["failure", "success"]),
    ],
)
def test_strategies(world: World, mails: SmtpSink, when: str, events: list[str]) -> None:
    told = []
    for event in ("failure", "success"):
        before = len(mails.mails())
        ended(event, when)(context(dag_run=SimpleNamespace(clear_number=0)))
        told += [event] * (len(mails.mails()) - before)
    assert told == events


def test_an_end_that_no_step_saw_is_recorded(world: World, steps: Build, mails: SmtpSink) -> None:
    """A killed process, or a run that timed out."""
    world.fill()
    step = ready(steps(task()))
    ended(when="never")(context(step, reason="timed_out"))
    [run] = world.runs.recent()
    assert (run.state, run.error) == ("failed", "timed out")


def test_without_the_state_database_the_mail_goes_out_all_the_same(
    world: World, failed_check: Stepper, mails: SmtpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__DSP__SQL_ALCHEMY_CONN", "postgresql://a:secret@127.0.0.1:1/x")
    ended()(context(failed_check, reason="task_failure"))
    [mail] = mails.wait_for_mails(1, 10)
    assert "Error:    task failure" in text(mail)
    assert "The state database has no counts for this run." in text(mail)
    assert "secret" not in text(mail)


def test_a_mail_that_could_not_go_out_follows_with_the_next(
    world: World, failed_check: Stepper, mails: SmtpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    [run] = world.runs.recent()
    with monkeypatch.context() as patched:
        patched.setenv(
            "AIRFLOW_CONN_SMTP_DEFAULT",
            "smtp://127.0.0.1:1/?disable_ssl=true&disable_tls=true&from_email=a%40example.com",
        )
        ended()(context(failed_check))
    assert Outbox(world.state).state(MailKey(run.id, 1, "failure")) == "new"
    ended()(context(run_id="another"))
    subjects = [text(mail).splitlines()[3] for mail in mails.wait_for_mails(2, 10)]
    assert any("another" in line for line in subjects)
    assert any(run.id in line for line in subjects)


def test_manual_deletion_tells_of_the_run_it_purged(
    world: World, steps: Build, mails: SmtpSink
) -> None:
    world.fill()
    step = ready(steps(task("manual")))
    step("job.copy")
    step("job.check")
    [run] = world.runs.recent()
    by_hand = steps(task("manual"), "flights__purge", "by_hand")
    by_hand("purge", job="job", batches="1-2", earlier_run="latest")
    for conf in ({"run": run.id}, {}):
        given = {"dag_run": SimpleNamespace(clear_number=0, conf=conf)}
        ended("success", by_hand=True)(context(by_hand) | given | {"run_id": f"by_hand{conf}"})
    for mail in mails.wait_for_mails(2, 10):
        assert mail["Subject"] == "[dsp] Purge by hand of Move old flights succeeded"
        lines = text(mail).splitlines()
        assert "Task:     flights (manual deletion)" in lines
        assert any(line.startswith(f"Run:      {run.id}") for line in lines)
        assert "  rows purged              1,000" in lines


def test_odd_titles_do_no_harm(world: World, mails: SmtpSink) -> None:
    odd = RunEnded(
        "failure", "t", "Rückgabe\nBcc: x@example.com 数据", "always", ("a@example.com",)
    )
    odd(context())
    [mail] = mails.wait_for_mails(1, 10)
    assert mail["Subject"] == "[dsp] Rückgabe Bcc: x@example.com 数据 failed"
    assert mail["Bcc"] is None
    assert "数据" in text(mail)


def test_a_mapped_failure_survives_a_bare_context(world: World, mails: SmtpSink) -> None:
    """Airflow leaves out what it does not have."""
    ended()({})
    assert "Run:      -  (Airflow: -)" in text(mails.wait_for_mails(1, 10)[0])


FAILING = """
    name: fails
    notify: {when: failure, to: [oncall@example.com, boss@example.com]}
    retries: 0
    jobs:
      - name: job
        type: warm
        source: {connection: flights_source, table: public.nowhere}
        target: {connection: flights_target, table: public.flights}
"""


def test_a_failing_dag_sends_one_mail(
    world: World, run_dag: Callable[..., Any], mails: SmtpSink
) -> None:
    world.write("fails", FAILING)
    assert run_dag("fails").state == "failed"
    [mail] = mails.wait_for_mails(1, 10)
    assert mail["X-RcptTo"] == "oncall@example.com, boss@example.com"
    assert "public.nowhere" in text(mail)
    assert world.runs.recent()[0].state == "failed"
