"""Which definitions have ever written something."""

from __future__ import annotations

from sqlalchemy import exists, func, select

from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.records import Run
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.tables import BATCHES, RUNS


def written(database: StateDatabase) -> list[Run]:
    """The youngest run of each definition by which any batch was copied."""
    copied = exists().where(BATCHES.c.run == RUNS.c.id, BATCHES.c.copied_at.is_not(None))
    query = select(func.max(RUNS.c.id)).where(copied)
    with database.read() as connection:
        ids = connection.execute(query.group_by(RUNS.c.task, RUNS.c.definition_digest)).scalars()
        found = list(ids)
    runs = Runs(database)
    return [run for one in found if (run := runs.find_id(one)) is not None]
