"""The Airflow plugin. Every Airflow process imports this module, so it stays light."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from dsp_airflow import listener


class DspPlugin(AirflowPlugin):
    """Registers what this package adds to Airflow."""

    name = "dsp"
    listeners = [listener]  # noqa: RUF012 - as Airflow declares it
