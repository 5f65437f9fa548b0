"""The operators between two MongoDB, in a DAG written by hand."""

from __future__ import annotations

from typing import Any

import pytest

from dsp_airflow.operators.check import ConsistencyCheckOperator
from dsp_airflow.operators.purge import PurgeSourceOperator
from dsp_airflow.operators.sync import TableSyncOperator
from tests.conftest import NewMongoDatabase
from tests.dags.conftest import Stepper, World


def test_copy_check_and_purge(
    world: World, new_mongo_db: NewMongoDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk import DAG

    source, target = new_mongo_db(), new_mongo_db()
    monkeypatch.setenv("AIRFLOW_CONN_MONGO_SHOP", source.uri)
    monkeypatch.setenv("AIRFLOW_CONN_MONGO_WAREHOUSE", target.uri)
    source["orders"].insert_many([{"_id": n, "open": n % 2 == 0} for n in range(20)])
    before = source.raw("orders")
    fields: dict[str, Any] = {
        "job": "orders",
        "source": {"connection": "mongo_shop", "table": "orders"},
        "target": {"connection": "mongo_warehouse"},
        "where": {"open": False, "_id": {"$gte": ":first"}},
        "variables": {"first": 3},
        "check": {"percent": 100},
        "purge": "manual",
    }
    with DAG("d", schedule=None) as dag:
        TableSyncOperator(task_id="copy", **fields)
        ConsistencyCheckOperator(task_id="check", **fields)
        PurgeSourceOperator(task_id="purge", **fields)
    step = Stepper(dag)
    assert step("copy")["rows_written"] == 9
    step("check")
    step("purge")
    assert target.raw("orders") == before[3::2]
    assert source.raw("orders") == [one for one in before if one not in before[3::2]]
