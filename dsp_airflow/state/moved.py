"""What jobs moved, by day: summed up once a job has succeeded, so that reports need not read every
batch of every run again.
"""

from __future__ import annotations

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Dialect,
    String,
    and_,
    case,
    cast,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
    union_all,
)

from dsp_airflow.state.tables import BATCHES, JOBS, MOVED, RUNS

FIGURES = ("rows_copied", "rows_purged", "rows_different", "rows_kept", "bytes", "seconds")
_SUMMED = and_(
    JOBS.c.state == "succeeded",
    exists().where(MOVED.c.run == JOBS.c.run, MOVED.c.job == JOBS.c.name),
)
"""Nothing works on a job that has succeeded: until it leaves that state, its sums hold."""


def sum_up(connection: Connection, run: str, job: str) -> None:
    """Keeps the job's sums, in the transaction in which it succeeds."""
    connection.execute(delete(MOVED).where(MOVED.c.run == run, MOVED.c.job == job))
    day = _day(connection.dialect)
    query = (
        select(BATCHES.c.run, BATCHES.c.job, day, *_sums())
        .join(JOBS, _its())
        .where(BATCHES.c.run == run, BATCHES.c.job == job)
        .group_by(BATCHES.c.run, BATCHES.c.job, day)
    )
    connection.execute(insert(MOVED).from_select(["run", "job", "day", *FIGURES], query))


def moved(dialect: Dialect, *of_runs: ColumnElement[bool]) -> CTE:
    """By run, job and day (empty where nothing was copied) the ``FIGURES`` of the runs that fit.

    Of jobs that have succeeded as they were summed up then, of the others from their batches.
    """
    kept = (
        select(*MOVED.c)
        .join(JOBS, and_(JOBS.c.run == MOVED.c.run, JOBS.c.name == MOVED.c.job))
        .join(RUNS, RUNS.c.id == MOVED.c.run)
        .where(*of_runs, JOBS.c.state == "succeeded")
    )
    day = _day(dialect)
    now = (
        select(BATCHES.c.run, BATCHES.c.job, day, *_sums())
        .join(JOBS, _its())
        .join(RUNS, RUNS.c.id == BATCHES.c.run)
        .where(*of_runs, ~_SUMMED)
        .group_by(BATCHES.c.run, BATCHES.c.job, day)
    )
    return union_all(kept, now).cte("moved_by_day")


def _sums() -> list[ColumnElement[int]]:
    its = BATCHES.c
    present = its.attempt == JOBS.c.attempt
    return [
        _sum(its.rows_written).label("rows_copied"),
        _sum(its.rows_purged).label("rows_purged"),
        _sum(case((present, its.rows_different))).label("rows_different"),
        _sum(case((present, its.rows_kept))).label("rows_kept"),
        _sum(its.bytes).label("bytes"),
        _sum(its.seconds).label("seconds"),
    ]


def _sum(value: ColumnElement[int]) -> ColumnElement[int]:
    return func.coalesce(func.sum(value), literal_column("0"))


def _day(dialect: Dialect) -> ColumnElement[str]:
    at = BATCHES.c.copied_at
    # Written into the statement, so that what is grouped by is what is selected.
    day = (
        func.strftime(literal_column("'%Y-%m-%d'"), at)
        if dialect.name == "sqlite"
        else func.to_char(at, literal_column("'YYYY-MM-DD'"))
    )
    return func.coalesce(cast(day, String), literal_column("''")).label("day")


def _its() -> ColumnElement[bool]:
    return and_(JOBS.c.run == BATCHES.c.run, JOBS.c.name == BATCHES.c.job)
