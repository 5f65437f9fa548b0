"""Names that a run gives: what the places are filled with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydantic_core import PydanticCustomError

from dsp_airflow.config import templates
from dsp_airflow.config.archives import prefixes_like
from dsp_airflow.config.definition import data_digest
from dsp_airflow.config.tasks import Task
from dsp_airflow.config.variables import resolve_variables
from dsp_airflow.naming import TABLE, named, names_of

NOW = datetime(2026, 1, 31, 23, 5, 9, tzinfo=UTC)


def filled(text: str) -> str:
    times: Any = resolve_variables(templates.moments(text), now=NOW, data_interval_start=NOW)
    return templates.filled(text, {"task": "t", "job": "j"}, times)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("e_{{ run_date }}", "e_2026-01-31"),
        ("e_{{run_date:%Y%m}}", "e_202601"),
        ("e_{{ now-1M:%Y_%m_%d }}", "e_2025_12_31"),
        ("e_{{ data_interval_start+1M : %Y%m%d }}", "e_20260228"),
        ("{{ now:%H%M%S }}_{{ now:%j }}", "230509_031"),
        ("w{{ run_date-30d:%G_%V }}", "w2026_01"),
        ("{{ task }}/{{ job }}/{{ now:year=%Y/month=%m }}", "t/j/year=2026/month=01"),
        ("plain", "plain"),
    ],
)
def test_names(text: str, name: str) -> None:
    assert filled(text) == name


def test_the_digits_are_always_as_many() -> None:
    """Names sort by time, and the archives of a job are found by what their folders look like."""
    place = "{{ now:%Y%m%d%H%M%S%j%G%V }}"
    begin, like = prefixes_like(f"a/{{{{ job }}}}/{place}", {"job": "j"})
    assert begin == "a/j/"
    for moment in (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)):
        text = templates.filled(f"a/{{{{ job }}}}/{place}", {"job": "j"}, {"now": moment})
        assert like.fullmatch(text), text
        assert not like.fullmatch(text + "0")


def test_a_date_has_no_hours() -> None:
    with pytest.raises(PydanticCustomError, match="no hours"):
        templates.check_target_table("e_{{ run_date:%H }}")
    assert templates.filled("{{ run_date:%Y }}", {}, {"run_date": date(2024, 2, 29)}) == "2024"


def test_the_parts_of_a_name_are_what_they_are_without_its_places() -> None:
    text = 's.e."odd.{{now-1d:%Y-%m}}"'
    with pytest.raises(PydanticCustomError, match="must be a table name"):
        templates.split_target(text)
    assert templates.split_target('"o.d"."odd.{{now - 1d:%Y-%m}}"') == (
        "o.d",
        "odd.{{ now-1d:%Y-%m }}",
    )


def task(*tables: str) -> Task:
    return Task.model_validate(
        {
            "name": "t",
            "jobs": [
                {
                    "name": f"j{n}",
                    "type": "warm",
                    "source": {"connection": "a", "table": f"s{n}"},
                    "target": {"connection": "b", "table": table},
                }
                for n, table in enumerate(tables)
            ],
        }
    )


def test_a_task_is_named_for_one_run() -> None:
    plain = task("e_{{ run_date:%Y%m }}", "e_{{ now-1d:%Y%m }}", "fixed")

    def resolve(variables: Mapping[str, Any]) -> Any:
        return resolve_variables(variables, now=NOW)

    values = {job.name: names_of(plain, job, resolve) for job in plain.jobs}
    assert values == {"j0": {TABLE: "e_202601"}, "j1": {TABLE: "e_202601"}, "j2": {}}
    tables = [job.target_table for job in named(plain, values).jobs]
    assert tables == ["e_202601", "e_202601", "fixed"]


def test_how_a_place_is_written_is_no_other_definition() -> None:
    one, other = (task(f"e_{{{{{text}}}}}") for text in ("now-90d:%Y", " now - 90d : %Y "))
    assert data_digest(one) == data_digest(other)
    assert data_digest(one) != data_digest(task("e_{{ now-91d:%Y }}"))


def test_nothing_is_evaluated() -> None:
    for text in ("{{ 7*7 }}", "{{ now.year }}", "{% set x %}", "{{ job|upper }}", "{{ {} }}"):
        with pytest.raises(PydanticCustomError):
            templates.check_prefix_places(text)
    assert re.fullmatch(r"\{\{ now:%Y \}\}", str(templates.pieces("{{now:%Y}}")[1]))
