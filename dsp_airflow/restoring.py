"""What somebody asks to be restored, as a task of its own: by a run, or by a manifest alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from pydantic import ValidationError

from dsp_airflow.config.archives import S3Job
from dsp_airflow.config.belonging import children
from dsp_airflow.config.errors import listed
from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.config.messages import in_words
from dsp_airflow.config.names import RESTORE_SUFFIX
from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.config.tasks import Task
from dsp_airflow.endpoints import OpenStore, for_step
from dsp_airflow.engine.archive import layout, manifest
from dsp_airflow.engine.errors import ConfigError, Mismatch, Refused
from dsp_airflow.engine.stores.s3 import S3Store
from dsp_airflow.opening import latest_run
from dsp_airflow.paths import ArchivePath
from dsp_airflow.permissions.checks import Permit, default_permit
from dsp_airflow.returning import way_back
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.state.records import Job, JobSummary, Run
from dsp_airflow.steps import TaskRun

S3 = "s3://"


@dataclass(frozen=True, slots=True)
class Wish:
    """Which rows, and where to. What is ``None`` is as it was archived."""

    batches: str = "all"
    where: str | None = None
    connection: str | None = None
    table: str | None = None
    on_conflict: str = "error"
    workers: int = 1
    children: bool = False
    """And the rows of jobs that belong to the job, of those rows that are wanted."""


def of_run(
    database: StateDatabase,
    task: Task,
    run: str | None,
    job: str | None,
    wish: Wish,
    open_store: OpenStore,
    permit: Permit | None = None,
) -> Task:
    """The task that restores what a run of an S3 job archived; ``None`` means the latest run.

    A job that was planned anew in the run has archives of their own, ``<run>`` and ``<run>.2``:
    the run alone means the youngest, as long as nothing was deleted by an earlier one.

    The manifest has to be the one that the state database's records make; where it is gone from
    the bucket it is written again. Raises ``ConfigError`` for a run or job that there is not,
    ``Refused`` for one that is not archived, ``Mismatch`` for a manifest that was edited.
    """
    run_id = None if run is None else run.partition(".")[0]
    archived = latest_run(database, task, open_store, run_id=run_id)
    if archived.run.task != task.name:
        raise ConfigError(
            f"run {archived.run.id} is one of task {archived.run.task}; the file holds task "
            f"{task.name}"
        )
    chosen = _chosen(task, job)
    below = _below(task, chosen, wish) if wish.children else []
    for one in (chosen, *below):
        # The manifest is looked at, and may be written again.
        opened = for_step(open_store, task.name, one, "restore")
        (permit or default_permit()).require(task, one, opened)
    if isinstance(chosen, WarmJob):
        # The file may name another table by now.
        known = archived.runs.job(archived.run.id, chosen.name)
        return _named(task, _returned(database, archived, chosen, known, wish, open_store))
    jobs = [_back(database, archived, chosen, run, wish, None)]
    for one in below:
        of_them = replace(wish, batches="all", where=None)
        jobs.append(_back(database, archived, one, None, of_them, one.belongs_to))
    return _named(task, *jobs)


def _below(task: Task, job: S3Job | WarmJob, wish: Wish) -> list[S3Job]:
    """The jobs whose rows go with the job's, each behind the one that it belongs to."""
    found = children(job.name, task.jobs)
    below = [one for one in found if isinstance(one, S3Job)]
    if isinstance(job, WarmJob) or len(below) < len(found):
        raise ConfigError(
            f"job {job.name}: only archives in S3 are restored with what belongs to them; name one "
            "job after the other"
        )
    if not below:
        raise ConfigError(f"job {job.name}: no job of task {task.name} belongs to it")
    if wish.table is not None:
        names = ", ".join(one.name for one in below)
        raise ConfigError(
            f"job {job.name}: {wish.table} is one table, and rows of {names} "
            "go with its rows; restore one job after the other, or to another connection"
        )
    return below


def _back(
    database: StateDatabase,
    archived: TaskRun,
    job: S3Job,
    run: str | None,
    wish: Wish,
    belongs_to: str | None,
) -> RestoreJob:
    """The job that restores what a job of that run archived."""
    # The file may name another table by now.
    known = archived.runs.job(archived.run.id, job.name)
    wanted = replace(
        wish,
        connection=wish.connection or known.source_connection,
        table=wish.table or known.source_table,
    )
    return _job(job.name, _manifest_of(database, archived, job, run), wanted, belongs_to)


def _named(task: Task, *jobs: RestoreJob | WarmJob) -> Task:
    return task.model_copy(
        update={"name": f"{task.name}{RESTORE_SUFFIX}", "jobs": jobs, "execution": "serial"}
    )


def _returned(
    database: StateDatabase,
    run: TaskRun,
    job: WarmJob,
    known: Job,
    wish: Wish,
    open_store: OpenStore,
) -> WarmJob:
    ledger = SqlLedger(database, run.run.id, job.name)
    plan = ledger.plan()
    if plan is None:
        raise Refused(f"job {job.name} was never begun in run {run.run.id}")
    return way_back(
        job,
        plan,
        known,
        list(ledger.records()),
        batches=wish.batches,
        where=wish.where,
        connection=wish.connection,
        table=wish.table,
        on_conflict=wish.on_conflict,
        workers=wish.workers,
        dialect=open_store(job.target.connection).dialect,
    )


def of_manifest(address: str, storage: str, wish: Wish, open_store: OpenStore) -> Task:
    """The task that restores by a manifest, ``s3://bucket/key``, and knows nothing else.

    ``storage`` is the connection to the bucket.
    """
    bucket, _, key = address.removeprefix(S3).partition("/")
    if not (address.startswith(S3) and bucket and key):
        raise ConfigError(f"{address!r} is no address of a manifest, such as {S3}bucket/folder/...")
    if wish.connection is None or wish.table is None:
        raise ConfigError("a restore by a manifest needs the connection and the table to write to")
    store: object = open_store(storage)
    if not isinstance(store, S3Store):
        raise ConfigError(f"connection {storage} is no connection to S3; name one of type aws")
    found = manifest.read_manifest(store.bucket(bucket), key)
    source = {"connection": storage, "bucket": bucket, "manifest": key, "sha256": found.digest}
    task = Task.model_validate({"name": found.task, "jobs": [_job(found.job, source, wish)]})
    return task.model_copy(update={"name": f"{task.name}{RESTORE_SUFFIX}"})


def again(run: Run, task: Task) -> Task:
    """The task that a restore began with, from the record of its run."""
    jobs = []
    for told in run.definition["jobs"]:
        values = {name: value for name, value in told.items() if name != "timeouts"}
        values["check"] = values["check"] or "none"
        jobs.append(RestoreJob.model_validate(values))
    return task.model_copy(update={"name": run.task, "jobs": tuple(jobs)})


def _chosen(task: Task, name: str | None) -> S3Job | WarmJob:
    """The job whose rows are wanted back: unnamed the only S3 job, or the only job there is."""
    jobs = [job for job in task.jobs if isinstance(job, S3Job | WarmJob)]
    names = listed([job.name for job in jobs])
    if not jobs:
        raise ConfigError(f"task {task.name} has no job that copied rows")
    if name is None:
        meant = [job for job in jobs if isinstance(job, S3Job)] or jobs
        if len(meant) > 1:
            raise ConfigError(f"task {task.name} has several jobs; name one: {names}")
        return meant[0]
    found = next((job for job in jobs if job.name == name), None)
    if found is None:
        raise ConfigError(f"task {task.name} has no job {name!r} to restore; it has {names}")
    return found


def _manifest_of(
    database: StateDatabase, run: TaskRun, job: S3Job, wanted: str | None
) -> dict[str, str]:
    """The manifest's place and SHA-256, once it is proved to say what the run's records do."""
    state = next((j for j in run.summary().jobs if j.name == job.name), None)
    if state is None:
        raise Refused(f"job {job.name} was never begun in run {run.run.id}")
    ledger = SqlLedger(database, run.run.id, job.name)
    _refuse_other_attempt(run, state, ledger.run, wanted)
    plan = ledger.plan()
    if plan is None or plan.archive is None:
        raise Refused(f"job {job.name} was never begun in run {run.run.id}")
    if state.batches_copied < state.batches:
        raise Refused(
            f"job {job.name} of run {run.run.id} has archived {state.batches_copied} of "
            f"{state.batches} batches; finish it first with dsp run"
        )
    path = cast("ArchivePath", run.path(job, "restore"))
    known = run.runs.job(run.run.id, job.name)
    facts = replace(path.facts(run.run.variables.get(job.name, {})), source=known.source_identity)
    made = manifest.manifest_of(plan, ledger.run, facts, ledger.records())
    key = layout.manifest_key(plan.archive, ledger.run)
    bucket = path.store.bucket(plan.archive.bucket)
    if bucket.head(key) is None:
        path.folder(plan, ledger).replace(key, manifest.manifest_bytes(made))
    there = manifest.read_manifest(bucket, key)
    edited = manifest.apart(there, made)
    if edited:
        raise Mismatch(
            f"{bucket.label(key)} was edited: it is not what the records of run {run.run.id} make "
            f"({', '.join(edited[:5])}). Delete it, and a restore writes it again from them"
        )
    return {
        "connection": job.target.connection,
        "bucket": plan.archive.bucket,
        "manifest": key,
        "sha256": there.digest,
    }


def _refuse_other_attempt(run: TaskRun, job: JobSummary, present: str, wanted: str | None) -> None:
    """``Refused`` where rows that somebody wants back may be in an archive that is not meant."""
    remedy = "restore that by its manifest, which dsp archive show names"
    if wanted not in (None, run.run.id, present):
        raise Refused(
            f"job {job.name} of run {run.run.id} has its records of {present}, and none of "
            f"{wanted}; {remedy}"
        )
    present_ones = run.runs.each_batch(run.run.id, job.name)
    now = sum(one.rows_purged + (one.rows_gone or 0) for one in present_ones)
    before = job.rows_purged + job.rows_gone - now
    if before and wanted != present:
        raise Refused(
            f"job {job.name} of run {run.run.id} was planned anew after {before:,} of its rows "
            f"were deleted, which only its earlier archive has; {remedy}, or name {present} for "
            "what was archived since"
        )


def _job(
    name: str, source: Mapping[str, Any], wish: Wish, belongs_to: str | None = None
) -> RestoreJob:
    try:
        return RestoreJob.model_validate(
            {
                "name": name,
                "type": "restore",
                "source": {**source, "batches": wish.batches},
                "target": {"connection": wish.connection, "table": wish.table},
                "where": wish.where,
                "belongs_to": belongs_to,
                "on_conflict": wish.on_conflict,
                "workers": wish.workers,
            }
        )
    except ValidationError as error:
        raise ConfigError(f"nothing was restored: {in_words(error)}") from error
