"""Where a run's jobs stand, batch by batch: what a person asks after the counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, func, select

from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.tables import BATCHES, DIFFERENCES, JOBS

_PHASES = (("purged", "purged_at"), ("checked", "checked_at"), ("copied", "copied_at"))


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Of the present attempt of one job."""

    checks: bool
    """Whether the job has a check at all."""
    kept: tuple[tuple[str, int], ...]
    """Why rows were kept by the purge, and how many of those that were reported, most first."""
    damaged: tuple[tuple[str, int], ...]
    """What is wrong with rows of the source that were not copied for it, and how many of those
    that the check reported have it, most first."""
    kept_back: tuple[tuple[str, int], ...]
    """Why rows were not copied, on purpose, and how many of those that the check reported."""
    last: int | None
    """The batch that was finished last, what was done with it (``copied``), and when."""
    last_phase: str
    last_at: datetime | None
    failed: int | None
    """The first batch whose last try ended in an error."""
    in_hand: int | None
    """The first batch that somebody worked on, or still does."""
    different: int | None
    """The first batch of which rows differ."""


def landmarks(database: StateDatabase, run: str) -> dict[str, Landmarks]:
    """By the names of the run's jobs."""
    with database.read(snapshot=True) as connection:
        jobs = connection.execute(
            select(JOBS.c.name, JOBS.c.attempt, JOBS.c.check_percent).where(JOBS.c.run == run)
        ).all()
        return {
            name: _of_job(connection, run, name, attempt, checks=percent is not None)
            for name, attempt, percent in jobs
        }


def _of_job(connection: Connection, run: str, job: str, attempt: int, *, checks: bool) -> Landmarks:
    def its(table: Any) -> Any:
        return and_(table.c.run == run, table.c.job == job, table.c.attempt == attempt)

    def first(condition: Any) -> int | None:
        query = select(func.min(BATCHES.c.number)).where(its(BATCHES), condition)
        number: int | None = connection.execute(query).scalar_one()
        return number

    def reasons(condition: Any) -> tuple[tuple[str, int], ...]:
        rows = func.count().label("rows")
        found = connection.execute(
            select(DIFFERENCES.c.reason, rows)
            .where(its(DIFFERENCES), condition)
            .group_by(DIFFERENCES.c.reason)
            .order_by(rows.desc(), DIFFERENCES.c.reason)
        )
        return tuple((row.reason, row.rows) for row in found)

    last, phase, at = None, "", None
    for phase, column in _PHASES:  # noqa: B007 - the one that was found is told
        when = BATCHES.c[column]
        found = connection.execute(
            select(BATCHES.c.number, when)
            .where(its(BATCHES), when.is_not(None))
            .order_by(when.desc(), BATCHES.c.number.desc())
            .limit(1)
        ).one_or_none()
        if found is not None:
            last, at = found
            break
    return Landmarks(
        checks=checks,
        kept=reasons(DIFFERENCES.c.phase == "purge"),
        damaged=reasons(and_(DIFFERENCES.c.phase == "check", DIFFERENCES.c.kind == "damaged")),
        kept_back=reasons(and_(DIFFERENCES.c.phase == "check", DIFFERENCES.c.kind == "kept_back")),
        last=last,
        last_phase=phase,
        last_at=at,
        failed=first(BATCHES.c.error.is_not(None)),
        in_hand=first(BATCHES.c.lease_owner.is_not(None)),
        different=first(BATCHES.c.rows_different > 0),
    )
