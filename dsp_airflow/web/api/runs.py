"""Runs: what goes on, what went on, and what to do about it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeAlias

from fastapi import HTTPException, Query

from dsp_airflow.approval.machine import State
from dsp_airflow.approval.records import Request
from dsp_airflow.approval.requests import Requests
from dsp_airflow.config.names import PURGE_SUFFIX, REPAIR_SUFFIX, ROLLBACK_SUFFIX
from dsp_airflow.engine.model import LossCount
from dsp_airflow.naming import own_variables
from dsp_airflow.notify.remedies import next_step
from dsp_airflow.standing import standing
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.state.progress import jobs_of
from dsp_airflow.state.records import Job, JobState, JobSummary, PurgeMode, Run, RunState
from dsp_airflow.state.rollbacks import Rollback, Rollbacks
from dsp_airflow.state.run_list import Order, WantedRuns, dags_with_runs, runs_page
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.targets import target_in
from dsp_airflow.step_ids import steps_of
from dsp_airflow.web.api.undone import (
    Afterwards,
    RollbackState,
    afterwards,
    rollback_state,
    undoable,
)
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document, Moment, Number, Page, Paged, plain
from dsp_airflow.web.routing import router
from dsp_airflow.web.users import Acting, Actor, owner_of

routes = router("runs")

Tab: TypeAlias = Literal["completed", "in_progress", "exception"]
TABS: dict[Tab, tuple[RunState, ...]] = {
    "completed": ("succeeded",),
    "in_progress": ("planned", "running"),
    "exception": ("failed", "terminated"),
}
SourceStatus: TypeAlias = Literal["keeps", "unprocessed", "partly", "processed", "kept"]


class JobCounts(Document):
    """What a job has done so far."""

    name: str
    type: str
    state: JobState
    source: str
    target: str
    batches: Number
    batches_copied: Number
    batches_checked: Number
    batches_purged: Number
    rows_total: Number
    rows_read: Number
    rows_written: Number
    rows_failed: Number
    rows_checked: Number
    rows_different: Number
    rows_purged: Number
    rows_kept: Number
    rows_gone: Number
    bytes: Number
    progress: float
    """Of the step that it is in, 0 to 1."""
    rows_per_second: float | None
    """Rows copied since it began, by the time since then."""
    eta: Moment | None
    """When all is copied, if it goes on like that."""
    source_data: SourceStatus
    """What became of the rows where they came from; `keeps`: they stay."""
    mode: str | None
    filter: str | None
    """What the task file wants of the source's rows; null: all of them."""
    check_percent: float | None
    """Null where it is not checked."""
    purge: PurgeMode
    started_at: Moment | None
    ended_at: Moment | None
    error: str | None


class AirflowRun(Document):
    """Where Airflow shows it."""

    dag_id: str
    dag_run_id: str


class RunLine(Document):
    """One run as lists show it."""

    id: str
    task: str
    title: str
    owner: str | None
    dag: str
    types: list[str]
    state: RunState
    attempt: int
    triggered_by: str | None
    stop_requested: bool
    airflow: AirflowRun | None
    """Of a run that was begun by the command alone there is none."""
    created_at: Moment
    started_at: Moment | None
    ended_at: Moment | None
    seconds: float | None
    error: str | None
    next_step: str | None
    """What to do about the error."""
    rollback: RollbackState | None
    """`done`: all that it wrote was undone; `partly`: rows were kept, or jobs were not; `begun`: it
    goes on, or was killed. Null: nothing was."""
    progress: float
    """Of all steps of all its jobs, 0 to 1."""
    jobs: list[JobCounts]
    """Those that have begun."""


class Stop(Document):
    """Who asked a run to stop."""

    asked_by: str | None
    asked_at: Moment | None
    reason: str | None


class NoteText(Document):
    """What a person should know of a job, or (null) of the whole run."""

    job: str | None
    text: str


class Loss(Document):
    """Values that a policy changed."""

    job: str
    column: str
    rule: str
    values: Number


class StepLine(Document):
    """Where a step's log is in Airflow."""

    job: str | None
    """Null for a step of the whole run."""
    step: str
    task_id: str
    mapped: bool
    """Whether it runs in shards, each with a log of its own."""


class RunDetail(RunLine):
    """One run, with all that is known of it but its batches."""

    file: str
    definition: dict[str, Any]
    definition_digest: str
    variables: dict[str, Any]
    """By job, the values that those of its file had."""
    stop: Stop | None
    notes: list[NoteText]
    losses: list[Loss]
    request: str | None
    """The request for approval that it worked under."""
    steps: list[StepLine]
    """Its steps in Airflow; none where the command began it, or somebody wrote the DAG."""
    filters: dict[str, str | None]
    """By job, the condition that is executed, with all values in it; null: all rows. Jobs that are
    not planned yet are left out."""
    may_steer: bool
    """Whether you may stop it, and change its limits."""
    may_retry: bool
    """Whether Airflow lets you clear its steps."""
    may_purge: bool
    """Whether Airflow lets you begin the DAG of its purges by hand."""
    may_roll_back: bool
    """Whether what it wrote can be undone, and Airflow lets you begin the DAG that does."""
    may_re_execute: bool
    """Whether Airflow also lets you run the task anew then."""
    may_repair: bool
    """Whether rows differ that a repair copies once more, and Airflow lets you begin its DAG."""
    afterwards: Afterwards


@routes.get("/runs", summary="List runs")
def list_runs(
    database: Database,
    actor: Acting,
    paging: Paged,
    type: Literal["warm", "s3", "restore"] | None = None,  # noqa: A002 - as files say it
    tab: Tab | None = None,
    state: Annotated[list[RunState], Query()] = [],  # noqa: B006 - FastAPI copies it
    task: str | None = None,
    dag: str | None = None,
    dag_run: str | None = None,
    name: str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    sort: Order = "created_at",
    descending: bool = True,
) -> Page[RunLine]:
    """The youngest first. `name` is a part of a task's name or a run's id; `dag_run` is Airflow's
    id of a run of `dag`; `since` and `until` are about when runs were made; `tab` and `state`
    together mean either.
    """
    if dag_run is not None and dag is None:
        raise HTTPException(422, "dag_run is of a DAG: name it as dag")
    states = {*state, *(TABS[tab] if tab else ())}
    with database.read() as connection:
        known = dags_with_runs(connection)
    seen = actor.readable(known)
    wanted = WantedRuns(
        dags=None if seen == known else seen,
        task=task,
        dag=dag,
        dag_run=dag_run,
        type=type,
        states=states,
        name=name,
        since=since,
        until=until,
    )
    with database.read(snapshot=True) as connection:
        runs, total = runs_page(
            connection,
            wanted,
            limit=paging.limit,
            offset=paging.offset,
            order=sort,
            descending=descending,
        )
        counts = jobs_of(connection, [run.id for run in runs])
    ids = [run.id for run in runs]
    times, undone = Runs(database).jobs_of(ids), Rollbacks(database).of_runs(ids)
    now = database.now()
    return paging.page(
        [
            _line(run, counts.get(run.id, ()), times.get(run.id, ()), undone.get(run.id, ()), now)
            for run in runs
        ],
        total,
    )


@routes.get("/runs/{run}", summary="Show a run")
def show_run(run: str, database: Database, actor: Acting) -> RunDetail:
    """Its jobs, counts, progress, what it waits for, and what to do where it failed."""
    found = visible(database, actor, run)
    runs = Runs(database)
    summary, jobs = runs.summary(found.id), runs.jobs(found.id)
    undone = Rollbacks(database).of_run(found.id)
    line = _line(found, summary.jobs, jobs, undone, database.now())
    since = afterwards(database, found, summary.jobs)
    may_roll_back = (
        found.ended
        # What was purged has to be restored first, which who knows that asks of the command.
        and not any(one.rows_purged for one in summary.jobs)
        and any(one.name in undoable(found) and not one.undone_at for one in jobs)
        and actor.may_begin(f"{found.task}{ROLLBACK_SUFFIX}")
    )
    requests = Requests(database)
    asked = requests.find(found.external_key or f"cli/{found.id}")
    return RunDetail(
        **line.model_dump(),
        file=found.file,
        definition=plain(found.definition),
        definition_digest=found.definition_digest,
        variables=plain(own_variables(found.variables)),
        stop=_stop(found),
        notes=[
            *([] if asked is None or found.ended else _awaited(requests, asked)),
            *(NoteText(job=one.job, text=one.text) for one in standing(runs, found)),
        ],
        losses=[_loss(job.name, loss) for job in summary.jobs for loss in job.losses],
        request=None if asked is None else asked.id,
        steps=_steps(found) if line.airflow else [],
        filters=_executed(database, found, jobs),
        may_steer=actor.may_steer(found.dag, owner_of(found)),
        # Nothing works on what was undone.
        may_retry=not undone and actor.may_clear(found.dag),
        may_purge=actor.may_begin(f"{found.task}{PURGE_SUFFIX}"),
        may_roll_back=may_roll_back,
        may_re_execute=may_roll_back and actor.may_begin(found.task),
        may_repair=found.ended
        and bool(since.repairable)
        and actor.may_begin(f"{found.task}{REPAIR_SUFFIX}"),
        afterwards=since,
    )


def _awaited(requests: Requests, asked: Request) -> list[NoteText]:
    """Whom a run waits for that may not begin yet."""
    until = f", until {asked.until:%Y-%m-%d %H:%M:%S} UTC" if asked.until else ""
    if asked.state == State.APPROVING:
        told = f"waits for approval by {requests.waits_for(asked)}{until}"
    elif asked.state == State.WAIT_FOR_EXECUTION:
        told = f"is approved, and waits until its request is executed{until}"
    else:
        return []
    return [NoteText(job=None, text=told)]


def visible(database: StateDatabase, actor: Actor, run: str) -> Run:
    """404 also for a run of a DAG that the user may not read: nobody is told that it is there."""
    found = Runs(database).find_id(run)
    if found is None or not actor.may_read(found.dag):
        raise HTTPException(404, f"there is no run {run} that you may see")
    return found


def _line(
    run: Run,
    counts: Iterable[JobSummary],
    jobs: Iterable[Job],
    undone: Iterable[Rollback],
    now: datetime,
) -> RunLine:
    dag_run = (run.external_key or "").partition("/")[2].partition("/")[0]
    counts, known, undone = list(counts), {job.name: job for job in jobs}, list(undone)
    defined = {one["name"]: one for one in run.definition.get("jobs", ())}
    errors = [run.error, *(one.error for one in counts)]
    return RunLine(
        id=run.id,
        task=run.task,
        title=str(run.definition.get("display_name") or run.task),
        owner=owner_of(run),
        dag=run.dag,
        types=run.types.split(),
        state=run.state,
        attempt=run.attempt,
        triggered_by=run.triggered_by,
        stop_requested=run.stop_requested,
        airflow=AirflowRun(dag_id=run.dag, dag_run_id=dag_run) if dag_run else None,
        created_at=run.created_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
        seconds=_seconds(run.started_at, run.ended_at or now),
        error=next(filter(None, errors), None),
        next_step=None if undone else _next_step(errors),
        rollback=rollback_state(undone, known.values()),
        progress=_overall(run, [(one, known[one.name]) for one in counts if one.name in known]),
        jobs=[
            _counts(one, known[one.name], defined.get(one.name, {}), now)
            for one in counts
            if one.name in known
        ],
    )


def _counts(found: JobSummary, job: Job, defined: dict[str, Any], now: datetime) -> JobCounts:
    seconds = _seconds(job.started_at, job.ended_at or now)
    rate = found.rows_written / seconds if seconds else None
    left = found.rows_total - found.rows_read
    eta = None
    if job.state == "copying" and rate and left > 0:
        eta = now + timedelta(seconds=min(left / rate, timedelta(days=3650).total_seconds()))
    return JobCounts(
        **{name: getattr(found, name) for name in JobCounts.model_fields if hasattr(found, name)},
        type=str(defined.get("type", "")),
        source=f"{job.source_connection}: {job.source_table}",
        target=str(target_in(defined)),
        progress=_progress(found),
        rows_per_second=None if rate is None else round(rate, 1),
        eta=eta,
        source_data=_source_data(found, job.purge_mode),
        mode=defined.get("mode"),
        filter=_filter(defined),
        check_percent=job.check_percent,
        purge=job.purge_mode,
        started_at=job.started_at,
        ended_at=job.ended_at,
    )


def _steps(run: Run) -> list[StepLine]:
    known = steps_of(run.definition, run.dag)
    return [StepLine.model_validate(one, from_attributes=True) for one in known]


def _executed(database: StateDatabase, run: Run, jobs: Iterable[Job]) -> dict[str, str | None]:
    plans = {job.name: SqlLedger(database, run.id, job.name).plan() for job in jobs if job.planned}
    return {name: plan.filter for name, plan in plans.items() if plan is not None}


def _filter(defined: Mapping[str, Any]) -> str | None:
    where = defined.get("where")
    return where if where is None or isinstance(where, str) else json.dumps(where)


def _progress(found: JobSummary) -> float:
    if found.state == "succeeded":
        return 1.0
    done = found.batches_copied
    if found.state in {"checking", "checked"}:
        done = found.batches_checked
    elif found.state == "purging":
        done = found.batches_purged
    return round(done / found.batches, 4) if found.batches else 0.0


def _overall(run: Run, jobs: Sequence[tuple[JobSummary, Job]]) -> float:
    """Each job counts as much as every other, those that have not begun too; so does each step."""
    if run.state == "succeeded":
        return 1.0
    whole = max(len(run.definition.get("jobs", ())), len(jobs), 1)
    return round(sum(_through(found, job) for found, job in jobs) / whole, 4)


def _through(found: JobSummary, job: Job) -> float:
    if found.state == "succeeded":
        return 1.0
    steps = [found.batches_copied]
    if job.check_percent is not None:
        steps.append(found.batches_checked)
    if job.purge_mode == "system":
        steps.append(found.batches_purged)
    return sum(steps) / (len(steps) * found.batches) if found.batches else 0.0


def _source_data(found: JobSummary, mode: PurgeMode) -> SourceStatus:
    if mode == "none":
        return "keeps"
    if not found.batches_purged:
        return "unprocessed"
    if found.rows_kept:
        return "kept"
    return "processed" if found.batches_purged == found.batches else "partly"


def _next_step(errors: Sequence[str | None]) -> str | None:
    return next(filter(None, map(next_step, filter(None, errors))), None)


def _seconds(begun: datetime | None, ended: datetime) -> float | None:
    return None if begun is None else max(0.0, round((ended - begun).total_seconds(), 3))


def _stop(run: Run) -> Stop | None:
    if not run.stop_requested:
        return None
    return Stop(
        asked_by=run.stop_requested_by, asked_at=run.stop_requested_at, reason=run.stop_reason
    )


def _loss(job: str, loss: LossCount) -> Loss:
    return Loss(job=job, column=loss.column, rule=loss.rule, values=loss.values)
