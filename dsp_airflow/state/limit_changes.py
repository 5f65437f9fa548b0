"""Limits that somebody set for a run by hand, read by its jobs while they work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from dsp_airflow.state import audit
from dsp_airflow.state.codec import canonical
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.tables import LIMIT_CHANGES, RUNS

EVERY_JOB = ""
_EVERY = "every job"


@dataclass(frozen=True, slots=True)
class LimitChange:
    """What stands in place of the file's limits, of one job or (``None``) every job of a run.

    Without ``limits`` the file's hold again. ``None`` as a limit's value is no limit.
    """

    job: str | None
    limits: Mapping[str, Any]
    changed_by: str | None
    changed_at: datetime


class LimitChanges:
    """The changes of one run."""

    def __init__(self, database: StateDatabase, run: str) -> None:
        self._database = database
        self._run = run

    def all(self) -> list[LimitChange]:
        """Every change, the one for every job first."""
        query = select(LIMIT_CHANGES).where(LIMIT_CHANGES.c.run == self._run)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(LIMIT_CHANGES.c.job)).all()
        return [
            LimitChange(row.job or None, json.loads(row.changes), row.changed_by, row.changed_at)
            for row in rows
        ]

    def of(self, job: str) -> dict[str, Any]:
        """What holds for a job: its own changes, before those of every job."""
        known = {change.job: change.limits for change in self.all()}
        return {**known.get(None, {}), **known.get(job, {})}

    def set(self, job: str | None, limits: Mapping[str, Any], by: str | None) -> None:
        """Changes these limits, and leaves others as they were changed before."""
        self._put(job, limits, by, kept=True)

    def clear(self, job: str | None, by: str | None) -> None:
        """The file's limits hold again; of every job, whatever was changed for single ones."""
        self._put(job, {}, by, kept=False)

    def _put(
        self, job: str | None, limits: Mapping[str, Any], by: str | None, *, kept: bool
    ) -> None:
        its = (LIMIT_CHANGES.c.run == self._run, LIMIT_CHANGES.c.job == (job or EVERY_JOB))
        with self._database.write() as connection:
            # One at a time: the run is locked.
            connection.execute(select(RUNS.c.id).where(RUNS.c.id == self._run).with_for_update())
            before = self._told(connection)
            known = before.get(job or _EVERY, {}) if kept else {}
            everything = job is None and not kept
            connection.execute(
                delete(LIMIT_CHANGES).where(its[0] if everything else its[0] & its[1])
            )
            connection.execute(
                insert(LIMIT_CHANGES).values(
                    run=self._run,
                    job=job or EVERY_JOB,
                    changes=canonical({**known, **limits}),
                    changed_by=by,
                    changed_at=clock(connection),
                )
            )
            audit.record(
                connection,
                actor=by,
                action="limits.set" if kept else "limits.clear",
                object=f"run {self._run}",
                before=before,
                after=self._told(connection),
            )

    def _told(self, connection: Connection) -> dict[str, Any]:
        """What was changed of each job, as the audit tells it."""
        query = select(LIMIT_CHANGES).where(LIMIT_CHANGES.c.run == self._run)
        return {row.job or _EVERY: json.loads(row.changes) for row in connection.execute(query)}
