"""Drills: which archived run each of them tries, and what it restores to until that is dropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, exists, func, insert, or_, select, update

from dsp_airflow.naming import BATCHES, RUN, TABLE
from dsp_airflow.state import stops
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.records import Run
from dsp_airflow.state.tables import DRILLS, JOBS, RUNS


@dataclass(frozen=True, slots=True)
class Left:
    """What an earlier drill restored to, which nobody has dropped."""

    run: str
    target: str


def note(connection: Connection, run: str, definition: Mapping[str, Any]) -> None:
    """A run was made; of its jobs that are drills, nothing is drawn yet."""
    found = [
        {"run": run, "job": job["name"], "of_task": drill["task"], "of_job": drill["job"]}
        for job in definition.get("jobs", ())
        if (drill := job.get("drill")) is not None
    ]
    if found:
        connection.execute(insert(DRILLS), found)


def draw(connection: Connection, run: str, variables: Mapping[str, Any]) -> None:
    """The run begins: each of its drills tries what its variables say."""
    for job, its in variables.items():
        if isinstance(its, Mapping) and RUN in its:
            connection.execute(
                update(DRILLS)
                .where(DRILLS.c.run == run, DRILLS.c.job == job)
                .values(tried=its[RUN], batches=its[BATCHES], target=its[TABLE])
            )


class Drills:
    """Those of a state database. Each method is one short transaction."""

    def __init__(self, database: StateDatabase) -> None:
        self.database = database

    def last_right(self, task: str, job: str, before: datetime) -> dict[str, datetime]:
        """When each archived run was tried last, and found right, by this job."""
        query = (
            select(DRILLS.c.tried, func.max(RUNS.c.created_at))
            .join(RUNS, RUNS.c.id == DRILLS.c.run)
            .join(JOBS, and_(JOBS.c.run == DRILLS.c.run, JOBS.c.name == DRILLS.c.job))
            .where(
                RUNS.c.task == task,
                RUNS.c.created_at < before,
                DRILLS.c.job == job,
                JOBS.c.state == "succeeded",
                DRILLS.c.tried.is_not(None),
            )
            .group_by(DRILLS.c.tried)
        )
        with self.database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def left(self, run: Run, job: str, connection_id: str) -> list[Left]:
        """What earlier drills of the job restored to over this connection and left, oldest first.

        Not what somebody may still work with: of a run that has not ended only where it is not
        Airflow's to go on with, and nobody has given a sign of life for a minute.
        """
        others = JOBS.alias()
        with self.database.read() as connection:
            at_work = exists().where(
                others.c.run == RUNS.c.id, others.c.seen_at >= clock(connection) - stops.SILENT
            )
            query = (
                select(DRILLS.c.run, DRILLS.c.target)
                .join(RUNS, RUNS.c.id == DRILLS.c.run)
                .join(JOBS, and_(JOBS.c.run == DRILLS.c.run, JOBS.c.name == DRILLS.c.job))
                .where(
                    RUNS.c.task == run.task,
                    RUNS.c.created_at < run.created_at,
                    or_(
                        RUNS.c.ended_at.is_not(None), and_(RUNS.c.external_key.is_(None), ~at_work)
                    ),
                    DRILLS.c.job == job,
                    DRILLS.c.target.is_not(None),
                    DRILLS.c.dropped_at.is_(None),
                    JOBS.c.target_connection == connection_id,
                )
                .order_by(RUNS.c.created_at, RUNS.c.id)
            )
            return [Left(*row) for row in connection.execute(query)]

    def dropped(self, run: str, job: str) -> None:
        """What the drill restored to is gone."""
        with self.database.write() as connection:
            connection.execute(
                update(DRILLS)
                .where(DRILLS.c.run == run, DRILLS.c.job == job, DRILLS.c.dropped_at.is_(None))
                .values(dropped_at=clock(connection))
            )
