"""The REST API as an application of its own, mounted under ``API``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dsp_airflow.operators.report_link import PREFIX
from dsp_airflow.web import problems
from dsp_airflow.web.api import (
    actions,
    audit,
    batches,
    connections,
    definitions,
    drift,
    drills,
    grants,
    limits,
    me,
    people,
    plans,
    processes,
    reports,
    requests,
    roles,
    runs,
    task_files,
    tasks,
)
from dsp_airflow.web.children import Children
from dsp_airflow.web.database import SharedState
from dsp_airflow.web.routing import HEADERS, router
from dsp_airflow.web.scheduler import MountedApp

API = f"{PREFIX}/api/v1"
"""Where it is served. What changes for callers gets another number; see ADR 25."""
_ROUTERS = (
    me,
    runs,
    batches,
    actions,
    limits,
    tasks,
    definitions,
    drift,
    task_files,
    requests,
    processes,
    people,
    roles,
    grants,
    audit,
    plans,
    connections,
    reports,
    drills,
)


def create_api() -> FastAPI:
    """All routes. Nothing is asked of any database before the first request."""
    app = MountedApp(
        title="DSP",
        version="1",
        description="Tasks, runs, approvals and what they leave behind. See docs/api.md.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        servers=[{"url": API}],
        root_path_in_servers=False,
    )
    app.state.dsp = SharedState()
    app.state.children = Children()
    for one in _ROUTERS:
        app.include_router(one.routes)
    about = router("openapi")

    @about.get("/openapi.json", include_in_schema=False)
    def describe() -> dict[str, Any]:
        return app.openapi()

    app.include_router(about)

    @app.exception_handler(HTTPException)
    def refuse(request: Request, error: HTTPException) -> JSONResponse:
        """What no route was found for: all others answer for themselves."""
        del request
        detail = {
            404: "there is nothing at this address",
            405: "this address does not take this method",
        }.get(error.status_code, str(error.detail))
        return problems.problem(
            error.status_code, detail, headers={**(error.headers or {}), **HEADERS}
        )

    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.dsp.close()
