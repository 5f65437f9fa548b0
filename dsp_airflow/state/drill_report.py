"""Reports of drills: what each of a period came to, and which archives none has found right."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Connection,
    Subquery,
    and_,
    case,
    func,
    or_,
    select,
    type_coerce,
)

from dsp_airflow.state.archived import has_all
from dsp_airflow.state.clock import UtcDateTime
from dsp_airflow.state.reports import Period, count_of, of_dags, plain, within
from dsp_airflow.state.tables import BATCHES, DRILLS, JOBS, RUNS

Result: TypeAlias = Literal["right", "failed", "terminated", "working"]


@dataclass(frozen=True, slots=True)
class DrillFigures:
    """One drill."""

    run: str
    task: str
    job: str
    of_task: str
    of_job: str
    tried: str | None
    """The archived run; ``None`` where none was drawn."""
    batches: str | None
    """Which of its batches, such as ``1-3,7``."""
    batches_tried: int
    batches_archived: int | None
    """``None`` where the archived run is not known any more."""
    rows_restored: int
    rows_compared: int
    rows_different: int
    result: Result
    target: str | None
    """What it restored to, where nobody has dropped that."""
    began_at: datetime
    """When it was asked for; the archive is drawn once the run begins."""
    restored_from: datetime | None
    ended_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Tried:
    """How far drills have come with the archives of one job."""

    task: str
    job: str
    archives: int
    never: int
    """Those that no drill has tried to the end."""
    failing: int
    """Those whose last drill failed."""
    last_at: datetime | None
    """When one of them was tried last."""
    longest: str
    """The run that archived what was proved longest ago, or never and is oldest."""
    longest_since: datetime
    """When it was; else when it was archived."""


def drills(
    connection: Connection, period: Period, *, limit: int, offset: int = 0, failed: bool = False
) -> tuple[list[DrillFigures], int]:
    """A page of the period's drills, the youngest first, and how many there are.

    ``failed``: those alone that failed or were terminated.
    """
    wanted = within(period)
    if failed:
        wanted.append(_RESULT.in_(["failed", "terminated"]))
    found = (
        select(DRILLS.c.run, DRILLS.c.job)
        .join(RUNS, RUNS.c.id == DRILLS.c.run)
        .outerjoin(JOBS, _OWN)
        .where(*wanted)
    )
    total = connection.execute(select(func.count()).select_from(found.subquery())).scalar_one()
    page = (
        found.order_by(RUNS.c.created_at.desc(), DRILLS.c.run, DRILLS.c.job)
        .limit(limit)
        .offset(offset)
        .subquery()
    )
    figures, archived = _figures(page), _archived(page)
    rows = connection.execute(
        select(
            DRILLS.c.run,
            RUNS.c.task,
            DRILLS.c.job,
            DRILLS.c.of_task,
            DRILLS.c.of_job,
            DRILLS.c.tried,
            DRILLS.c.batches,
            *(
                func.coalesce(figures.c[name], 0).label(name)
                for name in ("batches_tried", "rows_restored", "rows_compared", "rows_different")
            ),
            archived.c.batches_archived,
            _RESULT.label("result"),
            case(
                (
                    and_(DRILLS.c.dropped_at.is_(None), JOBS.c.started_at.is_not(None)),
                    DRILLS.c.target,
                )
            ).label("target"),
            RUNS.c.created_at.label("began_at"),
            JOBS.c.started_at.label("restored_from"),
            func.coalesce(JOBS.c.ended_at, RUNS.c.ended_at).label("ended_at"),
            func.coalesce(JOBS.c.error, RUNS.c.error).label("error"),
        )
        .join(page, and_(page.c.run == DRILLS.c.run, page.c.job == DRILLS.c.job))
        .join(RUNS, RUNS.c.id == DRILLS.c.run)
        .outerjoin(JOBS, _OWN)
        .outerjoin(figures, and_(figures.c.run == DRILLS.c.run, figures.c.job == DRILLS.c.job))
        .outerjoin(
            archived, and_(archived.c.run == DRILLS.c.tried, archived.c.job == DRILLS.c.of_job)
        )
        .order_by(RUNS.c.created_at.desc(), DRILLS.c.run, DRILLS.c.job)
    )
    return [DrillFigures(**plain(row)) for row in rows], total


def tried(connection: Connection, period: Period, limit: int) -> list[Tried]:
    """By the jobs whose archives there are, those first of which most waits or is wrong.

    What was archived and tried before the period's end, whenever that was.
    """
    archive = (
        select(RUNS.c.id, RUNS.c.task, RUNS.c.created_at, JOBS.c.name.label("job"))
        .join(JOBS, JOBS.c.run == RUNS.c.id)
        .where(RUNS.c.created_at < period.until, *of_dags(period), JOBS.c.type == "s3", *has_all())
        .subquery()
    )
    tries = _tries(period.until)
    since = type_coerce(func.coalesce(tries.c.right_at, archive.c.created_at), UtcDateTime()).label(
        "since"
    )
    failing = and_(
        tries.c.last_at.is_not(None),
        or_(tries.c.right_at.is_(None), tries.c.right_at < tries.c.last_at),
    )
    each = (
        select(
            archive,
            tries.c.last_at,
            tries.c.last_at.is_(None).label("never"),
            failing.label("failing"),
            since,
            func.row_number()
            .over(partition_by=(archive.c.task, archive.c.job), order_by=(since, archive.c.id))
            .label("place"),
        )
        .outerjoin(tries, and_(tries.c.tried == archive.c.id, tries.c.of_job == archive.c.job))
        .subquery()
    )
    first = each.c.place == 1
    never, wrong = count_of(each.c.never).label("never"), count_of(each.c.failing).label("failing")
    longest_since = _time(func.min(case((first, each.c.since)))).label("longest_since")
    rows = connection.execute(
        select(
            each.c.task,
            each.c.job,
            func.count().label("archives"),
            never,
            wrong,
            _time(func.max(each.c.last_at)).label("last_at"),
            func.min(case((first, each.c.id))).label("longest"),
            longest_since,
        )
        .group_by(each.c.task, each.c.job)
        .order_by(wrong.desc(), never.desc(), longest_since, each.c.task, each.c.job)
        .limit(limit)
    )
    return [Tried(**plain(row)) for row in rows]


_OWN = and_(JOBS.c.run == DRILLS.c.run, JOBS.c.name == DRILLS.c.job)
_RESULT = case(
    (JOBS.c.state == "succeeded", "right"),
    (RUNS.c.state.in_(["failed", "terminated"]), RUNS.c.state),
    else_="working",
)
"""A job that failed may be tried again until its run ends."""


def _figures(page: Subquery) -> Subquery:
    """What the page's drills restored, and what of that was compared."""
    return (
        select(
            BATCHES.c.run,
            BATCHES.c.job,
            func.count().label("batches_tried"),
            *(
                func.coalesce(func.sum(column), 0).label(name)
                for name, column in (
                    ("rows_restored", BATCHES.c.rows_written),
                    ("rows_compared", BATCHES.c.rows_checked),
                    ("rows_different", BATCHES.c.rows_different),
                )
            ),
        )
        .join(page, and_(page.c.run == BATCHES.c.run, page.c.job == BATCHES.c.job))
        .join(JOBS, _PRESENT)
        .group_by(BATCHES.c.run, BATCHES.c.job)
        .subquery()
    )


def _archived(page: Subquery) -> Subquery:
    """How many batches the archives have that the page's drills tried."""
    wanted = (
        select(DRILLS.c.tried, DRILLS.c.of_job)
        .join(page, and_(page.c.run == DRILLS.c.run, page.c.job == DRILLS.c.job))
        .distinct()
        .subquery()
    )
    return (
        select(BATCHES.c.run, BATCHES.c.job, func.count().label("batches_archived"))
        .join(wanted, and_(wanted.c.tried == BATCHES.c.run, wanted.c.of_job == BATCHES.c.job))
        .join(JOBS, _PRESENT)
        .group_by(BATCHES.c.run, BATCHES.c.job)
        .subquery()
    )


_PRESENT = and_(
    JOBS.c.run == BATCHES.c.run,
    JOBS.c.name == BATCHES.c.job,
    JOBS.c.attempt == BATCHES.c.attempt,
)


def _tries(until: datetime) -> Subquery:
    """Of each archive that a drill tried to the end: when that began last, and when it was right.

    One that somebody terminated says nothing of its archive.
    """
    return (
        select(
            DRILLS.c.tried,
            DRILLS.c.of_job,
            _time(func.max(RUNS.c.created_at)).label("last_at"),
            _time(func.max(case((_RESULT == "right", RUNS.c.created_at)))).label("right_at"),
        )
        .join(RUNS, RUNS.c.id == DRILLS.c.run)
        .outerjoin(JOBS, _OWN)
        .where(
            DRILLS.c.tried.is_not(None),
            RUNS.c.created_at < until,
            _RESULT.in_(["right", "failed"]),
        )
        .group_by(DRILLS.c.tried, DRILLS.c.of_job)
        .subquery()
    )


def _time(value: ColumnElement[Any]) -> ColumnElement[datetime]:
    return type_coerce(value, UtcDateTime())
