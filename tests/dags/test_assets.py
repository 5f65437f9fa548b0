"""Asset events of written targets, as Airflow records them in whole runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.dags.conftest import Stepper, World

PLAIN = """
    name: proved
    retries: 0
    jobs:
      - name: flights
        type: warm
        source: {connection: flights_source, table: public.flights}
        target: {connection: flights_target, table: 'public."odd name/x"'}
        check: {percent: 100}
      - name: unchecked
        type: warm
        source: {connection: flights_source, table: flights}
        target: {connection: flights_target, table: other}
        check: none
      - name: shared
        type: warm
        source: {connection: flights_source, table: public.flights}
        target: {connection: flights_target, table: public.shared}
        batch_size: 500
        shards: 3
      - name: daily
        type: warm
        source: {connection: flights_source, table: public.flights}
        target: {connection: flights_target, table: "public.by_*_{{ run_date:%Y%m%d }}_{{ job }}"}
        check: {percent: 100}
"""
BY_HAND = """
from airflow.sdk import DAG, Asset, Param
from dsp_airflow.operators.check import ConsistencyCheckOperator
from dsp_airflow.operators.sync import TableSyncOperator

flights = {
    "job": "flights",
    "source": {"connection": "flights_source", "table": "public.flights"},
    "target": {"connection": "flights_target", "table": "public.{{ params.table }}"},
    "check": {"percent": 100},
}
with DAG("by_hand", schedule=None, params={"table": Param("chosen", type="string")}):
    copy = TableSyncOperator(task_id="copy", outlets=[Asset("mine")], **flights)
    copy >> ConsistencyCheckOperator(task_id="check", **flights)
"""

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
AWAITED = """
    name: awaited
    retries: 0
    jobs:
      - name: flights
        type: warm
        source: {connection: flights_source, table: public.flights}
        target: {connection: warehouse, table: public.flights}
        check: {percent: 100}
"""


def events(dag_id: str) -> list[tuple[str, str, dict[str, Any]]]:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    query = select(AssetEvent).where(AssetEvent.source_dag_id == dag_id).order_by(AssetEvent.id)
    with create_session() as session:
        return [(str(e.uri), str(e.source_task_id), e.extra) for e in session.scalars(query)]


def test_each_target_is_told_once_by_the_step_that_proves_it(
    world: World, run_dag: Callable[..., Any]
) -> None:
    world.fill()
    world.write("it", PLAIN)
    assert run_dag("proved").state == "success"
    [run] = world.runs.recent()

    def told(job: str, checked: int) -> dict[str, Any]:
        return {"run": run.id, "job": job, "rows_written": 2500, "rows_checked": checked}

    found = {uri: (task, extra) for uri, task, extra in events("proved")}
    assert len(events("proved")) == 4
    assert found["x-dsp://flights_target/public.odd%20name%2Fx"] == (
        "flights.check",
        told("flights", 2500),
    )
    assert found["x-dsp://flights_target/other"] == ("unchecked.copy", told("unchecked", 0))
    task, extra = found["x-dsp://flights_target/public.shared"]
    assert (task, extra["rows_written"]) == ("shared.check", 2500)
    assert run.started_at is not None
    name = f"public.by_*_{run.started_at:%Y%m%d}_daily"
    # A place is a star; a star of the name itself is not.
    assert found["x-dsp://flights_target/public.by_%2A_*_*"] == (
        "daily.check",
        {**told("daily", 2500), "table": name},
    )


def test_a_target_whose_name_is_a_template_is_told_by_its_name(
    world: World, run_dag: Callable[..., Any]
) -> None:
    world.fill()
    (world.folder / "by_hand.py").write_text(BY_HAND)
    assert run_dag("by_hand").state == "success"
    assert [(uri, task) for uri, task, _ in events("by_hand")] == [
        ("mine", "copy"),
        ("x-dsp://flights_target/public.chosen", "check"),
    ]


def test_rows_that_differ_tell_nobody(world: World, steps: Callable[..., Stepper]) -> None:
    """The step that fails is the one with the outlet."""
    step = steps(PLAIN)
    outlets = {t.task_id: [type(o).__name__ for o in t.outlets] for t in step.dag.tasks}
    assert outlets == {
        "estimate": [],
        "approval": [],
        "flights.plan": [],
        "flights.copy": [],
        "flights.check": ["Asset"],
        "unchecked.plan": [],
        "unchecked.copy": ["Asset"],
        "shared.plan": [],
        "shared.copy": [],
        "shared.check": ["AssetAlias"],
        "daily.plan": [],
        "daily.copy": [],
        "daily.check": ["Asset"],
    }


def test_a_dag_that_waits_for_a_table_is_triggered(
    world: World, run_dag: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one of the documentation, once the rows are proved; not by a copy that is not right."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.models.asset import AssetDagRunQueue
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", world.target.uri)
    world.fill()
    world.write("it", AWAITED)
    [example] = re.findall(r'```python\n("""Begins whenever.*?)```', PAGE.read_text(), re.DOTALL)
    (world.folder / "report.py").write_text(example)
    with create_session() as session:
        bundles = DagBundlesManager()  # type: ignore[no-untyped-call]
        bundles.sync_bundles_to_db(session=session)
    bag = DagBag(world.folder, bundle_path=world.folder, bundle_name="dags-folder")
    assert bag.import_errors == {}
    sync_bag_to_db(bag, "dags-folder", None)
    with create_session() as session:
        report = session.get(DagModel, "report")
        assert report is not None
        report.is_paused = False

    def waiting() -> list[str]:
        with create_session() as session:
            queue = select(AssetDagRunQueue.target_dag_id)
            assert set(session.scalars(queue)) <= {"report"}
            _, triggered = DagModel.dags_needing_dagruns(session)
            session.rollback()
            return list(triggered)

    world.target.execute("CREATE TABLE flights (id bool PRIMARY KEY)")
    assert run_dag("awaited").state == "failed"
    assert waiting() == []
    world.target.execute("DROP TABLE flights")
    assert run_dag("awaited").state == "success"
    assert waiting() == ["report"]
    [(_, _, extra)] = events("awaited")
    assert extra["rows_written"] == extra["rows_checked"] == 2500
