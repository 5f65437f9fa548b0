"""Saving a new task file over the API: who may, what, and that nothing is ever written over."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from dsp_airflow import saving
from dsp_airflow.approval.people import Roles
from dsp_airflow.engine.errors import Refused
from dsp_airflow.permissions.grants import Holder, Privilege, Scope
from dsp_airflow.permissions.store import Grants
from dsp_airflow.state import audit
from dsp_airflow.state.audit import Wanted
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.runs import Runs
from tests.web.scene import made
from tests.web.served import Served

UWE: dict[str, Any] = {"user": "uwe", "role": "USER"}


def text_of(name: str = "flights_new", owner: str = "uwe", **job: Any) -> str:
    one = {
        "name": "one",
        "type": "warm",
        "source": {"connection": "shop_pg", "table": "public.flights"},
        "target": {"connection": "warehouse_pg", "table": "dw.flights_{{ run_date:%Y }}"},
        **job,
    }
    return yaml.safe_dump({"name": name, "owner": owner, "jobs": [one]})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW__DSP__ALLOW_SAVE", "True")
    return tmp_path / "dags" / "tasks"


@pytest.fixture
def granted(state: StateDatabase) -> Callable[..., None]:
    Roles(state).add("administrators", "anna", "anna")

    def grant(
        connection: str, privilege: Privilege, container: str, item: str | None = None
    ) -> None:
        Grants(state).add(Holder("uwe"), Scope(connection, container, item), [privilege], "anna")

    return grant


def saves(state: StateDatabase) -> list[tuple[str, str, str]]:
    found = audit.entries(state, Wanted(actions=["task"]))
    return [(one.actor, one.action, one.object) for one in found]


def test_a_file_is_saved_by_who_holds_what_its_task_needs(
    api: Served, state: StateDatabase, folder: Path, granted: Callable[..., None]
) -> None:
    text = text_of()

    def save(said: str = text, **who: Any) -> tuple[int, str]:
        answer = api("POST", "/task-files", {"text": said}, **(who or UWE))
        return answer.status_code, answer.json().get("detail", "")

    assert api.get("/task-files/form", **UWE)["may_save"] is True
    assert api.get("/task-files/form", user="vera", role="VIEWER")["may_save"] is False
    code, why = save()
    assert code == 403
    assert "read connection shop_pg public.flights" in why
    granted("shop_pg", "read", "public", "flights")
    granted("warehouse_pg", "write", "dw", "flights_2026")
    code, why = save()
    # Of what a run completes every name has to be granted.
    assert (code, "write connection warehouse_pg" in why, "read" in why) == (403, True, False)
    granted("warehouse_pg", "write", "dw")
    assert save(text_of(purge="system"))[0] == 403
    assert save(text_of(source={"connection": "shop_pg", "table": "flights"}))[0] == 403
    for owner in ("olga", ""):
        code, why = save(text_of(owner=owner))
        assert (code, "may save tasks of owner uwe only" in why) == (403, True)
    # Grants are no say in Airflow.
    assert save(user="uwe", role="VIEWER")[0] == 403
    assert list(folder.iterdir()) == []
    assert saves(state) == []

    assert save()[0] == 201
    file = folder / "flights_new.yaml"
    assert file.read_text() == text
    umask = os.umask(0o022)
    os.umask(umask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644 & ~umask
    assert [one.name for one in folder.iterdir()] == ["flights_new.yaml"]
    assert saves(state) == [("uwe", "task.save", "task flights_new")]
    assert api.get("/tasks/flights_new", **UWE)["yaml"] == text
    # Nobody saves it once more, not even an administrator, who needs no grants.
    assert save()[0] == 409
    assert save(text_of(purge="manual"), user="anna", role="ADMIN")[0] == 409
    assert file.read_text() == text
    assert save(text_of("other", "olga"), user="anna", role="ADMIN")[0] == 201
    assert audit.verify(state) == []


def test_nothing_has_its_name_already(
    api: Served, state: StateDatabase, tmp_path: Path, folder: Path
) -> None:
    made(api, state, tmp_path / "dags")
    (folder / "mine.yaml").write_text("name: something_else\njobs: []\n")
    (folder / "elsewhere.yml").write_text("name: named\njobs: []\n")
    Runs(state).start("gone", "gone.yaml", {"name": "gone", "jobs": []}, "d" * 64)
    before = {one.name: one.read_bytes() for one in folder.iterdir()}
    for name in ("flights", "mine", "named", "gone"):
        answer = api("POST", "/task-files", {"text": text_of(name)})
        assert answer.status_code == 409, (name, answer.text)
    # The task's file is gone, and Airflow still has its DAGs.
    file = folder / "flights.yaml"
    kept = file.read_bytes()
    file.unlink()
    state_of_flights = api("POST", "/task-files", {"text": text_of("flights")})
    assert "Airflow has a DAG flights already" in state_of_flights.json()["detail"]
    file.write_bytes(kept)
    wrong = ("../up", "a/b", "..", ".hidden", "x" * 230, "flights__purge", "a\\b", "", "a\nb")
    for name in wrong:
        answer = api("POST", "/task-files", {"text": text_of(name)})
        assert answer.status_code == 422, (name, answer.text)
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == before
    assert sorted(one.name for one in folder.parent.iterdir()) == ["loader.py", "tasks"]
    assert [one for one in saves(state) if one[1].startswith("task.save")] == []


def test_of_two_who_save_one_name_at_once_one_does(
    state: StateDatabase, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dsp_airflow.saving.Tasks.known", lambda *_: False)
    texts = [text_of(batch_size=size) for size in range(1, 5)]

    def save(text: str) -> bool:
        try:
            saving.save_task(state, text, "anna", administrator=True)
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(len(texts)) as pool:
        done = list(pool.map(save, texts))
    assert sorted(done) == [False, False, False, True]
    assert (folder / "flights_new.yaml").read_text() == texts[done.index(True)]
    assert [one.name for one in folder.iterdir()] == ["flights_new.yaml"]
    # Each that was recorded and came to nothing says so.
    actions = [action for _, action, _ in saves(state)]
    assert actions.count("task.save") == actions.count("task.save_failed") + 1


def test_a_disk_that_is_full_or_read_only_leaves_nothing(
    api: Served, state: StateDatabase, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("dsp_airflow.saving.os.fsync", full)
        answer = api("POST", "/task-files", {"text": text_of()})
    assert answer.status_code == 503
    assert "No space left on device" in answer.json()["detail"]
    assert list(folder.iterdir()) == []
    assert saves(state) == []
    monkeypatch.setenv("AIRFLOW__DSP__ALLOW_SAVE", "no such truth")
    assert api("POST", "/task-files", {"text": text_of()}).status_code == 422
    monkeypatch.setenv("AIRFLOW__DSP__ALLOW_SAVE", "False")
    answer = api("POST", "/task-files", {"text": text_of()})
    assert (answer.status_code, "AIRFLOW__DSP__ALLOW_SAVE" in answer.text) == (403, True)
    assert api.get("/task-files/form")["may_save"] is False


def test_a_text_is_judged_as_a_file_is_and_names_no_other(
    api: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def problems(text: str) -> list[str]:
        found = api("POST", "/task-files/lint", {"text": text}, user="vera", role="VIEWER").json()
        assert (found["task"] is None) == bool(found["problems"])
        return [f"{one['where']} {one['message']}" for one in found["problems"]]

    assert problems(text_of()) == []
    assert problems("") == ["new task:1:1 the file is empty"]
    wrong = problems("name: a b\njobs:\n  - name: one\n    source: {tabel: x}\n")
    # Line and column of each.
    places = {one.removeprefix("new task:").partition(" ")[0] for one in wrong}
    assert places == {"1:7", "3:5", "4:13", "4:14"}
    secret = tmp_path / "dags" / "tasks" / "secret.yaml"
    secret.write_text("name: hunter2\n")
    for text in (
        "name: a\njobs: [{file: secret.yaml}]\n",
        f"name: a\njobs: [{{file: ../../../../../../../..{secret}}}]\n",
        text_of(columns={"file": "secret.yaml"}),
    ):
        answer = api("POST", "/task-files/lint", {"text": text})
        assert "files are named in task files only" in answer.text
        assert "hunter2" not in answer.text
    waived = text_of() + "approval: none\n"
    monkeypatch.setenv("AIRFLOW__DSP__ENFORCE_APPROVAL", "True")
    (told,) = problems(waived)
    assert "is not accepted while [dsp] enforce_approval is on" in told
    monkeypatch.setenv("AIRFLOW__DSP__ENFORCE_APPROVAL", "False")
    assert problems(waived) == []
    assert api("POST", "/task-files/lint", {"text": "x" * 300_000}).status_code == 422


def test_the_form_offers_the_processes_that_are_enabled(
    api: Served, state: StateDatabase, tmp_path: Path
) -> None:
    from dsp_airflow.approval.processes import Processes
    from dsp_airflow.config.process_loading import parse_process
    from dsp_airflow.config.schema import task_schema

    Roles(state).add("administrators", "anna", "anna")
    processes = Processes(state, tmp_path / "dags" / "processes")
    for name in ("Offered", "Hidden"):
        processes.create(parse_process(f"{{name: {name}, task_type: warm}}", "test"), "anna")
    processes.enable("Hidden", "anna", enabled=False)
    form = api.get("/task-files/form", user="vera", role="VIEWER")
    assert [one["name"] for one in form["processes"]] == ["Offered"]
    assert form["task_schema"] == task_schema()
