"""The operators in a hand-written DAG: the docstring's example is what runs here."""

from __future__ import annotations

import inspect
import textwrap
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from dsp_airflow.operators.check import ConsistencyCheckOperator
from dsp_airflow.operators.purge import PurgeSourceOperator
from dsp_airflow.operators.swap import SwapOperator
from dsp_airflow.operators.sync import TableSyncOperator
from tests.dags.conftest import Stepper, World


def example() -> str:
    doc = inspect.getdoc(TableSyncOperator) or ""
    block = doc.partition("::\n")[2].partition(":param")[0]
    return textwrap.dedent(block)


@pytest.fixture
def shop(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_PG", world.source.uri)
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE_PG", world.target.uri)
    world.source.execute(
        "CREATE TABLE flights (id int PRIMARY KEY, time_hour timestamptz NOT NULL)",
        "INSERT INTO flights SELECT n, now() - n * interval '1 day' FROM generate_series(1, 200) n",
    )
    return world


def test_the_example_copies_checks_and_purges(shop: World) -> None:
    from airflow.sdk import DAG

    names: dict[str, Any] = {
        "DAG": DAG,
        "TableSyncOperator": TableSyncOperator,
        "ConsistencyCheckOperator": ConsistencyCheckOperator,
        "PurgeSourceOperator": PurgeSourceOperator,
    }
    exec(example().replace("schedule=None):", "schedule=None) as dag:"), names)  # noqa: S102
    dag = names["dag"]
    assert {t.task_id: set(t.downstream_task_ids) for t in dag.tasks} == {
        "copy": {"check"},
        "check": {"purge"},
        "purge": set(),
    }
    step = Stepper(dag, "r")
    step("copy")
    step("check")
    assert step("purge")["rows_purged"] == 111
    assert shop.count() == (89, 111)
    [run] = shop.runs.recent()
    assert (run.task, run.external_key, run.state) == (
        "move_flights.flights",
        "move_flights/r/flights",
        "succeeded",
    )


def alone(**values: Any) -> Stepper:
    from airflow.sdk import DAG

    with DAG("d", schedule=None) as dag:
        TableSyncOperator(task_id="copy", **values)
    return Stepper(dag)


FLIGHTS: dict[str, Any] = {
    "job": "flights",
    "source": {"connection": "shop_pg", "table": "public.flights"},
    "target": {"connection": "warehouse_pg"},
    "check": "none",
}


def test_a_target_is_replaced_by_three_operators(shop: World) -> None:
    from airflow.sdk import DAG

    shop.target.execute(
        "CREATE TABLE flights (id int PRIMARY KEY, time_hour timestamptz NOT NULL)",
        "INSERT INTO flights VALUES (-1, now())",
    )
    replaced = {**FLIGHTS, "mode": "replace"}
    with DAG("d", schedule=None) as dag:
        (
            TableSyncOperator(task_id="copy", **replaced)
            >> ConsistencyCheckOperator(task_id="check", **replaced)
            >> SwapOperator(task_id="swap", **replaced)
        )
    assert [task.task_id for task in dag.tasks if task.outlets] == ["swap"]
    step = Stepper(dag, "r")
    step("copy")
    step("check")
    assert shop.target.value("SELECT count(*) FROM flights") == 1
    assert shop.runs.recent()[0].state == "running"
    step("swap")
    assert shop.target.value("SELECT count(*) FROM flights WHERE id > 0") == 200
    assert shop.runs.recent()[0].state == "succeeded"


def test_every_field_of_a_job_is_an_argument() -> None:
    from dsp_airflow.config.jobs import WarmJob
    from dsp_airflow.operators.base import JOB_FIELDS, TaskOperator

    # `name` is `job`; there is one type and one job; shards and order are Airflow's own to say.
    others = {"name", "type", "shards", "after", "belongs_to"}
    assert set(WarmJob.model_fields) - others == set(JOB_FIELDS)
    assert set(JOB_FIELDS) <= set(inspect.signature(TaskOperator.__init__).parameters)


def test_a_copy_alone_ends_the_run(shop: World) -> None:
    assert alone(**FLIGHTS)("copy")["rows_written"] == 200
    assert shop.runs.recent()[0].state == "succeeded"


def test_fields_arrive(shop: World) -> None:
    step = alone(
        **FLIGHTS,
        key=("id",),
        columns=({"source": "id"}, {"source": "time_hour", "target": "at"}),
        where="id <= :n",
        variables={"n": 20},
        on_conflict="ignore",
        batch_size=7,
        workers=2,
        max_row_size="1MiB",
    )
    assert step("copy")["batches"] == 3
    assert shop.target.value("SELECT count(at) FROM flights") == 20


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**FLIGHTS, "purge": "sytem"}, "purge: must be|purge: Input should be"),
        ({**FLIGHTS, "source": {"connection": "shop_pg"}}, "source.table"),
        ({"job": "flights"}, "needs job, and either task_file, or source and target"),
        ({**FLIGHTS, "task_file": "x.yaml"}, "has task_file, so source, target, check belongs"),
    ],
)
def test_arguments_that_do_not_fit(shop: World, values: dict[str, Any], message: str) -> None:
    with pytest.raises(AirflowFailException, match=message):
        alone(**values)("copy")


def test_a_purge_needs_a_job_that_asks_for_it(shop: World) -> None:
    from airflow.sdk import DAG

    fields = {**FLIGHTS, "check": {"percent": 100}}
    with DAG("d", schedule=None) as dag:
        TableSyncOperator(task_id="copy", **fields)
        ConsistencyCheckOperator(task_id="check", **fields)
        PurgeSourceOperator(task_id="purge", **fields)
    step = Stepper(dag)
    step("copy")
    step("check")
    with pytest.raises(AirflowFailException, match="purge: none"):
        step("purge")
    assert shop.count() == (200, 200)


def test_arguments_are_templates(shop: World) -> None:
    assert {"source", "target", "where", "variables", "job", "task_file"} <= set(
        TableSyncOperator.template_fields
    )
    assert {"batches", "earlier_run"} <= set(PurgeSourceOperator.template_fields)
