"""Mails about the end of a run, from Airflow's DAG callbacks.

A mail is a row of the outbox, claimed before it is sent: however often the callback comes,
one mail goes out. When the state database is down the mail goes out all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any, Literal
from urllib.parse import quote

from dsp_airflow.engine.errors import DspError
from dsp_airflow.state.database import StateDatabase, open_state
from dsp_airflow.state.outbox import Mail, MailKey, Outbox
from dsp_airflow.state.records import JobSummary, RunSummary
from dsp_airflow.state.runs import Runs

log = logging.getLogger(__name__)

CONNECTION = "smtp_default"
LATEST = "latest"
SWEEP = 20
"""Mails left over from earlier failures that one callback sends at most."""

Event = Literal["failure", "success"]


@dataclass(frozen=True)
class RunEnded:
    """A DAG callback: records that the run ended, and tells people by mail.

    ``when`` and ``to`` are the task's ``notify``. ``by_hand`` is the DAG of manual deletion,
    whose DAG runs have no run of their own.
    """

    event: Event
    task: str
    title: str
    when: str
    to: tuple[str, ...]
    by_hand: bool = False

    @property
    def tells(self) -> bool:
        """Whether people want to hear of this end."""
        return self.when in {self.event, "always"}

    def __call__(self, context: Mapping[str, Any]) -> None:
        """Airflow calls this in a child process of the DAG processor."""
        run_id, dag_id = str(context.get("run_id") or "-"), _dag_id(context)
        key = f"{dag_id}/{run_id}"
        summary = self._purged(context) if self.by_hand else self._recorded(key, context)
        if not self.tells:
            return
        attempt = _attempt(context) or (summary.attempt if summary else 1)
        mail = Mail(
            key=MailKey(summary.run if summary and not self.by_hand else key, attempt, self.event),
            recipients=self.to,
            subject=self._subject(),
            body=body(self, dag_id, run_id, summary, _reason(context)),
            owner="",
            attempts=0,
        )
        send_once(mail)

    def _recorded(self, key: str, context: Mapping[str, Any]) -> RunSummary | None:
        """How the run ended, in the state database too; ``None`` when that cannot be had."""
        try:
            with open_state() as database:
                runs = Runs(database)
                run = runs.find(key)
                if run is None:
                    return None
                if self.event == "failure":
                    jobs = runs.summary(run.id).jobs
                    first = next((j.error for j in jobs if j.error), None)
                    runs.finish(run.id, "failed", first or _reason(context))
                else:
                    runs.finish(run.id, "succeeded")
                return runs.summary(run.id)
        except DspError as error:
            log.warning("the end of %s could not be recorded: %s", key, error)
            return None

    def _purged(self, context: Mapping[str, Any]) -> RunSummary | None:
        """The earlier run that was purged by hand, as the form of this DAG run named it."""
        form = getattr(context.get("dag_run"), "conf", None) or {}
        wanted = str(form.get("run") or LATEST).strip()
        try:
            with open_state() as database:
                runs = Runs(database)
                run = runs.latest(self.task) if wanted == LATEST else runs.get(wanted)
                return runs.summary(run.id) if run else None
        except DspError as error:
            log.warning("the run that was purged cannot be had: %s", error)
            return None

    def _subject(self) -> str:
        what = "failed" if self.event == "failure" else "succeeded"
        step = "Purge by hand of " if self.by_hand else ""
        return " ".join(f"[dsp] {step}{self.title} {what}".split())


def body(ended: RunEnded, dag_id: str, run_id: str, summary: RunSummary | None, reason: str) -> str:
    """The mail's text, for somebody who was asleep a minute ago."""
    failed = ended.event == "failure"
    lines = [
        f"{ended.title} {'FAILED' if failed else 'succeeded'}.",
        "",
        f"Task:     {ended.task}" + (" (manual deletion)" if ended.by_hand else ""),
        f"Run:      {summary.run if summary else '-'}  (Airflow: {run_id})",
    ]
    if failed:
        lines.append(f"Error:    {_one_line(_error(ended, summary) or reason)}")
    lines.append(f"Look at:  {link(dag_id, run_id)}")
    lines += ["", *_jobs(summary)]
    if failed:
        lines += ["", *_advice(summary)]
    return "\n".join(lines) + "\n"


def link(dag_id: str, run_id: str) -> str:
    """The DAG run's page."""
    from airflow.configuration import conf

    base = str(conf.get("api", "base_url", fallback="") or "http://localhost:8080").rstrip("/")
    return f"{base}/dags/{quote(dag_id)}/runs/{quote(run_id, safe='')}"


def send_once(mail: Mail) -> None:
    """Sends a mail that nobody has sent yet, then what is left over from earlier failures."""
    try:
        with open_state() as database:
            outbox = Outbox(database)
            outbox.enqueue(mail.key, mail.recipients, mail.subject, mail.body)
            claimed = outbox.claim(mail.key)
            if claimed is not None and _deliver(outbox, claimed):
                _sweep(database)
            return
    except DspError as error:
        log.warning("the outbox cannot be used (%s); the mail is sent without it", error)
    # A second callback cannot be told from the first without the outbox: twice beats never.
    deliver(mail.recipients, mail.subject, mail.body)


def _deliver(outbox: Outbox, mail: Mail) -> bool:
    """Whether it went out. Nothing raised here may lead to a second sending."""
    try:
        deliver(mail.recipients, mail.subject, mail.body)
    except Exception as error:
        log.exception("the mail %r was not sent", mail.subject)
        try:
            outbox.failed(mail, f"{type(error).__name__}: {error}")
        except DspError as also:
            log.warning("and the outbox could not be told: %s", also)
        return False
    try:
        outbox.sent(mail)
    except DspError as error:
        log.warning("the mail %r went out, and the outbox was not told: %s", mail.subject, error)
    return True


def _sweep(database: StateDatabase) -> None:
    outbox = Outbox(database)
    for _ in range(SWEEP):
        mail = outbox.claim()
        if mail is None or not _deliver(outbox, mail):
            return


def deliver(to: Sequence[str], subject: str, text: str) -> None:
    """Sends plain text through Airflow's SMTP connection."""
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    class PlainText(SmtpHook):
        """The hook wraps every mail in HTML; this one does not."""

        def _build_mime_message(self, *_: Any, **values: Any) -> Any:
            message = EmailMessage()
            message["Subject"] = values["subject"]
            message["From"] = values["mail_from"]
            message["To"] = ", ".join(to)
            message["Date"] = formatdate(localtime=True)
            message["Message-ID"] = make_msgid(domain="dsp.invalid")
            message.set_content(text)
            return message, list(to)

    with PlainText(smtp_conn_id=CONNECTION) as hook:
        hook.send_email_smtp(to=list(to), subject=subject, html_content=text)


def _error(ended: RunEnded, summary: RunSummary | None) -> str | None:
    if summary is None:
        return None
    errors = (job.error for job in summary.jobs if job.error)
    return next(errors, None) if ended.by_hand else summary.error


def _jobs(summary: RunSummary | None) -> list[str]:
    if summary is None:
        return ["The state database has no counts for this run."]
    if not summary.jobs:
        return ["No job was planned yet: nothing was copied, nothing was deleted."]
    lines: list[str] = []
    for job in summary.jobs:
        lines += _job(job)
    return lines


def _job(job: JobSummary) -> list[str]:
    lines = [
        f"Job {job.name}: {job.state}",
        f"  rows copied     {job.rows_written:>14,} of {job.rows_total:,}",
        f"  rows checked    {job.rows_checked:>14,}",
        f"  rows different  {job.rows_different:>14,}",
        f"  rows purged     {job.rows_purged:>14,}",
        f"  rows kept       {job.rows_kept:>14,}",
        f"  batches copied  {job.batches_copied:>14,} of {job.batches:,}",
        f"          checked {job.batches_checked:>14,}",
        f"          purged  {job.batches_purged:>14,}",
    ]
    if job.error:
        lines.append(f"  error           {_one_line(job.error)}")
    return lines


def _advice(summary: RunSummary | None) -> list[str]:
    run = f" {summary.run}" if summary else ""
    return [
        "Is a retry safe? Yes. What is recorded is not done again, no row is written twice,",
        "and no row is deleted that is not proved to stand in the target. It helps once the",
        "cause above is gone: clear the failed step in Airflow, and it goes on where it stopped.",
        f"More: dsp status{run}",
    ]


def _dag_id(context: Mapping[str, Any]) -> str:
    return str(getattr(context.get("dag"), "dag_id", None) or "-")


def _attempt(context: Mapping[str, Any]) -> int | None:
    """Airflow's own count of attempts at the DAG run: one, and one more for each clear."""
    cleared = getattr(context.get("dag_run"), "clear_number", None)
    return None if cleared is None else int(cleared) + 1


def _reason(context: Mapping[str, Any]) -> str:
    """Airflow's word for the end, such as ``task_failure`` or ``timed_out``."""
    return str(context.get("reason") or "unknown; see Airflow's logs").replace("_", " ")


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "-"
