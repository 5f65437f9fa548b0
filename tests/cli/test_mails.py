"""`dsp mails`: what was sent, what waits, and sending it now."""

from __future__ import annotations

from dsp_airflow.state.database import open_state
from dsp_airflow.state.outbox import MailKey, Outbox
from tests.cli.harness import Dsp
from tests.servers import SmtpSink


def test_mails_are_listed_and_sent(dsp: Dsp, smtp_sink: SmtpSink) -> None:
    assert dsp("mails").out.strip() == "no mails yet"
    with open_state(f"sqlite:///{dsp.state}") as state:
        outbox = Outbox(state)
        key = MailKey("run-1", 1, "failure")
        outbox.enqueue(key, ["a@example.com"], "[dsp] FAILED: Réservé 订单", "The body.\n")
        mail = outbox.claim(key)
        assert mail is not None
        outbox.failed(mail, "nobody answers")

        listed = dsp("mails")
        for words in ("new", "[dsp] FAILED: Réservé 订单", "a@example.com", "nobody answers"):
            assert words in listed.out
        nowhere = {"AIRFLOW_CONN_SMTP_DEFAULT": "smtp://127.0.0.1:1/?disable_ssl=true"}
        down = dsp("mails", "--send", "--json", env=nowhere)
        assert (down.code, down.document["mails"][0]["tries"]) == (1, 2)
        assert "1 mails could not be sent" in down.err

        up = {"AIRFLOW_CONN_SMTP_DEFAULT": smtp_sink.airflow_uri}
        sent = dsp("mails", "--send", "--json", env=up)
        assert (sent.code, sent.document["mails"][0]["state"]) == (0, "sent")
        assert "1 mails sent, 0 not" in sent.err
        assert dsp("mails", "--send", env=up).code == 0
    [arrived] = smtp_sink.mails()
    assert arrived["Subject"] == "[dsp] FAILED: Réservé 订单"
