"""Process files: what they may say, and what is told about one that says something else."""

from __future__ import annotations

import re
import textwrap
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest
import yaml

from dsp_airflow.config.errors import ConfigProblems
from dsp_airflow.config.process_loading import load_process, load_processes, parse_process
from dsp_airflow.config.process_schema import process_schema
from dsp_airflow.config.processes import (
    SUBTYPES,
    TASK_TYPES,
    built_in,
    process_of,
    process_values,
)

WHOLE = """\
name: 审批流程2
task_type: warm
enabled: false
priority: 7
connections: {names: [shop_pg], labels: [production]}
levels:
  - name: low
    subtypes: [insert, update]
    max_rows: 1000
    max_bytes: 10MiB
    max_statements: 5
    connection_labels: [pii]
    nodes: [{automatic: true}]
  - nodes: [{role: owners}, {user: anna}]
validity: {approval: 240h, waiting: 2d, execution: 90s}
approve: definition
start: manual
requester_may_decide: true
same_person_may_decide: true
remarks: Everything
"""


def test_everything_a_process_says() -> None:
    process = parse_process(WHOLE, "whole.yaml")
    low, high = process.levels
    assert (low.max_bytes, high.subtypes) == (10 * 1024**2, SUBTYPES)
    assert [node.label for node in high.nodes] == ["role owners", "user anna"]
    assert process.validity.approval == timedelta(hours=240)
    assert process_of(process_values(process)) == process
    jsonschema.validate(yaml.safe_load(WHOLE), process_schema())


def test_what_a_new_process_is() -> None:
    process = parse_process("name: New\ntask_type: purge\n", "new.yaml")
    [level] = process.levels
    assert level.subtypes == SUBTYPES
    assert [node.label for node in level.nodes] == ["role administrators"]
    assert (level.max_rows, level.max_bytes, level.max_statements) == (None, None, None)
    assert set(process_values(process)["validity"].values()) == {"1d"}
    assert (process.enabled, process.connections, process.approve) == (True, "all", "run")
    for kind in TASK_TYPES:
        assert process_of(process_values(built_in(kind))) == built_in(kind)


def bad(text: str) -> list[str]:
    with pytest.raises(ConfigProblems) as problems:
        parse_process(textwrap.dedent(text), "p.yaml")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(textwrap.dedent(text)), process_schema())
    return [str(problem).removeprefix("p.yaml:") for problem in problems.value.problems]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: P\n", ["1:1: the key task_type is missing"]),
        ("name: P\ntask_type: wram\n", ["2:12: task_type: must be"]),
        (
            "name: Ware-house\ntask_type: warm\n",
            ["1:7: name: must be letters, digits and Chinese characters only (got 'Ware-house')"],
        ),
        (f"name: {'P' * 111}\ntask_type: warm\n", ["1:7: name: must not be longer than 110"]),
        ("name: P\ntask_type: warm\nlevles: []\n", ["3:1: levles: is not a key (got 'levles')"]),
        (
            "name: P\ntask_type: export\nlevels: [{name: a}, {name: b}]\n",
            ["3:9: levels: must be one only, as tasks of type export have one risk level"],
        ),
        (
            "name: P\ntask_type: warm\nlevels:\n  - nodes: [{rol: x}, {role: a, user: b}]\n",
            [
                "4:14: levels[0].nodes[0].rol: is not a key",
                "4:23: levels[0].nodes[1]: needs exactly",
            ],
        ),
        (
            "name: P\ntask_type: warm\nlevels:\n  - subtypes: [inserts]\n",
            ["4:16: levels[0].subtypes[0]: must be insert"],
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, told: list[str]) -> None:
    found = bad(text)
    assert len(found) == len(told), found
    for line, beginning in zip(found, told, strict=True):
        assert line.startswith(beginning), line


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: match\ntask_type: warm\n", "must not be match"),
        ("name: P\ntask_type: warm\nvalidity: {execution: 241h}\n", "at most 240h"),
        ("name: P\ntask_type: warm\nvalidity: {waiting: 0s}\n", "longer than 0s"),
        ("name: P\ntask_type: warm\nconnections: {}\n", "write connections: all"),
        ("name: P\ntask_type: warm\nconnections: shop_pg\n", "did you mean 'all'?"),
        (f"name: P\ntask_type: warm\nremarks: {'x' * 201}\n", "200"),
        ("name: P\ntask_type: warm\nlevels: [{max_rows: -1}]\n", "at least 0"),
        ("- a\n", "must be a mapping"),
        ("name: P\ntask_type: warm\nremarks:\n", "has no value"),
    ],
)
def test_more_that_is_wrong(text: str, told: str) -> None:
    with pytest.raises(ConfigProblems, match=re.escape(told)):
        parse_process(text, "p.yaml")


def test_a_bad_file_takes_nothing_else_with_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("name: A\ntask_type: warm\n")
    (tmp_path / "b.yaml").write_text("name: A\ntask_type: s3\n")
    (tmp_path / "c.yaml").write_text("name: C\ntask_type: purge\nstrat: manual\n")
    (tmp_path / "d.yaml").write_text("name: [\n")
    found, broken = load_processes(tmp_path)
    assert [(path.name, process.name) for path, process in found] == [("a.yaml", "A")]
    assert [(one.path.name, one.task_type) for one in broken] == [
        ("b.yaml", "s3"),
        ("c.yaml", "purge"),
        ("d.yaml", None),
    ]
    with pytest.raises(ConfigProblems, match="there is no such file"):
        load_process(tmp_path / "e.yaml")
