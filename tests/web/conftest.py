"""The pages as Airflow's API server serves them, for users of its own auth manager."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dsp_airflow.state.database import StateDatabase, open_state
from tests.engine.harness import Bench
from tests.servers import Database, PostgresServer, fresh_database
from tests.web.served import Served, served

FORBIDDEN = "secret"
"""A DAG that nobody may read of."""
Visit = Callable[..., httpx.Response]


@pytest.fixture
def bench(tmp_path: Path, pg18: PostgresServer) -> Iterator[Bench[Database]]:
    """On one PostgreSQL: pages read of the state database only."""
    with fresh_database(pg18) as source, fresh_database(pg18) as target:
        yield Bench(tmp_path, source, target)


@pytest.fixture
def visit(
    airflow_db: Path, bench: Bench[Database], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Visit]:
    """Asks for a path, as a reader who is logged in unless told otherwise."""
    with warnings.catch_warnings():
        # Those of Airflow and of what it is made of.
        warnings.simplefilter("ignore")
        from airflow.api_fastapi import app as airflow_app
        from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
        from starlette.testclient import TestClient

        from dsp_airflow.web.app import create_app

        asked: list[Any] = []

        class Readers(SimpleAuthManager):
            """All may read of all DAGs but one."""

            def is_authorized_dag(self, **about: Any) -> bool:
                asked.append((about["method"], str(about["access_entity"])))
                return about["details"].id != FORBIDDEN and super().is_authorized_dag(**about)

        monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", secrets.token_urlsafe(48))
        monkeypatch.setenv("AIRFLOW__DSP__SQL_ALCHEMY_CONN", f"sqlite:///{bench.folder}/state.db")
        manager: Any = Readers()  # type: ignore[no-untyped-call]
        monkeypatch.setattr(airflow_app._AuthManagerState, "instance", manager)
        token = manager.generate_jwt(SimpleAuthManagerUser(username="vera", role="VIEWER"))
        with TestClient(create_app(), follow_redirects=False) as client:

            def visit(path: str, *, login: bool = True, **headers: str) -> httpx.Response:
                if login:
                    headers["Authorization"] = f"Bearer {token}"
                found: Any = client.get(path, headers=headers)
                if login and found.status_code != 403:
                    assert asked[-1] == ("GET", "DagAccessEntity.RUN")
                return found  # type: ignore[no-any-return]

            yield visit


@pytest.fixture(scope="session")
def airflow_app(airflow_db: Path) -> Iterator[Any]:
    """Airflow's own API server, with all its middleware, and its metadata database."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", secrets.token_urlsafe(48))
        from airflow.api_fastapi.app import create_app

        yield create_app("core")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StateDatabase]:
    """An empty state database, which the API is told of."""
    monkeypatch.setenv("AIRFLOW__DSP__SQL_ALCHEMY_CONN", f"sqlite:///{tmp_path}/state.db")
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path / "dags"))
    (tmp_path / "dags" / "tasks").mkdir(parents=True)
    # The file that a ``Bench`` in the same folder has.
    with open_state(create=True) as database:
        yield database


@pytest.fixture
def api(
    airflow_app: Any, state: StateDatabase, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    """The API over it."""
    with served(airflow_app, monkeypatch) as asked:
        yield asked
