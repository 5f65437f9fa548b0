"""The API as Airflow's own API server serves it, asked by users of Airflow's own auth manager."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias, cast

import httpx
import pytest
from starlette.routing import Mount

Role: TypeAlias = Literal["VIEWER", "USER", "OP", "ADMIN"]


class Served:
    """Requests to the API, each as a user, who is logged in with a token of Airflow."""

    def __init__(self, client: Any, api: Any, manager: Any) -> None:
        self.client = client
        self.api = api
        self._manager = manager

    def token(self, user: str, role: Role) -> str:
        """As a login gives it."""
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

        token: str = self._manager.generate_jwt(SimpleAuthManagerUser(username=user, role=role))
        return token

    def forbid(self, monkeypatch: pytest.MonkeyPatch, *dags: str) -> None:
        """Nobody may read or edit these DAGs from now on."""
        before = self._manager.is_authorized_dag

        def authorized(**about: Any) -> bool:
            return about["details"].id not in dags and before(**about)

        monkeypatch.setattr(self._manager, "is_authorized_dag", authorized)

    def airflow(self, method: str, path: str, json: Any = None) -> httpx.Response:
        """Airflow's own API, as an administrator."""
        headers = {"Authorization": f"Bearer {self.token('anna', 'ADMIN')}"}
        found = self.client.request(method, path, json=json, headers=headers)
        return cast("httpx.Response", found)

    def __call__(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        user: str | None = "anna",
        role: Role = "ADMIN",
        **more: Any,
    ) -> httpx.Response:
        """A path below the API's; ``user=None`` is not logged in."""
        from dsp_airflow.web.rest import API

        headers = more.pop("headers", {})
        if user is not None:
            headers = {"Authorization": f"Bearer {self.token(user, role)}", **headers}
        if method != "GET" and json is None:
            json = {}
        found = self.client.request(method, f"{API}{path}", json=json, headers=headers, **more)
        return cast("httpx.Response", found)

    def get(self, path: str, **who: Any) -> Any:
        """The document at a path, which has to be there."""
        answer = self("GET", path, **who)
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextmanager
def served(airflow_app: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The API in the place where its plugin would be mounted."""
    with warnings.catch_warnings():
        # Those of Airflow and of what it is made of.
        warnings.simplefilter("ignore")
        from airflow.api_fastapi import app as airflow_module
        from airflow.api_fastapi.app import get_auth_manager
        from starlette.testclient import TestClient

        from dsp_airflow.web.rest import API, create_api

        manager = airflow_app.state.auth_manager
        monkeypatch.setattr(airflow_module._AuthManagerState, "instance", manager)
        assert get_auth_manager() is manager
        api = create_api()
        mount = Mount(API, api)
        airflow_app.router.routes.insert(0, mount)
        client = TestClient(airflow_app, client=("192.0.2.7", 4711), follow_redirects=False)
        try:
            yield Served(client, api, manager)
        finally:
            airflow_app.router.routes.remove(mount)
            api.state.dsp.close()
