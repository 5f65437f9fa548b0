"""What jobs deleted from their targets, as the source does not have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, insert, select, update

from dsp_airflow.engine.errors import Refused
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.relied import relied_on
from dsp_airflow.state.tables import DELETIONS, JOBS


@dataclass(frozen=True, slots=True)
class Deletion:
    """Rows that were missing in the source, and those of them that were deleted."""

    missing: int
    deleted: int
    done: bool
    """In the job's present attempt."""


class Deletions:
    """The record of one job in one run; see ``missing.Record``. Sums are of all attempts."""

    def __init__(self, database: StateDatabase, run: str, job: str, target: str) -> None:
        """``target``: where the job's is, and its name, as receipts have it."""
        self._database = database
        self._run = run
        self._job = job
        self._target = target

    @property
    def deleted(self) -> int:
        """See ``missing.Record``."""
        return int(self._value(DELETIONS.c.deleted) or 0)

    @property
    def intent(self) -> str | None:
        """See ``missing.Record``."""
        found: str | None = self._value(DELETIONS.c.intent)
        return found

    def allow(self) -> None:
        """See ``missing.Record``."""
        found = relied_on(self._database, self._target)
        if found is not None:
            raise Refused(
                f"job {self._job}: nothing more is deleted from {self._target}: {found}. Leave "
                "delete_missing out, or let the job write to another table"
            )

    def found(self, rows: int) -> None:
        """See ``missing.Record``."""
        with self._database.write() as connection:
            self._set(connection, missing=rows)

    def intend(self, intent: str) -> None:
        """See ``missing.Record``."""
        with self._database.write() as connection:
            self._set(connection, intent=intent)

    def settle(self, intent: str, rows: int) -> None:
        """See ``missing.Record``."""
        with self._database.write() as connection:
            connection.execute(
                update(DELETIONS)
                .where(self._its(), DELETIONS.c.intent == intent)
                .values(intent=None, deleted=DELETIONS.c.deleted + rows)
            )

    def end(self) -> None:
        """The present attempt has nothing left to delete."""
        with self._database.write() as connection:
            query = select(JOBS.c.attempt).where(JOBS.c.run == self._run, JOBS.c.name == self._job)
            attempt = connection.execute(query).scalar_one()
            self._set(connection, attempt=attempt, done_at=clock(connection))

    def _value(self, column: Any) -> Any:
        with self._database.read() as connection:
            return connection.execute(select(column).where(self._its())).scalar_one_or_none()

    def _set(self, connection: Connection, **values: Any) -> None:
        if connection.execute(update(DELETIONS).where(self._its()).values(**values)).rowcount:
            return
        first = {"missing": 0, "deleted": 0, **values}
        connection.execute(insert(DELETIONS).values(run=self._run, job=self._job, **first))

    def _its(self) -> ColumnElement[bool]:
        return and_(DELETIONS.c.run == self._run, DELETIONS.c.job == self._job)


def of_run(connection: Connection, run: str) -> dict[str, Deletion]:
    """By job."""
    rows = connection.execute(
        select(DELETIONS, JOBS.c.attempt.label("present"))
        .join(JOBS, and_(JOBS.c.run == DELETIONS.c.run, JOBS.c.name == DELETIONS.c.job))
        .where(DELETIONS.c.run == run)
    ).all()
    return {row.job: Deletion(row.missing, row.deleted, row.attempt == row.present) for row in rows}
