"""Each mail is sent by exactly one process."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from sqlalchemy import update

from dsp_airflow.engine.errors import Transient
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.outbox import GIVE_UP, LONGEST_WAIT, MailKey, Outbox
from dsp_airflow.state.tables import OUTBOX
from tests.state import processes

KEY = MailKey("run-1", 1, "failed")


@pytest.fixture
def outbox(state: StateDatabase) -> Outbox:
    return Outbox(state)


def test_one_mail_per_key(outbox: Outbox) -> None:
    assert outbox.state(KEY) is None
    assert outbox.enqueue(KEY, ["a@example.com", "b@example.com"], "s", "b\x00ü")
    assert not outbox.enqueue(KEY, ["c@example.com"], "other", "other")
    assert outbox.enqueue(MailKey("run-1", 2, "failed"), [], "s", "b")
    mail = outbox.claim(KEY)
    assert mail is not None
    assert (mail.recipients, mail.body) == (("a@example.com", "b@example.com"), "bü")
    assert outbox.claim(KEY) is None
    outbox.sent(mail)
    assert outbox.state(KEY) == "sent"
    assert outbox.claim(KEY) is None
    with pytest.raises(Transient, match="taken over"):
        outbox.sent(mail)


def test_failed_is_tried_again_ever_later_and_given_up_after_a_day(outbox: Outbox) -> None:
    outbox.enqueue(KEY, ["a@example.com"], "s", "b")
    assert outbox.wait() == timedelta(0)
    waits = []
    for number in range(1, 9):
        mail = outbox.claim(KEY)
        assert mail is not None
        assert mail.attempts == number
        waits.append(outbox.failed(mail, "refused"))
        # Nobody's turn, but for one who asks for this very mail.
        assert outbox.claim() is None
        left = outbox.wait()
        assert left is not None
        assert timedelta(0) < left <= LONGEST_WAIT
    assert waits == [timedelta(seconds=15 * 2**n) for n in range(6)] + [LONGEST_WAIT] * 2
    [shown] = outbox.recent()
    assert (shown.state, shown.attempts, shown.error) == ("new", 8, "refused")
    with outbox.database.write() as connection:
        connection.execute(update(OUTBOX).values(created_at=outbox.database.now() - GIVE_UP))
    assert outbox.hurry() == 1
    mail = outbox.claim()
    assert mail is not None
    assert outbox.failed(mail, "refused") is None
    assert outbox.state(KEY) == "failed"
    assert outbox.claim(KEY) is None
    assert outbox.wait() is None


def test_a_head_start_is_for_those_who_know_the_mail(outbox: Outbox) -> None:
    outbox.enqueue(KEY, ["a@example.com"], "s", "b", after=timedelta(minutes=1))
    assert outbox.claim() is None
    assert outbox.claim(KEY) is not None
    other = MailKey("run-2", 1, "failed")
    outbox.enqueue(other, ["a@example.com"], "s", "b", after=timedelta(milliseconds=50))
    time.sleep(0.1)
    assert outbox.claim() is not None


def test_a_silent_sender_is_followed(outbox: Outbox) -> None:
    outbox.enqueue(KEY, ["a@example.com"], "s", "b")
    first = outbox.claim(hold=timedelta(0))
    time.sleep(0.01)
    second = outbox.claim()
    assert first is not None
    assert second is not None
    with pytest.raises(Transient):
        outbox.sent(first)
    outbox.sent(second)


def test_eight_processes_send_each_once(outbox: Outbox, state_url: str) -> None:
    events = [f"event-{n}" for n in range(100)]
    for event in events:
        outbox.enqueue(MailKey("run-1", 1, event), ["a@example.com"], "s", "b")
    shares = processes.together(8, processes.send_mails, state_url)
    assert sorted(e for share in shares for e in share) == sorted(events)
