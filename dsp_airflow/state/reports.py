"""What was moved in a period: by job, by source and target, by day; and which jobs are abnormal."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Double,
    Select,
    and_,
    case,
    cast,
    func,
    or_,
    select,
    type_coerce,
)

from dsp_airflow.state.clock import UtcDateTime
from dsp_airflow.state.moved import moved
from dsp_airflow.state.tables import JOBS, RUNS

JobOrder: TypeAlias = Literal["rows", "bytes", "runs", "failed", "speed", "task"]
Reason: TypeAlias = Literal["failed", "terminated", "different", "kept", "silent", "slow"]
SILENT_AFTER = timedelta(minutes=15)
"""So long after its last sign of life a job that is at work counts as silent."""
SLOW = 0.5
"""The share of a job's usual speed below which its last run was slow."""
_USUAL = 3
"""Runs that succeeded before there is a usual speed."""
_AT_WORK = ("copying", "checking", "purging")
_ITS = (
    RUNS.c.task,
    JOBS.c.name.label("job"),
    JOBS.c.type,
    JOBS.c.source_connection,
    JOBS.c.source_table,
    JOBS.c.target_connection,
    JOBS.c.target,
)
"""What makes two jobs of two runs the same one in a report."""


@dataclass(frozen=True, slots=True)
class Period:
    """Runs that were made from ``since`` on and before ``until``, of some DAGs or of all."""

    since: datetime
    until: datetime
    dags: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class JobFigures:
    """One job of a task over a period."""

    task: str
    job: str
    type: str
    source_connection: str
    source_table: str
    target_connection: str
    target: str
    runs: int
    succeeded: int
    failed: int
    rows_copied: int
    rows_purged: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class FlowFigures:
    """What went from a connection to another one."""

    source: str
    target: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class DayFigures:
    """All batches of one day, in UTC, by the types of their runs' jobs."""

    day: str
    types: str
    rows_copied: int
    rows_purged: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Archive:
    """What jobs to S3 put from a table to a place: before the period, and on each day of it."""

    source_connection: str
    source_table: str
    target_connection: str
    target: str
    rows_before: int
    bytes_before: int
    days: tuple[tuple[str, int, int], ...]
    """Day, rows, bytes; only those on which something came."""


@dataclass(frozen=True, slots=True)
class Abnormal:
    """A job that did not go as it should."""

    task: str
    job: str
    type: str
    source_connection: str
    source_table: str
    target_connection: str
    target: str
    runs: int
    failed: int
    terminated: int
    rows_different: int
    rows_kept: int
    silent_since: datetime | None
    last_speed: float | None
    usual_speed: float | None
    run: str
    """Its youngest run of which something is to be said."""
    error: str | None
    """Of that run."""

    @property
    def reasons(self) -> list[Reason]:
        """Everything that is abnormal."""
        slow = self.last_speed is not None and self.usual_speed is not None
        found: dict[Reason, bool] = {
            "failed": self.failed > 0,
            "terminated": self.terminated > 0,
            "different": self.rows_different > 0,
            "kept": self.rows_kept > 0,
            "silent": self.silent_since is not None,
            "slow": slow,
        }
        return [reason for reason, holds in found.items() if holds]


def jobs(
    connection: Connection,
    period: Period,
    *,
    limit: int,
    offset: int = 0,
    order: JobOrder = "rows",
    descending: bool = True,
    name: str | None = None,
) -> tuple[list[JobFigures], int]:
    """A page of what each job's runs in the period did, and how many jobs there are.

    ``name``: a part of the task's or the job's name.
    """
    wanted = [*within(period)]
    if name is not None:
        its = (RUNS.c.task, JOBS.c.name)
        wanted.append(or_(*(one.icontains(name, autoescape=True) for one in its)))
    groups = (
        select(*_ITS)
        .join(JOBS, JOBS.c.run == RUNS.c.id)
        .where(*wanted)
        .group_by(*_keys())
        .subquery()
    )
    total = connection.execute(select(func.count()).select_from(groups)).scalar_one()
    figures = _by_job(moved(connection.dialect, *within(period)))
    found = (
        select(
            *_ITS,
            func.count().label("runs"),
            count_of(RUNS.c.state == "succeeded").label("succeeded"),
            count_of(RUNS.c.state.in_(["failed", "terminated"])).label("failed"),
            *(
                _sum(figures.c[one]).label(one)
                for one in ("rows_copied", "rows_purged", "bytes", "seconds")
            ),
        )
        .join(JOBS, JOBS.c.run == RUNS.c.id)
        .outerjoin(figures, _of_job(figures))
        .where(*wanted)
        .group_by(*_keys())
        .subquery()
    )
    keys: dict[JobOrder, Any] = {
        "rows": found.c.rows_copied,
        "bytes": found.c.bytes,
        "runs": found.c.runs,
        "failed": found.c.failed,
        "speed": _speed(found.c.rows_copied, found.c.seconds),
        "task": found.c.task,
    }
    key = keys[order]
    query = (
        select(found)
        .order_by(
            (key.desc() if descending else key).nulls_last(),
            *(found.c[one.key] for one in _ITS),
        )
        .limit(limit)
        .offset(offset)
    )
    rows = connection.execute(query)
    return [JobFigures(**plain(row)) for row in rows], total


def flow(connection: Connection, period: Period, limit: int) -> list[FlowFigures]:
    """By connections, those that moved most rows first."""
    figures = moved(connection.dialect, *within(period))
    rows = _sum(figures.c.rows_copied).label("rows")
    query = (
        select(
            JOBS.c.source_connection.label("source"),
            JOBS.c.target_connection.label("target"),
            rows,
            _sum(figures.c.bytes).label("bytes"),
        )
        .join(figures, and_(figures.c.run == JOBS.c.run, figures.c.job == JOBS.c.name))
        .group_by(JOBS.c.source_connection, JOBS.c.target_connection)
        .order_by(rows.desc(), JOBS.c.source_connection, JOBS.c.target_connection)
        .limit(limit)
    )
    return [FlowFigures(**plain(row)) for row in connection.execute(query)]


def days(connection: Connection, period: Period) -> list[DayFigures]:
    """By the day on which each batch was copied, the first one first."""
    figures = moved(connection.dialect, *within(period))
    rows = connection.execute(
        select(
            figures.c.day,
            RUNS.c.types,
            *(_sum(figures.c[one]).label(one) for one in ("rows_copied", "rows_purged", "bytes")),
        )
        .join(RUNS, RUNS.c.id == figures.c.run)
        .where(figures.c.day != "")
        .group_by(figures.c.day, RUNS.c.types)
        .order_by(figures.c.day, RUNS.c.types)
    )
    return [DayFigures(**plain(row)) for row in rows]


def archives(
    connection: Connection, period: Period, *, limit: int, offset: int = 0
) -> tuple[list[Archive], int]:
    """A page of what jobs to S3 archived from where to where, most bytes first, and how many such
    ways there are. By the day on which batches were copied; what was before the period is one sum.
    """
    first = f"{period.since:%Y-%m-%d}"
    figures = moved(connection.dialect, RUNS.c.created_at < period.until, *of_dags(period))
    its = (
        JOBS.c.source_connection,
        JOBS.c.source_table,
        JOBS.c.target_connection,
        JOBS.c.target,
    )
    by_day = (
        select(
            *its,
            figures.c.day,
            _sum(figures.c.rows_copied).label("rows"),
            _sum(figures.c.bytes).label("bytes"),
        )
        .join(figures, and_(figures.c.run == JOBS.c.run, figures.c.job == JOBS.c.name))
        .where(JOBS.c.type == "s3")
        .group_by(*its, figures.c.day)
        .cte("archived_by_day")
    )
    keys = [by_day.c[one.key] for one in its]
    before = by_day.c.day < first
    size = _sum(by_day.c.bytes).label("size")
    all_ways = (
        select(
            *keys,
            size,
            _sum(case((before, by_day.c.rows))).label("rows_before"),
            _sum(case((before, by_day.c.bytes))).label("bytes_before"),
            func.count().over().label("ways"),
        )
        .group_by(*keys)
        .having(size > 0)
        .order_by(size.desc(), *keys)
    )
    # In one statement: what was moved is looked at once.
    ways = all_ways.limit(limit).offset(offset).subquery()
    same = [ways.c[one.key] == by_day.c[one.key] for one in its]
    rows = connection.execute(
        select(ways, by_day.c.day, by_day.c.rows, by_day.c.bytes)
        .outerjoin(by_day, and_(*same, by_day.c.day >= first))
        .order_by(ways.c.size.desc(), *(ways.c[one.key] for one in its), by_day.c.day)
    ).all()
    total = rows[0].ways if rows else 0
    if not rows and offset:
        total = getattr(connection.execute(all_ways.limit(1)).one_or_none(), "ways", 0)
    found: dict[tuple[str, ...], Archive] = {}
    for row in rows:
        way = tuple(row)[: len(its)]
        known = found.get(way) or Archive(
            source_connection=row.source_connection,
            source_table=row.source_table,
            target_connection=row.target_connection,
            target=row.target,
            rows_before=int(row.rows_before),
            bytes_before=int(row.bytes_before),
            days=(),
        )
        came = () if row.day is None else ((row.day, int(row.rows), int(row.bytes)),)
        found[way] = replace(known, days=known.days + came)
    return list(found.values()), total


def abnormal(
    connection: Connection, period: Period, now: datetime, *, limit: int, offset: int = 0
) -> tuple[list[Abnormal], int]:
    """A page of the jobs of which something is to be said, the youngest such run first."""
    found = _suspects(connection, period, now).subquery()
    wanted = or_(
        found.c.failed > 0,
        found.c.terminated > 0,
        found.c.rows_different > 0,
        found.c.rows_kept > 0,
        found.c.silent_since.is_not(None),
        found.c.last_speed.is_not(None),
    )
    total = connection.execute(select(func.count()).select_from(found).where(wanted)).scalar_one()
    rows = connection.execute(
        select(found, RUNS.c.error.label("run_error"), JOBS.c.error.label("job_error"))
        .join(RUNS, RUNS.c.id == found.c.run)
        .join(JOBS, and_(JOBS.c.run == found.c.run, JOBS.c.name == found.c.job))
        .where(wanted)
        .order_by(found.c.run.desc(), found.c.task, found.c.job)
        .limit(limit)
        .offset(offset)
    ).all()
    made = []
    for row in rows:
        values = plain(row)
        own, whole = values.pop("job_error"), values.pop("run_error")
        made.append(Abnormal(**values, error=own or whole))
    return made, total


def _suspects(connection: Connection, period: Period, now: datetime) -> Select[Any]:
    """Every job of the period with what may be abnormal about it."""
    figures = _by_job(moved(connection.dialect, *within(period)))
    silent = and_(
        RUNS.c.state.in_(["planned", "running"]),
        JOBS.c.state.in_(_AT_WORK),
        JOBS.c.seen_at < now - SILENT_AFTER,
    )
    bad = or_(
        JOBS.c.state.in_(["failed", "terminated"]),
        figures.c.rows_different > 0,
        figures.c.rows_kept > 0,
        silent,
    )
    well = and_(JOBS.c.state == "succeeded", figures.c.rows_copied > 0)
    its = (
        select(
            *_ITS,
            func.count().label("runs"),
            count_of(JOBS.c.state == "failed").label("failed"),
            count_of(JOBS.c.state == "terminated").label("terminated"),
            _sum(figures.c.rows_different).label("rows_different"),
            _sum(figures.c.rows_kept).label("rows_kept"),
            type_coerce(func.min(case((silent, JOBS.c.seen_at))), UtcDateTime()).label(
                "silent_since"
            ),
            func.max(case((bad, RUNS.c.id))).label("bad"),
            func.max(case((well, RUNS.c.id))).label("well"),
            count_of(well).label("good"),
            _speed(
                _sum(case((well, figures.c.rows_copied))), _sum(case((well, figures.c.seconds)))
            ).label("speed"),
        )
        .join(JOBS, JOBS.c.run == RUNS.c.id)
        .outerjoin(figures, _of_job(figures))
        .where(*within(period))
        .group_by(*_keys())
        .subquery()
    )
    last = figures.alias("last")
    speed = _speed(last.c.rows_copied, last.c.seconds)
    slow = and_(its.c.good >= _USUAL, speed < its.c.speed * SLOW)
    names = (one.key for one in _ITS)
    counts = ("runs", "failed", "terminated", "rows_different", "rows_kept", "silent_since")
    return select(
        *(its.c[name] for name in (*names, *counts)),
        case((slow, speed)).label("last_speed"),
        case((slow, its.c.speed)).label("usual_speed"),
        func.coalesce(its.c.bad, its.c.well).label("run"),
    ).outerjoin(last, and_(last.c.run == its.c.well, last.c.job == its.c.job))


def _by_job(figures: CTE) -> CTE:
    """The figures of all days together."""
    names = ("rows_copied", "rows_purged", "rows_different", "rows_kept", "bytes", "seconds")
    return (
        select(figures.c.run, figures.c.job, *(_sum(figures.c[one]).label(one) for one in names))
        .group_by(figures.c.run, figures.c.job)
        .cte("moved_by_job")
    )


def _of_job(figures: CTE) -> ColumnElement[bool]:
    return and_(figures.c.run == JOBS.c.run, figures.c.job == JOBS.c.name)


def _keys() -> list[Any]:
    return [getattr(one, "element", one) for one in _ITS]


def within(period: Period) -> list[ColumnElement[bool]]:
    """Of ``RUNS``: those of the period."""
    begun = [RUNS.c.created_at >= period.since, RUNS.c.created_at < period.until]
    return [*begun, *of_dags(period)]


def of_dags(period: Period) -> list[ColumnElement[bool]]:
    """Of ``RUNS``: those of its DAGs, whenever they were made."""
    return [] if period.dags is None else [RUNS.c.dag.in_(sorted(period.dags))]


def _speed(rows: ColumnElement[Any], seconds: ColumnElement[Any]) -> ColumnElement[Any]:
    """Rows a second; null where no time was taken."""
    return cast(rows, Double) / cast(func.nullif(seconds, 0.0), Double)


def _sum(value: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.coalesce(func.sum(value), 0)


def count_of(condition: ColumnElement[bool]) -> ColumnElement[int]:
    """How many rows fit."""
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def plain(row: Any) -> dict[str, Any]:
    """PostgreSQL sums bigints to decimals."""
    return {
        name: int(value) if isinstance(value, Decimal) else value
        for name, value in row._mapping.items()
    }
