"""A job's batches page by page, all of them at a glance, and what was found and proved of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import get_args

from sqlalchemy import ColumnElement, Connection, case, func, select

from dsp_airflow.engine.model import Copied, Digest
from dsp_airflow.state.codec import load
from dsp_airflow.state.progress import STATE, batch_of, difference_of, differences_query
from dsp_airflow.state.records import BatchDifference, BatchState, BatchStatus
from dsp_airflow.state.tables import BATCHES, JOBS, RECEIPTS

BATCH_STATES: tuple[BatchState, ...] = get_args(BatchState)


@dataclass(frozen=True, slots=True)
class Cell:
    """Neighbouring batches of one cell: how many are in which state, and how many had an error."""

    first: int
    last: int
    states: dict[str, int]
    errors: int


def batches_page(
    connection: Connection,
    run: str,
    job: str,
    *,
    limit: int,
    offset: int = 0,
    states: Iterable[BatchState] = (),
) -> tuple[list[BatchStatus], int]:
    """A page of the batches of the job's present attempt by number, and how many there are.

    They are numbered without a gap, so a page of all of them is found by its first number.
    """
    wanted = sorted(set(states))
    conditions = [*_present(run, job)]
    if wanted:
        conditions.append(STATE.in_(wanted))
    total = connection.execute(
        select(func.count()).select_from(BATCHES).where(*conditions)
    ).scalar_one()
    query = (
        select(BATCHES, STATE.label("state"))
        .where(*conditions)
        .order_by(BATCHES.c.number)
        .limit(limit)
    )
    query = query.offset(offset) if wanted else query.where(BATCHES.c.number > offset)
    return [batch_of(row) for row in connection.execute(query)], total


def strip(connection: Connection, run: str, job: str, cells: int) -> list[Cell]:
    """All batches of the job's present attempt in at most so many cells of neighbours."""
    last = connection.execute(
        select(func.max(BATCHES.c.number)).where(*_present(run, job))
    ).scalar_one_or_none()
    if last is None:
        return []
    size = -(-last // cells)
    inner = (
        select(
            ((BATCHES.c.number - 1) // size).label("cell"),
            STATE.label("state"),
            case((BATCHES.c.error.is_not(None), 1), else_=0).label("error"),
        )
        .where(*_present(run, job))
        .subquery()
    )
    rows = connection.execute(
        select(inner.c.cell, inner.c.state, func.count().label("n"), func.sum(inner.c.error))
        .group_by(inner.c.cell, inner.c.state)
        .order_by(inner.c.cell)
    ).all()
    states: dict[int, dict[str, int]] = {}
    errors: dict[int, int] = {}
    for at, state, count, failed in rows:
        states.setdefault(int(at), {})[state] = int(count)
        errors[int(at)] = errors.get(int(at), 0) + int(failed)
    return [
        Cell(at * size + 1, min(last, (at + 1) * size), states[at], errors[at]) for at in states
    ]


def differences_page(
    connection: Connection,
    run: str,
    job: str | None,
    batch: int | None,
    *,
    limit: int,
    offset: int = 0,
) -> tuple[list[BatchDifference], int]:
    """A page of what ``progress.differences`` gives, and how many there are."""
    query = differences_query(run, job, batch)
    total = connection.execute(
        select(func.count()).select_from(query.order_by(None).subquery())
    ).scalar_one()
    rows = connection.execute(query.limit(limit).offset(offset))
    return [difference_of(row) for row in rows], total


def receipts_of(
    connection: Connection, run: str, job: str, batches: Collection[int]
) -> dict[int, list[int]]:
    """The numbers of the receipts of some batches, by batch."""
    its = RECEIPTS.c
    query = select(its.batch, its.seq).where(
        its.run == run, its.job == job, its.batch.in_(sorted(batches))
    )
    found: dict[int, list[int]] = {}
    for batch, seq in connection.execute(query.order_by(its.seq)):
        found.setdefault(batch, []).append(seq)
    return found


def digests_of(
    connection: Connection, run: str, job: str, batches: Collection[int]
) -> dict[int, Digest]:
    """What some batches were in the source as they were read, where the copy took a digest."""
    query = select(BATCHES.c.number, BATCHES.c.copied).where(
        *_present(run, job), BATCHES.c.number.in_(sorted(batches)), BATCHES.c.copied.is_not(None)
    )
    found = {row.number: load(Copied, row.copied).digest for row in connection.execute(query)}
    return {number: digest for number, digest in found.items() if digest is not None}


def _present(run: str, job: str) -> tuple[ColumnElement[bool], ...]:
    """The batches of the attempt that the job is in now."""
    attempt = select(JOBS.c.attempt).where(JOBS.c.run == run, JOBS.c.name == job)
    return (
        BATCHES.c.run == run,
        BATCHES.c.job == job,
        BATCHES.c.attempt == attempt.scalar_subquery(),
    )
