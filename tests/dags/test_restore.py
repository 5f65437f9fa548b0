"""The DAG that restores by a form, a restore job in a task file, and the operators by hand."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from dsp_airflow.notify import RunEnded
from dsp_airflow.notify.end import link
from dsp_airflow.operators.restore import RestoreCheckOperator, RestoreOperator
from dsp_airflow.state import audit
from dsp_airflow.state.audit import Wanted
from tests.cli.harness import DSP
from tests.dags.conftest import Stepper, World
from tests.dags.test_archive import TASK, place
from tests.dags.test_mails import context
from tests.dags.test_mails import text as body
from tests.servers import SmtpSink
from tests.servers.s3 import Place

__all__ = ["place"]
FORM: dict[str, Any] = {
    "job": "old",
    "earlier_run": "latest",
    "batches": "all",
    "condition": "",
    "to_table": "",
    "to_connection": "",
    "conflict": "error",
}
BACK = """
name: back
jobs:
  - name: old
    type: restore
    source: {connection: archive_s3, bucket: BUCKET, manifest: "MANIFEST", batches: "2-3"}
    target: {connection: flights_target, table: public.flights}
    where: "id < 140"
"""

EXAMPLE = Path(__file__).parents[2] / "dags" / "tasks" / "flights_drill.yaml"
DRILL = """
name: drill
jobs:
  - name: old
    type: restore
    source: {connection: archive_s3, bucket: BUCKET}
    target: {connection: flights_target, table: public.tried}
    drill: {task: it, job: old}
"""

TABLES = "SELECT count(*) FROM pg_class WHERE relname LIKE '%_dsp_drill_%' AND relkind = 'r'"


@pytest.fixture
def archived(world: World, place: Place, steps: Callable[..., Stepper]) -> str:
    """A run that archived and purged 150 rows; its task."""
    text = TASK.replace("BUCKET", place.name).replace("SHARDS", "1")
    step = steps(text)
    for name in ("old.plan", "old.archive", "old.check", "purge.old"):
        step(name)
    assert world.source.value("SELECT count(*) FROM flights") == 50
    return text


def manifest(place: Place) -> str:
    (key,) = [key for key in place.objects() if key.endswith("_manifest.json")]
    return key


def test_what_the_form_asks_for(world: World, archived: str, steps: Callable[..., Stepper]) -> None:
    step = steps(archived, "it__restore", "by_hand")
    assert {t.task_id: set(t.downstream_task_ids) for t in step.dag.tasks} == {
        "estimate": {"approval"},
        "approval": {"restore"},
        "restore": {"check"},
        "check": set(),
    }
    assert set(step.dag.params) == {
        *("job", "run", "batches", "where", "table", "connection", "on_conflict"),
    }
    form = FORM | {"batches": "1, 3", "condition": "id <> 7"}
    found = step("restore", **form)
    assert (found["rows_written"], found["job"]) == (99, "old")
    assert step("check", **form)["rows_checked"] == 99
    assert world.source.value("SELECT count(*) FROM flights") == 149
    first, second = world.runs.recent()
    assert (first.task, first.state, second.task) == ("it__restore", "succeeded", "it")
    [begun] = audit.recent(world.state, Wanted(actions=["restore"]), 9)
    assert (begun.actor, begun.action) == ("anna", "restore.begin")
    assert begun.object == f"run {first.id}"


def test_the_latest_run_may_move_on(
    world: World, archived: str, steps: Callable[..., Stepper]
) -> None:
    step = steps(archived, "it__restore", "by_hand")
    step("restore", **FORM)
    later = steps(archived, run_id="later")
    later("old.plan")
    later("old.archive")
    again = steps(archived, "it__restore", "by_hand")
    assert again("check", **FORM)["rows_checked"] == 150


def test_to_another_place(world: World, archived: str, steps: Callable[..., Stepper]) -> None:
    step = steps(archived, "it__restore", "by_hand")
    form = FORM | {"to_table": "public.flights_back", "to_connection": "flights_target"}
    assert step("restore", **form)["rows_written"] == 150
    assert step("check", **form)["rows_checked"] == 150
    assert world.target.value("SELECT count(*) FROM flights_back") == 150


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"earlier_run": "none"}, "no run none"),
        ({"batches": "9"}, "there is no batch 9"),
        ({"job": "other"}, "has no job 'other' to restore"),
        ({"condition": "id ="}, "where"),
        ({"to_connection": "archive_s3"}, "leads to S3"),
    ],
)
def test_what_cannot_be(
    world: World,
    archived: str,
    steps: Callable[..., Stepper],
    form: dict[str, str],
    told: str,
) -> None:
    step = steps(archived, "it__restore", "by_hand")
    with pytest.raises(AirflowFailException, match=told):
        step("restore", **FORM | form)
    assert world.source.value("SELECT count(*) FROM flights") == 50


def test_a_restore_job(
    world: World, place: Place, archived: str, steps: Callable[..., Stepper]
) -> None:
    step = steps(BACK.replace("BUCKET", place.name).replace("MANIFEST", manifest(place)))
    assert [t.task_id for t in step.dag.tasks] == [
        *("estimate", "approval", "old.plan", "old.restore", "old.check"),
    ]
    assert step("estimate")["rows"] == {"old": 100}
    step("old.plan")
    assert step("old.restore")["rows_written"] == 89
    assert step("old.check")["rows_checked"] == 89
    assert world.target.value("SELECT min(id) FROM flights") == 51
    assert world.runs.recent()[0].state == "succeeded"


def test_the_example_restores(world: World, place: Place, archived: str) -> None:
    from airflow.sdk import DAG

    doc = inspect.getdoc(RestoreOperator) or ""
    example = textwrap.dedent(doc.partition("::\n")[2].partition(":param")[0])
    example = example.replace("schedule=None):", "schedule=None) as dag:")
    example = example.replace('"bucket": "archive"', f'"bucket": "{place.name}"')
    known = '"flights/run=20261201T020000-3f9a1c/_manifest.json"'
    assert known in example
    names: dict[str, Any] = {
        "DAG": DAG,
        "RestoreOperator": RestoreOperator,
        "RestoreCheckOperator": RestoreCheckOperator,
    }
    exec(example.replace(known, json.dumps(manifest(place))), names)  # noqa: S102
    step = Stepper(names["dag"], "r")
    step("restore")
    assert step("check")["rows_checked"] == 150
    assert world.source.value("SELECT count(*) FROM flights") == 200


def test_a_drill_leaves_nothing(
    world: World, archived: str, place: Place, steps: Callable[..., Stepper]
) -> None:
    text = EXAMPLE.read_text().replace("bucket: archive", f"bucket: {place.name}")
    step = steps(text.replace("task: flights_to_s3, job: flights", "task: it, job: old"))
    group = ["flights.plan", "flights.restore", "flights.check", "flights.drop"]
    assert [t.task_id for t in step.dag.tasks if t.task_id.startswith("flights.")] == group
    # What is dropped again is nothing that others wait for.
    assert [t.outlets for t in step.dag.tasks if t.outlets] == []
    step("estimate")
    found = [step(name) for name in group[:3]][-1]
    assert found["rows_checked"] == found["rows_written"] > 0
    assert world.target.value(TABLES) == 1
    for _ in range(2):
        step("flights.drop")
        assert world.target.value(TABLES) == 0


def through(drill: Stepper) -> None:
    for name in ("old.plan", "old.restore", "old.check", "old.drop"):
        drill(name)


def test_the_mail_of_a_drill_that_failed(
    world: World,
    archived: str,
    place: Place,
    steps: Callable[..., Stepper],
    mails: SmtpSink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it says of the archive, and what to do before anything else."""
    text = DRILL.replace("BUCKET", place.name) + "    # all of it\n"
    text = text.replace("job: old}", "job: old, percent: 100}")
    tell = RunEnded("failure", "drill", "Drill of old flights", "failure", ("oncall@example.com",))
    run = world.runs.recent()[0].id
    count = 0

    def mail(run_id: str, text: str, told: str) -> tuple[str, str]:
        """Of a run that fails with those words."""
        nonlocal count
        step = steps(text, run_id=run_id)
        with pytest.raises(Exception, match=told):
            through(step)
        tell(context(step, reason="task_failure"))
        count += 1
        sent = mails.wait_for_mails(count, 10)[-1]
        return sent["Subject"], body(sent)

    # Somebody has overwritten an object.
    key = next(key for key in place.objects() if "batch=2" in key)
    first = place.client.get_object(Bucket=place.name, Key=key)
    whole = first["Body"].read()
    place.client.put_object(Bucket=place.name, Key=key, Body=whole[:-1] + b"!")
    subject, said = mail("damaged", text, "was overwritten")
    assert subject == "[dsp] FAILED (archive is wrong): Drill of old flights"
    now = world.runs.recent()[0]
    its = now.variables["old"]
    error = now.error or ""
    assert f"s3://{place.name}/{key} was overwritten" in error
    said = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "(time)", said)
    folder = key.partition("/run=")[0].partition("/batch=")[0]
    expected = f"""\
        Drill of old flights FAILED.

        Careful: an archive did not come back as it was written. Rows that were purged after it was
        made may stand nowhere else. A drill deletes nothing from source or archive.

        WHAT HAPPENED
        - Job old stopped while copying, at batch 2 of 3.
        - Job old tried s3://{place.name}/{manifest(place)}, batches 1-3 of run {run} of task it,
          job old.
        - The error: {error}

        WHAT TO DO
        - Keep the source: dsp task disable it keeps its next run, and its purge, from beginning.
          Purge nothing of it by hand before you know why.
        - See how far it goes: dsp archive verify {run} --job old --at s3://{place.name}/{folder}
          --connection archive_s3
        - Bring back what was written: an earlier version of the object, or a copy of it. Rows
          that the source still has can be archived again by a new run.
        - Then see by that command that it is whole again, and start a new run of the drill.

        WHERE TO LOOK
        {link("drill", "damaged")}
        or run: dsp status {now.id}

        JOB old: failed
        restored 50 of 150 rows
        checked  0 rows compared, 0 differ
        to       {its["{table}"]}
        batches  1 of 3 restored, 0 checked
                 last: batch 1, copied (time) UTC
                 failed: batch 2

        THE RUN
        task     drill
        run      {now.id}, attempt 1
        Airflow  damaged
        began    (time) UTC
        ended    (time) UTC
        counted  (time) UTC
        """
    assert said.split() == expected.split()
    # What the mail says is what helps.
    verified = (
        f"archive verify {run} --job old --at s3://{place.name}/{folder} --connection archive_s3"
    )
    asked = subprocess.run(
        [str(DSP), *verified.split()], capture_output=True, text=True, check=False
    )
    assert (asked.returncode, "1 findings about 1 objects" in asked.stderr) == (3, True), asked
    versions = place.client.list_object_versions(Bucket=place.name, Prefix=key)["Versions"]
    for one in versions:
        if one["VersionId"] != first["VersionId"]:
            place.client.delete_object(Bucket=place.name, Key=key, VersionId=one["VersionId"])
    step = steps(text, run_id="mended")
    through(step)
    assert world.target.value(TABLES) == 0

    # A row that differs: the table stays.
    step = steps(text, run_id="differs")
    for name in ("old.plan", "old.restore"):
        step(name)
    table = world.runs.recent()[0].variables["old"]["{table}"]
    world.target.execute(f"UPDATE {table} SET time_hour = now() WHERE id = 7")
    subject, said = mail("differs", text, "rows differ")
    assert subject == "[dsp] FAILED (archive is wrong): Drill of old flights"
    assert f"Look at the rows: {table} stands until the next drill." in " ".join(said.split())

    # It says nothing of the archive that the drill's login may not create the table.
    world.target.execute("DROP ROLE IF EXISTS poor", "CREATE ROLE poor LOGIN PASSWORD 'poor'")
    monkeypatch.setenv("AIRFLOW_CONN_POOR", re.sub(r"//[^@]*@", "//poor:poor@", world.target.uri))
    subject, said = mail("poor", text.replace("flights_target", "poor"), "may not create it")
    assert subject == "[dsp] FAILED (archive not tried): Drill of old flights"
    plain = " ".join(said.split())
    assert "That says nothing of the archive, good or bad" in plain
    assert "Grant the missing privilege; docs/privileges.md lists them." in plain
    world.target.execute("DROP ROLE poor")

    subject, said = mail("none", text.replace("task: it,", "task: its,"), "nothing to try")
    assert subject == "[dsp] FAILED (no archive to try): Drill of old flights"
    plain = " ".join(said.split())
    assert "Job old tried an archive of job old of task its, and found none." in plain
    assert "This run need not be cleared: the next one looks again." in plain
