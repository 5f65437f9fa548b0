"""What was moved in a period: by job, by source and target, and by day."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, case, func, select

from dsp_airflow.state.tables import BATCHES, JOBS, RUNS


@dataclass(frozen=True, slots=True)
class Period:
    """Runs that were made from ``since`` on and before ``until``, of some DAGs or of all."""

    since: datetime
    until: datetime
    dags: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class JobFigures:
    """One job of a task over a period. ``definition`` is that of its youngest run."""

    task: str
    job: str
    source_connection: str
    source_table: str
    definition: str
    runs: int
    succeeded: int
    failed: int
    rows_copied: int
    rows_purged: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class DayFigures:
    """All batches of one day, in UTC, by the types of their runs' jobs."""

    day: str
    types: str
    rows_copied: int
    rows_purged: int
    bytes: int


def jobs(connection: Connection, period: Period, limit: int) -> list[JobFigures]:
    """Of each job what its runs in the period did, those that moved most first."""
    moved = (
        select(
            BATCHES.c.run,
            BATCHES.c.job,
            func.coalesce(func.sum(BATCHES.c.rows_written), 0).label("rows_copied"),
            func.coalesce(func.sum(BATCHES.c.rows_purged), 0).label("rows_purged"),
            func.coalesce(func.sum(BATCHES.c.bytes), 0).label("bytes"),
            func.coalesce(func.sum(BATCHES.c.seconds), 0).label("seconds"),
        )
        .join(RUNS, RUNS.c.id == BATCHES.c.run)
        .where(*_within(period))
        .group_by(BATCHES.c.run, BATCHES.c.job)
        .subquery()
    )
    total = func.coalesce(func.sum(moved.c.rows_copied), 0)
    rows = connection.execute(
        select(
            RUNS.c.task,
            JOBS.c.name,
            JOBS.c.source_connection,
            JOBS.c.source_table,
            func.max(RUNS.c.id).label("youngest"),
            func.count().label("runs"),
            _count(RUNS.c.state == "succeeded").label("succeeded"),
            _count(RUNS.c.state.in_(["failed", "terminated"])).label("failed"),
            total.label("rows_copied"),
            func.coalesce(func.sum(moved.c.rows_purged), 0).label("rows_purged"),
            func.coalesce(func.sum(moved.c.bytes), 0).label("bytes"),
            func.coalesce(func.sum(moved.c.seconds), 0).label("seconds"),
        )
        .join(JOBS, JOBS.c.run == RUNS.c.id)
        .outerjoin(moved, (moved.c.run == RUNS.c.id) & (moved.c.job == JOBS.c.name))
        .where(*_within(period))
        .group_by(RUNS.c.task, JOBS.c.name, JOBS.c.source_connection, JOBS.c.source_table)
        .order_by(total.desc(), RUNS.c.task, JOBS.c.name)
        .limit(limit)
    ).all()
    youngest = sorted({row.youngest for row in rows})
    query = select(RUNS.c.id, RUNS.c.definition).where(RUNS.c.id.in_(youngest))
    defined = {row.id: row.definition for row in connection.execute(query)}
    return [
        JobFigures(
            row.task,
            row.name,
            row.source_connection,
            row.source_table,
            defined[row.youngest],
            row.runs,
            int(row.succeeded),
            int(row.failed),
            int(row.rows_copied),
            int(row.rows_purged),
            int(row.bytes),
            float(row.seconds),
        )
        for row in rows
    ]


def days(connection: Connection, period: Period) -> list[DayFigures]:
    """By the day on which each batch was copied, the first one first."""
    day = (
        func.strftime("%Y-%m-%d", BATCHES.c.copied_at)
        if connection.dialect.name == "sqlite"
        else func.to_char(BATCHES.c.copied_at, "YYYY-MM-DD")
    ).label("day")
    rows = connection.execute(
        select(
            day,
            RUNS.c.types,
            func.coalesce(func.sum(BATCHES.c.rows_written), 0).label("rows_copied"),
            func.coalesce(func.sum(BATCHES.c.rows_purged), 0).label("rows_purged"),
            func.coalesce(func.sum(BATCHES.c.bytes), 0).label("bytes"),
        )
        .join(RUNS, RUNS.c.id == BATCHES.c.run)
        .where(*_within(period), BATCHES.c.copied_at.is_not(None))
        .group_by(day, RUNS.c.types)
        .order_by(day, RUNS.c.types)
    ).all()
    return [
        DayFigures(r.day, r.types, int(r.rows_copied), int(r.rows_purged), int(r.bytes))
        for r in rows
    ]


def _within(period: Period) -> list[ColumnElement[bool]]:
    found = [RUNS.c.created_at >= period.since, RUNS.c.created_at < period.until]
    if period.dags is not None:
        found.append(RUNS.c.dag.in_(sorted(period.dags)))
    return found


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)
