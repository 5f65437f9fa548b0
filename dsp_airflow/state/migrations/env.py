"""Runs the migrations inside the transaction that the caller opened."""

from __future__ import annotations

from alembic import context

from dsp_airflow.state.schema import VERSION_TABLE
from dsp_airflow.state.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
