"""Batches that are copied once more, since the check found them to differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select, update

from dsp_airflow.engine.errors import Refused
from dsp_airflow.state import audit, stops
from dsp_airflow.state.codec import canonical
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.rollbacks import refuse_undone
from dsp_airflow.state.tables import BATCHES, DIFFERENCES, JOBS, REPAIRS, RUNS

_COPIED = ("copied", "copied_at", "rows_read", "rows_written", "bytes", "seconds")
_CHECKED = ("rows_checked", "rows_different", "compared", "check_note", "checked_at")
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Repair:
    """What of one job in one run was copied once more, the last time."""

    run: str
    job: str
    begun_by: str
    begun_at: datetime
    ended_at: datetime | None
    """``None``: it goes on, or was killed, and goes on where it was when it is asked for again."""
    batches: Sequence[int]
    rows_found: int
    """Rows that differed before."""
    rows_left: int
    """Those that differed still when it had ended."""


class Repairs:
    """Records them."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def of_run(self, run: str) -> list[Repair]:
        """Of each job that was repaired."""
        query = select(REPAIRS).where(REPAIRS.c.run == run).order_by(REPAIRS.c.job)
        with self._database.read() as connection:
            return [_repair(row) for row in connection.execute(query)]

    def waiting(self, run: str, job: str) -> list[int]:
        """The batches of which rows differ, as the last check found, and those of a repair that
        is not through.
        """
        with self._database.read() as connection:
            return _waiting(connection, run, job)

    def begin(self, run: str, job: str, by: str) -> list[int]:
        """They are to be copied, and checked, again; their numbers. May be repeated.

        ``Refused`` where rows of one were purged, or may have been: the target may be the only
        one to have them, and what would be copied now is another batch.
        """
        with self._database.write() as connection:
            attempt, undone_at = connection.execute(
                select(JOBS.c.attempt, JOBS.c.undone_at)
                .where(JOBS.c.run == run, JOBS.c.name == job)
                .with_for_update()
            ).one()
            refuse_undone(run, job, undone_at)
            numbers = _waiting(connection, run, job)
            its = and_(BATCHES.c.run == run, BATCHES.c.job == job, BATCHES.c.attempt == attempt)
            # What an earlier one, which was killed, has reopened or copied already is not touched.
            different = _differing(connection, run, job)
            found = _different_rows(connection, its)
            for start in range(0, len(different), _CHUNK):
                some = and_(its, BATCHES.c.number.in_(different[start : start + _CHUNK]))
                _refuse_purged(connection, job, some)
                values = dict.fromkeys((*_COPIED, *_CHECKED))
                connection.execute(update(BATCHES).where(some).values(**values, error=None))
                connection.execute(
                    delete(DIFFERENCES).where(
                        DIFFERENCES.c.run == run,
                        DIFFERENCES.c.job == job,
                        DIFFERENCES.c.attempt == attempt,
                        DIFFERENCES.c.batch.in_(different[start : start + _CHUNK]),
                        DIFFERENCES.c.phase == "check",
                    )
                )
            known = connection.execute(select(REPAIRS).where(_of(run, job))).one_or_none()
            goes_on = known is not None and known.ended_at is None
            connection.execute(delete(REPAIRS).where(_of(run, job)))
            connection.execute(
                insert(REPAIRS).values(
                    run=run,
                    job=job,
                    begun_by=by,
                    begun_at=known.begun_at if known and goes_on else clock(connection),
                    batches=canonical(numbers),
                    rows_found=found + (known.rows_found if known and goes_on else 0),
                    rows_left=0,
                )
            )
            audit.record(
                connection,
                actor=by,
                action="repair.begin",
                object=f"run {run} job {job}",
                after={"batches": numbers},
            )
        return numbers

    def end(self, run: str, job: str, by: str) -> None:
        """They were copied and checked; as many rows differ still as the check has found.

        A run that had failed has succeeded with it, where each of its jobs has.
        """
        with self._database.write() as connection:
            # As whoever ends a run: the run first, then the audit.
            its_run = connection.execute(select(RUNS).where(RUNS.c.id == run).with_for_update())
            ended = its_run.one()
            attempt = select(JOBS.c.attempt).where(JOBS.c.run == run, JOBS.c.name == job)
            left = _different_rows(
                connection,
                and_(
                    BATCHES.c.run == run,
                    BATCHES.c.job == job,
                    BATCHES.c.attempt == attempt.scalar_subquery(),
                ),
            )
            connection.execute(
                update(REPAIRS)
                .where(_of(run, job))
                .values(rows_left=left, ended_at=clock(connection))
            )
            audit.record(
                connection,
                actor=by,
                action="repair.end",
                object=f"run {run} job {job}",
                after={"rows_left": left},
            )
            if ended.state == "failed" and _all_succeeded(connection, ended):
                # It keeps the time at which it ended.
                values = {"state": "succeeded", "error": None}
                connection.execute(update(RUNS).where(RUNS.c.id == run).values(**values))
                stops.record_end(connection, run, ended.state, "succeeded", None)


def _all_succeeded(connection: Connection, run: Any) -> bool:
    query = select(JOBS.c.name).where(JOBS.c.run == run.id, JOBS.c.state == "succeeded")
    defined = {one["name"] for one in json.loads(run.definition)["jobs"]}
    return defined <= set(connection.execute(query).scalars())


def _waiting(connection: Connection, run: str, job: str) -> list[int]:
    begun = connection.execute(
        select(REPAIRS.c.batches).where(_of(run, job), REPAIRS.c.ended_at.is_(None))
    ).scalar_one_or_none()
    left = set() if begun is None else set(json.loads(begun))
    return sorted(left | set(_differing(connection, run, job)))


def _differing(connection: Connection, run: str, job: str) -> list[int]:
    return list(
        connection.execute(
            select(BATCHES.c.number)
            .join(JOBS, and_(JOBS.c.run == BATCHES.c.run, JOBS.c.name == BATCHES.c.job))
            .where(
                BATCHES.c.run == run,
                BATCHES.c.job == job,
                BATCHES.c.attempt == JOBS.c.attempt,
                BATCHES.c.rows_different > 0,
            )
            .order_by(BATCHES.c.number)
        ).scalars()
    )


def _different_rows(connection: Connection, its: ColumnElement[bool]) -> int:
    query = select(func.coalesce(func.sum(BATCHES.c.rows_different), 0)).where(its)
    return int(connection.execute(query).scalar_one())


def _refuse_purged(connection: Connection, job: str, some: ColumnElement[bool]) -> None:
    gone = connection.execute(
        select(BATCHES.c.number)
        .where(
            some,
            (BATCHES.c.rows_purged > 0) | (BATCHES.c.rows_gone > 0) | BATCHES.c.intent.is_not(None),
        )
        .limit(1)
    ).scalar_one_or_none()
    if gone is not None:
        raise Refused(
            f"job {job}: rows of batch {gone} were purged from the source, or are about to be, so "
            "that it cannot be copied again; nothing was changed"
        )


def _of(run: str, job: str) -> ColumnElement[bool]:
    return and_(REPAIRS.c.run == run, REPAIRS.c.job == job)


def _repair(row: Any) -> Repair:
    values = dict(row._mapping)
    batches = json.loads(values.pop("batches"))
    return Repair(**values, batches=batches)
