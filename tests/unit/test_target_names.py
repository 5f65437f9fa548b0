"""Who else may have written into a table, by the names that task files give targets."""

from __future__ import annotations

import pytest

from dsp_airflow.config.templates import may_be
from dsp_airflow.target_conditions import _same_name

MONTHLY = "events_{{ run_date:%Y%m }}"


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("events", "events", True),
        ("events", "events_2", False),
        ("a.c", "abc", False),
        (MONTHLY, "events_202612", True),
        (MONTHLY, "orders_202612", False),
        ("{{ task }}_x", "anything_x", True),
    ],
)
def test_a_template_may_be_every_name_that_a_run_may_give(
    text: str, name: str, expected: bool
) -> None:
    assert may_be(text, name) is expected


def test_a_name_without_a_schema_may_be_any_schemas() -> None:
    assert _same_name((MONTHLY,), ("public", "events_202612"))
    assert _same_name(("public", MONTHLY), ("public", "events_202612"))
    assert not _same_name(("other", MONTHLY), ("public", "events_202612"))
    assert not _same_name(("orders",), ("public", "events_202612"))
