"""The batches of a job: a page of them, all of them at a glance, and the rows that differ."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import HTTPException, Query

from dsp_airflow.engine.model import Digest
from dsp_airflow.state.batch_list import (
    batches_page,
    differences_page,
    digests_of,
    receipts_of,
    strip,
)
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.records import (
    BatchDifference,
    BatchState,
    BatchStatus,
    Job,
    Run,
    SourceData,
)
from dsp_airflow.state.runs import Runs
from dsp_airflow.web.api.runs import visible
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document, Moment, Number, Page, Paged
from dsp_airflow.web.routing import router
from dsp_airflow.web.users import Acting, Actor, owner_of

routes = router("batches")
JOB = "/runs/{run}/jobs/{job}"
CELLS = 1000


class BatchLine(Document):
    """One batch: a range of the source's key, and what became of it."""

    number: Number
    state: BatchState
    source_data: SourceData
    after: list[str] | None
    upto: list[str] | None
    rows: Number
    rows_read: Number | None
    rows_written: Number | None
    rows_checked: Number | None
    rows_different: Number | None
    rows_purged: Number
    rows_kept: Number | None
    rows_gone: Number | None
    bytes: Number | None
    seconds: float | None
    sampled: bool
    check_note: str | None
    holder: str | None
    """Who works on it."""
    attempts: int
    error: str | None
    copied_at: Moment | None
    checked_at: Moment | None
    purged_at: Moment | None
    digest: str | None
    """Of its rows in the source, as the copy read them: the sum of their hashes, and which hash."""
    receipts: list[Number]
    """The receipts of its purges, by their numbers in the chain."""


class StripCell(Document):
    """Neighbouring batches, and how many of them are in which state."""

    first: Number
    last: Number
    states: dict[str, Number]
    errors: Number


class Strip(Document):
    """All batches of a job in cells of neighbours."""

    batches: Number
    cells: list[StripCell]


class DifferenceLine(Document):
    """One row that differs, or was kept."""

    job: str
    batch: Number
    phase: Literal["check", "purge"]
    kind: str
    key: list[str]
    columns: list[str]
    reason: str
    source: list[str | None] | None
    """Values as they were recorded: in plain only where the task file says `report_values`. Null
    for who may not steer the task."""
    target: list[str | None] | None


@routes.get(f"{JOB}/batches", summary="List the batches of a job")
def list_batches(
    run: str,
    job: str,
    database: Database,
    actor: Acting,
    paging: Paged,
    state: Annotated[list[BatchState], Query()] = [],  # noqa: B006 - FastAPI copies it
) -> Page[BatchLine]:
    """By their numbers; of some states only where they are given."""
    found, its = _job(database, actor, run, job)
    with database.read(snapshot=True) as connection:
        batches, total = batches_page(
            connection, found.id, its.name, limit=paging.limit, offset=paging.offset, states=state
        )
        numbers = [one.number for one in batches if one.purged_at is not None]
        receipts = receipts_of(connection, found.id, its.name, numbers)
        copied = [one.number for one in batches if one.copied_at is not None]
        digests = digests_of(connection, found.id, its.name, copied)
    return paging.page(
        [_line(one, receipts.get(one.number, []), digests.get(one.number)) for one in batches],
        total,
    )


@routes.get(f"{JOB}/strip", summary="All batches of a job at a glance")
def show_strip(
    run: str,
    job: str,
    database: Database,
    actor: Acting,
    cells: Annotated[int, Query(ge=1, le=CELLS)] = 200,
) -> Strip:
    """In at most so many cells, each of neighbours."""
    found, its = _job(database, actor, run, job)
    with database.read() as connection:
        made = strip(connection, found.id, its.name, cells)
    return Strip(
        batches=made[-1].last if made else 0,
        cells=[
            StripCell(first=one.first, last=one.last, states=one.states, errors=one.errors)
            for one in made
        ],
    )


@routes.get("/runs/{run}/differences", summary="List the rows that differ or were kept")
def list_differences(
    run: str,
    database: Database,
    actor: Acting,
    paging: Paged,
    job: str | None = None,
    batch: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> Page[DifferenceLine]:
    """By job, batch and phase. Of a batch at most 1,000 are kept for each phase."""
    found = visible(database, actor, run)
    shown = actor.may_steer(found.dag, owner_of(found))
    with database.read(snapshot=True) as connection:
        rows, total = differences_page(
            connection, found.id, job, batch, limit=paging.limit, offset=paging.offset
        )
    return paging.page([_difference(one, values=shown) for one in rows], total)


def _job(database: StateDatabase, actor: Actor, run: str, job: str) -> tuple[Run, Job]:
    found = visible(database, actor, run)
    its = next((one for one in Runs(database).jobs(found.id) if one.name == job), None)
    if its is None:
        raise HTTPException(404, f"run {run} has no job {job}")
    return found, its


def _line(one: BatchStatus, receipts: list[int], digest: Digest | None) -> BatchLine:
    own = BatchLine.model_fields.keys() - {"after", "upto", "receipts", "digest"}
    after, upto = one.within.after, one.within.upto
    return BatchLine(
        **{name: getattr(one, name) for name in own},
        after=None if after is None else list(after),
        upto=None if upto is None else list(upto),
        digest=None if digest is None else f"{digest.sum:x} ({digest.method})",
        receipts=receipts,
    )


def _difference(one: BatchDifference, *, values: bool) -> DifferenceLine:
    its = one.difference
    return DifferenceLine(
        job=one.job,
        batch=one.batch,
        phase=one.phase,
        kind=its.kind,
        key=list(its.key),
        columns=list(its.columns),
        reason=its.reason,
        source=list(its.source) if values else None,
        target=list(its.target) if values else None,
    )
