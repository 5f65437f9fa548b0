"""How far incremental jobs have come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, delete, insert, select

from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.tables import CURSORS, RUNS


@dataclass(frozen=True, slots=True)
class CursorKey:
    """Whose cursor it is. ``source`` names database and table."""

    task: str
    job: str
    source: str
    column: str


@dataclass(frozen=True, slots=True)
class CursorState:
    """Where it stands, and the run that moved it there (``None``: somebody set it)."""

    key: CursorKey
    value: str
    run: str | None
    updated_at: datetime


class Cursors:
    """Reads and moves cursors."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def get(self, key: CursorKey) -> str | None:
        """``None``: the job starts from the beginning."""
        with self._database.read() as connection:
            found: str | None = connection.execute(
                select(CURSORS.c.value).where(_its(key))
            ).scalar_one_or_none()
        return found

    def of_task(self, task: str) -> list[CursorState]:
        """All cursors of a task, by job."""
        query = select(CURSORS).where(CURSORS.c.task == task)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(CURSORS.c.job, CURSORS.c.updated_at)).all()
        return [
            CursorState(
                CursorKey(row.task, row.job, row.source, row.column),
                row.value,
                row.run,
                row.updated_at,
            )
            for row in rows
        ]

    def move(self, key: CursorKey, value: str, run: str | None) -> None:
        """Sets it. A run does so after the last batch it promises is copied and checked.

        An older run that ends (or is checked again) later does not move it back.
        """
        with self._database.write() as connection:
            if run is not None and connection.execute(_moved_by_younger(key, run)).first():
                return
            connection.execute(delete(CURSORS).where(_its(key)))
            connection.execute(
                insert(CURSORS).values(
                    task=key.task,
                    job=key.job,
                    source=key.source,
                    column=key.column,
                    value=value,
                    run=run,
                    updated_at=clock(connection),
                )
            )

    def reset(self, key: CursorKey) -> bool:
        """Forgets it: the next run copies everything. False when there was none."""
        with self._database.write() as connection:
            return connection.execute(delete(CURSORS).where(_its(key))).rowcount > 0


def _moved_by_younger(key: CursorKey, run: str) -> Select[tuple[str]]:
    """A row, when a run that began after this one has moved the cursor."""
    mover, this = RUNS.alias(), RUNS.alias()
    return (
        select(mover.c.id)
        .join(CURSORS, CURSORS.c.run == mover.c.id)
        .join(this, this.c.id == run)
        .where(_its(key), mover.c.created_at > this.c.created_at)
    )


def _its(key: CursorKey) -> ColumnElement[bool]:
    its = CURSORS.c
    return and_(
        its.task == key.task,
        its.job == key.job,
        its.source == key.source,
        its.column == key.column,
    )
