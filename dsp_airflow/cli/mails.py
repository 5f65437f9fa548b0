"""``dsp mails``: what the outbox holds; sends what waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dsp_airflow.cli import output
from dsp_airflow.cli.surroundings import log_to_stderr
from dsp_airflow.engine.errors import Transient

if TYPE_CHECKING:
    from dsp_airflow.state.outbox import MailStatus

MOST = 1000
"""Mails that one call sends."""


def mails(*, limit: int, send: bool, as_json: bool) -> None:
    """The mails, those that wait first; with ``send`` after trying to send them now."""
    output.stdout()
    log_to_stderr()
    from dsp_airflow.state.database import open_state
    from dsp_airflow.state.outbox import Outbox

    failed = 0
    with open_state(create=True) as database:
        outbox = Outbox(database)
        if send:
            from dsp_airflow.notify.delivery import send_due

            outbox.hurry()
            sent, failed = send_due(database, MOST)
            output.note(f"{sent:,} mails sent, {failed:,} not")
        found = outbox.recent(limit)
    if as_json:
        output.write_json({"mails": [_document(mail) for mail in found]})
    elif found:
        heads = (
            "state",
            "subject",
            "to",
            "run",
            "attempt",
            "tries",
            "written (UTC)",
            "next",
            "error",
        )
        rows = [_row(mail) for mail in found]
        output.console().print(output.table("", heads, rows, right=("attempt", "tries")))
    else:
        output.write("no mails yet")
    if failed:
        raise Transient(f"{failed:,} mails could not be sent; their errors are listed above")


def _row(mail: MailStatus) -> tuple[object, ...]:
    return (
        mail.state,
        mail.subject,
        ", ".join(mail.recipients),
        mail.run,
        mail.attempt,
        mail.attempts,
        mail.created_at,
        mail.not_before,
        mail.error,
    )


def _document(mail: MailStatus) -> dict[str, Any]:
    return {
        "state": mail.state,
        "event": mail.event,
        "subject": mail.subject,
        "to": list(mail.recipients),
        "run": mail.run,
        "attempt": mail.attempt,
        "tries": mail.attempts,
        "created_at": mail.created_at,
        "sent_at": mail.sent_at,
        "not_before": mail.not_before,
        "error": mail.error,
    }
