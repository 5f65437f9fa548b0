"""Digests: what they depend on, and what not."""

import json
from typing import Any

import pytest

from dsp_airflow.config import (
    Task,
    data_definition,
    data_digest,
    definition_digest,
    normalise,
)

BASE: dict[str, Any] = {
    "name": "a",
    "jobs": [
        {
            "name": "j",
            "type": "warm",
            "source": {"connection": "s", "table": "public.t"},
            "target": {"connection": "x"},
            "where": "a < :x",
            "variables": {"x": "now-90d"},
        }
    ],
}
DATA_DIGEST = "b2c45e035f7c9b971bba31846a08e8c1f300e0d4f988267d0d0672c1fa300d3a"


def task(**changes: object) -> Task:
    return Task.model_validate({**BASE, **changes})


def with_job(**changes: object) -> Task:
    return task(jobs=[{**BASE["jobs"][0], **changes}])


def test_the_same_file_gives_the_same_digest() -> None:
    assert definition_digest(task()) == definition_digest(task())
    # Recorded, because approvals and runs are bound to it: a change of it needs a new FORMAT.
    assert data_digest(task()) == DATA_DIGEST


def test_written_defaults_and_other_spellings_change_nothing() -> None:
    assert definition_digest(task(timeout="1d", schedule="manual")) == definition_digest(task())
    same = with_job(
        target={"connection": "x", "table": '"public".t', "create": "missing"},
        check={"percent": 10},
        variables={"x": "now - 90d"},
        max_row_size="64MiB",
        where=" a < :x\n",
    )
    assert definition_digest(same) == definition_digest(task())


@pytest.mark.parametrize(
    "changes",
    [
        {"display_name": "x"},
        {"description": "x"},
        {"remarks": "x"},
        {"owner": "x"},
        {"schedule": "0 1 * * *"},
        {"retries": 1},
        {"retry_delay": "1s"},
        {"timeout": "1h"},
        {"priority": 5},
        {"notify": {"when": "always", "to": ["a@b.c"]}},
    ],
)
def test_what_only_the_whole_definition_depends_on(changes: dict[str, object]) -> None:
    assert data_digest(task(**changes)) == data_digest(task())
    assert definition_digest(task(**changes)) != definition_digest(task())


@pytest.mark.parametrize("changes", [{"batch_size": 5}, {"workers": 2}, {"report_values": True}])
def test_pace_is_not_data(changes: dict[str, object]) -> None:
    assert data_digest(with_job(**changes)) == data_digest(task())
    assert definition_digest(with_job(**changes)) != definition_digest(task())


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "k"},
        {"source": {"connection": "s", "table": "t"}},
        {"target": {"connection": "y"}},
        {"target": {"connection": "x", "create": "never"}},
        {"key": ["id"]},
        {"columns": [{"source": "a"}]},
        {"columns": [{"source": "a", "type": "int64"}]},
        {"where": "a <= :x"},
        {"variables": {"x": "now-91d"}},
        {"on_conflict": "ignore"},
        {"check": {"percent": 11}},
        {"check": "none"},
        {"purge": "manual"},
        {"accept_loss": ["b"]},
        {"accept_triggers": ["b"]},
        {"purge": "manual", "keep_last_auto_increment": True},
        {"keep_newest": {"by": "b"}},
        {"keep_newest": {"by": "b", "per": ["c"]}},
    ],
)
def test_what_the_data_definition_depends_on(changes: dict[str, object]) -> None:
    assert data_digest(with_job(**changes)) != data_digest(task())


def test_constants_of_other_types_are_other_definitions() -> None:
    values = ("1", 1, 1.0, True)
    assert len({data_digest(with_job(variables={"x": value})) for value in values}) == len(values)


def test_both_are_json_without_loss() -> None:
    for form in (normalise(task()), data_definition(task())):
        assert json.loads(json.dumps(form)) == form


def test_every_key_of_a_task_and_a_job_is_in_the_whole_definition() -> None:
    other = {**BASE["jobs"][0], "name": "k", "after": ["j"], "drift": "add-columns"}
    given = task(jobs=[BASE["jobs"][0], other], priority=3)
    whole = normalise(given)
    assert set(Task.model_fields) <= set(whole)
    # As it was before there were order, priority and drift, where none is asked for.
    assert set(whole) - set(normalise(task())) == {"priority"}
    assert set(whole["jobs"][1]) - set(whole["jobs"][0]) == {"after", "drift"}
    assert set(type(given.jobs[1]).model_fields) == set(whole["jobs"][1])
    assert "after" not in data_definition(given)["jobs"][1]
