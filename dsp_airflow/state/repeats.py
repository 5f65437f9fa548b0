"""Doing a part again: a job under a new plan, batches checked or purged once more."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from sqlalchemy import ColumnElement, Connection, and_, delete, select, update

from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.tables import BATCHES, DIFFERENCES, JOBS

_CHUNK = 500
_UNCHECKED = {
    "rows_checked": None,
    "rows_different": None,
    "compared": None,
    "check_note": None,
    "checked_at": None,
}


def new_attempt(database: StateDatabase, run: str, job: str) -> int:
    """Drops the job's plan with every batch of it that was neither copied nor purged.

    The others stay as history under the old attempt, receipts included. Who still works on
    one of them can no longer record it. ``Refused`` while the outcome of a purge is unknown.
    Returns the new attempt's number.
    """
    with database.write() as connection:
        old = _attempt(connection, run, job)
        its = _its(run, job, old)
        unsettled = connection.execute(
            select(BATCHES.c.number).where(its, BATCHES.c.intent.is_not(None)).limit(1)
        ).scalar_one_or_none()
        if unsettled is not None:
            raise Refused(
                f"batch {unsettled} of job {job} in run {run} has a purge whose outcome is not"
                " recorded; run its purge again before planning anew, or start a new run"
            )
        connection.execute(
            delete(BATCHES).where(its, BATCHES.c.copied_at.is_(None), BATCHES.c.rows_purged == 0)
        )
        connection.execute(
            update(BATCHES)
            .where(its)
            .values(
                lease_phase=None,
                lease_owner=None,
                lease_until=None,
                lease_token=BATCHES.c.lease_token + 1,
            )
        )
        connection.execute(
            update(JOBS)
            .where(JOBS.c.run == run, JOBS.c.name == job)
            .values(
                attempt=old + 1,
                plan=None,
                planned_at=None,
                state="waiting",
                error=None,
                started_at=None,
                ended_at=None,
                swapped_at=None,
            )
        )
    return old + 1


def reopen(
    database: StateDatabase,
    run: str,
    job: str,
    phase: Literal["check", "purge"],
    numbers: Collection[int] | None = None,
) -> tuple[int, ...]:
    """Makes batches wait for the phase again; returns their numbers. ``None``: all of them.

    ``check``: what it found is dropped. ``purge``: only batches of which rows were kept;
    the count of purged rows goes on from where it was.
    """
    with database.write() as connection:
        its = _its(run, job, _attempt(connection, run, job))
        query = select(BATCHES.c.number).where(its).order_by(BATCHES.c.number)
        if phase == "check":
            query = query.where(BATCHES.c.checked_at.is_not(None))
        else:
            query = query.where(BATCHES.c.purged_at.is_not(None), BATCHES.c.rows_kept > 0)
        wanted = None if numbers is None else set(numbers)
        found = [n for n in connection.execute(query).scalars() if wanted is None or n in wanted]
        for some in _chunks(found):
            changed = update(BATCHES).where(its, BATCHES.c.number.in_(some))
            if phase == "purge":
                connection.execute(changed.values(purged_at=None))
                continue
            connection.execute(changed.values(**_UNCHECKED))
            connection.execute(
                delete(DIFFERENCES).where(
                    DIFFERENCES.c.run == run,
                    DIFFERENCES.c.job == job,
                    DIFFERENCES.c.batch.in_(some),
                    DIFFERENCES.c.phase == "check",
                )
            )
    return tuple(found)


def resample(database: StateDatabase, run: str, job: str, numbers: Collection[int]) -> None:
    """Makes exactly these batches the sample of a later check."""
    with database.write() as connection:
        its = _its(run, job, _attempt(connection, run, job))
        connection.execute(update(BATCHES).where(its).values(sampled=False))
        for some in _chunks(sorted(set(numbers))):
            connection.execute(
                update(BATCHES).where(its, BATCHES.c.number.in_(some)).values(sampled=True)
            )


def _chunks(numbers: list[int]) -> list[list[int]]:
    return [numbers[start : start + _CHUNK] for start in range(0, len(numbers), _CHUNK)]


def _its(run: str, job: str, attempt: int) -> ColumnElement[bool]:
    return and_(BATCHES.c.run == run, BATCHES.c.job == job, BATCHES.c.attempt == attempt)


def _attempt(connection: Connection, run: str, job: str) -> int:
    attempt: int | None = connection.execute(
        select(JOBS.c.attempt).where(JOBS.c.run == run, JOBS.c.name == job).with_for_update()
    ).scalar_one_or_none()
    if attempt is None:
        raise ConfigError(f"run {run} has no job {job} in the state database")
    return attempt
