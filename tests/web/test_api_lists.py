"""Lists over the API: sorted by the server, whatever is asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from sqlalchemy import update

from dsp_airflow.approval.matching import Touched
from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.processes import Processes
from dsp_airflow.approval.requests import Requests
from dsp_airflow.approval.subject import Subject
from dsp_airflow.config.process_loading import parse_process
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.switches import Switches
from dsp_airflow.state.tables import PROCESSES, RUNS
from tests.web.served import Served

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def named(api: Served, query: str, field: str = "name") -> list[str]:
    page = api.get(query)
    assert page["total"] == len(page["items"])
    return [one[field] for one in page["items"]]


def file_of(folder: Path, name: str, **more: object) -> None:
    ends = {"source": {"connection": "a", "table": "t"}, "target": {"connection": "b"}}
    job = {"name": "one", "type": "warm", **ends}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, "jobs": [job], **more}))


def test_tasks_by_what_they_are_sorted(api: Served, state: StateDatabase, tmp_path: Path) -> None:
    folder = tmp_path / "dags" / "tasks"
    for name, hour in (("late", 23), ("early", 1), ("never", None)):
        # None of them is known to Airflow here: the files say when they run.
        schedule = "manual" if hour is None else {"once": f"2099-01-01T{hour:02}:00:00+00:00"}
        file_of(folder, name, schedule=schedule)
    Switches(state).set("early", "disabled", "anna")
    runs = Runs(state)
    for age, task in ((1, "never"), (5, "late"), (3, "never")):
        run = runs.start(task, f"{task}.yaml", {"name": task, "jobs": []}, "d" * 64).id
        with state.write() as connection:
            made = NOON - timedelta(hours=age)
            connection.execute(update(RUNS).where(RUNS.c.id == run).values(created_at=made))
    assert named(api, "/tasks") == ["early", "late", "never"]
    assert named(api, "/tasks?descending=true") == ["never", "late", "early"]
    assert named(api, "/tasks?sort=state") == ["early", "late", "never"]
    assert named(api, "/tasks?sort=state&descending=true") == ["late", "never", "early"]
    # What is switched off, or has none, has no next run, and comes last either way.
    assert named(api, "/tasks?sort=next_at&descending=true") == ["late", "early", "never"]
    assert named(api, "/tasks?sort=last_at") == ["late", "never", "early"]
    assert named(api, "/tasks?sort=last_at&descending=true") == ["never", "late", "early"]
    assert named(api, "/tasks?sort=last_at&limit=500&type=warm&descending=true")[0] == "never"
    assert api("GET", "/tasks?sort=file").status_code == 422


def test_requests_by_what_they_are_sorted(
    api: Served, state: StateDatabase, tmp_path: Path
) -> None:
    Roles(state).add("administrators", "anna", "anna")
    requests = Requests(state, processes=Processes(state, tmp_path / "none"))

    def ask(key: str, title: str, who: str) -> str:
        subject = Subject(
            task=key,
            title=title,
            task_type="warm",
            subtypes=frozenset({"insert"}),
            connections=(Touched("shop_pg"),),
            bound={"text": key},
            shown={"definition": {"text": key}},
            rows=1,
        )
        return requests.ask(key, subject, who).id

    first, second, third = ask("a", "zoo", "bert"), ask("ab", "ant", "olga"), ask("b", "mid", "abe")
    requests.cancel(second, "olga")
    titles = {one: named(api, f"/requests?{one}", "title") for one in (
        "", "descending=false", "sort=title&descending=false", "sort=requester",
        "sort=until&descending=false", "task=a", "of=a", "whose=waiting-for-me",
        "whose=waiting-for-me&sort=title", "whose=waiting-for-me&descending=true",
    )}  # fmt: skip
    assert titles == {
        "": ["mid", "ant", "zoo"],
        "descending=false": ["zoo", "ant", "mid"],
        "sort=title&descending=false": ["ant", "mid", "zoo"],
        "sort=requester": ["ant", "zoo", "mid"],
        "sort=until&descending=false": ["zoo", "mid", "ant"],
        "task=a": ["ant", "zoo"],
        "of=a": ["zoo"],
        # The clock runs on these: the oldest first.
        "whose=waiting-for-me": ["zoo", "mid"],
        "whose=waiting-for-me&sort=title": ["mid", "zoo"],
        "whose=waiting-for-me&descending=true": ["mid", "zoo"],
    }
    assert requests.get(first).open
    assert requests.get(third).open


def test_processes_by_what_they_are_sorted(
    api: Served, state: StateDatabase, tmp_path: Path
) -> None:
    Roles(state).add("administrators", "anna", "anna")
    processes = Processes(state, tmp_path / "none")
    for name, kind, priority in (("Beta", "warm", 1), ("alpha", "warm", 2), ("Zed", "purge", 1)):
        text = f"{{name: {name}, task_type: {kind}, priority: {priority}}}"
        processes.create(parse_process(text, "test"), "anna")
    with state.write() as connection:
        for number, name in enumerate(("alpha", "Zed", "Beta")):
            changed = update(PROCESSES).where(PROCESSES.c.name == name)
            connection.execute(changed.values(changed_at=NOON + timedelta(hours=number)))
    assert named(api, "/processes") == ["Zed", "Beta", "alpha"]
    assert named(api, "/processes?sort=name") == ["alpha", "Beta", "Zed"]
    assert named(api, "/processes?sort=changed_at&descending=true") == ["Beta", "Zed", "alpha"]


def test_what_a_task_said_before(api: Served, state: StateDatabase) -> None:
    runs = Runs(state)
    for number, (owner, digest) in enumerate((("olga", "a"), ("olga", "a"), ("bert", "b"))):
        definition = {"name": "flights", "owner": owner, "jobs": [{"name": "one"}]}
        run = runs.start("flights", "flights.yaml", definition, digest * 64).id
        with state.write() as connection:
            made = NOON + timedelta(hours=number)
            connection.execute(update(RUNS).where(RUNS.c.id == run).values(created_at=made))
    page = api.get("/tasks/flights/definitions", user="vera", role="VIEWER")
    assert [(one["digest"][0], one["runs"]) for one in page["items"]] == [("b", 1), ("a", 2)]
    assert [line for line in page["items"][0]["changes"] if line[:1] in "+-"][2:] == [
        '- "owner": "olga"',
        '+ "owner": "bert"',
    ]
    assert page["items"][1]["changes"] is None
    assert page["items"][1]["last_at"] == "2026-01-01T13:00:00Z"
    # A page knows what came before its last line.
    (only,) = api.get("/tasks/flights/definitions?limit=1")["items"]
    assert only["changes"] is not None
    assert api.get("/tasks/flights/definitions?offset=2")["items"] == []
    assert api("GET", "/tasks/nothing/definitions").status_code == 404
