"""Removing history that is old enough."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select

from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.tables import (
    BATCHES,
    DELETIONS,
    DIFFERENCES,
    ESTIMATES,
    JOBS,
    LEASES,
    OUTBOX,
    RECEIPTS,
    ROLLBACKS,
    RUNS,
)

_ENDED = ("succeeded", "failed", "terminated")
_CHUNK = 100


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many of each were removed."""

    runs: int
    batches: int
    differences: int
    mails: int
    leases: int
    estimates: int


def prune(database: StateDatabase, older_than: timedelta) -> Pruned:
    """Removes what ended longer ago than ``older_than``, by the state database's clock.

    Kept for good, whatever their age: receipts; runs that have a receipt, a purged row, a row
    deleted from the target, or a deletion whose outcome is not recorded, with all their batches
    and differences; runs that were rolled back, whose targets tell nobody any more what was there;
    runs that have not ended. Removed: other runs with their jobs, batches and differences; mails
    that were sent or given up; leases that nobody holds; what looks at jobs found, which requests
    keep a copy of. Requests for approval and the audit are kept for good.
    """
    with database.read() as connection:
        before = clock(connection) - older_than
        runs = list(
            connection.execute(
                select(RUNS.c.id).where(_removable(before)).order_by(RUNS.c.id)
            ).scalars()
        )
    pruned = batches = differences = 0
    for start in range(0, len(runs), _CHUNK):
        some = runs[start : start + _CHUNK]
        with database.write() as connection:
            # Asked again: one may have been begun anew since.
            still = select(RUNS.c.id).where(RUNS.c.id.in_(some), _removable(before))
            ids = list(connection.execute(still.with_for_update()).scalars())
            gone = connection.execute(delete(DIFFERENCES).where(DIFFERENCES.c.run.in_(ids)))
            differences += gone.rowcount
            batches += connection.execute(delete(BATCHES).where(BATCHES.c.run.in_(ids))).rowcount
            connection.execute(delete(JOBS).where(JOBS.c.run.in_(ids)))
            connection.execute(delete(RUNS).where(RUNS.c.id.in_(ids)))
            pruned += len(ids)
    with database.write() as connection:
        mails = connection.execute(
            delete(OUTBOX).where(
                OUTBOX.c.state.in_(("sent", "failed")), OUTBOX.c.created_at < before
            )
        ).rowcount
        leases = connection.execute(delete(LEASES).where(LEASES.c.until < before)).rowcount
        looks = connection.execute(delete(ESTIMATES).where(ESTIMATES.c.created_at < before))
    return Pruned(pruned, batches, differences, mails, leases, looks.rowcount)


def _removable(before: datetime) -> ColumnElement[bool]:
    evidence = or_(
        exists().where(RECEIPTS.c.run == RUNS.c.id),
        exists().where(
            BATCHES.c.run == RUNS.c.id,
            or_(BATCHES.c.rows_purged > 0, BATCHES.c.intent.is_not(None)),
        ),
        exists().where(
            DELETIONS.c.run == RUNS.c.id,
            or_(DELETIONS.c.deleted > 0, DELETIONS.c.intent.is_not(None)),
        ),
        exists().where(ROLLBACKS.c.run == RUNS.c.id),
    )
    return and_(RUNS.c.state.in_(_ENDED), RUNS.c.ended_at < before, ~evidence)
