"""What was done so far: a run's summary, its batches and its differences."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    false,
    func,
    literal_column,
    or_,
    select,
    true,
)

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import Copied, Difference, KeyRange, LossCount
from dsp_airflow.state import deletions
from dsp_airflow.state.codec import load, load_key
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.owner import holder
from dsp_airflow.state.records import (
    BatchDifference,
    BatchState,
    BatchStatus,
    JobSummary,
    RunSummary,
    SourceData,
)
from dsp_airflow.state.tables import BATCHES, DIFFERENCES, JOBS, RUNS

_PAGE = 500
STATE = case(
    # Written into the statement, so that what is grouped by is what is selected.
    (BATCHES.c.lease_phase == literal_column("'copy'"), literal_column("'copying'")),
    (BATCHES.c.lease_phase == literal_column("'check'"), literal_column("'checking'")),
    (BATCHES.c.lease_phase == literal_column("'purge'"), literal_column("'purging'")),
    (
        and_(BATCHES.c.purged_at.is_not(None), BATCHES.c.rows_kept > literal_column("0")),
        literal_column("'kept'"),
    ),
    (BATCHES.c.purged_at.is_not(None), literal_column("'purged'")),
    (
        and_(BATCHES.c.checked_at.is_not(None), BATCHES.c.rows_different > literal_column("0")),
        literal_column("'different'"),
    ),
    (BATCHES.c.checked_at.is_not(None), literal_column("'checked'")),
    (BATCHES.c.copied_at.is_not(None), literal_column("'copied'")),
    else_=literal_column("'waiting'"),
)
"""See ``BatchState``; ``batch_of`` wants it beside the columns, as ``state``."""
_SOURCE_DATA = case(
    (BATCHES.c.purged_at.is_(None), literal_column("'unprocessed'")),
    (BATCHES.c.rows_kept > literal_column("0"), literal_column("'kept'")),
    else_=literal_column("'processed'"),
)
"""See ``BatchStatus.source_data``."""
_REMARKABLE = or_(
    BATCHES.c.lease_owner.is_not(None),
    BATCHES.c.error.is_not(None),
    BATCHES.c.rows_different > 0,
    BATCHES.c.rows_kept > 0,
)


def summary(database: StateDatabase, run: str) -> RunSummary:
    """The run's jobs with their counts, aggregated by the database."""
    with database.read(snapshot=True) as connection:
        row = connection.execute(select(RUNS).where(RUNS.c.id == run)).one_or_none()
        if row is None:
            raise ConfigError(f"there is no run {run} in {database.label}")
        jobs = jobs_of(connection, [run]).get(run, [])
        changed = _losses(connection, run)
        deleted = deletions.of_run(connection, run)
    return RunSummary(
        run=row.id,
        task=row.task,
        attempt=row.attempt,
        state=row.state,
        error=row.error,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        jobs=tuple(
            replace(
                job,
                losses=tuple(changed.get(job.name, ())),
                **_deleted(deleted.get(job.name)),
            )
            for job in jobs
        ),
    )


def jobs_of(connection: Connection, runs: Collection[str]) -> dict[str, list[JobSummary]]:
    """The jobs of some runs with the counts of their batches, in the order of the task files."""
    rows = connection.execute(
        select(
            JOBS.c.run,
            JOBS.c.name,
            JOBS.c.state,
            _total(BATCHES.c.rows).label("rows_total"),
            _total(BATCHES.c.rows_read).label("rows_read"),
            _total(BATCHES.c.rows_written).label("rows_written"),
            _total(_failed_rows()).label("rows_failed"),
            _total(BATCHES.c.rows_checked).label("rows_checked"),
            _total(BATCHES.c.rows_different).label("rows_different"),
            func.coalesce(func.sum(BATCHES.c.rows_purged), 0).label("rows_purged"),
            _total(BATCHES.c.rows_kept).label("rows_kept"),
            func.coalesce(func.sum(BATCHES.c.rows_gone), 0).label("rows_gone"),
            _total(BATCHES.c.bytes).label("bytes"),
            _count(BATCHES.c.number).label("batches"),
            _count(BATCHES.c.copied_at).label("batches_copied"),
            _count(BATCHES.c.checked_at).label("batches_checked"),
            _count(BATCHES.c.purged_at).label("batches_purged"),
            JOBS.c.error,
            JOBS.c.swapped_at,
            func.coalesce(JOBS.c.plan.contains('"replaces":true'), false()).label("replaces"),
        )
        .outerjoin(BATCHES, and_(BATCHES.c.run == JOBS.c.run, BATCHES.c.job == JOBS.c.name))
        .where(JOBS.c.run.in_(runs))
        .group_by(JOBS.c.run, JOBS.c.name)
        .order_by(JOBS.c.run, JOBS.c.ordinal, JOBS.c.name)
    ).all()
    found: dict[str, list[JobSummary]] = {}
    for row in rows:
        values = dict(row._mapping)
        found.setdefault(values.pop("run"), []).append(_job(values))
    return found


def batches(
    database: StateDatabase, run: str, job: str, *, remarkable: bool = False
) -> Iterator[BatchStatus]:
    """The batches of the job's present attempt, by number; a few hundred in memory.

    ``remarkable``: only those that somebody may want to look at: at work, failed, different, or
    with rows kept.
    """
    after = 0
    wanted = _REMARKABLE if remarkable else true()
    while True:
        with database.read() as connection:
            rows = connection.execute(
                select(BATCHES, STATE.label("state"))
                .join(JOBS, _present())
                .where(BATCHES.c.run == run, BATCHES.c.job == job, BATCHES.c.number > after, wanted)
                .order_by(BATCHES.c.number)
                .limit(_PAGE)
            ).all()
        yield from map(batch_of, rows)
        if len(rows) < _PAGE:
            return
        after = rows[-1].number


def batch_counts(
    database: StateDatabase, run: str, job: str
) -> tuple[Counter[BatchState], Counter[SourceData]]:
    """How many batches of the present attempt are in which state, and what became of their rows."""
    query = (
        select(STATE, _SOURCE_DATA, func.count())
        .select_from(BATCHES)
        .join(JOBS, _present())
        .where(BATCHES.c.run == run, BATCHES.c.job == job)
        .group_by(STATE, _SOURCE_DATA)
    )
    states, source_data = Counter[BatchState](), Counter[SourceData]()
    with database.read() as connection:
        for state, source, count in connection.execute(query):
            states[state] += count
            source_data[source] += count
    return states, source_data


def copied(database: StateDatabase, run: str, job: str) -> dict[int, bool]:
    """The batches of the job's present attempt, and whether each was copied."""
    with database.read() as connection:
        rows = connection.execute(
            select(BATCHES.c.number, BATCHES.c.copied_at.is_not(None))
            .join(JOBS, _present())
            .where(BATCHES.c.run == run, BATCHES.c.job == job)
        )
        return {number: bool(done) for number, done in rows}


def differences(
    database: StateDatabase,
    run: str,
    job: str | None = None,
    batch: int | None = None,
    most: int | None = None,
) -> list[BatchDifference]:
    """What checks and purges of the present attempt reported, by job, batch and phase.

    There may be a thousand of each batch: ``most`` is how many are wanted, the first ones.
    """
    query = differences_query(run, job, batch).limit(most)
    with database.read() as connection:
        rows = connection.execute(query).all()
    return [difference_of(row) for row in rows]


def differences_query(run: str, job: str | None, batch: int | None) -> Select[Any]:
    """What asks for them, in their order; ``difference_of`` reads its rows."""
    query = (
        select(DIFFERENCES)
        .join(JOBS, _presently_different())
        .where(DIFFERENCES.c.run == run)
        .order_by(JOBS.c.ordinal, DIFFERENCES.c.batch, DIFFERENCES.c.phase, DIFFERENCES.c.id)
    )
    if job is not None:
        query = query.where(DIFFERENCES.c.job == job)
    if batch is not None:
        query = query.where(DIFFERENCES.c.batch == batch)
    return query


def difference_of(row: Any) -> BatchDifference:
    """A row of the differences."""
    return BatchDifference(row.job, row.batch, row.phase, _difference(row))


def count_differences(
    database: StateDatabase,
    run: str,
    job: str | None = None,
    phase: Literal["check", "purge"] | None = None,
    kinds: Collection[str] = (),
) -> int:
    """How many ``differences`` there are; of a phase, of some kinds, or of all."""
    query = (
        select(func.count())
        .select_from(DIFFERENCES)
        .join(JOBS, _presently_different())
        .where(DIFFERENCES.c.run == run)
    )
    if job is not None:
        query = query.where(DIFFERENCES.c.job == job)
    if phase is not None:
        query = query.where(DIFFERENCES.c.phase == phase)
    if kinds:
        query = query.where(DIFFERENCES.c.kind.in_(kinds))
    with database.read() as connection:
        return connection.execute(query).scalar_one()


def _losses(connection: Connection, run: str) -> dict[str, list[LossCount]]:
    """What policies changed, by job, column and rule. Most batches hold none of it."""
    rows = connection.execute(
        select(BATCHES.c.job, BATCHES.c.copied)
        .join(JOBS, _present())
        .where(BATCHES.c.run == run, BATCHES.c.copied.contains('"rule"'))
    ).all()
    counts: Counter[tuple[str, str, str]] = Counter()
    for job, copied in rows:
        for loss in load(Copied, copied).losses:
            counts[job, loss.column, loss.rule] += loss.values
    found: dict[str, list[LossCount]] = {}
    for (job, column, rule), values in sorted(counts.items()):
        found.setdefault(job, []).append(LossCount(column, rule, values))
    return found


def _deleted(found: deletions.Deletion | None) -> dict[str, Any]:
    if found is None:
        return {}
    return {
        "rows_missing": found.missing,
        "rows_deleted": found.deleted,
        "deletion_done": found.done,
    }


def _present() -> ColumnElement[bool]:
    return and_(
        JOBS.c.run == BATCHES.c.run,
        JOBS.c.name == BATCHES.c.job,
        JOBS.c.attempt == BATCHES.c.attempt,
    )


def _presently_different() -> ColumnElement[bool]:
    return and_(
        JOBS.c.run == DIFFERENCES.c.run,
        JOBS.c.name == DIFFERENCES.c.job,
        JOBS.c.attempt == DIFFERENCES.c.attempt,
    )


def _total(value: Any) -> ColumnElement[int]:
    now = BATCHES.c.attempt == JOBS.c.attempt
    return func.coalesce(func.sum(case((now, value))), 0)


def _count(value: Any) -> ColumnElement[int]:
    return func.count(case((BATCHES.c.attempt == JOBS.c.attempt, value)))


def _failed_rows() -> ColumnElement[int]:
    failed = and_(BATCHES.c.copied_at.is_(None), BATCHES.c.error.is_not(None))
    return case((failed, BATCHES.c.rows))


def _job(row: Any) -> JobSummary:
    # PostgreSQL sums bigints to decimals.
    values: dict[str, Any] = {k: int(v) if isinstance(v, Decimal) else v for k, v in row.items()}
    return JobSummary(**{**values, "replaces": bool(values["replaces"])})


def batch_of(row: Any) -> BatchStatus:
    """A row of the batches."""
    return BatchStatus(
        number=row.number,
        state=row.state,
        within=KeyRange(load_key(row.after), load_key(row.upto)),
        rows=row.rows,
        sampled=row.sampled,
        rows_read=row.rows_read,
        rows_written=row.rows_written,
        bytes=row.bytes,
        seconds=row.seconds,
        rows_checked=row.rows_checked,
        rows_different=row.rows_different,
        check_note=row.check_note,
        rows_purged=row.rows_purged,
        rows_kept=row.rows_kept,
        rows_gone=row.rows_gone,
        holder=None if row.lease_owner is None else holder(row.lease_owner),
        attempts=row.attempts,
        error=row.error,
        copied_at=row.copied_at,
        checked_at=row.checked_at,
        purged_at=row.purged_at,
    )


def _difference(row: Any) -> Difference:
    return Difference(
        kind=row.kind,
        key=tuple(json.loads(row.key)),
        columns=tuple(json.loads(row.columns)),
        source=tuple(json.loads(row.source)),
        target=tuple(json.loads(row.target)),
        reason=row.reason,
    )
