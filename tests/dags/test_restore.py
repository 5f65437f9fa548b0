"""The DAG that restores by a form, a restore job in a task file, and the operators by hand."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from dsp_airflow.operators.restore import RestoreCheckOperator, RestoreOperator
from dsp_airflow.state import audit
from dsp_airflow.state.audit import Wanted
from tests.dags.conftest import Stepper, World
from tests.dags.test_archive import TASK, place
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
