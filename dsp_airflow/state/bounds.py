"""Where jobs stand that go by steps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select

from dsp_airflow.state import audit
from dsp_airflow.state.cursors import CursorKey, record_by_hand
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.tables import BOUNDS


@dataclass(frozen=True, slots=True)
class Bound:
    """Where the next step begins, and the run whose step ended there (``None``: set by hand).

    ``start`` is what the job's ``step.start`` was then.
    """

    key: CursorKey
    value: str
    start: str
    run: str | None
    updated_at: datetime


class Bounds:
    """Reads and moves them."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def get(self, key: CursorKey) -> Bound | None:
        """``None``: the job begins at its start."""
        with self._database.read() as connection:
            row = connection.execute(select(BOUNDS).where(_its(key))).one_or_none()
        return None if row is None else _bound(row)

    def of_task(self, task: str) -> list[Bound]:
        """All of a task, by job."""
        query = select(BOUNDS).where(BOUNDS.c.task == task)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(BOUNDS.c.job, BOUNDS.c.updated_at)).all()
        return [_bound(row) for row in rows]

    def advance(
        self, key: CursorKey, since: str | None, value: str, *, start: str, run: str
    ) -> bool:
        """A step is through that began at ``since``. False, and nothing done, when that is not
        where the job stands: another run had the step, or somebody set it. May be repeated.
        """
        with self._database.write() as connection:
            query = select(BOUNDS).where(_its(key)).with_for_update()
            row = connection.execute(query).one_or_none()
            if row is not None and (row.run, row.value) == (run, value):
                return True
            if (None if row is None else row.value) != since:
                return False
            self._put(connection, key, value, start, run)
            return True

    def take_back(self, key: CursorKey, since: str | None, run: str) -> bool:
        """What a run did with its step is about to be undone: the next run has that step again.

        ``since`` is where the job stood before; ``None``: at its start. False, and it stays, where
        another run, or somebody, has moved it since.
        """
        with self._database.write() as connection:
            query = select(BOUNDS).where(_its(key)).with_for_update()
            row = connection.execute(query).one_or_none()
            if row is None or row.run != run:
                return False
            if since is None:
                connection.execute(delete(BOUNDS).where(_its(key)))
            else:
                self._put(connection, key, since, row.start, None)
            record_by_hand(connection, key, audit.SYSTEM, row.value, since)
            return True

    def set(self, key: CursorKey, value: str, *, start: str, by: str | None) -> None:
        """Somebody says where the next step begins."""
        with self._database.write() as connection:
            before = _value(connection, key)
            self._put(connection, key, value, start, None)
            record_by_hand(connection, key, by, before, value)

    def reset(self, key: CursorKey, by: str | None) -> bool:
        """Forgets it: the next step is the first one. False when there was none."""
        with self._database.write() as connection:
            before = _value(connection, key)
            if before is None:
                return False
            connection.execute(delete(BOUNDS).where(_its(key)))
            record_by_hand(connection, key, by, before, None)
            return True

    def _put(
        self, connection: Any, key: CursorKey, value: str, start: str, run: str | None
    ) -> None:
        connection.execute(delete(BOUNDS).where(_its(key)))
        connection.execute(
            insert(BOUNDS).values(
                task=key.task,
                job=key.job,
                source=key.source,
                column=key.column,
                value=value,
                start=start,
                run=run,
                updated_at=clock(connection),
            )
        )


def _value(connection: Connection, key: CursorKey) -> str | None:
    """Where it stands, locked."""
    query = select(BOUNDS.c.value).where(_its(key)).with_for_update()
    found: str | None = connection.execute(query).scalar_one_or_none()
    return found


def _bound(row: Any) -> Bound:
    key = CursorKey(row.task, row.job, row.source, row.column)
    return Bound(key, row.value, row.start, row.run, row.updated_at)


def _its(key: CursorKey) -> ColumnElement[bool]:
    its = BOUNDS.c
    return and_(
        its.task == key.task,
        its.job == key.job,
        its.source == key.source,
        its.column == key.column,
    )
