"""From the outbox to the SMTP server, each mail once."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import Any, Self

from dsp_airflow.engine.errors import ConfigError, DspError
from dsp_airflow.notify import relay
from dsp_airflow.notify.plain import one_line, printable
from dsp_airflow.state.database import StateDatabase, open_state
from dsp_airflow.state.outbox import Mail, MailKey, Outbox

log = logging.getLogger(__name__)

CONNECTION = "smtp_default"
SECONDS = 10
"""How long the SMTP server may take for one answer: a callback's process has 50 for all it does."""
SWEEP = 20
"""Mails left over from earlier failures that one callback sends at most."""
MAX_SUBJECT = 150
_POLICY = SMTP.clone(cte_type="7bit")


@dataclass(frozen=True)
class Letter:
    """A mail before it is in the outbox."""

    key: MailKey
    to: tuple[str, ...]
    subject: str
    body: str

    def dump(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @classmethod
    def load(cls, values: dict[str, Any]) -> Self:
        """From what ``dump`` gave."""
        return cls(**values | {"key": MailKey(**values["key"]), "to": tuple(values["to"])})


def post(letter: Letter, after: timedelta = timedelta(0)) -> bool:
    """Puts a mail into the outbox; ``False`` when the state database cannot be used."""
    try:
        with open_state() as database:
            _enqueue(Outbox(database), letter, after)
    except DspError as error:
        log.warning("the outbox cannot be used: %s", error)
        return False
    return True


def send_once(letter: Letter) -> None:
    """Sends a mail that nobody has sent yet, then what is left over from earlier failures.

    What cannot be sent now is left to a relay.
    """
    try:
        with open_state() as database:
            outbox = Outbox(database)
            _enqueue(outbox, letter)
            claimed = outbox.claim(letter.key)
            if claimed is None:
                return
            sent = hand_over(outbox, claimed)
            if sent:
                _sweep(outbox)
    except DspError as error:
        log.warning("the outbox cannot be used (%s); the mail is sent without it", error)
    else:
        if not sent:
            relay.start(connection=CONNECTION)
        return
    # A second callback cannot be told from the first without the outbox: twice beats never.
    try:
        deliver(letter.key, letter.to, letter.subject, letter.body)
    except Exception:
        log.exception("the mail %r was not sent; it is tried again", letter.subject)
        relay.start(connection=CONNECTION, letter=letter.dump())


def hand_over(outbox: Outbox, mail: Mail) -> bool:
    """Whether it went out. Nothing raised here may lead to a second sending."""
    try:
        deliver(mail.key, mail.recipients, mail.subject, mail.body)
    except Exception as error:  # noqa: BLE001 - whatever it is, the mail stays to be sent
        why = one_line(f"{type(error).__name__}: {error}")
        log.warning("the mail %r was not sent: %s", mail.subject, why)
        try:
            wait = outbox.failed(mail, why)
        except DspError as also:
            log.warning("and the outbox could not be told: %s", also)
        else:
            if wait is None:
                log.error("the mail %r is given up", mail.subject)  # noqa: TRY400 - see above
            else:
                log.info("it is tried again in %s", wait)
        return False
    try:
        outbox.sent(mail)
    except DspError as error:
        log.warning("the mail %r went out, and the outbox was not told: %s", mail.subject, error)
    else:
        log.info("the mail %r was sent to %s", mail.subject, ", ".join(mail.recipients))
    return True


def send_due(database: StateDatabase, most: int) -> tuple[int, int]:
    """Sends what is due, up to ``most`` mails; how many went out, and how many did not."""
    outbox, done = Outbox(database), [0, 0]
    for _ in range(most):
        mail = outbox.claim()
        if mail is None:
            break
        done[0 if hand_over(outbox, mail) else 1] += 1
    return done[0], done[1]


def deliver(key: MailKey, to: Sequence[str], subject: str, body: str) -> None:
    """Sends plain text through Airflow's SMTP connection."""
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    class Hasty(SmtpHook):
        """The provider's hook, which by itself tries for minutes."""

        @property
        def timeout(self) -> int:
            return min(int(super().timeout or SECONDS), SECONDS)

        @property
        def smtp_retry_limit(self) -> int:
            return 0

    with Hasty(smtp_conn_id=CONNECTION) as hook:
        if not hook.from_email:
            raise ConfigError(f"connection {CONNECTION} needs from_email in its extra field")
        client: Any = hook._smtp_client
        refused = client.send_message(message(key, hook.from_email, to, subject, body))
    if refused:
        # The others have it; sent again, they would have it twice.
        log.error("the mail %r was refused for %s", subject, ", ".join(refused))


def message(key: MailKey, sender: str, to: Sequence[str], subject: str, body: str) -> EmailMessage:
    """The mail as it travels: headers of one line each, all of it in seven bits."""
    made = EmailMessage(policy=_POLICY)
    made["Subject"] = one_line(subject)[:MAX_SUBJECT]
    made["From"] = sender
    made["To"] = ", ".join(to)
    made["Date"] = formatdate(localtime=True)
    # The same for every try, so that an inbox can tell a mail that came twice.
    digest = hashlib.sha256(f"{key.run} {key.attempt} {key.event}".encode()).hexdigest()[:32]
    made["Message-ID"] = f"<{digest}@dsp.invalid>"
    # Keeps holiday notes and the like from answering.
    made["Auto-Submitted"] = "auto-generated"
    text = printable(body)
    made.set_content(text, cte="7bit" if text.isascii() else "quoted-printable")
    return made


def _enqueue(outbox: Outbox, letter: Letter, after: timedelta = timedelta(0)) -> None:
    subject, body = one_line(letter.subject), printable(letter.body)
    outbox.enqueue(letter.key, letter.to, subject, body, after=after)


def _sweep(outbox: Outbox) -> None:
    for _ in range(SWEEP):
        mail = outbox.claim()
        if mail is None or not hand_over(outbox, mail):
            return
