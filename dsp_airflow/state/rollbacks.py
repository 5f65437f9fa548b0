"""Runs that were undone: what nobody works on any more, and what became of their rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, insert, literal, select, update

from dsp_airflow.engine.errors import Refused
from dsp_airflow.state import audit
from dsp_airflow.state.codec import canonical
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.tables import BATCHES, JOBS, ROLLBACKS, RUNS


@dataclass(frozen=True, slots=True)
class Rollback:
    """What of one job in one run was undone."""

    run: str
    job: str
    target: str
    begun_by: str
    begun_at: datetime
    ended_at: datetime | None
    removed: int
    restored: int
    kept: int
    report: Sequence[Mapping[str, Any]]
    """Of those that were kept, the youngest."""
    again: str | None
    """The run that did the work again."""


class Rollbacks:
    """Records them."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def of_run(self, run: str) -> list[Rollback]:
        """Of each job that was undone."""
        query = select(ROLLBACKS).where(ROLLBACKS.c.run == run).order_by(ROLLBACKS.c.job)
        with self._database.read() as connection:
            return [_rollback(row) for row in connection.execute(query)]

    def of_runs(self, runs: Collection[str]) -> dict[str, list[Rollback]]:
        """Of each job that was undone, by run, without the rows that were kept; few at once."""
        columns = [one for one in ROLLBACKS.c if one.name != "report"]
        query = select(*columns, literal("[]").label("report")).where(ROLLBACKS.c.run.in_(runs))
        found: dict[str, list[Rollback]] = {}
        with self._database.read() as connection:
            for row in connection.execute(query):
                found.setdefault(row.run, []).append(_rollback(row))
        return found

    def again_of(self, run: str) -> str | None:
        """The run that was undone, and whose work this one does again."""
        query = select(ROLLBACKS.c.run).where(ROLLBACKS.c.again == run).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).scalar_one_or_none()

    def begin(
        self, run: str, job: str, by: str, target: str, allow: Callable[[Connection], None]
    ) -> None:
        """From here on nobody works on the job in this run, and who does records nothing any more.

        ``target``: where it is, and its name. ``allow`` is asked while no run can begin; what it
        raises prevents it. ``Refused`` while the run goes on. May be repeated.
        """
        with self._database.write() as connection:
            # Whoever begins a run writes into the audit, too, and so waits.
            audit.hold(connection)
            allow(connection)
            state = connection.execute(select(RUNS.c.state).where(RUNS.c.id == run)).scalar_one()
            if state in ("planned", "running"):
                raise Refused(
                    f"run {run} is {state}; nothing was undone. Terminate it first: dsp "
                    f"terminate {run}"
                )
            connection.execute(
                update(JOBS)
                .where(JOBS.c.run == run, JOBS.c.name == job, JOBS.c.undone_at.is_(None))
                .values(undone_at=clock(connection))
            )
            # Who holds a batch fails at its fence.
            connection.execute(
                update(BATCHES)
                .where(BATCHES.c.run == run, BATCHES.c.job == job)
                .values(
                    lease_phase=None,
                    lease_owner=None,
                    lease_until=None,
                    lease_token=BATCHES.c.lease_token + 1,
                )
            )
            unsettled = connection.execute(
                select(BATCHES.c.number)
                .where(BATCHES.c.run == run, BATCHES.c.job == job, BATCHES.c.intent.is_not(None))
                .limit(1)
            ).scalar_one_or_none()
            if unsettled is not None:
                raise Refused(
                    f"batch {unsettled} of job {job} in run {run} has a purge whose outcome is not "
                    "recorded; run its purge again before it is rolled back"
                )
            its = and_(ROLLBACKS.c.run == run, ROLLBACKS.c.job == job)
            if connection.execute(select(ROLLBACKS.c.run).where(its)).one_or_none() is None:
                values = {"removed": 0, "restored": 0, "kept": 0, "report": "[]", "target": target}
                connection.execute(
                    insert(ROLLBACKS).values(
                        run=run, job=job, begun_by=by, begun_at=clock(connection), **values
                    )
                )
            else:
                connection.execute(update(ROLLBACKS).where(its).values(ended_at=None))
            audit.record(
                connection,
                actor=by,
                action="rollback.begin",
                object=f"run {run} job {job}",
                after={"target": target},
            )

    def refuse_open(self, target: str) -> None:
        """``Refused`` for a run that would write into a target of which a run is being undone."""
        query = select(ROLLBACKS.c.run).where(
            ROLLBACKS.c.target == target, ROLLBACKS.c.ended_at.is_(None)
        )
        with self._database.read() as connection:
            run = connection.execute(query.limit(1)).scalar_one_or_none()
        if run is not None:
            raise Refused(
                f"run {run} is being rolled back, and wrote into {target}, too; nothing was "
                "written. "
                f"Finish that first: dsp rollback {run}"
            )

    def end(
        self,
        run: str,
        job: str,
        by: str,
        counts: Mapping[str, int],
        report: Sequence[Mapping[str, Any]],
    ) -> None:
        """All that could be was undone: ``removed``, ``restored`` and ``kept``. May be repeated."""
        with self._database.write() as connection:
            connection.execute(
                update(ROLLBACKS)
                .where(ROLLBACKS.c.run == run, ROLLBACKS.c.job == job)
                .values(
                    **counts,
                    report=canonical(list(report)),
                    ended_at=clock(connection),
                )
            )
            audit.record(
                connection,
                actor=by,
                action="rollback.end",
                object=f"run {run} job {job}",
                after=counts,
            )

    def link(self, run: str, again: str) -> None:
        """The work of a run that was undone is done again by another."""
        with self._database.write() as connection:
            connection.execute(update(ROLLBACKS).where(ROLLBACKS.c.run == run).values(again=again))

    def undone(self, run: str) -> bool:
        """Whether anything of the run was, or is about to be."""
        query = select(JOBS.c.name).where(JOBS.c.run == run, JOBS.c.undone_at.is_not(None)).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).one_or_none() is not None


def refuse_undone(run: str, job: str, undone_at: datetime | None) -> None:
    """``Refused`` for a job whose records say that it is copied, and whose rows are gone."""
    if undone_at is not None:
        raise Refused(
            f"job {job} of run {run} was rolled back; nothing works on it any more. Start a new run"
        )


def _rollback(row: Any) -> Rollback:
    values = dict(row._mapping)
    report = json.loads(values.pop("report"))
    return Rollback(**values, report=report)
