from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dsp_airflow.state.database import StateDatabase, open_state, upgrade
from dsp_airflow.state.runs import Runs


@pytest.fixture(params=["sqlite", "pg15", "pg18"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A state database that has no tables yet, on each system in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'dsp.db'}"
    url: str = request.getfixturevalue(f"{request.param}_db").sqlalchemy_url
    return url


@pytest.fixture
def state(empty_url: str) -> Iterator[StateDatabase]:
    upgrade(empty_url)
    with open_state(empty_url) as database:
        yield database


@pytest.fixture
def state_url(state: StateDatabase) -> str:
    return state.url.render_as_string(hide_password=False)


@pytest.fixture
def runs(state: StateDatabase) -> Runs:
    return Runs(state)
