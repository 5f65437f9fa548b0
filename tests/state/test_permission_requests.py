"""Applications for a grant: made with the last agreement, by nobody's own."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from dsp_airflow.approval.machine import State
from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.permission import key_of, subject_of
from dsp_airflow.approval.processes import Processes
from dsp_airflow.approval.records import Request
from dsp_airflow.approval.requests import Requests
from dsp_airflow.config.processes import Process
from dsp_airflow.engine.errors import ConfigError, Denied, Refused
from dsp_airflow.permissions.grants import Holder, Needed, Scope
from dsp_airflow.permissions.store import Grants
from dsp_airflow.state import audit
from dsp_airflow.state.audit import Wanted
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.tables import REQUESTS

ORDERS = Scope("shop_pg", "public", "orders")
READ = ["read"]


@pytest.fixture(params=["sqlite", "pg15"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'dsp.db'}"
    url: str = request.getfixturevalue("pg15_db").sqlalchemy_url
    return url


@pytest.fixture
def requests(state: StateDatabase, tmp_path: Path) -> Requests:
    Roles(state).add("administrators", "root", "root")
    return Requests(state, processes=Processes(state, tmp_path / "processes"))


def apply(requests: Requests, user: str, hours: float = 1) -> Request:
    until = requests.database.now() + timedelta(hours=hours)
    subject = subject_of(user, ORDERS, READ, until, "month's end")
    return requests.ask(key_of(user, ORDERS, READ), subject, user)


def may(requests: Requests, user: str) -> bool:
    return Grants(requests.database).may(user, "read", Needed(ORDERS))


def test_the_grant_is_made_with_the_last_agreement(requests: Requests) -> None:
    state = requests.database
    process = Process.model_validate(
        {
            "name": "Permissions",
            "task_type": "permission",
            "start": "manual",
            "approve": "definition",
            "requester_may_decide": True,
            "levels": [{"nodes": [{"user": "anna"}, {"role": "administrators"}]}],
        }
    )
    requests.processes.create(process, "root")
    found = apply(requests, "anna")
    assert found.title.startswith("anna applies to read connection shop_pg public orders until")
    with pytest.raises(Denied, match="asked for this"):
        requests.decide(found.id, "anna", approved=True)
    assert not may(requests, "anna"), "whatever the process says"
    again = apply(requests, "anna", 2)
    assert requests.get(found.id).state == State.CANCELLED, "it asks for another time now"
    assert again.state == State.APPROVING
    requests.cancel(again.id, "anna")

    found = apply(requests, "eva")
    requests.decide(found.id, "anna", approved=True)
    assert not may(requests, "eva")
    done = requests.decide(found.id, "root", approved=True)
    assert done.state == State.EXECUTION_SUCCEEDED
    assert may(requests, "eva")
    [grant] = Grants(state).all()
    assert (grant.granted_by, grant.request, grant.holder.name) == ("root", found.id, "eva")
    assert grant.until is not None
    told = [(one.actor, one.action) for one in audit.recent(state, Wanted(object="grant"), 9)]
    assert told == [("root", "grant.add")]
    states = [one.after for one in requests.history(found.id)]
    assert states[-3:] == ["WAIT_FOR_EXECUTION", "EXECUTING", "EXECUTION_SUCCEEDED"]

    Grants(state).revoke(grant.id, "root")
    assert apply(requests, "eva").state == State.APPROVING, "no decision on it stands"


def test_what_was_rejected_or_cannot_be_given_makes_no_grant(requests: Requests) -> None:
    state = requests.database
    found = apply(requests, "eva")
    requests.decide(found.id, "root", "no", approved=False)
    late = apply(requests, "eva")
    with state.write() as connection:
        evidence = requests.get(late.id).evidence
        evidence["bound"]["grant"]["privileges"] = ["purge"]
        connection.execute(
            update(REQUESTS).where(REQUESTS.c.id == late.id).values(evidence=json.dumps(evidence))
        )
    with pytest.raises(Refused, match="not what was decided on"):
        requests.decide(late.id, "root", approved=True)
    assert requests.get(late.id).state == State.APPROVING, "all of it or nothing"
    requests.cancel(late.id, "eva")
    short = apply(requests, "eva", 0.3 / 3600)
    end = requests.database.now() + timedelta(seconds=0.4)
    while requests.database.now() < end:
        pass
    with pytest.raises(Refused, match="over already"):
        requests.decide(short.id, "root", approved=True)
    assert requests.get(short.id).decisions == ()
    assert Grants(state).all(over=True) == []
    assert audit.verify(state) == []
    for privileges, scope in ((["drop"], ORDERS), (READ, Scope("shop_pg", None, "t"))):
        with pytest.raises(ConfigError):
            subject_of("eva", scope, privileges, None)


def test_who_agrees_to_work_on_a_connection_holds_approve_on_it(
    requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = {"name": "P", "task_type": "permission", "levels": [{"nodes": [{"user": "anna"}]}]}
    requests.processes.create(Process.model_validate(process), "root")
    found = apply(requests, "eva")
    monkeypatch.setenv("AIRFLOW__DSP__ENFORCE_GRANTS", "True")
    assert requests.waiting_for("anna") == []
    with pytest.raises(Denied, match="anna has no grant to approve work on connection shop_pg"):
        requests.decide(found.id, "anna", approved=True)
    grants = Grants(requests.database)
    grants.add(Holder("anna"), Scope("shop_pg", "public"), ["approve"], "root")
    with pytest.raises(Denied, match="has no grant to approve"):
        requests.decide(found.id, "anna", approved=True)
    grants.add(Holder("anna"), Scope("shop_pg"), ["approve"], "root")
    assert [one.id for one in requests.waiting_for("anna")] == [found.id]
    requests.decide(found.id, "anna", approved=True)
    assert may(requests, "eva")
