"""Swaps of jobs that replace their targets."""

from __future__ import annotations

from sqlalchemy import and_, update

from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.tables import JOBS


def record(database: StateDatabase, run: str, job: str) -> None:
    """The job's target is the table that it built; the time stays that of the first record."""
    with database.write() as connection:
        connection.execute(
            update(JOBS)
            .where(and_(JOBS.c.run == run, JOBS.c.name == job, JOBS.c.swapped_at.is_(None)))
            .values(swapped_at=clock(connection))
        )
