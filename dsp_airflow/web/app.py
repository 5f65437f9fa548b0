"""The pages that Airflow's API server serves. Each is for who may read the DAG it is about."""

from __future__ import annotations

from fastapi import Depends, FastAPI, HTTPException, Request, status
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader

from dsp_airflow.engine.errors import DspError
from dsp_airflow.state.database import open_state
from dsp_airflow.web.pages import pages_router
from dsp_airflow.web.run_report import RunReport, run_report

HEADERS = {
    # Nothing is loaded but the page and its own style; nobody frames it, nobody keeps it.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'; "
        "form-action 'none'; base-uri 'none'"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
REFRESH = 5
"""Seconds between two looks at a run that goes on."""


def create_app() -> FastAPI:
    """The application under the plugin's prefix."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag

    app = FastAPI(title="DSP", openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(pages_router())
    templates = Environment(
        loader=PackageLoader("dsp_airflow.web"),
        autoescape=True,
    )
    templates.filters["number"] = lambda value: f"{value:,}"
    page = templates.get_template("run.html")

    # A plain function: the database is waited for in a thread of its own.
    @app.get(
        "/dags/{dag_id}/runs/{run_id}",
        dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.RUN))],
    )
    def show_run(dag_id: str, run_id: str) -> HTMLResponse:
        report = _found(dag_id, run_id)
        refresh = None if report.run.ended else REFRESH
        return HTMLResponse(page.render(report=report, refresh=refresh), headers=HEADERS)

    @app.exception_handler(HTTPException)
    def refuse(request: Request, error: HTTPException) -> Response:
        """Who is not logged in is asked to, and comes back."""
        wants_page = "text/html" in request.headers.get("accept", "")
        if error.status_code == status.HTTP_401_UNAUTHORIZED and wants_page:
            return RedirectResponse(_login_url(request), status.HTTP_303_SEE_OTHER, HEADERS)
        return JSONResponse({"detail": error.detail}, error.status_code, headers=HEADERS)

    return app


def _login_url(request: Request) -> str:
    from airflow.api_fastapi.app import get_auth_manager

    return get_auth_manager().get_url_login(next_url=str(request.url))


def _found(dag_id: str, run_id: str) -> RunReport:
    """404 also for a run of another DAG: who may not read of it is not told that it is there."""
    try:
        with open_state() as database:
            report = run_report(database, dag_id, run_id)
    except DspError as error:
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, str(error)) from error
    if report is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"DAG {dag_id} has no run {run_id} of DSP")
    return report
