"""The Airflow plugin. Every Airflow process imports this module, so it stays light."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from dsp_airflow import listener


class DspPlugin(AirflowPlugin):
    """Registers what this package adds to Airflow."""

    name = "dsp"
    listeners = [listener]  # noqa: RUF012 - as Airflow declares it

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The API and the pages; only the API server asks for them."""
        from dsp_airflow.operators.report_link import PREFIX
        from dsp_airflow.web.app import create_app
        from dsp_airflow.web.rest import API, create_api

        # The first whose prefix fits gets the request.
        return [
            {"app": create_api(), "url_prefix": API, "name": "DSP API"},
            {"app": create_app(), "url_prefix": PREFIX, "name": "DSP"},
        ]

    @property
    def react_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Where Airflow shows the pages; only the API server asks for them."""
        from dsp_airflow.web.pages import react_apps

        return react_apps()
