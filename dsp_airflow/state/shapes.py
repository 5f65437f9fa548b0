"""What tables looked like when a run last planned to read them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, insert, select

from dsp_airflow.engine.model import Shape
from dsp_airflow.state import audit
from dsp_airflow.state.codec import dump, load
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.tables import SHAPES

ACCEPTED = "drift.accept"
"""In the audit."""


@dataclass(frozen=True, slots=True)
class ShapeKey:
    """Whose table it is. ``source`` names database and table."""

    task: str
    job: str
    source: str


@dataclass(frozen=True, slots=True)
class KnownShape:
    """A table as a run found it; ``run`` is ``None`` where somebody accepted it."""

    shape: Shape
    run: str | None
    updated_at: datetime


class Shapes:
    """Reads and keeps them."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def get(self, key: ShapeKey) -> KnownShape | None:
        """``None``: no run has planned to read it."""
        with self._database.read() as connection:
            row = connection.execute(select(SHAPES).where(_its(key))).one_or_none()
        if row is None:
            return None
        return KnownShape(load(Shape, row.shape), row.run, row.updated_at)

    def keep(self, key: ShapeKey, shape: Shape, run: str) -> None:
        """A run has planned to read it as it is. May be repeated."""
        self._put(key, shape, run, None)

    def accept(self, key: ShapeKey, shape: Shape, by: str | None) -> None:
        """Somebody says that it is right as it is."""
        self._put(key, shape, None, by)

    def _put(self, key: ShapeKey, shape: Shape, run: str | None, by: str | None) -> None:
        with self._database.write() as connection:
            connection.execute(delete(SHAPES).where(_its(key)))
            connection.execute(
                insert(SHAPES).values(
                    task=key.task,
                    job=key.job,
                    source=key.source,
                    shape=dump(shape),
                    run=run,
                    updated_at=clock(connection),
                )
            )
            if run is None:
                audit.record(
                    connection,
                    actor=by,
                    action=ACCEPTED,
                    object=f"task {key.task} job {key.job}",
                    after={"source": key.source, "columns": [c.name for c in shape.columns]},
                )


def _its(key: ShapeKey) -> ColumnElement[bool]:
    its = SHAPES.c
    return and_(its.task == key.task, its.job == key.job, its.source == key.source)
