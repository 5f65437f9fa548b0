"""What the API says where something is wrong: problem details, and nothing of what is inside."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dsp_airflow.approval.requests import Requests
from dsp_airflow.engine.errors import Transient
from dsp_airflow.state.database import StateDatabase, open_state, upgrade
from tests.web.scene import made
from tests.web.served import Served


def problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    return found


def test_who_is_not_logged_in_learns_nothing(api: Served) -> None:
    for method, path in (("GET", "/runs"), ("POST", "/grants"), ("GET", "/openapi.json")):
        assert problem(api(method, path, user=None), 401)["detail"] == "Not authenticated"
    answer = api("GET", "/me", user=None, headers={"Authorization": "Bearer x"})
    assert problem(answer, 403)["detail"] == "Invalid JWT token"


def test_the_cookie_of_the_pages_is_a_login_and_no_form_can_use_it(api: Served) -> None:
    cookie = {"Cookie": f"_token={api.token('anna', 'ADMIN')}"}
    assert api("GET", "/me", user=None, headers=cookie).json()["name"] == "anna"
    for kind in (
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "",
    ):
        headers = {**cookie, "Content-Type": kind}
        answer = api.client.post(
            "/dsp/api/v1/grants", content=b'{"holder": "eve"}', headers=headers
        )
        problem(answer, 415)
    problem(api.client.request("DELETE", "/dsp/api/v1/roles/a/members/b", headers=cookie), 415)


def test_unknown_addresses_and_methods(api: Served) -> None:
    assert problem(api("GET", "/nothing"), 404)["detail"] == "there is nothing at this address"
    problem(api("DELETE", "/me"), 405)
    problem(api("GET", "/runs/nothing"), 404)
    problem(api("GET", "/tasks/nothing"), 404)
    problem(api("GET", "/processes/nothing"), 404)


def test_what_was_sent_is_told_by_its_place_and_not_repeated(api: Served) -> None:
    said = problem(api("GET", "/runs?limit=a-secret"), 422)
    assert [one["where"] for one in said["mistakes"]] == ["query.limit"]
    assert "a-secret" not in str(said)
    said = problem(
        api("POST", "/processes", {"name": "New", "task_type": "purge", "levles": []}), 422
    )
    (mistake,) = said["mistakes"]
    assert mistake["where"].startswith("process:1:")
    assert mistake["suggestion"] == "levels"


def test_texts_that_no_database_keeps(api: Served) -> None:
    problem(api("GET", "/runs?name=a%00b"), 422)
    problem(api("GET", "/runs/a%00b"), 422)
    problem(api("POST", "/roles", {}), 405)
    problem(api("POST", "/grants", {"holder": "a\x00b", "connection": "c"}), 422)
    body = b'{"holder": "\\ud800", "connection": "c", "privileges": ["read"]}'
    headers = {
        "Authorization": f"Bearer {api.token('anna', 'ADMIN')}",
        "Content-Type": "application/json",
    }
    problem(api.client.post("/dsp/api/v1/grants", content=body, headers=headers), 422)
    # In UTC these are before the first year, and after the last one that there is.
    problem(api("GET", "/runs?since=0001-01-01T00:02:00%2B01:00"), 422)
    until = {"connection": "c", "privileges": ["read"], "until": "9999-12-31T23:59:59-01:00"}
    problem(api("POST", "/grants/apply", until), 422)
    large = b'{"holder": "' + b"x" * 2**20 + b'"}'
    problem(api.client.post("/dsp/api/v1/grants", content=large, headers=headers), 413)
    problem(api.client.post("/dsp/api/v1/grants", content=b"{", headers=headers), 422)


def test_a_defect_is_told_in_the_log_alone(
    api: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr("dsp_airflow.web.users.roles_of", broken)
    with caplog.at_level(logging.ERROR):
        said = problem(api("GET", "/me"), 500)
    assert "hunter2" not in str(said)
    assert "hunter2" in caplog.text


def test_a_state_database_that_is_not_there(
    api: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = f"sqlite:///{tmp_path}/none.db"
    monkeypatch.setenv("AIRFLOW__DSP__SQL_ALCHEMY_CONN", path)
    answer = api("GET", "/me")
    assert "none.db" not in str(problem(answer, 503))
    assert answer.headers["retry-after"] == "5"
    assert "none.db" in caplog.text


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_question_that_takes_too_long_is_given_up(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path}/bounded.db"
    if kind == "postgresql":
        url = request.getfixturevalue("pg18_db").sqlalchemy_url
    upgrade(url)
    with open_state(url, seconds=1) as database:
        with pytest.raises(Transient, match="longer than it may"), database.read() as connection:
            connection.exec_driver_sql(ENDLESS)
        # The connection is as good as before.
        assert database.now() > datetime(2026, 1, 1, tzinfo=UTC)


def test_nobody_decides_on_what_changed_meanwhile(
    api: Served, state: StateDatabase, tmp_path: Path
) -> None:
    scene = made(api, state, tmp_path / "dags")
    otto: dict[str, Any] = {"user": "otto", "role": "VIEWER"}
    (waiting,) = api.get("/requests?whose=waiting-for-me", **otto)["items"]
    assert api.get("/me", **otto)["waiting"] == 1
    assert (waiting["id"], waiting["waits_for"]) == (scene.request, "role owners")
    shown = api.get(f"/requests/{scene.request}", **otto)
    assert (shown["may_decide"], shown["may_cancel"], shown["may_execute"]) == (True, False, False)
    assert shown["evidence"]["rows"] == 100
    assert [one["members"] for one in shown["nodes"]] == [["otto"], ["anna"]]
    seen = {"version": shown["version"], "digest": shown["digest"]}
    path = f"/requests/{scene.request}"
    problem(api("POST", f"{path}/approve", seen | {"digest": "0" * 64}, **otto), 409)
    problem(api("POST", f"{path}/approve", {"comment": "blind"}, **otto), 422)
    problem(api("POST", f"{path}/reject", seen, **otto), 422)
    agreed = api("POST", f"{path}/approve", seen | {"comment": "fine"}, **otto)
    assert agreed.json()["nodes"][0]["verdict"] == "approved"
    said = problem(api("POST", f"{path}/approve", seen), 409)
    assert "has changed since you looked" in said["detail"]
    now = {"version": agreed.json()["version"], "digest": shown["digest"]}
    problem(api("POST", f"{path}/approve", now, **otto), 403)
    done = api("POST", f"{path}/approve", now).json()
    assert (done["state"], done["nodes"][1]["actor"]) == ("WAIT_FOR_EXECUTION", "anna")
    assert not api.get(path, user="vera", role="VIEWER")["may_execute"]
    assert api.get("/requests?whose=mine", user="rita", role="VIEWER")["total"] == 1
    assert api.get("/requests?whose=mine", **otto)["total"] == 0
    assert api.get("/requests?state=REJECTED&state=CANCELLED")["items"] == []
    assert api("POST", f"{path}/execute", user="rita", role="VIEWER").json()["state"] == "EXECUTING"
    assert Requests(state).get(scene.request).case.deciders == {"otto", "anna"}


def test_a_request_is_seen_by_who_has_to_do_with_it(
    api: Served, state: StateDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = made(api, state, tmp_path / "dags")
    api.forbid(monkeypatch, "flights")
    path = f"/requests/{scene.request}"
    for user, sees in (("vera", False), ("paul", False), ("otto", True), ("rita", True)):
        answer = api("GET", path, user=user, role="VIEWER")
        assert answer.status_code == (200 if sees else 404)
        listed = api.get("/requests", user=user, role="VIEWER")
        assert listed["total"] == len(listed["items"]) == sees
    assert api.get("/requests")["total"] == 1
    for act in ("approve", "reject", "cancel", "execute"):
        body = {"version": 2, "digest": "x", "comment": "x"}
        problem(api("POST", f"{path}/{act}", body, user="vera", role="USER"), 404)


def test_an_application_for_a_grant(api: Served, state: StateDatabase, tmp_path: Path) -> None:
    made(api, state, tmp_path / "dags")
    vera: dict[str, Any] = {"user": "vera", "role": "VIEWER"}
    asked = {"connection": "shop_pg", "privileges": ["read"], "until": "2099-01-01T00:00:00Z"}
    request = api("POST", "/grants/apply", asked, **vera).json()
    assert (request["state"], request["requester"]) == ("APPROVING", "vera")
    assert api("POST", "/grants/apply", asked, **vera).json()["id"] == request["id"]
    # It is between her and those who decide.
    problem(api("GET", f"/requests/{request['id']}", user="uwe", role="USER"), 404)
    assert request["id"] not in [
        one["id"] for one in api.get("/requests", user="uwe", role="USER")["items"]
    ]
    check = "/grants/check?connection=shop_pg&privilege=read"
    assert not api.get(check, **vera)["allowed"]
    assert api.get(check, **vera)["who_gives"] == ["anna"]
    seen = {"version": request["version"], "digest": request["digest"]}
    problem(api("POST", f"/requests/{request['id']}/approve", seen, **vera), 403)
    done = api("POST", f"/requests/{request['id']}/approve", seen).json()
    assert done["state"] == "EXECUTION_SUCCEEDED"
    (grant,) = api.get("/grants", **vera)["items"]
    assert (grant["holder"], grant["until"]) == ("vera", "2099-01-01T00:00:00Z")
    assert (grant["request"], grant["over"]) == (request["id"], False)
    assert api.get(check, **vera)["allowed"]
    assert api.get("/grants?privilege=purge", **vera)["total"] == 0


def test_a_process_of_a_file_is_changed_there(
    api: Served, state: StateDatabase, tmp_path: Path
) -> None:
    folder = tmp_path / "dags" / "processes"
    folder.mkdir()
    (folder / "filed.yaml").write_text("name: Filed\ntask_type: warm\nremarks: in a file\n")
    (folder / "broken.yaml").write_text("name: Broken\ntask_type: warn\n")
    page = api.get("/processes")
    (one,) = page["items"]
    assert (one["file"], one["created_by"]) == (str(folder / "filed.yaml"), None)
    (mistake,) = page["broken"]
    assert mistake["where"] == f"{folder / 'broken.yaml'}:2:12"
    said = problem(api("POST", "/processes/Filed/disable"), 409)
    assert "filed.yaml; change it there" in said["detail"]
    problem(api("DELETE", "/processes/Filed"), 409)
    problem(api("POST", "/processes", {"name": "Filed", "task_type": "warm"}), 422)
    for name, query in (("A", "name=a&status=enabled"), ("B", "creator=anna&type=purge")):
        api("POST", "/processes", {"name": name, "task_type": "purge"})
        assert name in [one["name"] for one in api.get(f"/processes?{query}")["items"]]
    order = api("PUT", "/process-order/purge", {"names": ["B", "A"]}).json()
    assert [(one["name"], one["priority"]) for one in order] == [("B", 1), ("A", 2)]
