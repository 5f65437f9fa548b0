"""Reports over a period: jobs, what flowed from where to where, and what came to S3."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import Depends, HTTPException

from dsp_airflow.notify.remedies import next_step
from dsp_airflow.state import reports
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.reports import Archive, JobFigures, JobOrder, Period, Reason
from dsp_airflow.state.run_list import dags_with_runs
from dsp_airflow.state.targets import Target
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document, Moment, Number, Page, Paged
from dsp_airflow.web.routing import router
from dsp_airflow.web.users import Acting

routes = router("reports")

USUAL = timedelta(days=30)
MOST = 200
"""Ways in a report of flows."""


class JobReport(Document):
    """One job over the period."""

    task: str
    job: str
    type: str
    source: str
    target: str
    runs: Number
    succeeded: Number
    failed: Number
    rows_copied: Number
    rows_purged: Number
    bytes: Number
    rows_per_second: float | None
    """Of the time that its batches took, each on its own."""


class AbnormalJob(Document):
    """One job that did not go as it should."""

    task: str
    job: str
    type: str
    source: str
    target: str
    reasons: list[Reason]
    """`silent`: it is at work, and has given no sign of life for 15 minutes; `slow`: its last run
    had less than half of its usual speed."""
    runs: Number
    failed: Number
    terminated: Number
    rows_different: Number
    rows_kept: Number
    silent_since: Moment | None
    last_rows_per_second: float | None
    usual_rows_per_second: float | None
    """Null where it was not slow."""
    run: str
    """The youngest run of which that is said."""
    error: str | None
    next_step: str | None


class Flow(Document):
    """What went from a connection to another one."""

    source: str
    target: str
    rows: Number
    bytes: Number


class Day(Document):
    """What was copied on a day, in UTC."""

    day: str
    types: list[str]
    """Of the jobs of the runs that did it."""
    rows_copied: Number
    rows_purged: Number
    bytes: Number


class ArchiveDay(Document):
    """What came to an archive on a day, in UTC."""

    day: str
    rows: Number
    bytes: Number


class ArchiveReport(Document):
    """What was archived from a table to a place."""

    source: str
    target: str
    rows_before: Number
    bytes_before: Number
    """What was there when the period began."""
    days: list[ArchiveDay]
    """Those of the period on which something came."""


def _period(
    database: Database, actor: Acting, since: Moment | None = None, until: Moment | None = None
) -> tuple[StateDatabase, Period]:
    end = until or database.now()
    try:
        begin = since or end - USUAL
    except OverflowError as error:
        raise HTTPException(422, f"there is no time {USUAL.days} days before {end}") from error
    with database.read() as connection:
        known = dags_with_runs(connection)
    seen = actor.readable(known)
    return database, Period(begin, end, None if seen == known else seen)


Asked = Annotated[tuple[StateDatabase, Period], Depends(_period)]


@routes.get("/reports/jobs", summary="Report on jobs")
def report_jobs(
    asked: Asked,
    paging: Paged,
    name: str | None = None,
    sort: JobOrder = "rows",
    descending: bool = True,
) -> Page[JobReport]:
    """Of the runs that were made in the period (the last 30 days), those that moved most first.
    `name` is a part of the task's or the job's name.
    """
    database, period = asked
    with database.read(snapshot=True) as connection:
        found, total = reports.jobs(
            connection,
            period,
            limit=paging.limit,
            offset=paging.offset,
            order=sort,
            descending=descending,
            name=name,
        )
    return paging.page([_job(one) for one in found], total)


@routes.get("/reports/abnormal", summary="Report jobs that did not go as they should")
def report_abnormal(asked: Asked, paging: Paged) -> Page[AbnormalJob]:
    """Those that failed, were stopped, left differences or rows, fell silent or were slow in the
    period; the youngest such run first.
    """
    database, period = asked
    now = database.now()
    with database.read(snapshot=True) as connection:
        found, total = reports.abnormal(
            connection, period, now, limit=paging.limit, offset=paging.offset
        )
    return paging.page(
        [
            AbnormalJob(
                task=one.task,
                job=one.job,
                type=one.type,
                source=f"{one.source_connection}: {one.source_table}",
                target=str(Target(one.target_connection, one.target)),
                reasons=one.reasons,
                runs=one.runs,
                failed=one.failed,
                terminated=one.terminated,
                rows_different=one.rows_different,
                rows_kept=one.rows_kept,
                silent_since=one.silent_since,
                last_rows_per_second=_rounded(one.last_speed),
                usual_rows_per_second=_rounded(one.usual_speed),
                run=one.run,
                error=one.error,
                next_step=None if one.error is None else next_step(one.error),
            )
            for one in found
        ],
        total,
    )


@routes.get("/reports/flow", summary="Report what went from where to where")
def report_flow(asked: Asked) -> list[Flow]:
    """By connections, the most rows first; at most 200 ways."""
    database, period = asked
    with database.read() as connection:
        found = reports.flow(connection, period, MOST)
    return [Flow.model_validate(one, from_attributes=True) for one in found]


@routes.get("/reports/days", summary="Report what was moved on each day")
def report_days(asked: Asked) -> list[Day]:
    """By the day on which batches were copied, the first one first. Of runs with jobs to S3 the
    bytes are what their archives hold.
    """
    database, period = asked
    with database.read() as connection:
        found = reports.days(connection, period)
    return [
        Day(
            day=one.day,
            types=one.types.split(),
            rows_copied=one.rows_copied,
            rows_purged=one.rows_purged,
            bytes=one.bytes,
        )
        for one in found
    ]


@routes.get("/reports/archives", summary="Report how archives grew")
def report_archives(asked: Asked, paging: Paged) -> Page[ArchiveReport]:
    """By source table and place, those that hold most first: what jobs to S3 put there, before the
    period and on each day of it.
    """
    database, period = asked
    with database.read(snapshot=True) as connection:
        found, total = reports.archives(
            connection, period, limit=paging.limit, offset=paging.offset
        )
    return paging.page([_archive(one) for one in found], total)


def _job(one: JobFigures) -> JobReport:
    return JobReport(
        task=one.task,
        job=one.job,
        type=one.type,
        source=f"{one.source_connection}: {one.source_table}",
        target=str(Target(one.target_connection, one.target)),
        runs=one.runs,
        succeeded=one.succeeded,
        failed=one.failed,
        rows_copied=one.rows_copied,
        rows_purged=one.rows_purged,
        bytes=one.bytes,
        rows_per_second=_rounded(one.rows_copied / one.seconds) if one.seconds else None,
    )


def _archive(one: Archive) -> ArchiveReport:
    return ArchiveReport(
        source=f"{one.source_connection}: {one.source_table}",
        target=str(Target(one.target_connection, one.target)),
        rows_before=one.rows_before,
        bytes_before=one.bytes_before,
        days=[ArchiveDay(day=day, rows=rows, bytes=size) for day, rows, size in one.days],
    )


def _rounded(speed: float | None) -> float | None:
    return None if speed is None else round(speed, 1)
