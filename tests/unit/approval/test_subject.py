"""What a decision is bound to."""

from __future__ import annotations

from typing import Any

from dsp_airflow.approval.subject import header_of, of_estimates
from dsp_airflow.config import Task


def bound(after: list[str], remarks: str = "") -> dict[str, Any]:
    def job(name: str, **more: Any) -> dict[str, Any]:
        ends = {"source": {"connection": "s", "table": name}, "target": {"connection": "t"}}
        return {"name": name, "type": "warm", **ends, **more}

    definition = {
        "name": "task",
        "execution": "parallel",
        "remarks": remarks,
        "jobs": [job("a"), job("b"), job("c", after=after)],
    }
    found = [
        {
            "name": name,
            "subtypes": ["copy"],
            "connections": ["s"],
            "rows": 1,
            "bytes": 1,
            "definition": {"name": name},
        }
        for name in "abc"
    ]
    header = header_of(Task.model_validate(definition), "dml")
    return dict(of_estimates(header, found).bound)


def test_a_decision_holds_for_the_order_that_was_shown() -> None:
    assert bound(["a", "b"]) == bound(["b", "a"], remarks="other words") != bound(["a"])
    assert bound(["a"])["after"] == {"c": ["a"]}
    # Decisions on tasks without an order are those from before there was one.
    assert set(bound(["a"])) - set(bound([])) == {"after"}
