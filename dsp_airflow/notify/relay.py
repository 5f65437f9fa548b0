"""A process of its own that sends mails, so that nobody waits for the SMTP server.

A listener starts it for an end that no callback tells of, or may fail to; a callback starts it
when the SMTP server did not take a mail. One relay at a time holds the lease on the outbox and
stays until nothing is left to send; the others put in what they bring and go.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsp_airflow.engine.errors import DspError, Transient
from dsp_airflow.state.database import StateDatabase, open_state
from dsp_airflow.state.leases import table_lease
from dsp_airflow.state.outbox import FIRST_WAIT, GIVE_UP, LONGEST_WAIT, Outbox
from dsp_airflow.state.owner import owner_name

if TYPE_CHECKING:
    from dsp_airflow.notify.delivery import Letter

log = logging.getLogger(__name__)

HEAD_START = timedelta(seconds=45)
"""So long a relay leaves a mail to the callback, which has Airflow loaded already."""
RESOURCE = "mail outbox"
LOG = "dsp_mails.log"
START_SECONDS = 10
_BARRED = "airflow-db-not-allowed:"
_LOOK = timedelta(seconds=5)
"""How often the relay that stays looks for mails that others have put in."""
# The shell ends at once and so is not waited for; the relay belongs to init.
_DETACHED = 'exec 3<&0; "$@" <&3 3<&- &'


def start(
    *,
    told: str | None = None,
    letter: dict[str, Any] | None = None,
    closed: dict[str, Any] | None = None,
    connection: str | None = None,
) -> None:
    """Starts a relay and returns within milliseconds; never raises.

    ``told``: an end to tell of. ``letter``: a mail that cannot be put into the outbox. ``closed``:
    what the end of a DAG means to its request for approval, as ``Requests.close`` takes it.
    ``connection``: of Airflow, which only this process may be able to read.
    """
    try:
        # What a task is told in place of Airflow's database is not for a relay, which needs none
        # either: Airflow cannot be imported with it.
        kept = {k: v for k, v in os.environ.items() if not v.startswith(_BARRED)}
        environment = kept | (_uri(connection) if connection else {})
        with _log_file().open("ab") as output:
            subprocess.run(
                ["/bin/sh", "-c", _DETACHED, "dsp", sys.executable, "-m", "dsp_airflow.notify"],
                input=json.dumps({"told": told, "letter": letter, "closed": closed}).encode(),
                stdout=subprocess.DEVNULL,
                stderr=output,
                env=environment,
                start_new_session=True,
                timeout=START_SECONDS,
                check=True,
            )
    except Exception:
        # It is called where a failure would hurt others: by a scheduler, or after a mail's.
        log.exception("no process could be started that sends mails")


def start_for(database: StateDatabase, connection: str | None = None) -> None:
    """Starts a relay where a mail is due that nobody has in hand; see ``start``."""
    wait = Outbox(database).wait()
    if wait is not None and not wait:
        start(connection=connection)


def run(
    told: str | None, letter: dict[str, Any] | None, closed: dict[str, Any] | None = None
) -> None:
    """What the process does: takes up what it was given, then sends until nothing is left."""
    from dsp_airflow.notify.delivery import Letter
    from dsp_airflow.notify.ended import Told

    if closed is not None:
        _close(closed)
    left = Letter.load(letter) if letter else None
    if told is not None:
        left = Told.load(told).post(HEAD_START)
    if left is not None:
        send_without_outbox(left)
    else:
        send_until_empty()


def send_until_empty() -> None:
    """Unless another process does so already, or the state database is out of reach at once."""
    reached = False
    while True:
        try:
            with open_state() as database:
                reached, outbox = True, Outbox(database)
                while outbox.wait() is not None:
                    with table_lease(database, RESOURCE, owner_name()):
                        _send_all(outbox)
                return
        except Transient as error:
            if _held(error) or not reached:
                return
            log.warning("%s; looking again in %s", error, LONGEST_WAIT)
        except DspError as error:
            log.error("no mail can be sent: %s", error)  # noqa: TRY400 - the message says it
            return
        time.sleep(LONGEST_WAIT.total_seconds())


def send_without_outbox(letter: Letter) -> None:
    """The state database is out of reach, so this process alone knows of the mail."""
    from dsp_airflow.notify.delivery import deliver

    wait, end = FIRST_WAIT.total_seconds(), time.monotonic() + GIVE_UP.total_seconds()
    while True:
        try:
            deliver(letter.key, letter.to, letter.subject, letter.body)
        except Exception:
            log.exception("the mail %r was not sent", letter.subject)
        else:
            log.info("the mail %r was sent", letter.subject)
            return
        if time.monotonic() + wait > end:
            log.error("the mail %r is given up", letter.subject)
            return
        time.sleep(wait)
        wait = min(wait * 2, LONGEST_WAIT.total_seconds())


def _send_all(outbox: Outbox) -> None:
    from dsp_airflow.notify.delivery import hand_over

    while (wait := outbox.wait()) is not None:
        if wait:
            time.sleep(min(wait, _LOOK).total_seconds())
        elif mail := outbox.claim():
            hand_over(outbox, mail)


def _close(closed: dict[str, Any]) -> None:
    from dsp_airflow.approval.requests import Requests

    try:
        with open_state() as database:
            Requests(database).close(**closed)
    except DspError as error:
        # Then its time ends it.
        log.warning("the request of %s could not be closed: %s", closed["key"], error)


def _held(error: Transient) -> bool:
    """Whether another relay is at work."""
    return RESOURCE in str(error)


def _uri(connection: str) -> dict[str, str]:
    """The connection as an environment variable, as Airflow reads it."""
    from airflow.sdk import BaseHook

    return {f"AIRFLOW_CONN_{connection.upper()}": BaseHook.get_connection(connection).get_uri()}


def _log_file() -> Path:
    """Beside Airflow's own logs; nowhere, when that folder cannot be written to."""
    from airflow.configuration import conf

    path = Path(str(conf.get("logging", "base_log_folder"))) / LOG
    return path if os.access(path.parent, os.W_OK) else Path(os.devnull)
