"""An S3 job as a DAG, and its operator in a hand-written one."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from dsp_airflow.operators.archive import S3ArchiveOperator
from dsp_airflow.operators.check import ConsistencyCheckOperator
from dsp_airflow.operators.purge import PurgeSourceOperator
from tests.dags.conftest import Stepper, World
from tests.servers.s3 import Place, S3Server, fresh_bucket

TASK = """
name: it
jobs:
  - name: old
    type: s3
    source: {connection: flights_source, table: public.flights}
    target: {connection: archive_s3, bucket: BUCKET, prefix: "flights/{{ task }}"}
    where: "id <= 150"
    check: {percent: 100}
    purge: system
    batch_size: 50
    shards: SHARDS
"""


@pytest.fixture
def place(world: World, moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> Place:
    found = fresh_bucket(moto, versioned=True)
    monkeypatch.setenv("AIRFLOW_CONN_ARCHIVE_S3", found.airflow_connection)
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_PG", world.source.uri)
    world.source.execute(
        "CREATE TABLE flights (id int PRIMARY KEY, time_hour timestamptz NOT NULL)",
        "INSERT INTO flights SELECT n, now() - n * interval '1 day' FROM generate_series(1, 200) n",
    )
    return found


def test_each_step_of_the_dag(world: World, place: Place, steps: Callable[..., Stepper]) -> None:
    step = steps(TASK.replace("BUCKET", place.name).replace("SHARDS", "1"))
    assert {t.task_id: set(t.downstream_task_ids) for t in step.dag.tasks} == {
        "estimate": {"approval"},
        "approval": {"old.plan"},
        "old.plan": {"old.archive"},
        "old.archive": {"old.check"},
        "old.check": {"purge.old"},
        "purge.old": set(),
    }
    assert step("estimate")["rows"] == {"old": 150}
    assert place.objects() == {}
    for name in ("old.plan", "old.archive", "old.check"):
        step(name)
    assert step("purge.old")["rows_purged"] == 150
    assert world.source.value("SELECT count(*) FROM flights") == 50
    assert len([key for key in place.objects() if "flights/it/run=" in key]) == 5
    assert world.runs.recent()[0].state == "succeeded"


def test_shards_archive_together(world: World, place: Place, steps: Callable[..., Stepper]) -> None:
    step = steps(TASK.replace("BUCKET", place.name).replace("SHARDS", "3"))
    step("old.plan")
    assert step("old.archive", shard=2)["rows_written"] == 150
    assert step("old.archive", shard=1)["rows_written"] == 150


def test_the_example_archives_checks_and_purges(world: World, place: Place) -> None:
    from airflow.sdk import DAG

    doc = inspect.getdoc(S3ArchiveOperator) or ""
    example = textwrap.dedent(doc.partition("::\n")[2].partition(":param")[0])
    names: dict[str, Any] = {
        "DAG": DAG,
        "S3ArchiveOperator": S3ArchiveOperator,
        "ConsistencyCheckOperator": ConsistencyCheckOperator,
        "PurgeSourceOperator": PurgeSourceOperator,
    }
    example = example.replace("schedule=None):", "schedule=None) as dag:")
    exec(example.replace('"bucket": "archive"', f'"bucket": "{place.name}"'), names)  # noqa: S102
    step = Stepper(names["dag"], "r")
    step("archive")
    step("check")
    assert step("purge")["rows_purged"] == 111
    assert world.source.value("SELECT count(*) FROM flights") == 89
    assert any(key.endswith("_manifest.json") for key in place.objects())
