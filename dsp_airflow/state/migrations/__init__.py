"""Alembic's environment of the state database. Run by `dsp_airflow.state.database.upgrade`."""
