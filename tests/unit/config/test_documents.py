"""Query documents: what is accepted, and what variables become."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from dsp_airflow.config import documents
from dsp_airflow.config.jobs import WarmJob


def job(**more: Any) -> WarmJob:
    ends = {"source": {"connection": "a", "table": "t"}, "target": {"connection": "b"}}
    return WarmJob.model_validate({"name": "j", "type": "warm", **ends, **more})


REFUSED: list[tuple[dict[Any, Any], str]] = [
    ({}, "must not be empty"),
    ({"$where": "1"}, "runs code"),
    ({"a": {"$not": {"$where": "1"}}}, "runs code"),
    ({"$expr": {"$function": {"body": "x", "args": [], "lang": "js"}}}, "runs code"),
    ({"$expr": {"$cond": [{"$accumulator": {}}, 1, 2]}}, "runs code"),
    ({"a": {"$code": "x"}}, "runs code"),
    ({"a": [{"b": {"$code": "x", "$scope": {}}}]}, "runs code"),
    ({"a": {"$elemMatch": {"$where": "1"}}}, "runs code"),
    ({"a": {"$all": [{"$elemMatch": {"b": {"$not": {"$where": "1"}}}}]}}, "runs code"),
    ({"$expr": {"$let": {"vars": {"x": {"$function": {}}}, "in": 1}}}, "runs code"),
    ({"a": {"$elemMatch": {"$expr": {"$reduce": {"in": {"$accumulator": {}}}}}}}, "runs code"),
    ({"$expr": {"$eq": ["$a", {"$code": "x"}]}}, "runs code"),
    ({"$expr": {"$map": {"input": "$a", "in": {"$lt": ["$$this", "$$NOW"]}}}}, "another each"),
    ({"$expr": {"$lt": [{"$rand": {}}, 0.5]}}, "another answer each time"),
    ({"$sampleRate": 0.5}, "another answer each time"),
    ({"$expr": {"$lt": ["$at", "$$NOW"]}}, "another each time"),
    ({"$text": {"$search": "x"}}, r"\$text is not an operator"),
    ({"a": {"$gtt": 1}}, "not an operator that is accepted"),
    ({"a": {"$regex": "x", "$ne": "y"}}, "stands alone"),
    ({"a": {"$near": [1, 2]}}, "not an operator"),
    ({1: 2}, "must be text"),
    ({"a": {"$symbol": "x"}}, "not an operator"),
    ({"a": b"bytes"}, "type bytes"),
    ({"a": ":cutof"}, "cutoff"),
]


@pytest.mark.parametrize(("where", "message"), REFUSED, ids=str)
def test_what_is_refused(where: dict[Any, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        job(where=where, variables={"cutoff": "now-1d"} if ":cutof" in str(where) else {})


def test_depth_has_an_end() -> None:
    deep: Any = 1
    for _ in range(60):
        deep = {"$not": deep}
    with pytest.raises(ValidationError, match="levels deep"):
        job(where={"a": deep})


def test_variables_are_found_checked_and_put_in() -> None:
    where = {"$and": [{"a": {"$in": [":x", "::x", "x:y", ": x"]}}, {"$nor": [{"b": ":y"}]}]}
    found = job(where=where, variables={"x": 1, "y": "now-1d"})
    assert isinstance(found.where, dict)
    assert documents.placeholders(found.where) == {"x", "y"}
    assert documents.fields(found.where) == ["a"]
    literals = {"x": '{"$numberLong": "1"}', "y": '"v"'}
    assert json.loads(documents.render(found.where, literals)) == {
        "$and": [
            {"a": {"$in": [{"$numberLong": "1"}, ":x", "x:y", ": x"]}},
            {"$nor": [{"b": "v"}]},
        ]
    }
    with pytest.raises(ValidationError, match="used neither in where"):
        job(where={"a": 1}, variables={"x": 1})


def test_a_text_stays_a_text_inside_of_an_expression() -> None:
    """The server would read it as a field, or as a moment that is another one each time."""
    where = {"a": ":x", "$expr": {"$in": ["$b", [":x", ":y"]]}}
    found = job(where=where, variables={"x": "$$NOW", "y": "plain"}).where
    assert isinstance(found, dict)
    literals = {"x": '"$$NOW"', "y": '"plain"'}
    assert json.loads(documents.render(found, literals)) == {
        "a": "$$NOW",
        "$expr": {"$in": ["$b", [{"$literal": "$$NOW"}, "plain"]]},
    }


def test_moments_of_yaml_are_moments() -> None:
    east = timezone(timedelta(hours=2))
    where = {
        "a": date(2024, 2, 29),
        "b": datetime(2024, 1, 1, 1, 30, tzinfo=east),
        "c": datetime(2024, 1, 1, 0, 0, 0, 123_999, tzinfo=UTC),
        "d": datetime(2024, 1, 1),  # noqa: DTZ001 - as YAML gives it
        "e": None,
    }
    assert json.loads(documents.render(job(where=where).where, {})) == {  # type: ignore[arg-type]
        "a": {"$date": "2024-02-29T00:00:00.000Z"},
        "b": {"$date": "2023-12-31T23:30:00.000Z"},
        "c": {"$date": "2024-01-01T00:00:00.123Z"},
        "d": {"$date": "2024-01-01T00:00:00.000Z"},
        "e": None,
    }


def test_the_order_of_fields_is_part_of_the_definition() -> None:
    one, other = {"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}}
    assert documents.text(one) != documents.text(other)
