"""Token buckets: how much a job may move, shared by all who work on it.

A batch is taken whole as soon as nothing is owed: a batch of more than a second's worth is paid
for afterwards, by who comes next. Nothing is saved up at the start, and one second's worth at
most later on, so that what runs is never much above its rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from dsp_airflow.engine.model import Rates
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.tables import BUCKETS

SAVED = 1.0
"""Seconds' worth that may be saved up while nobody takes."""
_SHORTEST = 0.001


@dataclass(frozen=True, slots=True)
class Level:
    """What may be moved at a moment; below zero: what is owed."""

    rows: float = 0.0
    bytes: float = 0.0

    def after(self, seconds: float, rates: Rates) -> Level:
        """Without a rate nothing is owed or saved."""
        return Level(
            _filled(self.rows, seconds, rates.rows), _filled(self.bytes, seconds, rates.bytes)
        )

    def wait(self, rates: Rates) -> float:
        """Seconds until nothing is owed."""
        return max(_owed(self.rows, rates.rows), _owed(self.bytes, rates.bytes))

    def without(self, rows: int, size: int, rates: Rates) -> Level:
        """After a batch has been taken."""
        return Level(
            self.rows - (rows if rates.rows else 0), self.bytes - (size if rates.bytes else 0)
        )


def _filled(left: float, seconds: float, rate: int | None) -> float:
    return 0.0 if rate is None else min(rate * SAVED, left + rate * seconds)


def _owed(left: float, rate: int | None) -> float:
    return 0.0 if rate is None or left >= 0 else max(_SHORTEST, -left / rate)


class Bucket:
    """The bucket of one job in one run. See ``engine.throttle.Take``."""

    def __init__(self, database: StateDatabase, run: str, job: str) -> None:
        self._database = database
        self._run = run
        self._job = job

    def __call__(self, rates: Rates, rows: int, size: int) -> float:
        """Takes them and returns 0, or takes nothing and returns the seconds to wait."""
        with self._database.write() as connection:
            found = self._locked(connection)
            now = clock(connection)
            passed = max(0.0, (now - found.filled_at).total_seconds())
            level = Level(found.rows, found.bytes).after(passed, rates)
            wait = level.wait(rates)
            if not wait:
                level = level.without(rows, size, rates)
            values = {"rows": level.rows, "bytes": level.bytes, "filled_at": now}
            connection.execute(update(BUCKETS).where(self._its()).values(**values))
        return wait

    def _locked(self, connection: Connection) -> Any:
        query = select(BUCKETS).where(self._its()).with_for_update()
        found = connection.execute(query).one_or_none()
        if found is None:
            dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
            first = {"run": self._run, "job": self._job, "rows": 0.0, "bytes": 0.0}
            connection.execute(
                dialect.insert(BUCKETS)
                .values(**first, filled_at=clock(connection))
                .on_conflict_do_nothing()
            )
            found = connection.execute(query).one()
        return found

    def _its(self) -> ColumnElement[bool]:
        return and_(BUCKETS.c.run == self._run, BUCKETS.c.job == self._job)
