"""Reports of restore drills: what each came to, and which archives none has found right."""

from __future__ import annotations

from dsp_airflow.notify import drills
from dsp_airflow.notify.remedies import next_step
from dsp_airflow.state import drill_report
from dsp_airflow.state.drill_report import DrillFigures, Result
from dsp_airflow.web.api.reports import MOST, Asked
from dsp_airflow.web.paging import Document, Moment, Number, Page, Paged
from dsp_airflow.web.routing import router

routes = router("reports")


class DrillReport(Document):
    """One drill."""

    run: str
    task: str
    job: str
    of_task: str
    of_job: str
    tried: str | None
    """The archived run; null where none was drawn."""
    batches: str | None
    """Those that were restored, such as `1-3,7`."""
    batches_tried: Number
    batches_archived: Number | None
    """Null where the archived run is not known any more."""
    rows_restored: Number
    rows_compared: Number
    rows_different: Number
    result: Result
    left: str | None
    """What it restored to, while that was not dropped."""
    began_at: Moment
    seconds: float | None
    """From the first batch restored to the last one compared."""
    error: str | None
    next_step: str | None


class TriedReport(Document):
    """How far drills have come with the archives of one job."""

    task: str
    job: str
    archives: Number
    """Its runs whose archives there are."""
    never: Number
    """Those that no drill has tried to the end."""
    failing: Number
    """Those whose last drill failed."""
    last_at: Moment | None
    longest: str
    """The run whose archive was found right longest ago, or never and is the oldest."""
    longest_since: Moment
    """When it was; else when it was archived."""


@routes.get("/reports/drills", summary="Report restore drills")
def report_drills(asked: Asked, paging: Paged, failed: bool = False) -> Page[DrillReport]:
    """Of the period (the last 30 days), the youngest first. `failed`: those alone that failed or
    were terminated.
    """
    database, period = asked
    with database.read(snapshot=True) as connection:
        found, total = drill_report.drills(
            connection, period, limit=paging.limit, offset=paging.offset, failed=failed
        )
    return paging.page([_drill(one) for one in found], total)


@routes.get("/reports/tried", summary="Report which archives drills have tried")
def report_tried(asked: Asked) -> list[TriedReport]:
    """By job, those first whose drills failed or whose archives wait; at most 200 jobs. What was
    archived and tried before the end of the period.
    """
    database, period = asked
    with database.read(snapshot=True) as connection:
        found = drill_report.tried(connection, period, MOST)
    return [TriedReport.model_validate(one, from_attributes=True) for one in found]


def _drill(one: DrillFigures) -> DrillReport:
    begun, ended = one.restored_from, one.ended_at
    return DrillReport(
        run=one.run,
        task=one.task,
        job=one.job,
        of_task=one.of_task,
        of_job=one.of_job,
        tried=one.tried,
        batches=one.batches,
        batches_tried=one.batches_tried,
        batches_archived=one.batches_archived,
        rows_restored=one.rows_restored,
        rows_compared=one.rows_compared,
        rows_different=one.rows_different,
        result=one.result,
        left=one.target,
        began_at=one.began_at,
        seconds=None if begun is None or ended is None else (ended - begun).total_seconds(),
        error=one.error,
        next_step=None if one.error is None else _next_step(one.error),
    )


def _next_step(error: str) -> str | None:
    return drills.next_step(error) or next_step(error)
