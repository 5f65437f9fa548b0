"""Rules: what is read of them, and how patterns are cut."""

from __future__ import annotations

from datetime import date
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from dsp_airflow.config import rules, schema
from dsp_airflow.config.definition import job_definition
from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.config.rules import Group, Named, Not, Rule, Wild

TREE: dict[str, Any] = {
    "all": [
        {"column": "status", "operator": "in", "value": ["done", "::x", ":word"]},
        {"any": [{"column": "at", "operator": "<", "value": ":cutoff"}]},
        {"not": {"column": "note", "operator": "is_null"}},
    ]
}


def job(**more: Any) -> WarmJob:
    ends = {"source": {"connection": "a", "table": "t"}, "target": {"connection": "b"}}
    return WarmJob.model_validate({"name": "j", "type": "warm", **ends, **more})


def test_a_tree_is_read() -> None:
    found = job(where=TREE, variables={"word": "w", "cutoff": "now-1d"}).where
    assert found == Group(
        "all",
        (
            Rule("status", "in", ("done", ":x", Named("word")), ("all", 0)),
            Group("any", (Rule("at", "<", (Named("cutoff"),), ("all", 1, "any", 0)),)),
            Not(Rule("note", "is_null", (), ("all", 2, "not"))),
        ),
    )
    assert rules.columns(found) == ["at", "note", "status"]
    assert rules.placeholders(found) == {
        "word": ("all", 0, "value", 2),
        "cutoff": ("all", 1, "any", 0, "value"),
    }


def test_a_job_takes_rules_that_were_read() -> None:
    """Jobs are made of other jobs: what is a rule already stays one."""
    where = job(where={"column": "a", "operator": "is_null"}).where
    assert job(where=where).where == where


def test_values_of_other_types_are_another_definition() -> None:
    def digest(value: Any) -> Any:
        return job_definition(job(where={"column": "a", "operator": "=", "value": value}))["where"]

    values = [1, 1.0, "1", True, date(2024, 1, 1), "2024-01-01", ":v"]
    told = [digest(value) for value in values[:-1]]
    assert len(set(told)) == len(told)
    # Where it stands in the file is no part of it.
    alone = job(where={"column": "a", "operator": "is_null"})
    assert "place" not in str(job_definition(alone)["where"])


def test_there_is_an_end_to_depth_and_number() -> None:
    deep: Any = {"column": "a", "operator": "is_null"}
    for _ in range(rules.MAX_DEPTH + 2):
        deep = {"not": deep}
    with pytest.raises(ValidationError, match="levels deep"):
        job(where=deep)
    many = [{"column": "a", "operator": "is_null"}] * (rules.MOST_RULES + 1)
    with pytest.raises(ValidationError, match="one rule more"):
        job(where={"any": many})
    with pytest.raises(ValidationError, match="from 1 to 1,000 values"):
        job(where={"column": "a", "operator": "in", "value": list(range(rules.MOST_VALUES + 1))})


@pytest.mark.parametrize(
    ("operator", "text", "pieces"),
    [
        ("like", "a%b_c", ["a", Wild(many=True), "b", Wild(many=False), "c"]),
        ("like", r"100\% \_ \\ \x", [r"100% _ \ x"]),
        ("like", "%%", [Wild(many=True), Wild(many=True)]),
        ("starts_with", r"50%\_", [r"50%\_", Wild(many=True)]),
        ("contains", "a_b", [Wild(many=True), "a_b", Wild(many=True)]),
    ],
)
def test_patterns(operator: str, text: str, pieces: list[str | Wild]) -> None:
    assert rules.pattern(operator, text) == pieces


def test_the_schema_takes_rules_and_tells_them_from_documents() -> None:
    def task(where: Any) -> dict[str, Any]:
        ends = {"source": {"connection": "a", "table": "t"}, "target": {"connection": "b"}}
        one = {"name": "j", "type": "warm", **ends, "where": where}
        return {"name": "a", "jobs": [one]}

    whole = schema.task_schema()
    for good in (TREE, "a < 1", {"status": "done"}, {"$and": [{"all": 1}]}, {"value": 1}):
        jsonschema.validate(task(good), whole)
    wrong: tuple[Any, ...] = (
        {"all": []},
        {"all": [{"column": "a"}]},
        {"column": "a", "operator": "equals", "value": 1},
        {"all": [TREE], "any": [TREE]},
        {"column": "a", "operator": "=", "value": 1, "status": "done"},
    )
    for bad in wrong:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(task(bad), whole)
