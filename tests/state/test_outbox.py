"""Each mail is sent by exactly one process."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from dsp_airflow.engine.errors import Transient
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.outbox import MAX_ATTEMPTS, MailKey, Outbox
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


def test_failed_is_tried_again_and_given_up(outbox: Outbox) -> None:
    outbox.enqueue(KEY, ["a@example.com"], "s", "b")
    for number in range(1, MAX_ATTEMPTS + 1):
        mail = outbox.claim()
        assert mail is not None
        assert mail.attempts == number
        assert outbox.failed(mail, "refused") == (number < MAX_ATTEMPTS)
    assert outbox.claim() is None
    assert outbox.state(KEY) == "failed"


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
