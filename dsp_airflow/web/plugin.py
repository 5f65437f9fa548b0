"""The Airflow plugin. Every Airflow process imports this module, so it stays light."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin


class DspPlugin(AirflowPlugin):
    """Registers what this package adds to Airflow."""

    name = "dsp"
