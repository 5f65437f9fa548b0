"""`dsp audit`: what commands record, and what shows when somebody edits it."""

from __future__ import annotations

import getpass
import hashlib
import json
from typing import Any

from dsp_airflow.state import audit
from dsp_airflow.state.codec import canonical
from dsp_airflow.state.database import open_state
from tests.cli.harness import Dsp, job

BY_ANNA = {"AIRFLOW__DSP__CLI_USERS": f"{getpass.getuser()}=anna"}


def records(dsp: Dsp, *arguments: str) -> list[dict[str, Any]]:
    done = dsp("audit", "list", "--json", *arguments)
    assert done.code == 0, done.err
    found = done.document["records"]
    assert isinstance(found, list)
    return found


def test_what_commands_do_by_hand_is_recorded(dsp: Dsp) -> None:
    dsp.fill(300)
    file = dsp.write(
        job(batch_size=100, purge="manual", mode="incremental", cursor={"column": "id"})
    )

    def act(*arguments: object) -> None:
        done = dsp(*arguments, env=BY_ANNA)
        assert done.code == 0, done.err

    act("run", file)
    ended, began = records(dsp)
    assert (began["actor"], began["action"]) == ("anna", "run.start")
    assert (ended["actor"], ended["action"]) == ("dsp", "run.finish")
    assert ended["after"] == {"state": "succeeded", "error": None}
    run = dsp("status", "--json").document["runs"][0]["run"]
    act("purge", file, "--batches", "1-2", "--yes")
    act("limits", run, "--rows-per-second", "5")
    act("cursor", file, "--set", "7")
    act("task", "offline", "task", "--reason", "moved away", "--folder", dsp.folder)
    act("task", "enable", "task", "--from-offline", "--folder", dsp.folder)
    act("restore", file, "--run", "latest", "--batches", "1")
    found = records(dsp)
    assert {one["actor"] for one in found if one["action"] != "run.finish"} == {"anna"}
    done, restored, *rest = found
    assert (done["action"], done["object"]) == ("run.finish", restored["object"])
    assert restored["action"] == "restore.begin"
    assert restored["after"]["definition"]["jobs"][0]["target"]["connection"] == "source"
    assert [(one["action"], one["object"]) for one in rest] == [
        ("task.enable", "task task"),
        ("task.offline", "task task"),
        ("cursor.set", "task task job copy"),
        ("limits.set", f"run {run}"),
        ("purge.begin", f"run {run} job copy"),
        ("run.finish", f"run {run}"),
        ("run.start", f"run {run}"),
    ]
    assert rest[4]["after"]["batches"] == [1, 2]

    assert [one["seq"] for one in records(dsp, "--action", "task")] == [7, 6]
    assert [one["seq"] for one in records(dsp, "--object", run)] == [4, 3, 2, 1]
    assert [one["seq"] for one in records(dsp, "--limit", "1", "--since", "1h")] == [9]
    assert records(dsp, "--since", "2999-01-01") == records(dsp, "--actor", "otto") == []
    wrong = dsp("audit", "list", "--since", "yesterday")
    assert (wrong.code, "'yesterday' is neither a time" in wrong.err) == (2, True)
    shown = dsp("audit", "list", "--action", "task.offline").out
    assert "reason: nothing -> moved away; state: nothing -> offline" in shown
    assert dsp("audit", "list", "--actor", "otto").out == "no records\n"


def test_it_is_verified_and_exported(dsp: Dsp) -> None:
    assert dsp("audit", "verify").out.startswith("0 records, each as it was written")
    with open_state(f"sqlite:///{dsp.state}") as state, state.write() as connection:
        for n in range(2500):
            audit.record(connection, actor="anna", action="role.add", object=f"role ü{n}")
    kept = dsp("audit", "export", "audit.jsonl")
    assert (kept.code, kept.out) == (0, "audit.jsonl: 2,500 records\n")
    text = (dsp.folder / "audit.jsonl").read_text()
    assert dsp("audit", "export", "-").out == text
    assert dsp("audit", "export", "-", "--since", "2999-01-01").out == ""
    again = dsp("audit", "export", "audit.jsonl")
    assert (again.code, "exists already" in again.err) == (4, True)

    # Whoever has the export can tell, without this package, what the chain was.
    previous = "0" * 64
    for number, line in enumerate(text.splitlines(), 1):
        one = json.loads(line)
        told = one.pop("hash")
        assert one["seq"] == number
        assert one.pop("previous_hash") == previous
        previous = hashlib.sha256((previous + canonical(one)).encode()).hexdigest()
        assert told == previous
    whole = dsp("audit", "verify")
    assert whole.out == f"2,500 records, each as it was written; the head is {previous}\n"
    head = {"seq": 2500, "hash": previous}
    assert dsp("audit", "verify", "--json").document == {"head": head, "problems": []}

    dsp.execute_state("DELETE FROM audit WHERE seq > 2490")
    dsp.execute_state("UPDATE audit SET object = 'role admin' WHERE seq = 1200")
    done = dsp("audit", "verify")
    assert done.code == 3
    assert done.out.splitlines() == [
        "audit record 1200 (anna, role.add, role admin) was edited",
        "audit records 2491 to 2500 are missing: cut off at the end",
    ]
    assert "see docs/operations.md" in done.err
    edited = dsp("audit", "verify", "--json")
    assert (edited.code, len(edited.document["problems"])) == (3, 2)
    dsp.execute_state("DELETE FROM audit_head")
    lost = dsp("audit", "verify", "--json")
    assert (lost.code, lost.document["head"]) == (3, None)
    refused = dsp("role", "add", "administrators", "anna")
    assert (refused.code, "the head of the audit is missing" in refused.err) == (4, True)
