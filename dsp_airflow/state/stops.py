"""Asking a run to stop. Who works on it hears of it at the edge of the next batch."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select, update

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.state import audit
from dsp_airflow.state.codec import message
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.tables import JOBS, RUNS

SILENT = timedelta(seconds=60)
"""Who works on a job says so three times as often; after this nobody does any more."""
_ENDED = ("succeeded", "failed", "terminated")
_WORKING = ("copying", "checking", "purging")


def request(database: StateDatabase, run: str, by: str | None, reason: str | None) -> bool:
    """Asks the run to stop; ``False`` when it has ended and nobody works on it any more.

    Who asked first is remembered. Of an ended run it is a check or a purge by hand that stops.
    The audit tells what somebody asked for; ``by=None`` is what Airflow's end of a run asks.
    """
    with database.write() as connection:
        return ask(connection, run, by, reason)


def ask(connection: Connection, run: str, by: str | None, reason: str | None) -> bool:
    """See ``request``; within a transaction."""
    row, now = _locked(connection, run), clock(connection)
    ended = row.state in _ENDED
    if ended and not _alive(connection, run, now):
        return False
    if ended or not row.stop_requested:
        connection.execute(
            update(RUNS)
            .where(RUNS.c.id == run)
            .values(
                stop_requested=True,
                stop_requested_by=by,
                stop_requested_at=now,
                stop_reason=message(reason),
            )
        )
        if by is not None:
            audit.record(
                connection,
                actor=by,
                action="run.terminate",
                object=f"run {run}",
                before={"state": row.state, "stop_requested": row.stop_requested},
                after={"stop_requested": True, "reason": message(reason)},
            )
    return True


def seen(database: StateDatabase, run: str, job: str) -> None:
    """Somebody works on the job now, or waits to."""
    with database.write() as connection:
        connection.execute(
            update(JOBS)
            .where(JOBS.c.run == run, JOBS.c.name == job)
            .values(seen_at=clock(connection))
        )


def end_idle(database: StateDatabase, run: str, why: str) -> bool:
    """Ends a run that nobody works on, so that nobody could hear of a request to stop.

    ``False`` when somebody does, or it has ended. A process that comes back to it stops.
    """
    with database.write() as connection:
        row, now = _locked(connection, run), clock(connection)
        if row.state in _ENDED or _alive(connection, run, now):
            return False
        connection.execute(
            update(JOBS)
            .where(JOBS.c.run == run, JOBS.c.state.in_(_WORKING))
            .values(state="terminated", error=message(why), ended_at=now)
        )
        connection.execute(
            update(RUNS)
            .where(RUNS.c.id == run)
            .values(state="terminated", error=message(why), ended_at=now)
        )
        record_end(connection, run, row.state, "terminated", message(why))
        return True


def record_end(
    connection: Connection, run: str, before: str, state: str, error: str | None
) -> None:
    """Tells the audit how a run ended, in the transaction that says so."""
    audit.record(
        connection,
        actor=audit.SYSTEM,
        action="run.finish",
        object=f"run {run}",
        before={"state": before},
        after={"state": state, "error": error},
    )


def silent_since(seen_at: datetime | None, now: datetime) -> datetime | None:
    """When a job that is at work was last worked on, if that is too long ago."""
    return seen_at if seen_at is not None and seen_at < now - SILENT else None


def _alive(connection: Connection, run: str, now: datetime) -> bool:
    query = select(func.max(JOBS.c.seen_at)).where(JOBS.c.run == run, JOBS.c.state.in_(_WORKING))
    seen: datetime | None = connection.execute(query).scalar_one_or_none()
    return seen is not None and seen >= now - SILENT


def _locked(connection: Connection, run: str) -> Any:
    query = select(RUNS.c.state, RUNS.c.stop_requested).where(RUNS.c.id == run)
    row = connection.execute(query.with_for_update()).one_or_none()
    if row is None:
        raise ConfigError(f"there is no run {run} in the state database")
    return row
