"""Who may do what over the API: one table, and every route is in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsp_airflow.approval.machine import SYSTEM
from dsp_airflow.approval.requests import Requests
from dsp_airflow.state import audit
from dsp_airflow.state.audit import Wanted
from dsp_airflow.state.database import StateDatabase
from tests.web.scene import Again, differing, filled, made
from tests.web.served import Role, Served

TABLE = Path(__file__).with_name("access.txt")
PEOPLE: dict[str, tuple[str | None, Role]] = {
    "anonymous": (None, "VIEWER"),
    "viewer": ("vera", "VIEWER"),
    "user": ("uwe", "USER"),
    "other": ("paul", "VIEWER"),
    "approver": ("otto", "VIEWER"),
    "owner": ("olga", "VIEWER"),
    "admin": ("anna", "ADMIN"),
}


@dataclass(frozen=True)
class Row:
    method: str
    path: str
    statuses: dict[str, int]
    body: Any


def rows() -> Iterator[Row]:
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            method, path, *rest = line.split(maxsplit=2 + len(PEOPLE))
            codes = [int(code) for code in rest[: len(PEOPLE)]]
            body = json.loads(rest[len(PEOPLE)]) if len(rest) > len(PEOPLE) else None
            yield Row(method, path, dict(zip(PEOPLE, codes, strict=True)), body)


def routes(api: Served) -> set[tuple[str, str]]:
    return {(method, route.path) for route in api.api.routes for method in route.methods}


def test_every_route_is_in_the_table(api: Served) -> None:
    assert {(row.method, row.path.partition("?")[0]) for row in rows()} == routes(api)


def test_every_route_asks_who_it_is(api: Served) -> None:
    from airflow.api_fastapi.core_api.security import get_user

    for route in api.api.routes:
        needed = [one.call for one in route.dependant.dependencies]
        assert get_user in needed, route.path


def test_who_may_do_what(api: Served, state: StateDatabase, tmp_path: Path) -> None:
    scene = made(api, state, tmp_path / "dags")
    request = Requests(state).get(scene.request)
    assert request.version == 2
    differing(state, scene.failed)
    again = Again(api, state)
    wrong = []
    for row in rows():
        more = {"run": scene.failed} if row.path.endswith(("/retry", "/repair")) else {}
        path = filled(row.path, scene, **more)
        body = row.body
        if body is not None and "digest" in body:
            body = body | {"digest": request.digest}
        for person, status in row.statuses.items():
            user, role = PEOPLE[person]
            answer = api(row.method, path, body, user=user, role=role)
            if answer.status_code != status:
                wrong.append((row.method, path, person, answer.status_code, answer.text))
            kind = answer.headers.get("content-type", "")
            assert kind.startswith("application/problem+json") == (answer.status_code >= 400)
            assert answer.headers["cache-control"] == "no-store"
            if row.method != "GET" and answer.status_code < 400:
                again()
    assert wrong == []


def test_changes_are_audited_with_actor_and_address(
    api: Served, state: StateDatabase, tmp_path: Path
) -> None:
    scene = made(api, state, tmp_path / "dags")
    request = Requests(state).get(scene.request)
    before = audit.head(state)
    assert before is not None
    for row in rows():
        if row.method == "GET" or row.path in {"/plans", "/connections/{connection}/test"}:
            continue
        person = next(one for one, code in reversed(row.statuses.items()) if code != 403)
        body = row.body
        if body is not None and "digest" in body:
            body = body | {"digest": request.digest}
        user, role = PEOPLE[person]
        api(row.method, filled(row.path, scene), body, user=user, role=role)
    entries = [one for one in audit.entries(state, Wanted()) if one.seq > before.seq]
    actions = {one.action for one in entries}
    assert actions >= {
        "run.terminate",
        "limits.set",
        "limits.clear",
        "task.enable",
        "task.disable",
        "task.offline",
        "request.approving",
        "process.create",
        "process.edit",
        "process.delete",
        "role.remove",
        "grant.add",
        "grant.revoke",
    }
    # What time or the machine does, it does from nowhere.
    assert {one.address for one in entries if one.actor == SYSTEM} <= {None}
    assert {one.address for one in entries if one.actor != SYSTEM} == {"192.0.2.7"}
    assert {one.actor for one in entries} <= {SYSTEM, *(user for user, _ in PEOPLE.values())}
    assert audit.verify(state) == []
