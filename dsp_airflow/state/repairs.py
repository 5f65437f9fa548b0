"""Batches that are copied once more, since the check found them to differ."""

from __future__ import annotations

from sqlalchemy import and_, select, update

from dsp_airflow.engine.errors import Refused
from dsp_airflow.state import audit
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.tables import BATCHES, JOBS

_COPIED = ("copied", "copied_at", "rows_read", "rows_written", "bytes", "seconds")
_CHECKED = ("rows_checked", "compared", "check_note", "checked_at")
_CHUNK = 500


def differing(database: StateDatabase, run: str, job: str) -> list[int]:
    """The batches of which rows differ, as the last check found."""
    with database.read() as connection:
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


def reopen(database: StateDatabase, run: str, job: str, numbers: list[int], by: str) -> None:
    """They are to be copied, and checked, again; until then they are known as those that differ.

    So a repair that was killed finds them once more. ``Refused`` where rows of one were purged, or
    may have been: the target may be the only one to have them, and what would be copied now is
    another batch.
    """
    with database.write() as connection:
        attempt = connection.execute(
            select(JOBS.c.attempt).where(JOBS.c.run == run, JOBS.c.name == job).with_for_update()
        ).scalar_one()
        its = and_(BATCHES.c.run == run, BATCHES.c.job == job, BATCHES.c.attempt == attempt)
        for start in range(0, len(numbers), _CHUNK):
            some = and_(its, BATCHES.c.number.in_(numbers[start : start + _CHUNK]))
            gone = connection.execute(
                select(BATCHES.c.number)
                .where(
                    some,
                    (BATCHES.c.rows_purged > 0)
                    | (BATCHES.c.rows_gone > 0)
                    | BATCHES.c.intent.is_not(None),
                )
                .limit(1)
            ).scalar_one_or_none()
            if gone is not None:
                raise Refused(
                    f"job {job}: rows of batch {gone} were purged from the source, or are about to "
                    "be, so that it cannot be copied again; nothing was changed"
                )
            values = dict.fromkeys((*_COPIED, *_CHECKED))
            connection.execute(update(BATCHES).where(some).values(**values, error=None))
        audit.record(
            connection,
            actor=by,
            action="repair.begin",
            object=f"run {run} job {job}",
            after={"batches": numbers},
        )
