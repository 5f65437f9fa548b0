"""Requests in the state database: asking, deciding at once, expiring, covering, telling."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from dsp_airflow.approval.machine import State
from dsp_airflow.approval.matching import Touched
from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.processes import Processes
from dsp_airflow.approval.requests import Requests
from dsp_airflow.approval.subject import Subject
from dsp_airflow.config.processes import Process
from dsp_airflow.engine.errors import ConfigError, Denied, DspError, Expired, Refused, Rejected
from dsp_airflow.state import audit, backup, schema
from dsp_airflow.state.database import StateDatabase, open_state, upgrade
from dsp_airflow.state.outbox import Outbox
from dsp_airflow.state.tables import AUDIT, REQUESTS

START = datetime(2026, 12, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self, _: Connection) -> datetime:
        return self.now


@pytest.fixture(params=["sqlite", "pg15"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'dsp.db'}"
    url: str = request.getfixturevalue("pg15_db").sqlalchemy_url
    return url


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "processes").mkdir()
    return tmp_path / "processes"


@pytest.fixture
def processes(state: StateDatabase, folder: Path) -> Processes:
    return Processes(state, folder)


@pytest.fixture
def requests(
    state: StateDatabase, processes: Processes, time: Time, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Requests]:
    monkeypatch.setenv("AIRFLOW__DSP__MAIL_DOMAIN", "example.com")
    roles = Roles(state)
    for role, user in (("owners", "olga"), ("owners", "otto"), ("administrators", "anna")):
        assert roles.add(role, user, "test")
    yield Requests(state, processes=processes, clock=time)
    # Whatever a test does to requests, nothing of it breaks the chain.
    assert audit.verify(state) == []


def process(name: str = "Two", **values: Any) -> Process:
    levels = [{"nodes": [{"role": "owners"}, {"user": "anna"}]}]
    return Process.model_validate({"name": name, "task_type": "warm", "levels": levels, **values})


def subject(text: str = "one", rows: int | None = 100, **values: Any) -> Subject:
    given: dict[str, Any] = {"subtypes": frozenset({"insert"}), **values}
    return Subject(
        task="flights",
        title="Move flights",
        task_type="warm",
        connections=(Touched("shop_pg"),),
        bound={"text": text},
        shown={"definition": {"text": text}},
        rows=rows,
        **given,
    )


def whole(requests: Requests, key: str, asked: Subject) -> str:
    """Asked, approved at both nodes, executed."""
    made = requests.ask(key, asked, "rita")
    requests.decide(made.id, "otto", approved=True)
    requests.decide(made.id, "anna", approved=True)
    assert requests.look(made.id).state == State.EXECUTING
    done = requests.close(key, "", succeeded=True)
    assert done is not None
    assert done.state == State.EXECUTION_SUCCEEDED
    return made.id


def test_a_request_from_question_to_success(
    requests: Requests, processes: Processes, time: Time, state: StateDatabase
) -> None:
    processes.create(process(), "anna")
    made = requests.ask("d/r", subject(tell=("team@example.com",)), "rita")
    assert (made.state, made.process.name, made.number) == (State.APPROVING, "Two", 1)
    # Whoever asks again, asks for the same.
    assert requests.ask("d/r", subject(), "airflow").id == made.id
    assert [r.id for r in requests.waiting_for("olga")] == [made.id]
    assert requests.waiting_for("anna") == requests.waiting_for("rita") == []
    with pytest.raises(Refused, match="another definition"):
        requests.decide(made.id, "olga", approved=True, digest="0" * 64)
    with pytest.raises(Denied):
        requests.decide(made.id, "anna", approved=True)
    time.now += HOUR
    requests.decide(made.id, "olga", "fine", approved=True, seen=made.version, digest=made.digest)
    with pytest.raises(Refused, match="look again"):
        requests.decide(made.id, "anna", approved=True, seen=made.version)
    assert requests.settled([made.id]) == set()
    granted = requests.decide(made.id, "anna", approved=True)
    assert granted.state == State.WAIT_FOR_EXECUTION
    assert requests.settled([made.id, "gone"]) == {made.id, "gone"}
    with pytest.raises(Refused, match="nothing may be written yet"):
        requests.enter("d/r")
    assert requests.look(made.id).state == State.EXECUTING
    assert requests.enter("d/r").until == time.now + 24 * HOUR
    failed = requests.close("d/r", "disk full", succeeded=False)
    assert failed is not None
    assert failed.state == State.EXECUTION_FAILED
    assert requests.enter("d/r").state == State.EXECUTING
    requests.close("d/r", "", succeeded=True)
    assert [(d.node, d.actor, d.verdict) for d in requests.get(made.id).decisions] == [
        (0, "olga", "approved"),
        (1, "anna", "approved"),
    ]
    assert [c.after for c in requests.history(made.id)] == [
        "CREATED",
        "APPROVING",
        "APPROVING",
        "WAIT_FOR_EXECUTION",
        "EXECUTING",
        "EXECUTION_FAILED",
        "EXECUTING",
        "EXECUTION_SUCCEEDED",
    ]
    told = [(m.event, m.recipients) for m in reversed(Outbox(state).recent())]
    assert told == [
        ("approval_waiting", ("olga@example.com", "otto@example.com")),
        ("approval_waiting", ("anna@example.com",)),
        ("approval_decided", ("rita@example.com", "team@example.com")),
    ]
    with state.read() as connection:
        actions = connection.execute(select(AUDIT.c.action).order_by(AUDIT.c.seq)).scalars().all()
    assert actions[:5] == [
        *["role.add"] * 3,
        "process.create",
        "request.created",
    ]


def test_time_ends_what_nobody_decides(
    requests: Requests, processes: Processes, time: Time, state: StateDatabase
) -> None:
    processes.create(process(), "anna")
    made = requests.ask("d/r", subject(), "rita")
    time.now += 25 * HOUR
    assert requests.settled([made.id]) == {made.id}
    with pytest.raises(Expired, match="APPROVAL_EXPIRED"):
        requests.decide(made.id, "olga", approved=True)
    # Recorded though the act was refused.
    assert requests.get(made.id).state == State.APPROVAL_EXPIRED
    again = requests.ask("d/r", subject(), "rita")
    assert (again.number, again.state) == (2, State.APPROVING)
    requests.decide(again.id, "olga", approved=True)
    requests.decide(again.id, "anna", approved=True)
    time.now += 25 * HOUR
    assert requests.expire_due() == 1
    assert requests.expire_due() == 0
    assert requests.get(again.id).state == State.WAIT_FOR_EXECUTION_EXPIRED
    with pytest.raises(Expired):
        requests.enter("d/r")
    third = requests.ask("d/r", subject(), "rita")
    requests.decide(third.id, "olga", approved=True)
    requests.decide(third.id, "anna", approved=True)
    requests.look(third.id)
    time.now += 25 * HOUR
    assert requests.still(third.id).state == State.EXECUTION_EXPIRED
    events = [m.event for m in Outbox(state).recent()]
    assert events.count("approval_expired") == 3


def test_many_decide_at_once_and_one_counts(requests: Requests, processes: Processes) -> None:
    processes.create(process(levels=[{"nodes": [{"role": "owners"}, {"role": "owners"}]}]), "anna")
    made = requests.ask("d/r", subject(), "rita")
    said: list[str] = []

    def decide(user: str, *, approved: bool) -> None:
        try:
            requests.decide(made.id, user, "no" if not approved else "", approved=approved, seen=2)
            said.append(user)
        except (Refused, Denied):
            pass

    threads = [
        threading.Thread(target=decide, args=(user,), kwargs={"approved": approved})
        for user, approved in (("olga", True), ("otto", False), ("olga", False), ("otto", True))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = requests.get(made.id)
    assert len(said) == len(found.decisions) == 1
    assert found.decisions[0].actor == said[0]
    assert len(requests.history(made.id)) == 3


def test_who_lost_a_role_decides_no_more_and_an_empty_node_never_agrees(
    requests: Requests, processes: Processes, state: StateDatabase, time: Time
) -> None:
    processes.create(process(), "anna")
    made = requests.ask("d/r", subject(), "rita")
    for user in ("olga", "otto"):
        assert Roles(state).remove("owners", user, "anna")
    for user in ("olga", "otto"):
        with pytest.raises(Denied, match="nobody now"):
            requests.decide(made.id, user, approved=True)
    assert requests.look(made.id).state == State.APPROVING
    time.now += 25 * HOUR
    assert requests.look(made.id).state == State.APPROVAL_EXPIRED


def test_an_edit_of_the_process_changes_no_request(
    requests: Requests, processes: Processes
) -> None:
    processes.create(process(), "anna")
    made = requests.ask("d/r", subject(), "rita")
    processes.edit("Two", process(levels=[{"nodes": [{"automatic": True}]}]), "anna")
    processes.enable("Two", "anna", enabled=False)
    assert requests.get(made.id).process == process()
    assert requests.look(made.id).state == State.APPROVING
    other = requests.ask("d/other", subject(), "rita")
    assert other.process.name == "builtin"
    with pytest.raises(Refused, match="disabled"):
        requests.ask("d/third", subject(process="Two"), "rita")
    processes.delete("Two", "anna")
    requests.decide(made.id, "olga", approved=True)
    assert requests.decide(made.id, "anna", approved=True).state == State.WAIT_FOR_EXECUTION


def test_what_is_asked_anew_withdraws_what_was_asked(
    requests: Requests, processes: Processes
) -> None:
    processes.create(process(), "anna")
    first = requests.ask("d/r", subject("one"), "rita")
    second = requests.ask("d/r", subject("two"), "rita")
    assert (second.number, second.state) == (2, State.APPROVING)
    assert requests.get(first.id).state == State.CANCELLED
    with pytest.raises(Rejected, match="cancelled"):
        requests.decide(first.id, "olga", approved=True)
    requests.decide(second.id, "olga", approved=True)
    requests.decide(second.id, "anna", approved=True)
    requests.look(second.id)
    requests.void(second.id, "the table was altered")
    with pytest.raises(Expired):
        requests.enter("d/r")
    third = requests.ask("d/r", subject("three"), "rita")
    diff = third.evidence["changes"]
    assert '-  "text": "two"' in diff
    assert '+  "text": "three"' in diff
    assert requests.close("d/r", "the run was ended by hand", succeeded=False) is not None
    assert requests.get(third.id).state == State.CANCELLED


def test_a_standing_decision_covers_the_same_and_nothing_else(
    requests: Requests, processes: Processes, time: Time
) -> None:
    standing = process(approve="definition")
    processes.create(standing, "anna")
    first = whole(requests, "d/1", subject())
    # Who has decided asks for nothing that nobody else decides.
    assert requests.ask("d/0", subject(), "otto").covered_by is None
    covered = requests.ask("d/2", subject(rows=119), "airflow")
    assert (covered.covered_by, covered.state) == (first, State.WAIT_FOR_EXECUTION)
    assert covered.decisions == ()
    assert requests.look(covered.id).state == State.EXECUTING
    assert requests.ask("d/3", subject(rows=121), "airflow").covered_by is None
    requests.decide(requests.ask("d/3", subject(rows=121), "airflow").id, "olga", approved=True)
    assert requests.ask("d/4", subject("edited"), "airflow").covered_by is None
    # Not while the process is another one, and not by a process that decides every run.
    processes.edit("Two", process(approve="definition", remarks="stricter"), "anna")
    assert requests.ask("d/5", subject(), "airflow").covered_by is None
    processes.edit("Two", standing, "anna")
    time.now += HOUR
    assert requests.ask("d/6", subject(), "airflow").covered_by == first
    with pytest.raises(Denied, match="revoke"):
        requests.cancel(first, "olga")
    assert not requests.cancel(first, "rita").standing
    time.now += HOUR
    seventh = requests.ask("d/7", subject(), "airflow")
    assert seventh.covered_by is None
    requests.decide(seventh.id, "olga", "no more", approved=False)
    # A no ends what an earlier yes had covered.
    time.now += HOUR
    assert requests.ask("d/8", subject(), "airflow").covered_by is None


def test_processes_in_files(requests: Requests, processes: Processes, folder: Path) -> None:
    file = folder / "two.yaml"
    file.write_text("name: Filed\ntask_type: warm\npriority: 1\n")
    assert requests.ask("d/1", subject(), "rita").process.name == "Filed"
    with pytest.raises(Refused, match="change it there"):
        processes.edit("Filed", process("Filed"), "anna")
    with pytest.raises(Refused, match="change it there"):
        processes.delete("Filed", "anna")
    with pytest.raises(Refused, match="change it there"):
        processes.reorder("warm", ["Filed"], "anna")
    with pytest.raises(ConfigError, match="already"):
        processes.create(process("Filed"), "anna")
    # A file that cannot be read might hold a stricter process than the next one that matches.
    file.write_text("name: Filed\ntask_type: warm\npriorty: 1\n")
    with pytest.raises(Refused, match=r"two\.yaml:3:1: priorty: is not a key.*priority"):
        requests.ask("d/2", subject(), "rita")
    file.write_text("name: Filed\ntask_type: s3\npriorty: 1\n")
    assert requests.ask("d/2", subject(), "rita").process.name == "builtin"
    file.write_text("task_type: [\n")
    with pytest.raises(Refused):
        requests.ask("d/3", subject(), "rita")


def test_who_may_change_processes(processes: Processes, state: StateDatabase) -> None:
    processes.create(process("First"), "somebody")
    Roles(state).add("administrators", "anna", "somebody")
    with pytest.raises(Denied, match="anna"):
        processes.create(process("Second"), "somebody")
    processes.create(process("Second"), "anna")
    processes.reorder("warm", ["Second"], "anna")
    assert [(k.process.name, k.process.priority) for k in processes.all()] == [
        ("Second", 1),
        ("First", 2),
    ]
    with pytest.raises(ConfigError, match="did you mean Second"):
        processes.get("Secund")


def test_requests_come_back_from_a_backup(
    requests: Requests, processes: Processes, state: StateDatabase, tmp_path: Path
) -> None:
    processes.create(process(), "anna")
    done = whole(requests, "d/1", subject())
    file = tmp_path / "state.backup"
    backup.backup(state.url.render_as_string(hide_password=False), file)
    url = f"sqlite:///{tmp_path / 'other.db'}"
    backup.restore_backup(file, url)
    with open_state(url) as other:
        there = Requests(other, processes=Processes(other, processes.folder))
        assert there.get(done) == requests.get(done)
        assert audit.verify(other) == []
        assert Roles(other).members("owners") == {"olga", "otto"}


def test_an_edited_request_is_told_from_what_was_decided(
    requests: Requests, processes: Processes, state: StateDatabase
) -> None:
    from dsp_airflow.approval.subject import digest_of

    processes.create(process(), "anna")
    made = requests.ask("d/r", subject(), "rita")
    evidence = made.evidence | {"bound": {"text": "mallory's"}}
    with state.write() as connection:
        connection.execute(update(REQUESTS).values(evidence=json.dumps(evidence)))
    assert digest_of(requests.get(made.id).evidence["bound"]) != made.digest


def test_unknown_requests(requests: Requests) -> None:
    with pytest.raises(ConfigError, match="dsp requests"):
        requests.decide("nope", "olga", approved=True)
    with pytest.raises(Refused, match="nobody was asked"):
        requests.enter("d/r")
    assert requests.close("d/r", "", succeeded=True) is None
    with pytest.raises(DspError):
        requests.look("nope")


def test_migration_is_whole(empty_url: str) -> None:
    assert upgrade(empty_url) == schema.HEAD
