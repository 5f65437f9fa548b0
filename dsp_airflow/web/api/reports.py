"""Reports over a period: jobs, what flowed from where to where, and what came to S3."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, HTTPException

from dsp_airflow.state import reports
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.reports import JobFigures, Period
from dsp_airflow.state.run_list import dags_with_runs
from dsp_airflow.web.api.runs import target_of
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document, Moment, Number
from dsp_airflow.web.routing import router
from dsp_airflow.web.users import Acting

routes = router("reports")

USUAL = timedelta(days=30)
MOST = 1000
"""Jobs of a report."""


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
def report_jobs(asked: Asked) -> list[JobReport]:
    """Of the runs that were made in the period (the last 30 days), at most 1,000 jobs, those that
    moved most first.
    """
    return [_job(one) for one in _figures(asked)]


@routes.get("/reports/flow", summary="Report what went from where to where")
def report_flow(asked: Asked) -> list[Flow]:
    """By connections, the most rows first."""
    rows: Counter[tuple[str, str]] = Counter()
    size: Counter[tuple[str, str]] = Counter()
    for one in _figures(asked):
        ends = one.source_connection, _target(one).partition(": ")[0]
        rows[ends] += one.rows_copied
        size[ends] += one.bytes
    return [
        Flow(source=ends[0], target=ends[1], rows=count, bytes=size[ends])
        for ends, count in rows.most_common()
    ]


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


def _figures(asked: tuple[StateDatabase, Period]) -> list[JobFigures]:
    database, period = asked
    with database.read(snapshot=True) as connection:
        return reports.jobs(connection, period, MOST)


def _job(one: JobFigures) -> JobReport:
    return JobReport(
        task=one.task,
        job=one.job,
        type=str(_defined(one).get("type", "")),
        source=f"{one.source_connection}: {one.source_table}",
        target=_target(one),
        runs=one.runs,
        succeeded=one.succeeded,
        failed=one.failed,
        rows_copied=one.rows_copied,
        rows_purged=one.rows_purged,
        bytes=one.bytes,
        rows_per_second=round(one.rows_copied / one.seconds, 1) if one.seconds else None,
    )


def _target(one: JobFigures) -> str:
    return target_of(_defined(one))


def _defined(one: JobFigures) -> dict[str, object]:
    """The job as its youngest run's file said it."""
    jobs = json.loads(one.definition).get("jobs", ())
    return next((job for job in jobs if job["name"] == one.job), {})
