"""`dsp requests`, `approve`, `process` ...; and the commands that have to ask first."""

from __future__ import annotations

import getpass
import re
from typing import Any

import pytest
import yaml

from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.requests import Requests
from dsp_airflow.state.database import open_state
from tests.cli.harness import Done, Dsp, job

PROCESS = {
    "name": "FourEyes",
    "task_type": "warm",
    "levels": [{"nodes": [{"role": "owners"}, {"user": "anna"}]}],
    "start": "manual",
}
LOGIN = getpass.getuser()


class As:
    """The command by somebody, with approval enforced."""

    def __init__(self, dsp: Dsp, user: str, **settings: str) -> None:
        self.dsp = dsp
        self.env = {
            "AIRFLOW__DSP__ENFORCE_APPROVAL": "True",
            "AIRFLOW__DSP__CLI_USERS": f"nobody=root, {LOGIN}={user}",
            "AIRFLOW__DSP__PROCESSES_FOLDER": str(dsp.folder / "processes"),
            **settings,
        }

    def __call__(self, *arguments: object) -> Done:
        return self.dsp(*arguments, env=self.env)


def write(dsp: Dsp, file: str, **values: Any) -> str:
    (dsp.folder / file).write_text(yaml.safe_dump({**PROCESS, **values}))
    return file


@pytest.fixture
def rita(dsp: Dsp) -> As:
    (dsp.folder / "processes").mkdir()
    with open_state(f"sqlite:///{dsp.state}", create=True) as state:
        roles = Roles(state)
        for role, user in (("owners", "otto"), ("owners", "rita"), ("administrators", "root")):
            roles.add(role, user, "test")
    return As(dsp, "rita")


def test_a_repair_and_a_rollback_ask_first(dsp: Dsp, rita: As) -> None:
    dsp.fill(20)
    file = dsp.write(job(batch_size=10, check={"percent": 100}, rollback=True), owner="data")
    run = dsp("run", file, "--json").document["run"]
    dsp.target.execute("UPDATE t SET name = 'x' WHERE id = 15")
    assert dsp("check", file, "--run", run).code == 3

    def agreed(*command: str) -> tuple[str, int | None]:
        """The request without which nothing is done."""
        refused = rita(*command)
        found = re.search(r"nothing was done: request (\S+) waits", refused.err)
        assert (refused.code, found is None) == (4, False), refused.err
        assert found is not None
        with open_state(f"sqlite:///{dsp.state}") as state:
            request = Requests(state).decide(found[1], "root", approved=True)
        assert rita(*command).code == 0
        return request.task_type, request.evidence["rows"]

    assert agreed("repair", run) == ("repair", 10)
    assert dsp.target.value("SELECT count(*) FROM t WHERE name = 'x'") == 0
    # Of the row that others changed, what they wrote comes back, and stays.
    assert agreed("rollback", run, "--yes") == ("rollback", 21)
    assert dsp.target.rows("SELECT id, name FROM t") == [(15, "x")]


def test_a_run_a_purge_and_a_restore_ask_first(dsp: Dsp, rita: As) -> None:
    otto, anna, root = (As(dsp, name) for name in ("otto", "anna", "root"))
    assert root("process", "create", write(dsp, "process.yaml")).code == 0
    dsp.fill(1000)
    file = dsp.write(job(batch_size=100, purge="manual"), owner="data")
    foreseen = rita("plan", file, "--json").document["approval"]
    assert foreseen == {"process": "FourEyes", "level": 1, "nodes": ["role owners", "user anna"]}
    first = rita("run", file, "--json")
    assert first.code == 4
    assert "waits for role owners (otto, rita)" in first.err
    assert dsp.target.value("SELECT to_regclass('public.t') IS NULL")
    [listed] = rita("requests", "list", "--state", "approving", "--json").document["requests"]
    request = listed["id"]
    assert request in first.err
    assert (listed["requester"], listed["rows"], listed["process"]) == ("rita", 1000, "FourEyes")
    assert rita("run", file, "--json").code == 4
    assert len(rita("requests", "list", "--json").document["requests"]) == 1
    shown = otto("requests", "show", request)
    for part in ("rita", "SELECT", "when somebody asks for it", "numeric(12,2)", "History"):
        assert part in shown.out
    assert [r["id"] for r in otto("requests", "list", "--mine", "--json").document["requests"]] == [
        request
    ]
    denied = rita("approve", request)
    assert (denied.code, "asked for this" in denied.err) == (4, True)
    done = otto("approve", request, "--comment", "fine")
    assert (done.code, "waits for user anna (anna)" in done.out) == (0, True)
    assert anna("approve", request, "--json").document["state"] == "WAIT_FOR_EXECUTION"
    ran = rita("run", file, "--json")
    assert (ran.code, ran.job["rows_written"]) == (0, 1000), ran.err
    shown = rita("requests", "show", request, "--json")
    assert shown.document["state"] == "EXECUTION_SUCCEEDED"
    assert [d["actor"] for d in shown.document["decisions"]] == ["otto", "anna"]

    # A purge is a request of its own, here of the built-in process.
    purge = ("purge", file, "--batches", "1-2", "--yes", "--json")
    refused = rita(*purge)
    assert (refused.code, "role administrators (root)" in refused.err) == (4, True)
    request = rita("requests", "list", "--type", "purge", "--json").document["requests"][0]["id"]
    assert root("approve", request).code == 0
    # Other batches than those that were approved are another request.
    other = rita("purge", file, "--batches", "1-3", "--yes", "--json")
    assert other.code == 4
    assert dsp.source.value("SELECT count(*) FROM t") == 1000
    assert rita("requests", "show", request, "--json").document["state"] == "CANCELLED"
    assert rita(*purge).code == 4
    request = rita("requests", "list", "--state", "APPROVING", "--json").document["requests"][0]
    assert root("approve", request["id"]).code == 0
    assert rita(*purge).job["rows_purged"] == 200

    # So is what somebody removed by hand; for a purge of the same batches it is no approval.
    dsp.source.execute("DELETE FROM t WHERE id <= 300")
    mark = ("mark-deleted", ran.document["run"], "--batches", "3", "--json")
    assert rita(*mark).code == 4
    request = rita("requests", "list", "--state", "APPROVING", "--json").document["requests"][0]
    assert "recorded as removed by hand" in rita("requests", "show", request["id"]).out
    assert root("approve", request["id"]).code == 0
    assert rita("purge", file, "--batches", "3", "--yes", "--json").code == 4
    assert rita(*mark).job["rows_gone"] == 100

    restore = ("restore", file, "--run", "latest", "--json")
    assert rita(*restore).code == 4
    request = rita("requests", "list", "--type", "restore", "--json").document["requests"][0]["id"]
    silent = root("reject", request)
    assert (silent.code, "comment" in silent.err) == (2, True)
    assert root("reject", request, "--comment", "they were wrong").code == 0
    assert rita(*restore).code == 4
    request = rita("requests", "list", "--type", "restore", "--json").document["requests"][0]["id"]
    assert rita("cancel", request).code == 0
    assert dsp.source.value("SELECT count(*) FROM t") == 700

    # What was edited is shown beside what was approved last.
    edited = dsp.write(job(batch_size=100, purge="manual", where="id > 5"), file="edited.yaml")
    assert rita("run", edited, "--new").code == 4
    request = rita("requests", "list", "--state", "APPROVING", "--json").document["requests"][0]
    compared = rita("requests", "show", request["id"]).out
    assert "Changes since the last approval:" in compared
    assert re.search(r'^\+ +"where": "id > 5"', compared, re.MULTILINE)
    assert "Deletes up to 700 rows of public.t" in compared


def test_with_the_gate_off_every_command_says_so(dsp: Dsp, rita: As) -> None:
    dsp.fill(10)
    file = dsp.write(job(purge="manual", batch_size=5))
    for arguments in (
        ("plan", file),
        ("run", file),
        ("purge", file, "--batches", "1", "--yes"),
        ("restore", file, "--run", "latest", "--batches", "1"),
        ("requests",),
        ("process", "list"),
    ):
        done = dsp(*arguments)
        assert (done.code, sum("Approval is not enforced" in one for one in done.lines)) == (0, 1)
    # So does every document; and the command is as silent as it was asked to be.
    for command in (["plan", file], ["run", file, "--new"], ["check", file]):
        assert dsp(*command, "--json").document["approval_enforced"] is False
    assert rita("plan", file, "--json").document["approval_enforced"] is True
    assert dsp("run", file, "--new", "--quiet").lines == []
    refused = rita("run", dsp.write(job(), approval="none"), "--new")
    assert (refused.code, "approval: none" in refused.err) == (4, True)


def test_lint_refuses_what_asks_nobody(dsp: Dsp, rita: As) -> None:
    (dsp.folder / "tasks").mkdir()
    file = dsp.write(job(), file="tasks/task.yaml", approval="none")
    for path in (file, "tasks"):
        linted = rita("lint", path)
        assert linted.code == 2
        assert re.search(
            r"tasks/task\.yaml:\d+:\d+: approval: is not accepted while \[dsp\] enforce_approval",
            linted.err,
        )
        assert dsp("lint", path).code == 0


def test_nothing_works_unapproved_where_nobody_has_said_anything(dsp: Dsp) -> None:
    """The first command of a first user: what is to do, and the way on."""
    dsp.fill(10)
    file = dsp.write(job())
    # As an environment has it that says nothing of approval.
    silent = dict.fromkeys(("AIRFLOW__DSP__ENFORCE_APPROVAL",), "")
    planned = dsp("plan", file, "--json", env=silent)
    assert planned.document["approval"]["nodes"] == ["role administrators"]
    assert not dsp.state.exists()
    done = dsp("run", file, env=silent)
    assert done.code == 4
    assert "waits for role administrators (nobody now; dsp role add administrators USER" in done.err
    assert dsp.target.value("SELECT to_regclass('public.t') IS NULL")
    assert dsp("role", "add", "administrators", "anna", env=silent).code == 0
    request = dsp("requests", "list", "--json", env=silent).document["requests"][0]
    assert request["waits_for"] == "role administrators (anna)"
    as_anna = silent | {"AIRFLOW__DSP__CLI_USERS": f"{LOGIN}=anna"}
    assert dsp("approve", request["id"], env=as_anna).code == 0
    assert dsp("run", file, "--json", env=silent).job["rows_written"] == 10


def test_processes(dsp: Dsp, rita: As) -> None:
    root = As(dsp, "root")
    bad = write(dsp, "bad.yaml", task_typ="s3", validity={"approval": "241h"})
    linted = root("process", "lint", bad)
    assert linted.code == 2
    assert "did you mean 'task_type'?" in linted.err
    assert "validity.approval: must be longer than 0s and at most 240h" in linted.err
    assert root("process", "create", bad).code == 2
    good = write(dsp, "good.yaml")
    assert root("process", "lint", good).out.strip() == "1 process file, no problems"
    assert rita("process", "create", good).code == 4
    assert root("process", "create", good).code == 0
    assert root("process", "create", write(dsp, "two.yaml", name="审批流程2")).code == 0
    assert root("process", "reorder", "warm", "审批流程2", "FourEyes").code == 0
    write(dsp, "processes/filed.yaml", name="Filed", priority=5)
    listed = root("process", "list", "--json").document["processes"]
    assert [(p["name"], p["priority"]) for p in listed] == [
        ("审批流程2", 1),
        ("FourEyes", 2),
        ("Filed", 5),
    ]
    text = root("process", "show", "FourEyes").out
    (dsp.folder / "shown.yaml").write_text(text.replace("manual", "automatic"))
    assert root("process", "edit", "FourEyes", "shown.yaml").code == 0
    assert root("process", "show", "FourEyes", "--json").document["start"] == "automatic"
    assert root("process", "disable", "FourEyes").code == 0
    dsp.fill(10)
    asked = rita("run", dsp.write(job(), approval="FourEyes"))
    assert (asked.code, "which is disabled" in asked.err) == (4, True)
    assert root("process", "enable", "FourEyes").code == 0
    assert root("process", "delete", "Filed").code == 4
    assert root("process", "delete", "FourEyes").code == 0
    assert root("process", "show", "FourEyes").code == 2


def test_slips(dsp: Dsp, rita: As) -> None:
    state = rita("requests", "list", "--state", "APROVING")
    assert (state.code, "did you mean APPROVING?" in state.err) == (2, True)
    assert rita("requests").out.strip() == "no requests"
    assert rita("execute", "nope").code == 2
    # A folder that was named has to be there: it might hold a stricter process.
    dsp.fill(10)
    lost = As(dsp, "rita", AIRFLOW__DSP__PROCESSES_FOLDER=str(dsp.folder / "lost"))
    refused = lost("run", dsp.write(job()))
    assert (refused.code, "lost, which is not there" in refused.err) == (4, True)


def test_roles(dsp: Dsp, rita: As) -> None:
    root = As(dsp, "root")
    assert root("process", "create", write(dsp, "process.yaml")).code == 0
    assert root("process", "create", write(dsp, "s3.yaml", name="S3", task_type="s3")).code == 0
    denied = rita("role", "add", "owners", "olga")
    assert (denied.code, "rita may not change who has which role" in denied.err) == (4, True)
    done = root("role", "add", "owners", "olga", "rita")
    assert done.out.splitlines() == [
        "olga now has the role owners",
        "rita has the role owners",
    ]
    assert root("role", "remove", "owners", "otto", "rita", "olga").code == 0
    listed = rita("role", "list", "--json")
    assert listed.document["roles"] == [
        {"role": "administrators", "members": ["root"], "processes": []},
        {"role": "owners", "members": [], "processes": ["FourEyes", "S3"]},
    ]
    shown = rita("role", "list")
    assert "nobody has the role owners, so what FourEyes, S3 asks of it expires" in shown.err
    assert shown.out.split() == [
        *("role", "members", "asked", "for", "by"),
        shown.out.split()[5],
        *("administrators", "root", "owners", "nobody", "FourEyes,", "S3"),
    ]
    last = root("role", "remove", "administrators", "root")
    assert (last.code, "root is the last of administrators" in last.err) == (4, True)
    bad = root("role", "add", "owners", "olga", " ")
    assert (bad.code, "' ' is no name of a user" in bad.err) == (2, True)
    assert root("role", "list", "--json").document["roles"][1]["members"] == []


def test_the_first_administrator(dsp: Dsp) -> None:
    anybody = As(dsp, "anybody")
    assert "nobody has the role administrators: anybody may change" in anybody("role", "list").err
    assert anybody("role", "add", "administrators", "anna").code == 0
    assert anybody("role", "add", "administrators", "anybody").code == 4
    assert anybody("role", "list").err == ""
