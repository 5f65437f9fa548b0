"""Whatever is sent, no route answers with a defect, or with something that it does not describe."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from dsp_airflow.state.database import StateDatabase
from tests.share import full
from tests.web.scene import Scene, filled, made
from tests.web.served import Served

EXAMPLES = 200 if full() else 3
"""Of each route."""
LOOKS = {"/plans", "/connections/{connection}/test"}
"""These begin a process; ``test_api_looking`` tries them."""


@pytest.mark.share
def test_no_route_has_a_defect(
    api: Served, state: StateDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the addresses are of what there is, the others are made up."""
    with warnings.catch_warnings():
        # Those of what it is made of.
        warnings.simplefilter("ignore")
        import schemathesis

    scene = made(api, state, tmp_path / "dags")
    # So no process is begun, whatever is sent.
    monkeypatch.setattr("dsp_airflow.web.children.AT_ONCE", 0)
    described = schemathesis.openapi.from_dict(api.get("/openapi.json"))
    found: list[Any] = list(described.get_all_operations())
    operations = [one.ok() for one in found]
    assert len(operations) > 45
    for operation in operations:
        _try(api, scene, operation)


def _try(api: Served, scene: Scene, operation: Any) -> None:
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), known=st.booleans())
    def fits(case: Any, known: bool) -> None:
        address = filled(operation.path, scene) if known else case.formatted_path
        # What holds a line's end Airflow hands to no plugin.
        assume("%0A" not in address)
        body = None if operation.method == "get" else _body(case)
        answer = api(operation.method.upper(), address, body, params=case.query or {})
        assert answer.status_code < 500 or operation.path in LOOKS, (case, answer.text)
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"

    fits()


def _body(case: Any) -> Any:
    """What was made up; where a route takes nothing, nothing."""
    return case.body if isinstance(case.body, dict | list | str | int | float | bool) else {}
