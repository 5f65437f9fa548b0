"""Registers the plugin with Airflow."""

from dsp_airflow.web.plugin import DspPlugin  # noqa: F401 - Airflow finds it by its class
