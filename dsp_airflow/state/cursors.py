"""How far incremental jobs have come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, insert, select

from dsp_airflow.state import audit
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.tables import AUDIT, CURSORS, JOBS, RUNS

SET, RESET = "cursor.set", "cursor.reset"
"""In the audit."""


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

    def move(self, key: CursorKey, value: str, run: str) -> bool:
        """A run does so after the last batch it promises is copied and checked.

        An older run that ends (or is checked again) later does not move it back, and no run takes
        back what somebody set since it began: then it stays, and this returns False.
        """
        with self._database.write() as connection:
            for moved in (_moved_by_younger(key, run), _moved_by_hand(key, run)):
                if connection.execute(moved).first():
                    return False
            _put(connection, key, value, run)
            return True

    def take_back(self, key: CursorKey, value: str | None, run: str) -> bool:
        """What a run copied is about to be undone: the next one begins where this one did.

        ``value`` is where it stood then; ``None``: nowhere. False, and it stays, where neither
        this run nor a younger one has moved it last.
        """
        with self._database.write() as connection:
            before = _value(connection, key)
            its = and_(_its(key), CURSORS.c.run == run)
            moved = connection.execute(select(CURSORS.c.run).where(its)).first()
            if before is None or not (
                moved or connection.execute(_moved_by_younger(key, run)).first()
            ):
                return False
            if value is None:
                connection.execute(delete(CURSORS).where(_its(key)))
            else:
                _put(connection, key, value, None)
            record_by_hand(connection, key, audit.SYSTEM, before, value)
            return True

    def set(self, key: CursorKey, value: str, by: str | None) -> None:
        """Somebody says where the next run begins."""
        with self._database.write() as connection:
            before = _value(connection, key)
            _put(connection, key, value, None)
            record_by_hand(connection, key, by, before, value)

    def reset(self, key: CursorKey, by: str | None) -> bool:
        """Forgets it: the next run copies everything. False when there was none."""
        with self._database.write() as connection:
            before = _value(connection, key)
            if before is None:
                return False
            connection.execute(delete(CURSORS).where(_its(key)))
            record_by_hand(connection, key, by, before, None)
            return True


def record_by_hand(
    connection: Connection, key: CursorKey, by: str | None, before: str | None, after: str | None
) -> None:
    """Tells the audit that somebody moved a job's cursor, or where its next step begins."""
    audit.record(
        connection,
        actor=by,
        action=RESET if after is None else SET,
        object=_object(key),
        before={"source": key.source, "column": key.column, "value": before},
        after={"source": key.source, "column": key.column, "value": after},
    )


def _value(connection: Connection, key: CursorKey) -> str | None:
    """Where it stands, locked."""
    query = select(CURSORS.c.value).where(_its(key)).with_for_update()
    found: str | None = connection.execute(query).scalar_one_or_none()
    return found


def _put(connection: Connection, key: CursorKey, value: str, run: str | None) -> None:
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


def _moved_by_younger(key: CursorKey, run: str) -> Select[tuple[str]]:
    """A row, when a run that began after this one has moved the cursor."""
    mover, this = RUNS.alias(), RUNS.alias()
    return (
        select(mover.c.id)
        .join(CURSORS, CURSORS.c.run == mover.c.id)
        .join(this, this.c.id == run)
        .where(_its(key), mover.c.created_at > this.c.created_at)
    )


def _moved_by_hand(key: CursorKey, run: str) -> Select[tuple[int]]:
    """A row, when somebody has set or reset it since the run came to the job. Only that tells."""
    return (
        select(AUDIT.c.seq)
        .join(JOBS, and_(JOBS.c.run == run, JOBS.c.name == key.job))
        .where(
            AUDIT.c.action.in_((SET, RESET)),
            AUDIT.c.object == _object(key),
            AUDIT.c.recorded_at >= JOBS.c.created_at,
        )
        .limit(1)
    )


def _object(key: CursorKey) -> str:
    return f"task {key.task} job {key.job}"


def _its(key: CursorKey) -> ColumnElement[bool]:
    its = CURSORS.c
    return and_(
        its.task == key.task,
        its.job == key.job,
        its.source == key.source,
        its.column == key.column,
    )
