"""Which process holds, and which of its levels."""

from __future__ import annotations

from typing import Any

import pytest

from dsp_airflow.approval.matching import Ask, Touched, level_for, process_for
from dsp_airflow.config.processes import BUILT_IN, Process
from dsp_airflow.engine.errors import Refused


def process(name: str, **values: Any) -> Process:
    return Process.model_validate({"name": name, "task_type": "warm", **values})


def ask(
    *subtypes: str, rows: int | None = 5, on: dict[str, list[str]] | None = None, **volume: int
) -> Ask:
    touched = {"shop_pg": ["production"], "warehouse": []} if on is None else on
    connections = tuple(Touched(name, frozenset(labels)) for name, labels in touched.items())
    return Ask("warm", frozenset(subtypes or ("insert",)), connections, rows, **volume)


def test_the_first_enabled_match_by_priority_holds() -> None:
    processes = [
        process("Last", priority=300),
        process("Other", priority=1, task_type="s3"),
        process("Disabled", priority=2, enabled=False),
        process("Elsewhere", priority=3, connections={"names": ["hr_pg"]}),
        process("ByLabel", priority=5, connections={"labels": ["production"]}),
        process("AlsoByLabel", priority=5, connections={"labels": ["production"]}),
        process("ByName", priority=6, connections={"names": ["warehouse"]}),
    ]

    def holds(on: dict[str, list[str]]) -> str:
        return process_for(processes, ask(on=on)).name

    assert holds({"shop_pg": ["production"], "warehouse": []}) == "AlsoByLabel"
    assert holds({"warehouse": []}) == "ByName"
    assert holds({"x": []}) == "Last"
    assert holds({"hr_pg": []}) == "Elsewhere"


def test_the_default_where_nothing_matches() -> None:
    found = process_for([], ask())
    assert (found.name, found.levels[0].nodes[0].label) == (BUILT_IN, "role administrators")
    elsewhere = process("Elsewhere", connections={"names": ["hr_pg"]})
    assert process_for([elsewhere], ask(), default="Elsewhere").name == "Elsewhere"
    for bad in (
        process("Default", enabled=False),
        process("Default", task_type="s3"),
        process("Defaults"),
    ):
        others = [bad.model_copy(update={"connections": elsewhere.connections})]
        with pytest.raises(Refused, match=r"default_process names the approval process Default"):
            process_for(others, ask(), default="Default")


def test_a_process_by_name_has_to_match() -> None:
    processes = [
        process("First", priority=1),
        process("Mine", priority=2),
        process("Off", enabled=False),
        process("Elsewhere", connections={"names": ["hr_pg"]}),
    ]
    assert process_for(processes, ask(), named="Mine").name == "Mine"
    with pytest.raises(Refused, match="did you mean Mine"):
        process_for(processes, ask(), named="Mina")
    with pytest.raises(Refused, match="disabled"):
        process_for(processes, ask(), named="Off")
    # It would ask less of a task than a stricter process that matches.
    with pytest.raises(Refused, match="no task can ask for it by name"):
        process_for(processes, ask(), named=BUILT_IN)
    with pytest.raises(Refused, match="not for the connections"):
        process_for(processes, ask(), named="Elsewhere")


STAIR = [
    {"subtypes": ["insert", "update"], "max_rows": 10},
    {"subtypes": ["insert", "update", "delete"], "max_rows": 100, "max_bytes": "1kB"},
    {"subtypes": ["insert"], "connection_labels": ["pii"]},
    {"subtypes": ["insert", "update", "delete"]},
    {"subtypes": ["drop"], "max_statements": 1},
]
PII = {"users": ["pii"]}


@pytest.mark.parametrize(
    ("asked", "level"),
    [
        (ask("insert"), 0),
        (ask("insert", rows=10), 0),
        (ask("insert", rows=11, bytes=1000), 1),
        (ask("insert", rows=11, bytes=1001), 3),
        # A limit on what nobody knows is none that is kept.
        (ask("insert", rows=11), 3),
        (ask("insert", rows=None), 3),
        (ask("insert", rows=10**12), 3),
        # Several match: the highest.
        (ask("insert", "delete", bytes=10), 1),
        (ask("insert", on=PII), 2),
        (ask("insert", rows=10**6, on=PII), 3),
        # Over every limit, or of no level: the highest.
        (ask("drop", statements=1), 4),
        (ask("drop", statements=2), 4),
        (ask("insert", "select"), 4),
    ],
)
def test_levels(asked: Ask, level: int) -> None:
    assert level_for(process("P", levels=STAIR), asked) == level


def test_a_new_process_has_one_level_for_everything() -> None:
    one = process("P")
    assert level_for(one, ask("drop", "other", rows=None)) == 0
    assert one.levels[0].nodes[0].role == "administrators"
