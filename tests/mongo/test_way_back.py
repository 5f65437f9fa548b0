"""Documents of a target come back to where they came from."""

from __future__ import annotations

from typing import Any

import pytest

from dsp_airflow.config.loading import load_task
from dsp_airflow.engine import documents
from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.engine.model import KeyRange
from dsp_airflow.opening import open_run
from dsp_airflow.restoring import Wish, of_run
from tests.mongo.harness import MongoBench


def test_batches_and_what_matches_come_back(bench: MongoBench) -> None:
    ids: list[Any] = [0, 1.5, 2, 3, ":four", "five", "six", None]
    bench.source["t"].insert_many([{"_id": own, "n": n} for n, own in enumerate(ids)])
    ours = bench.source.raw("t")
    bench.write(bench.job(batch_size=3, purge="system"))
    bench.run()
    assert bench.source.raw("t") == []

    def back(batches: str, where: str | None) -> None:
        wish = Wish(batches, where, None, None, "update", 1)
        task = of_run(bench.state, load_task(bench.file), None, None, wish, bench.store)
        run = open_run(bench.state, task, bench.file, bench.store, new=True)
        run.begin()
        for step in (run.plan, run.copy, run.check):
            step("copy")
        run.finish()

    back("2", '{"n": {"$ne": 3}}')
    order = [7, 0, 1, 2, 3, 4, 5, 6]
    second = [n for n in order[3:6] if n != 3]
    assert [one["n"] for one in bench.source["t"].find().sort("_id")] == second
    with pytest.raises(ConfigError, match="no JSON"):
        back("2", "n = 3")
    back("all", None)
    assert bench.source.raw("t") == ours


def test_ids_that_json_cannot_say() -> None:
    with pytest.raises(Refused, match="leave --batches out"):
        documents.way_back(None, [KeyRange(None, ('{"$dsp_bson": "0e:00"}',))])
    assert documents.way_back(None, [KeyRange()]) is None
    joined = [KeyRange(None, ("1",)), KeyRange(("1",), ('":x"',))]
    assert documents.way_back('{"a": ":b"}', joined) == {
        "$and": [
            {"a": "::b"},
            {"$or": [{"$expr": {"$and": [{"$lte": ["$_id", {"$literal": "::x"}]}]}}]},
        ]
    }
