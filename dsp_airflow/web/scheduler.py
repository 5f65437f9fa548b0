"""Airflow, asked from inside its API server: what it schedules, and its own API.

What changes anything there is asked of that API with the login of who asked us. So Airflow decides
whether that user may, and writes it into its own log.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

import httpx
from airflow.models.dag import DagModel
from airflow.utils.session import create_session
from fastapi import FastAPI, HTTPException, Request
from sqlalchemy import select
from starlette.types import Receive, Scope, Send

from dsp_airflow.task_list import Scheduled

SECONDS = 60.0
_OUTER = "dsp_airflow_app"
_PASSED = ("authorization", "cookie")


class MountedApp(FastAPI):
    """An application that knows the one that it is mounted in."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What Starlette is about to put itself in the place of is the outer one."""
        if scope["type"] == "http":
            scope[_OUTER] = scope.get("app")
        await super().__call__(scope, receive, send)


def scheduled(names: Collection[str]) -> dict[str, Scheduled]:
    """Of these DAGs, those that Airflow has."""
    its = DagModel
    query = select(its.dag_id, its.is_paused, its.next_dagrun_create_after).where(
        its.dag_id.in_(sorted(names))
    )
    with create_session() as session:
        rows = session.execute(query).all()
    return {dag: Scheduled(bool(paused), after) for dag, paused, after in rows}


async def ask(
    request: Request, method: str, path: str, body: Mapping[str, Any] | None = None
) -> Any:
    """What Airflow's API answers; its refusal is ours, with its words."""
    outer = request.scope.get(_OUTER)
    if outer is None or outer is request.app:
        raise HTTPException(503, "this is served by itself; what it asks for is Airflow's to do")
    headers = {name: request.headers[name] for name in _PASSED if name in request.headers}
    client = (request.client.host, request.client.port) if request.client else ("", 0)
    transport = httpx.ASGITransport(outer, raise_app_exceptions=False, client=client)
    async with httpx.AsyncClient(
        transport=transport, base_url=str(request.base_url), timeout=SECONDS
    ) as http:
        answer = await http.request(method, path, json=body, headers=headers)
    if answer.is_success:
        return answer.json() if answer.content else None
    status = answer.status_code if answer.status_code in {401, 403, 404, 409, 422} else 503
    raise HTTPException(status, f"Airflow refuses {method} {path}: {_said(answer)}")


def dag_path(dag: str, *more: str) -> str:
    """The address of a DAG in Airflow's API, or of what belongs to it."""
    return "/".join(["/api/v2/dags", *(quote(one, safe="") for one in (dag, *more))])


def _said(answer: httpx.Response) -> str:
    try:
        said = answer.json().get("detail")
    except (ValueError, AttributeError):
        said = None
    if said is None:
        return f"status {answer.status_code}"
    return said if isinstance(said, str) else json.dumps(said)[:500]
