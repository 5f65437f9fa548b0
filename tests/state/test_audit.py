"""The audit: what is recorded with which change, and what shows when somebody edits it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from dsp_airflow.approval.people import Roles, require_fit
from dsp_airflow.engine.errors import ConfigError, Denied, DspError, Refused
from dsp_airflow.state import audit
from dsp_airflow.state.audit import Entry, Wanted
from dsp_airflow.state.bounds import Bounds
from dsp_airflow.state.cursors import CursorKey, Cursors
from dsp_airflow.state.database import StateDatabase, open_state, upgrade
from dsp_airflow.state.limit_changes import LimitChanges
from dsp_airflow.state.new_file import new_file
from dsp_airflow.state.receipts import Head, chained
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.switches import Switches
from tests.state.processes import record_in_audit, together

KEY = CursorKey("shop", "copy", "db public.t", "id")


@pytest.fixture(params=["sqlite", "pg15"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Chains are the same on every PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'dsp.db'}"
    url: str = request.getfixturevalue("pg15_db").sqlalchemy_url
    return url


def newest(state: StateDatabase) -> Entry:
    [found] = audit.recent(state, Wanted(), 1)
    return found


def count(state: StateDatabase) -> int:
    head = audit.head(state)
    assert head is not None
    return head.seq


def test_what_was_done_to_it_shows(state: StateDatabase) -> None:
    with state.write() as connection:
        for n in range(5):
            audit.record(connection, actor="anna", action="role.add", object=f"role {n}")
    assert audit.verify(state) == []

    def damaged(*statements: str) -> list[str]:
        with state.read() as connection:
            for statement in statements:
                connection.execute(text(statement))
            found = list(audit._findings(connection))
            connection.rollback()
        return found

    second = "audit record 2 (anna, role.add, role 1) "
    for name, value in {"actor": "otto", "recorded_at": "2026-01-01 00:00:00.000000"}.items():
        [found] = damaged(f"UPDATE audit SET {name} = '{value}' WHERE seq = 2")
        assert found.endswith("role 1) was edited")
    for body in ("", "[]", "nothing"):
        assert damaged(f"UPDATE audit SET body = '{body}' WHERE seq = 2") == [second + "was edited"]
    # Whoever knows how the hashes are made still has to rewrite all that follows.
    with state.read() as connection:
        row = connection.execute(text("SELECT * FROM audit WHERE seq = 2")).one()
        last = connection.execute(text("SELECT * FROM audit WHERE seq = 5")).one()
    for one, told in ((row, "record 3"), (last, "the head of the audit")):
        body = one.body.replace('"before":null', '"before":{"a":1}')
        change = f"body = '{body}', hash = '{chained(one.previous_hash, body)}'"
        change = change.replace(":", r"\:")
        assert damaged(f"UPDATE audit SET {change} WHERE seq = {one.seq}") == [
            f"audit record {one.seq} was rewritten: {told} does not follow it"
        ]
    moved = damaged(
        "UPDATE audit SET seq = 99 WHERE seq = 2",
        "UPDATE audit SET seq = 2 WHERE seq = 3",
        "UPDATE audit SET seq = 3 WHERE seq = 99",
    )
    assert moved == [
        "audit record 2 (anna, role.add, role 2) was moved: it was written as record 3",
        "audit record 3 (anna, role.add, role 1) was moved: it was written as record 2",
    ]
    assert damaged("DELETE FROM audit WHERE seq = 3") == ["audit record 3 is missing"]
    assert damaged("DELETE FROM audit WHERE seq < 3") == ["audit records 1 to 2 are missing"]
    assert damaged("DELETE FROM audit WHERE seq > 3") == [
        "audit records 4 to 5 are missing: cut off at the end"
    ]
    assert damaged("DELETE FROM audit") == ["audit records 1 to 5 are missing: cut off at the end"]
    assert damaged("UPDATE audit_head SET seq = 4") == [
        "the head of the audit says 4, but the chain ends with 5"
    ]
    assert damaged("DELETE FROM audit_head") == ["the head of the audit is missing"]
    assert audit.verify(state) == []


def test_what_is_wanted_is_found_and_pages_fit_together(
    state: StateDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with state.write() as connection:
        for n in range(7):
            actor, action = ("anna", "role.add") if n % 2 else ("otto", "roles.x")
            audit.record(connection, actor=actor, action=action, object=f"role A{n}%")
    for size in (1, 3, 7, 8):
        monkeypatch.setattr(audit, "_PAGE", size)
        assert [one.seq for one in audit.entries(state, Wanted())] == [*range(1, 8)]
    assert [one.seq for one in audit.recent(state, Wanted(), 2)] == [7, 6]
    assert [one.seq for one in audit.entries(state, Wanted(actor="anna"))] == [2, 4, 6]
    assert [one.seq for one in audit.recent(state, Wanted(actions=["role"]), 9)] == [6, 4, 2]
    assert [one.seq for one in audit.entries(state, Wanted(object="a3%"))] == [4]
    assert list(audit.entries(state, Wanted(object="a_"))) == []
    now = state.now()
    assert len(list(audit.entries(state, Wanted(since=now - timedelta(hours=1))))) == 7
    assert list(audit.entries(state, Wanted(since=now + timedelta(hours=1)))) == []


def test_each_change_by_hand_is_recorded_with_it(state: StateDatabase) -> None:
    runs, tasks = Runs(state), Switches(state)
    run = runs.start("shop", "shop.yaml", {"jobs": [{"name": "copy"}]}, "d").id
    runs.add_job(run, "copy", 0, source_table="t", source_connection="pg", source_identity="db")

    def told(action: str, of: str, before: object, after: object) -> None:
        found = newest(state)
        assert (found.actor, found.action, found.object) == ("ann", action, of)
        assert (found.before, found.after) == (before, after)

    tasks.set("shop", "disabled", "ann", "moving")
    told("task.disable", "task shop", None, {"state": "disabled", "reason": "moving"})
    tasks.set("shop", "enabled", "ann")
    told(
        "task.enable",
        "task shop",
        {"state": "disabled", "reason": "moving"},
        {"state": "enabled", "reason": None},
    )
    limits = LimitChanges(state, run)
    limits.set("copy", {"rows_per_second": 5}, "ann")
    told("limits.set", f"run {run}", {}, {"copy": {"rows_per_second": 5}})
    limits.set(None, {"window": None}, "ann")
    both = {"copy": {"rows_per_second": 5}, "every job": {"window": None}}
    told("limits.set", f"run {run}", {"copy": {"rows_per_second": 5}}, both)
    limits.clear(None, "ann")
    told("limits.clear", f"run {run}", both, {"every job": {}})

    cursors, bounds, where = Cursors(state), Bounds(state), {"source": KEY.source, "column": "id"}
    ways: list[tuple[Callable[[str], None], Callable[[], bool]]] = [
        (lambda to: cursors.set(KEY, to, "ann"), lambda: cursors.reset(KEY, "ann")),
        (lambda to: bounds.set(KEY, to, start="1", by="ann"), lambda: bounds.reset(KEY, "ann")),
    ]
    of = "task shop job copy"
    for put, reset in ways:
        for before, after in ((None, "5"), ("5", "7")):
            put(after)
            told("cursor.set", of, {**where, "value": before}, {**where, "value": after})
        assert reset()
        told("cursor.reset", of, {**where, "value": "7"}, {**where, "value": None})
        assert not reset(), "nothing is changed"
        told("cursor.reset", of, {**where, "value": "7"}, {**where, "value": None})
    done = count(state)
    cursors.move(KEY, "9", run)
    assert count(state) == done, "a run moves it without anybody's hand"

    runs.begin(run, restored_by="ann")
    began = {
        "state": "running",
        "attempt": 1,
        "task": "shop",
        "definition": {"jobs": [{"name": "copy"}]},
    }
    told("restore.begin", f"run {run}", {"state": "planned"}, began)
    runs.begin(run, restored_by="ann")
    assert newest(state).seq == done + 1, "it goes on"
    assert runs.request_stop(run, "ann", "too loud")
    told(
        "run.terminate",
        f"run {run}",
        {"state": "running", "stop_requested": False},
        {"stop_requested": True, "reason": "too loud"},
    )
    assert runs.request_stop(run, "ben", "me too")
    told(
        "run.terminate",
        f"run {run}",
        {"state": "running", "stop_requested": False},
        {"stop_requested": True, "reason": "too loud"},
    )
    with pytest.raises(Refused):
        runs.begin_purge(run, "copy", "ann", None)
    assert newest(state).action == "run.terminate", "what was refused was not begun"
    runs.move(run, "copy", "planned")
    runs.move(run, "copy", "copying")
    runs.move(run, "copy", "copied")
    runs.begin_purge(run, "copy", "ann", {3, 1})
    told(
        "purge.begin",
        f"run {run} job copy",
        {"state": "copied"},
        {"state": "purging", "batches": [1, 3], "table": "t", "connection": "pg"},
    )
    other = runs.start("shop", "shop.yaml", {}, "d").id
    done = count(state)
    runs.begin(other)
    began = {"state": "running", "attempt": 1, "task": "shop", "digest": "d"}
    found = newest(state)
    assert (found.actor, found.action, found.after) == ("airflow", "run.start", began)
    runs.begin(other)
    assert runs.request_stop(other)
    assert count(state) == done + 1, "nobody's hand"
    runs.finish(other, "failed", "no space left")
    runs.finish(other, "succeeded")
    found = newest(state)
    assert (found.actor, found.action, found.object) == ("dsp", "run.finish", f"run {other}")
    assert (found.before, found.after) == (
        {"state": "running"},
        {"state": "failed", "error": "no space left"},
    )
    assert count(state) == done + 2
    runs.begin(other)
    assert (newest(state).action, newest(state).before) == ("run.start", {"state": "failed"})
    runs.record(other, "copy", "ann", "mark.begin", {"batches": [1]})
    with audit.from_address("192.0.2.7"):
        Switches(state).set("shop", "disabled", "ann")
    assert newest(state).address == "192.0.2.7"
    Switches(state).set("shop", "enabled", "ann")
    assert newest(state).address is None
    assert audit.verify(state) == []


def test_a_change_that_fails_leaves_no_record_and_the_other_way_round(
    state: StateDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError("no space left on device")

    run = Runs(state).start("shop", "shop.yaml", {}, "d").id
    Cursors(state).set(KEY, "5", "ann")
    Roles(state).add("owners", "olga", "ann")
    done = count(state)
    with monkeypatch.context() as patched:
        patched.setattr(audit, "record", full)
        changes: list[Callable[[], object]] = [
            lambda: Switches(state).set("shop", "offline", "ann"),
            lambda: LimitChanges(state, run).set(None, {"rows_per_second": 1}, "ann"),
            lambda: Cursors(state).reset(KEY, "ann"),
            lambda: Runs(state).request_stop(run, "ann"),
            lambda: Runs(state).begin(run, restored_by="ann"),
            lambda: Roles(state).remove("owners", "olga", "ann"),
        ]
        for change in changes:
            with pytest.raises(OSError, match="no space"):
                change()
    assert Switches(state).of("shop") is None
    assert LimitChanges(state, run).all() == []
    assert Cursors(state).get(KEY) == "5"
    assert (Runs(state).get(run).stop, Runs(state).get(run).state) == (None, "planned")
    assert Roles(state).all() == {"owners": {"olga"}}
    assert count(state) == done
    assert audit.verify(state) == []


def test_who_may_change_roles(state: StateDatabase) -> None:
    roles = Roles(state)
    assert roles.add("owners", "olga", "somebody"), "while nobody is an administrator"
    assert roles.add("administrators", "anna", "somebody")
    done = count(state)
    for change in (roles.add, roles.remove):
        with pytest.raises(Denied, match="administrators may: anna"):
            change("owners", "olga", "olga")
    assert not roles.add("owners", "olga", "anna")
    assert not roles.remove("owners", "nobody", "anna")
    with pytest.raises(Refused, match="anna is the last of administrators"):
        roles.remove("administrators", "anna", "anna")
    assert count(state) == done
    assert roles.add("administrators", "root", "anna")
    found = newest(state)
    assert (found.action, found.object) == ("role.add", "role administrators")
    assert (found.before, found.after) == ({"members": ["anna"]}, {"members": ["anna", "root"]})
    assert roles.remove("administrators", "anna", "root")
    assert roles.all() == {"administrators": {"root"}, "owners": {"olga"}}
    for role, user in (("", "olga"), ("owners", " olga"), ("a\nb", "olga"), ("r" * 111, "olga")):
        with pytest.raises(ConfigError, match="is no name of a"):
            require_fit(role, user)
        with pytest.raises(ConfigError, match="is no name of a"):
            roles.add(role, user, "root")


def test_two_administrators_who_remove_each_other_at_once(empty_url: str) -> None:
    """One of them comes second, and is the last, or none any more."""
    upgrade(empty_url)
    with open_state(empty_url) as state:
        Roles(state).add("administrators", "anna", "somebody")
        Roles(state).add("administrators", "root", "anna")
        ended = list[str]()

        def remove(actor: str, other: str) -> None:
            try:
                Roles(state).remove("administrators", other, actor)
            except DspError as error:
                ended.append(type(error).__name__)
            else:
                ended.append("removed")

        pair = [("anna", "root"), ("root", "anna")]
        threads = [threading.Thread(target=remove, args=one) for one in pair]
        with state.write() as connection:
            # Both have begun before either can record.
            audit.hold(connection)
            for thread in threads:
                thread.start()
            time.sleep(0.5)
        for thread in threads:
            thread.join(60)
        assert sorted(ended) == ["Denied", "removed"]
        assert len(Roles(state).members("administrators")) == 1
        assert audit.verify(state) == []


def test_processes_that_record_at_once_make_one_chain(state: StateDatabase, state_url: str) -> None:
    kept = together(3, record_in_audit, state_url, 30)
    numbers = sorted(seq for mine in kept for seq in mine)
    assert numbers == list(range(1, 61)), "what was rolled back leaves no gap"
    assert audit.verify(state) == []
    *_, last = audit.entries(state, Wanted())
    assert audit.head(state) == Head(60, last.hash)


def test_a_new_file_is_whole_or_absent(tmp_path: Path) -> None:
    target = tmp_path / "audit.jsonl"
    with pytest.raises(TypeError), new_file(target) as file:
        file.writelines([b"half", "a text"])  # type: ignore[list-item]
    assert list(tmp_path.iterdir()) == []
    with new_file(target) as file:
        file.write(json.dumps({}).encode())
        assert not target.exists()
    assert target.read_text() == "{}"
    assert target.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Refused, match="exists already"), new_file(target):
        pass
