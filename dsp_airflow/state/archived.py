"""Which runs have archived all of a job, for whoever draws one of them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, select

from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.tables import BATCHES, JOBS, RUNS

MOST = 10_000
"""Runs that are looked at, the youngest."""


def archived_runs(database: StateDatabase, task: str, job: str, before: datetime) -> list[str]:
    """Ids of runs of a task that began before a time and have all batches of a job copied.

    The youngest first. A run without rows is none, nor is one that was rolled back.
    """
    query = (
        select(RUNS.c.id)
        .join(JOBS, JOBS.c.run == RUNS.c.id)
        .where(
            RUNS.c.task == task,
            RUNS.c.created_at < before,
            JOBS.c.name == job,
            *has_all(),
        )
        .order_by(RUNS.c.created_at.desc(), RUNS.c.id.desc())
        .limit(MOST)
    )
    with database.read() as connection:
        return list(connection.execute(query).scalars())


def has_all() -> list[ColumnElement[bool]]:
    """Of ``JOBS``: all of its rows are copied, there are some, and they are still there."""
    its = and_(
        BATCHES.c.run == JOBS.c.run,
        BATCHES.c.job == JOBS.c.name,
        BATCHES.c.attempt == JOBS.c.attempt,
    )
    return [
        JOBS.c.planned_at.is_not(None),
        # Of one that is undone the objects are gone, or are about to be.
        JOBS.c.undone_at.is_(None),
        exists().where(its, BATCHES.c.rows > 0),
        ~exists().where(its, BATCHES.c.copied_at.is_(None)),
    ]
