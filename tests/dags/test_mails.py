"""Mails about the ends of runs really arrive, once."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from email.message import EmailMessage
from types import SimpleNamespace
from typing import Any

import pytest

from dsp_airflow.engine import transfer
from dsp_airflow.engine.errors import Terminated
from dsp_airflow.notify import RunEnded
from dsp_airflow.notify.delivery import MAX_SUBJECT
from dsp_airflow.notify.end import FAILED, link
from dsp_airflow.state.outbox import MailKey, Outbox
from dsp_airflow.state.runs import Runs
from tests.dags.conftest import Stepper, World
from tests.dags.test_steps_of_a_dag import Build, ready, task
from tests.servers import SmtpSink

HEADERS = {
    "auto-submitted",
    "content-transfer-encoding",
    "content-type",
    "date",
    "from",
    "message-id",
    "mime-version",
    "subject",
    "to",
    "x-rcptto",
}


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
    lines = str(content).replace("\r\n", "\n")
    assert "\r" not in lines
    return lines


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
    assert mail["Subject"] == "[dsp] FAILED (rows differ): Move old flights"
    [run] = world.runs.recent()
    said = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "(time)", text(mail))
    assert said == textwrap.dedent(
        f"""\
        Move old flights FAILED.

        Careful: 1 row differs between source and target. Nothing was deleted from
        the source.

        WHAT HAPPENED
        - Job job stopped while checking, at batch 1 of 5.
        - The error: job job: 1 rows differ between source and target: changed 77
          (origin); see dsp status {run.id} --differences

        WHAT TO DO
        - Find out why rows differ before any purge. Where the target is wrong, dsp
          repair copies those rows once more.
        - Which rows: dsp status {run.id} --differences
        - Then clear the failed step in Airflow; it goes on where it stopped.
        - A retry is safe: it only compares again, and fails again while rows
          differ. Do not purge by hand before you know why.

        WHERE TO LOOK
        {link("flights", "by_test")}
        or run: dsp status {run.id}

        JOB job: failed
        copied   2,500 of 2,500 rows
        checked  2,500 rows compared, 1 differ
        deleted  0 rows from the source
        kept     0 rows in the source
        batches  5 of 5 copied, 5 checked, 0 purged
                 last: batch 5, checked (time) UTC

        THE RUN
        task     flights
        run      {run.id}, attempt 1
        Airflow  by_test
        began    (time) UTC
        ended    (time) UTC
        counted  (time) UTC
        """
    )


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


def test_rows_that_were_kept_are_told_with_reasons(
    world: World, steps: Build, mails: SmtpSink
) -> None:
    world.fill()
    step = ready(steps(task()))
    step("job.copy")
    step("job.check")
    world.source.execute(
        "UPDATE flights SET origin = 'new' WHERE id <= 3", "DELETE FROM flights WHERE id = 9"
    )
    step("purge.job")
    ended("success")(context(step))
    [mail] = mails.wait_for_mails(1, 10)
    assert mail["Subject"] == "[dsp] OK (3 rows kept): Move old flights"
    said = text(mail)
    assert "kept     3 rows in the source that a purge should have deleted:" in said
    assert "         - 3 changed in the source since the copy\n" in said
    assert "The next run copies the kept rows" in said


def test_a_table_that_changed_is_told_with_what_to_do(
    world: World, steps: Build, mails: SmtpSink
) -> None:
    world.fill(10)
    ready(steps(task()))
    world.source.execute("ALTER TABLE flights DROP COLUMN origin")
    step = steps(task(), run_id="later")
    with pytest.raises(Exception, match="column origin dropped"):
        step("estimate")
    ended()(context(step, reason="task_failure"))
    [mail] = mails.wait_for_mails(1, 10)
    assert mail["Subject"] == "[dsp] FAILED (the table changed): Move old flights"
    said = " ".join(text(mail).split())
    assert "column origin dropped (drift: fail)" in said
    assert "accept the table as it is: dsp drift FILE --accept, or the button" in said


def test_a_step_that_ended_without_a_word(world: World, steps: Build, mails: SmtpSink) -> None:
    world.fill()
    step = ready(steps(task()))
    ended()(context(step, reason="task_failure", ti=SimpleNamespace(task_id="job.copy")))
    [mail] = mails.wait_for_mails(1, 10)
    said = " ".join(text(mail).split())
    assert "The last step was job.copy. - A step ended without a word" in said
    assert "whether the machine ran out of memory or restarted" in said


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
    assert run.state == "failed"
    assert run.error == "the run took longer than its timeout, and Airflow stopped it"
    # A step that still works is to end at the edge of its batch.
    assert run.stop_requested


def test_who_tells_first_of_an_end_does_not_change_what_it_is(
    world: World, steps: Build, mails: SmtpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow tells of it twice, and the second time in the middle of the first."""
    world.fill()
    step = ready(steps(task()))
    [run] = world.runs.recent()
    finish, tell = Runs.finish, ended()
    again = [lambda: tell(context(step, reason="timed_out"))]

    def meanwhile(*values: Any, **named: Any) -> Any:
        if again:
            again.pop()()
        return finish(*values, **named)

    monkeypatch.setattr(Runs, "finish", meanwhile)
    tell(context(step, reason="timed_out"))
    assert again == []
    assert world.runs.get(run.id).state == "failed"
    [mail] = mails.mails()
    assert mail["Subject"] == "[dsp] FAILED (timed out): Move old flights"


@pytest.mark.parametrize("told", [True, False])
def test_a_step_that_airflow_ends_has_failed(
    world: World, steps: Build, mails: SmtpSink, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    """It hears of it at the edge of its batch, before or after the callback says why."""
    world.fill()
    step = ready(steps(task()))
    [run] = world.runs.recent()
    copy = transfer.copy_batch

    def killed(*values: Any, **named: Any) -> Any:
        step.dag.get_task("job.copy").on_kill()
        if told:
            ended()(context(step, reason="timed_out"))
        return copy(*values, **named)

    monkeypatch.setattr(transfer, "copy_batch", killed)
    with pytest.raises(Terminated):
        step("job.copy")
    ended()(context(step, reason="timed_out"))
    assert world.runs.get(run.id).state == "failed"
    [mail] = mails.mails()
    assert mail["Subject"] == "[dsp] FAILED (timed out): Move old flights"


def test_without_the_state_database_the_mail_goes_out_all_the_same(
    world: World, failed_check: Stepper, mails: SmtpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__DSP__SQL_ALCHEMY_CONN", "postgresql://a:secret@127.0.0.1:1/x")
    ended()(context(failed_check, reason="task_failure"))
    [mail] = mails.wait_for_mails(1, 10)
    said = " ".join(text(mail).split())
    assert "The state database could not be used, so there are no counts in this mail." in said
    assert "A step ended without a word" in said
    assert link("flights", "by_test") in said
    assert "secret" not in said


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
    outbox = Outbox(world.state)
    assert outbox.state(MailKey(run.id, 1, "failure")) == "new"
    assert outbox.hurry() == 1
    ended()(context(run_id="another"))
    told = [text(mail) for mail in mails.wait_for_mails(2, 10)]
    assert any("Airflow  another" in one for one in told)
    assert any(run.id in one for one in told)


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
        ended("success", act="purge")(context(by_hand) | given | {"run_id": f"by_hand{conf}"})
    # A DAG that an earlier version made carries it in another word.
    carried = ended(act="purge").carried().replace('"act": "purge"', '"by_hand": true')
    assert RunEnded.load("success", carried).act == "purge"
    for mail in mails.wait_for_mails(2, 10):
        assert mail["Subject"] == "[dsp] OK: Move old flights (manual deletion)"
        lines = text(mail).splitlines()
        assert "task     flights" in lines
        assert f"run      {run.id}, attempt 1" in lines
        assert "deleted  1,000 rows from the source" in lines
    assert "gone     " not in text(mail)
    world.source.execute("DELETE FROM flights")
    marked = {"job": "job", "batches": "3", "earlier_run": "latest", "act": "mark_deleted"}
    assert by_hand("purge", **marked)["rows_gone"] == 500
    given = {"dag_run": SimpleNamespace(clear_number=0, conf={})}
    ended("failure", act="purge")(context(by_hand, reason=FAILED) | given | {"run_id": "marked"})
    said = text(mails.wait_for_mails(3, 10)[2])
    assert "gone     500 rows, removed by hand and marked" in said
    assert "What it came to is in the log of the step." in said


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Rückgabe\nBcc: x@example.com 数据", "Rückgabe Bcc: x@example.com 数据"),
        ("a\r\n\r\nb\x00\x1b[31mc\u2028d\x85e", "a b [31mc d e"),
        ("👩\u200d🚒 订单归档 🚚", "👩\u200d🚒 订单归档 🚚"),
        ("half a sign: \ud83d", "half a sign:"),
        ("=?utf-8?q?pretending?=", "= ?utf-8?q?pretending?="),
        ("数" * 400, "数" * 400),
    ],
)
def test_odd_titles_do_no_harm(world: World, mails: SmtpSink, title: str, shown: str) -> None:
    RunEnded("failure", "t", title, "always", ("a@example.com",))(context())
    [mail] = mails.wait_for_mails(1, 10)
    assert mail["Subject"] == f"[dsp] FAILED: {shown}"[:MAX_SUBJECT]
    assert mail["Bcc"] is None
    assert [name for name in mail if name.lower() not in HEADERS] == []
    assert " ".join(text(mail).split("\n\n")[0].split()) == f"{shown} FAILED."
    assert mail.defects == []
    raw = mails.raw()[-1]
    assert raw.isascii()
    assert max(len(line) for line in raw.splitlines()) < 1000


def test_one_address_gets_one_mail(world: World, mails: SmtpSink) -> None:
    RunEnded("failure", "t", "T", "always", ("a@example.com", "b@example.com", "a@example.com"))(
        context()
    )
    [mail] = mails.wait_for_mails(1, 10)
    assert mail["X-RcptTo"] == mail["To"] == "a@example.com, b@example.com"


def test_lines_fit_a_phone(world: World, failed_check: Stepper, mails: SmtpSink) -> None:
    ended()(context(failed_check, reason="task_failure"))
    [mail] = mails.wait_for_mails(1, 10)
    assert max(len(line) for line in text(mail).splitlines() if "://" not in line) <= 78


def test_a_mapped_failure_survives_a_bare_context(world: World, mails: SmtpSink) -> None:
    """Airflow leaves out what it does not have."""
    ended()({})
    assert "Airflow  -\n" in text(mails.wait_for_mails(1, 10)[0])


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
