"""The button on a task's page that leads to the report of its run."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

from dsp_airflow.state.records import Run

PREFIX = "/dsp"
"""Where Airflow's API server serves this package's pages."""


class RunReportLink(BaseOperatorLink):
    """Leads to the report of the run that the step works on.

    Airflow asks for it when the task has ended; the operator stores it as soon as it knows the
    run, so that it shows while the task works.
    """

    name = "Run report"

    @property
    def xcom_key(self) -> str:
        """Part of what is stored, so it never changes."""
        return "_link_dsp_run_report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Empty when the task never came to know its run."""
        del ti_key
        return getattr(operator, "report_url", None) or ""


def report_url(run: Run) -> str:
    """The page of a run. Without ``[api] base_url`` it is one of the server that is asked."""
    from airflow.sdk.configuration import conf

    base = str(conf.get("api", "base_url", fallback="") or "").rstrip("/")
    return f"{base}{PREFIX}/dags/{quote(run.dag, safe='')}/runs/{quote(run.id, safe='')}"
