"""Rules over what only documents have: lists, values of other types, fields that are missing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from bson import Decimal128, Int64, ObjectId

from dsp_airflow.engine import mapping
from dsp_airflow.engine.stores.mongodb import query
from tests.mongo.harness import MongoBench
from tests.servers import Database

MOMENT = datetime(2024, 2, 29, 12, 0, 0, 123_000, tzinfo=UTC)
OID = "0123456789abcdef01234567"
VALUES: list[Any] = [
    *(1, 2.0, Int64(3), Decimal128("2.5"), float("nan"), Decimal128("NaN")),  # 0 to 5
    *("2", True, None, MOMENT, ObjectId(OID)),  # 6 to 10
    *([1, 5], ["2"], [], [{"b": 2}], {"b": 2}, [None]),  # 11 to 16
]


def test_lists_other_types_and_missing_fields(bench: MongoBench, pg15_db: Database) -> None:
    bench.source["t"].insert_many({"_id": n, "a": value} for n, value in enumerate(VALUES))
    missing = len(VALUES)
    bench.source["t"].insert_one({"_id": missing})
    store = bench.store("source")
    with store.session() as session:
        shape = session.describe("t")
    assert shape is not None

    def found(where: Any, kind: str | None = None, **given: Any) -> list[int]:
        columns = [{"source": "_id", "type": "int32"}, {"source": "a", "type": kind}]
        more: dict[str, Any] = {"columns": columns} if kind else {}
        run = bench.job(where=where, variables=dict.fromkeys(given, 0), **more)
        bench.write(run)
        job = bench.open(new=True).task.jobs[0]
        text = mapping.rendered_filter(job, shape, store.dialect, given)  # type: ignore[arg-type]
        assert text is not None
        answer = bench.source["t"].find(query.parsed(text), {"_id": 1}).sort("_id")
        return [document["_id"] for document in answer]

    def a(operator: str, *value: Any) -> dict[str, Any]:
        rule = {"column": "a", "operator": operator}
        return {**rule, "value": value[0]} if value else rule

    numbers = [0, 1, 2, 3, 4, 5, 11]
    assert found(a("=", 2)) == [1]
    assert found(a("!=", 2)) == [0, 2, 3, 4, 5, 11]
    assert found({"not": a("!=", 2)}) == [1]
    # NaN is above all numbers, as PostgreSQL has it.
    assert found(a(">", 2)) == [2, 3, 4, 5, 11]
    assert found({"not": a(">", 2)}) == [0, 1]
    assert found(a("<=", 2)) == [0, 1, 11]
    assert pg15_db.value("SELECT 'NaN'::float8 > 2 AND NOT 'NaN'::numeric <= 2")
    assert found({"not": a("<=", 2)}) == [2, 3, 4, 5]
    assert found(a("between", [2, 3])) == [1, 2, 3, 11]
    for rule in (a("<", 2), a("in", [1, 5]), a("between", [2, 3]), a(">=", 2.5)):
        # Of every number either a rule is true, or its opposite; of nothing else any is.
        assert sorted(found(rule) + found({"not": rule})) == numbers
    assert found(a("=", "2")) == [6, 12]
    assert found(a("!=", "x")) == [6, 12]
    assert found({"not": a("contains", "x")}) == [6, 12]
    assert found(a("!=", False)) == [7]
    assert found({"any": [a("is_null"), a("=", True)]}) == [7, 8, 16, missing]
    assert found(a("exists")) == list(range(missing))
    assert found({"not": a("exists")}) == [missing]
    assert found({"column": "a.b", "operator": "=", "value": 2}) == [14, 15]
    assert found({"column": "a.0", "operator": "<=", "value": 1}) == [11]
    assert found(a("in", [OID]), "objectid") == [10]
    assert found(a(">", "0" * 24), "objectid") == [10]
    assert found(a("!=", OID), "objectid") == []
    # Dates have milliseconds here: half of one more is no more of them.
    later = MOMENT.replace(microsecond=123_500)
    for sign, there in (("<", True), ("<=", True), (">", False), (">=", False), ("=", False)):
        assert found(a(sign, ":t"), t=later) == ([9] if there else []), sign
        assert found({"not": a(sign, ":t")}, t=later) == ([] if there else [9]), sign
    assert found(a("between", [":t", ":t"]), t=MOMENT) == [9]


def test_copied_and_purged_by_rules(bench: MongoBench) -> None:
    documents = [{"_id": n, "status": ("done", "Done", None)[n % 3], "n": n} for n in range(30)]
    bench.source["t"].insert_many(documents)
    where = {
        "all": [
            {"column": "status", "operator": "in", "value": ["done", ":also"]},
            {"not": {"column": "n", "operator": "<", "value": 9}},
        ]
    }
    bench.write(bench.job(where=where, variables={"also": "paid"}, purge="system", batch_size=4))
    (job,) = bench.run().jobs
    assert (job.rows_written, job.rows_checked, job.rows_purged) == (7, 7, 7)
    left = {document["_id"] for document in bench.source["t"].find()}
    assert left == {n for n in range(30) if n % 3 or n < 9}
