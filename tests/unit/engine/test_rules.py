"""Rules that do not fit their table, and what is written for each system."""

from __future__ import annotations

import json
from datetime import date
from types import ModuleType
from typing import Any

import pytest

from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.engine import mapping
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import Column, LogicalType, Shape
from dsp_airflow.engine.rules import WrongRule
from dsp_airflow.engine.stores.memory.dialect import MemoryDialect
from dsp_airflow.engine.stores.mongodb import catalog
from dsp_airflow.engine.stores.mongodb import dialect as mongodb
from dsp_airflow.engine.stores.mysql import dialect as mysql
from dsp_airflow.engine.stores.postgres import dialect as postgres

COLUMNS = {
    "number": LogicalType("int32"),
    "exact": LogicalType("decimal", precision=12, scale=2),
    "text": LogicalType("string"),
    "flag": LogicalType("bool"),
    "day": LogicalType("date"),
    "at": LogicalType("timestamptz"),
    "who": LogicalType("uuid"),
    "bytes": LogicalType("bytes"),
    "doc": LogicalType("json"),
}
TABLE = Shape(
    "public",
    "t",
    tuple(Column(name, kind, f"native {kind}") for name, kind in COLUMNS.items()),
    key=("number",),
)
DOCUMENTS = Shape("db", "t", catalog.columns(None, ()), key=("_id",), open=True)


def said(
    where: Any, dialect: Any = postgres, shape: Shape = TABLE, given: Any = None, **more: Any
) -> str:
    ends = {"source": {"connection": "a", "table": "t"}, "target": {"connection": "b"}}
    used = dict.fromkeys(given or {}, 0)
    values = {"name": "j", "type": "warm", **ends, "where": where, "variables": used, **more}
    found = mapping.rendered_filter(WarmJob.model_validate(values), shape, dialect, given or {})
    assert found is not None
    return found


def one(column: str, operator: str, *value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"column": column, "operator": operator}
    return {**found, "value": value[0]} if value else found


WRONG: list[tuple[dict[str, Any], str]] = [
    (
        one("numbr", "is_null"),
        r"where\.column: public\.t has no column 'numbr'; did you mean n",
    ),
    (one("number", "=", "1"), r"where\.value: '1': number is native int32: write a number"),
    (one("number", "=", True), "True: number is native int32"),
    (one("number", "in", [1, "2"]), r"where\.value\[1\]: '2': "),
    (one("number", "=", 10**40), "34 digits"),
    (one("exact", "<", 1e300), "34 digits"),
    (one("exact", ">=", 5e-324), "30 after the point"),
    (one("text", "=", 5), "write a text"),
    (one("text", "=", date(2024, 1, 1)), "write a text"),
    (one("flag", "=", 1), "truth value"),
    (one("flag", "<", True), r"where\.operator: flag is native bool, which systems sort in"),
    (one("who", "=", "x"), "01234567-89ab"),
    (one("who", "between", ["a", "b"]), "systems sort in different ways"),
    (one("at", "<", "2024-01-01"), "without quotes, or a variable"),
    (one("day", "like", "2024%"), "day is native date, and like is for texts"),
    (one("bytes", "=", "x"), "whose values rules do not compare"),
    (one("doc", "contains", "x"), "whose values rules do not compare"),
    (one("number", "exists"), "exists is for fields of documents"),
    ({"all": [{"not": one("x", "is_null")}]}, r"where\.all\[0\]\.not\.column: "),
]


@pytest.mark.parametrize(("where", "message"), WRONG, ids=str)
def test_what_does_not_fit_is_told_with_its_place(where: dict[str, Any], message: str) -> None:
    with pytest.raises(WrongRule, match=message):
        said(where)


def test_what_does_not_fit_documents() -> None:
    for path in ("$where", "a.$b", "a..b", ".a"):
        with pytest.raises(WrongRule, match="is no path of fields"):
            said(one(path, "=", "1"), mongodb, DOCUMENTS)
    with pytest.raises(WrongRule, match="has a number and a text"):
        said(one("a", "in", [1, "a"]), mongodb, DOCUMENTS)
    columns = [{"source": "_id", "type": "objectid"}]
    with pytest.raises(WrongRule, match="24 hex digits"):
        said(one("_id", "=", "x"), mongodb, DOCUMENTS, columns=columns)
    for where, message in (
        (one("a", "<", True), "sort in different ways"),
        (one("_id", "like", "x"), "like is for texts"),
        (one("b", "=", "x"), "rules do not compare"),
    ):
        columns = [{"source": "_id", "type": "int32"}, {"source": "b", "type": "bytes"}]
        with pytest.raises(WrongRule, match=message):
            said(where, mongodb, DOCUMENTS, columns=columns)
    collated = Shape("db", "t", catalog.columns("en 2", ()), key=("_id",), open=True)
    assert said(one("a", "<", 5), mongodb, collated)
    with pytest.raises(ConfigError, match="by a collation of its own"):
        said(one("a", "=", "x"), mongodb, collated)


def test_variables_are_judged_as_they_are_resolved() -> None:
    with pytest.raises(WrongRule, match=r":v is 'x', and number is native int32"):
        said(one("number", "=", ":v"), given={"v": "x"})
    with pytest.raises(WrongRule, match="NUL"):
        said(one("text", "=", ":v"), given={"v": "a\0"})
    with pytest.raises(WrongRule, match="finite"):
        said(one("number", "=", ":v"), given={"v": float("nan")})
    with pytest.raises(WrongRule, match=r"end with a single"):
        said(one("text", "like", ":v"), given={"v": "a\\"})
    # A list may hold one of them twice, and a constant like it.
    assert said(one("number", "in", [":v", ":v", 1]), given={"v": 1}).count("(1)") == 3


@pytest.mark.parametrize(
    ("dialect", "text"),
    [(postgres, "'it''s'"), (mysql, r"'it\'s'"), (mongodb, json.dumps("it's"))],
    ids=["postgres", "mysql", "mongodb"],
)
def test_values_are_quoted(dialect: ModuleType, text: str) -> None:
    shape = DOCUMENTS if dialect is mongodb else TABLE
    assert text in said(one("text", "=", "it's"), dialect, shape)


def test_a_decimal_is_as_it_was_written() -> None:
    assert "'0.1'::numeric" in said(one("exact", "=", 0.1))
    assert "(0.1)" in said(one("exact", "=", 0.1), mysql)
    columns = [{"source": "_id", "type": "int32"}, {"source": "a", "type": "decimal(9,2)"}]
    found = said(one("a", "=", 0.1), mongodb, DOCUMENTS, columns=columns)
    assert json.loads(found) == {"a": {"$eq": {"$numberDecimal": "0.1"}}}


def test_an_index_serves_what_it_can() -> None:
    """The column stands alone on one side."""
    plain = Shape("public", "t", (Column("a", LogicalType("string"), "text"),), key=())
    assert said(one("a", "=", "x"), shape=plain) == "(\"a\" = 'x')"
    assert said(one("a", "<", "x"), shape=plain) == '("a"::text COLLATE "C" < \'x\')'
    assert said(one("text", "in", ["x"]), mysql).startswith("(`text` IN ('x') AND ")
    assert said(one("at", "<", date(2024, 1, 1))).startswith('("at" < ')
    assert json.loads(said(one("a", "starts_with", "x."), mongodb, DOCUMENTS)) == {
        "a": {"$regex": r"^x\.", "$options": "s"}
    }


def test_a_system_without_rules_says_so() -> None:
    with pytest.raises(ConfigError, match="rules are not for"):
        said(one("number", "is_null"), MemoryDialect())
