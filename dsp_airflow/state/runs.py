"""Runs and their jobs: beginning, finding, moving on, ending."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, and_, func, insert, select, text, update

from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.state import audit, drills, leases, progress, repeats, stops
from dsp_airflow.state.codec import canonical, message
from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.moved import sum_up
from dsp_airflow.state.records import (
    BatchDifference,
    BatchStatus,
    EndState,
    Job,
    JobState,
    PurgeMode,
    Run,
    RunSummary,
)
from dsp_airflow.state.tables import JOBS, RUNS
from dsp_airflow.state.targets import target_in

_LOCK = 7_203_911_444
"""PostgreSQL's advisory lock for beginning a run under an external key."""

_WORKING = frozenset({"copying", "copied", "checking", "checked", "purging", "succeeded"})
_ENDS = frozenset({"failed", "terminated"})
_MOVES: Mapping[str, frozenset[str]] = {
    "waiting": frozenset({"planned"}) | _ENDS,
    "planned": frozenset({"copying"}) | _ENDS,
    "copying": frozenset({"copied"}) | _ENDS,
    # A worker that comes late, or a cleared task, goes through a phase again.
    "copied": _WORKING | _ENDS,
    "checking": frozenset({"copying", "checked"}) | _ENDS,
    "checked": _WORKING | _ENDS,
    "purging": frozenset({"copied", "checking", "checked", "succeeded"}) | _ENDS,
    "succeeded": _WORKING | _ENDS,
    "failed": frozenset({"planned", "terminated"}) | _WORKING,
    "terminated": frozenset({"planned", "failed"}) | _WORKING,
}
"""Which state of a job may follow which; the same one always may."""


class Runs:
    """All runs of a state database. Each method is one short transaction."""

    def __init__(self, database: StateDatabase) -> None:
        self.database = database

    def start(
        self,
        task: str,
        file: str,
        definition: Mapping[str, Any],
        digest: str,
        variables: Mapping[str, Any] | None = None,
        *,
        external_key: str | None = None,
        triggered_by: str | None = None,
    ) -> Run:
        """A new planned run; with an ``external_key``, the one that has it already.

        The caller compares ``definition_digest``: a run keeps the definition it began with.
        """
        with self.database.write() as connection:
            if external_key is not None:
                if connection.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:k)"), {"k": _LOCK})
                found = _one(connection, RUNS.c.external_key == external_key)
                if found is not None:
                    return found
            now = clock(connection)
            run = run_id(now)
            connection.execute(
                insert(RUNS).values(
                    id=run,
                    task=task,
                    file=file,
                    external_key=external_key,
                    dag=external_key.partition("/")[0] if external_key else task,
                    types=_types(definition),
                    attempt=1,
                    definition=canonical(definition),
                    definition_digest=digest,
                    variables=canonical(variables or {}),
                    state="planned",
                    stop_requested=False,
                    triggered_by=triggered_by,
                    created_at=now,
                )
            )
            drills.note(connection, run, definition)
            return _present(connection, run)

    def get(self, run: str) -> Run:
        """The run; ``ConfigError`` when there is none."""
        with self.database.read() as connection:
            return _present(connection, run)

    def find_id(self, run: str) -> Run | None:
        """The run of this id, if there is one."""
        with self.database.read() as connection:
            return _one(connection, RUNS.c.id == run)

    def find(self, external_key: str) -> Run | None:
        """The run of this external key."""
        with self.database.read() as connection:
            return _one(connection, RUNS.c.external_key == external_key)

    def recent(self, task: str | None = None, limit: int = 20) -> list[Run]:
        """The youngest runs first."""
        query = select(RUNS).order_by(RUNS.c.created_at.desc(), RUNS.c.id.desc())
        if task is not None:
            query = query.where(RUNS.c.task == task)
        with self.database.read() as connection:
            return [run_of(row) for row in connection.execute(query.limit(limit))]

    def latest(self, task: str) -> Run | None:
        """The task's youngest run."""
        return next(iter(self.recent(task, 1)), None)

    def latest_times(self) -> dict[str, datetime]:
        """When the youngest run of each task was made."""
        query = select(RUNS.c.task, func.max(RUNS.c.created_at)).group_by(RUNS.c.task)
        with self.database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def latest_unfinished(self, task: str) -> Run | None:
        """The task's youngest run without an external key, unless it succeeded.

        An older one that never succeeded is superseded; one with a key is Airflow's to resume.
        """
        with self.database.read() as connection:
            found = _one(connection, RUNS.c.task == task, RUNS.c.external_key.is_(None))
        return None if found is None or found.state == "succeeded" else found

    def begin(
        self,
        run: str,
        variables: Mapping[str, Any] | None = None,
        *,
        anew: bool = True,
        restored_by: str | None = None,
    ) -> Run:
        """The run works, from now on or still; ``variables`` are kept at the first time only.

        An ended run begins a new attempt: its error and its stop request are forgotten. Without
        ``anew`` it is left as it is: who takes it for one that goes on has not seen its end.
        Of a restore that somebody asked for, ``restored_by`` says who, for the audit.
        """
        with self.database.write() as connection:
            found = _present(connection, run, for_update=True)
            if found.ended and not anew:
                return found
            values: dict[str, Any] = {"state": "running"}
            if found.started_at is None:
                values["started_at"] = clock(connection)
                if variables is not None:
                    values["variables"] = canonical(variables)
                    drills.draw(connection, run, variables)
            if found.ended:
                values |= {
                    "attempt": found.attempt + 1,
                    "error": None,
                    "stop_requested": False,
                    "stop_requested_by": None,
                    "stop_requested_at": None,
                    "stop_reason": None,
                    "ended_at": None,
                }
            connection.execute(update(RUNS).where(RUNS.c.id == run).values(**values))
            begun = _present(connection, run)
            if found.state != "running":
                what: dict[str, Any] = {"digest": begun.definition_digest}
                if restored_by is not None:
                    what = {"definition": begun.definition}
                audit.record(
                    connection,
                    actor=restored_by or begun.triggered_by or audit.SCHEDULE,
                    action="run.start" if restored_by is None else "restore.begin",
                    object=f"run {run}",
                    before={"state": found.state},
                    after={
                        "state": begun.state,
                        "attempt": begun.attempt,
                        "task": begun.task,
                        **what,
                    },
                )
            return begun

    def finish(
        self, run: str, state: EndState, error: str | None = None, *, stop: str | None = None
    ) -> Run:
        """Ends the run's attempt. One that has ended keeps the state it ended in.

        ``stop``: why whoever still works on it is to stop. Told in the same transaction, as it
        would else end the run in its own way.
        """
        with self.database.write() as connection:
            if stop is not None:
                stops.ask(connection, run, None, stop)
            found = _present(connection, run, for_update=True)
            if found.ended:
                return found
            connection.execute(
                update(RUNS)
                .where(RUNS.c.id == run)
                .values(state=state, error=message(error), ended_at=clock(connection))
            )
            stops.record_end(connection, run, found.state, state, message(error))
            return _present(connection, run)

    def request_stop(self, run: str, by: str | None = None, reason: str | None = None) -> bool:
        """See ``stops.request``."""
        return stops.request(self.database, run, by, reason)

    def end_idle(self, run: str, why: str) -> bool:
        """See ``stops.end_idle``."""
        return stops.end_idle(self.database, run, why)

    def terminate(self, run: Run, by: str, reason: str | None) -> Run:
        """Whoever works on the run stops; one that nobody works on ends here.

        ``Refused`` where it has ended already.
        """
        if not self.request_stop(run.id, by, reason):
            raise Refused(f"run {run.id} of task {run.task} has ended already: it {run.state}")
        asked = self.get(run.id)
        self.end_idle(run.id, f"{asked.stop}, when nobody was working on it; run it again to go on")
        return self.get(run.id)

    def add_job(
        self,
        run: str,
        name: str,
        ordinal: int,
        *,
        source_table: str,
        source_connection: str,
        source_identity: str,
        purge_mode: PurgeMode = "none",
        check_percent: float | None = None,
        check_seed: int | None = None,
    ) -> Job:
        """A job of the run, as it was added first."""
        with self.database.write() as connection:
            defined = _present(connection, run, for_update=True).definition.get("jobs", ())
            found = _job_or_none(connection, run, name)
            if found is not None:
                return found
            its: Mapping[str, Any] = next((one for one in defined if one["name"] == name), {})
            target = target_in(its)
            connection.execute(
                insert(JOBS).values(
                    run=run,
                    name=name,
                    ordinal=ordinal,
                    attempt=1,
                    source_table=source_table,
                    source_connection=source_connection,
                    source_identity=source_identity,
                    purge_mode=purge_mode,
                    check_percent=check_percent,
                    check_seed=check_seed,
                    type=str(its.get("type", "")),
                    target_connection=target.connection,
                    target=target.place,
                    state="waiting",
                    created_at=clock(connection),
                )
            )
            return _job(connection, run, name)

    def job(self, run: str, name: str) -> Job:
        """One job; ``ConfigError`` when the run has none of that name."""
        with self.database.read() as connection:
            return _job(connection, run, name)

    def jobs(self, run: str) -> list[Job]:
        """The run's jobs in the order of the task file."""
        return self.jobs_of([run]).get(run, [])

    def jobs_of(self, runs: Collection[str]) -> dict[str, list[Job]]:
        """The jobs of some runs, each run's in the order of its task file."""
        query = select(JOBS).where(JOBS.c.run.in_(runs)).order_by(JOBS.c.ordinal, JOBS.c.name)
        found: dict[str, list[Job]] = {}
        with self.database.read() as connection:
            for row in connection.execute(query):
                found.setdefault(row.run, []).append(_job_of(row))
        return found

    def move(self, run: str, job: str, state: JobState, error: str | None = None) -> Job:
        """The job is now in ``state``; ``Refused`` where that cannot follow the present one."""
        with self.database.write() as connection:
            return _move(connection, run, job, state, error)

    def begin_purge(self, run: str, job: str, by: str, numbers: Collection[int] | None) -> Job:
        """As ``move`` to ``purging``, and the audit tells who deletes which batches."""
        with self.database.write() as connection:
            before = _job(connection, run, job, for_update=True)
            moved = _move(connection, run, job, "purging", None)
            audit.record(
                connection,
                actor=by,
                action="purge.begin",
                object=f"run {run} job {job}",
                before={"state": before.state},
                after={
                    "state": moved.state,
                    "batches": "all" if numbers is None else sorted(numbers),
                    "table": moved.source_table,
                    "connection": moved.source_connection,
                },
            )
            return moved

    def record(self, run: str, job: str, by: str, action: str, what: Mapping[str, Any]) -> None:
        """Tells the audit what is about to be done to a job's data."""
        with self.database.write() as connection:
            audit.record(
                connection, actor=by, action=action, object=f"run {run} job {job}", after=what
            )

    def new_attempt(self, run: str, job: str) -> int:
        """See ``repeats.new_attempt``."""
        return repeats.new_attempt(self.database, run, job)

    def reopen(
        self,
        run: str,
        job: str,
        phase: Literal["check", "purge"],
        numbers: Collection[int] | None = None,
    ) -> tuple[int, ...]:
        """See ``repeats.reopen``."""
        return repeats.reopen(self.database, run, job, phase, numbers)

    def resample(self, run: str, job: str, numbers: Collection[int]) -> None:
        """See ``repeats.resample``."""
        repeats.resample(self.database, run, job, numbers)

    def summary(self, run: str) -> RunSummary:
        """See ``progress.summary``."""
        return progress.summary(self.database, run)

    def each_batch(self, run: str, job: str, *, remarkable: bool = False) -> Iterator[BatchStatus]:
        """See ``progress.batches``."""
        return progress.batches(self.database, run, job, remarkable=remarkable)

    def batches(self, run: str, job: str) -> list[BatchStatus]:
        """All of ``each_batch``, of a job that has not many."""
        return list(self.each_batch(run, job))

    def differences(
        self,
        run: str,
        job: str | None = None,
        batch: int | None = None,
        most: int | None = None,
    ) -> list[BatchDifference]:
        """See ``progress.differences``."""
        return progress.differences(self.database, run, job, batch, most)

    def table_lease(self, resource: str, owner: str) -> AbstractContextManager[leases.TableLease]:
        """See ``leases.table_lease``."""
        return leases.table_lease(self.database, resource, owner)


def run_id(now: datetime) -> str:
    """``YYYYMMDDTHHMMSS-xxxxxx``: sorts by the second of creation, unique by chance."""
    chance = base64.b32encode(secrets.token_bytes(4)).decode().lower()[:6]
    return f"{now:%Y%m%dT%H%M%S}-{chance}"


def _types(definition: Mapping[str, Any]) -> str:
    found = {one["type"] for one in definition.get("jobs", ()) if "type" in one}
    return " ".join(sorted(found))


def _one(connection: Connection, *conditions: ColumnElement[bool]) -> Run | None:
    row = connection.execute(
        select(RUNS)
        .where(*conditions)
        .order_by(RUNS.c.created_at.desc(), RUNS.c.id.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else run_of(row)


def _present(connection: Connection, run: str, *, for_update: bool = False) -> Run:
    query = select(RUNS).where(RUNS.c.id == run)
    row = connection.execute(query.with_for_update() if for_update else query).one_or_none()
    if row is None:
        raise ConfigError(f"there is no run {run} in the state database")
    return run_of(row)


def run_of(row: Any) -> Run:
    """A row of the runs."""
    values = dict(row._mapping)
    for name in ("definition", "variables"):
        values[name] = json.loads(values[name])
    return Run(**values)


def _its(run: str, job: str) -> ColumnElement[bool]:
    return and_(JOBS.c.run == run, JOBS.c.name == job)


def _job_or_none(
    connection: Connection, run: str, name: str, *, for_update: bool = False
) -> Job | None:
    query = select(JOBS).where(_its(run, name))
    row = connection.execute(query.with_for_update() if for_update else query).one_or_none()
    return None if row is None else _job_of(row)


def _job(connection: Connection, run: str, name: str, *, for_update: bool = False) -> Job:
    found = _job_or_none(connection, run, name, for_update=for_update)
    if found is None:
        raise ConfigError(f"run {run} has no job {name} in the state database")
    return found


def _move(connection: Connection, run: str, job: str, state: JobState, error: str | None) -> Job:
    found = _job(connection, run, job, for_update=True)
    if state != found.state and state not in _MOVES[found.state]:
        raise Refused(f"job {job} of run {run} is {found.state}; it cannot become {state} now")
    now = clock(connection)
    ends = state in _ENDS or state == "succeeded"
    values: dict[str, Any] = {
        "state": state,
        "error": message(error),
        "ended_at": now if ends else None,
    }
    if found.started_at is None and state in _WORKING:
        values["started_at"] = now
    connection.execute(update(JOBS).where(_its(run, job)).values(**values))
    if state == "succeeded":
        sum_up(connection, run, job)
    return _job(connection, run, job)


def _job_of(row: Any) -> Job:
    values = dict(row._mapping)
    return Job(planned=values.pop("plan") is not None, **values)
