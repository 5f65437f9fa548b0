"""What work touches: pure functions of a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from dsp_airflow.config import templates
from dsp_airflow.config.archives import S3Job, prefixes_like
from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.config.tasks import Job, Task
from dsp_airflow.permissions.grants import Privilege

Act: TypeAlias = Literal["run", "purge", "restore", "rollback", "look", "archive"]
"""What is done: a run of a task; by hand a purge (or marking what somebody removed), a restore, or
a rollback of a run; or a look that writes nothing, such as a check of an earlier run, or one into
what a job archived.
"""


@dataclass(frozen=True, slots=True)
class Place:
    """What a job touches, as its task file names it.

    Of databases ``table`` is the name, which a run may have to complete; of object storage
    ``bucket`` and ``prefix``. A connection alone is touched as a whole.
    """

    connection: str
    table: str | None = None
    bucket: str | None = None
    prefix: str | None = None

    def __str__(self) -> str:
        parts = [one for one in (self.bucket, self.prefix, self.table) if one is not None]
        return " ".join([f"connection {self.connection}", *parts])


@dataclass(frozen=True, slots=True)
class Touch:
    """What is done to a place."""

    privilege: Privilege
    place: Place


def of_run(task: Task) -> list[Touch]:
    """All that a run of the task does, in every job."""
    return _once([touch for job in task.jobs for touch in _of_job(task, job)])


def of_looking(task: Task, jobs: tuple[Job, ...]) -> list[Touch]:
    """Reading both sides of the jobs, and asking how loaded the servers are that they name."""
    found = [
        Touch("read", place)
        for job in jobs
        for place in (source_of(job), target_of(task, job), *_asked(job))
    ]
    return _once(found)


def of_purge(job: Job) -> list[Touch]:
    """A purge by hand of batches that a run copied."""
    return [Touch("purge", source_of(job))]


def of_rollback(task: Task, job: Job) -> list[Touch]:
    """Taking from a target what a run wrote there, as far as the source still has it."""
    target = target_of(task, job)
    return [Touch("read", source_of(job)), Touch("write", target), Touch("purge", target)]


def of_archive(task: Task, job: Job) -> list[Touch]:
    """Looking into what a job archived or copied."""
    return [Touch("read", target_of(task, job))]


def places_of(task: Task, jobs: tuple[Job, ...]) -> list[Place]:
    """What ``of_looking`` reads."""
    return [touch.place for touch in of_looking(task, jobs)]


def at_address(connection: str, address: str) -> Place:
    """The archive whose manifest is at ``s3://bucket/key``."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return Place(connection, bucket=bucket, prefix=_archive_of(key))


def source_of(job: Job) -> Place:
    """Where a job reads."""
    if isinstance(job, RestoreJob):
        source = job.source
        # Which archive a drill draws, its run has yet to say.
        prefix = None if source.manifest is None else _archive_of(source.manifest)
        return Place(source.connection, bucket=source.bucket, prefix=prefix)
    return Place(job.source.connection, job.source.table)


def target_of(task: Task, job: Job) -> Place:
    """Where a job writes."""
    target = job.target
    if isinstance(job, S3Job):
        prefix = fixed_prefix(job.target.prefix, task.name, job.name)
        return Place(target.connection, bucket=job.target.bucket, prefix=prefix)
    return Place(target.connection, job.target_table)


def fixed_prefix(prefix: str, task: str, job: str) -> str | None:
    """The folder that all prefixes lie in which a run may make of this one; ``None``: any."""
    begin, _ = prefixes_like(prefix, {"task": task, "job": job})
    if not templates.moments(prefix):
        return begin
    return begin.rpartition("/")[0] or None


def _archive_of(manifest: str) -> str | None:
    """The folder that holds a run's folder and its data, which may lie in partitions beside it."""
    return manifest.rpartition("/")[0].rpartition("/")[0] or None


def _of_job(task: Task, job: Job) -> list[Touch]:
    source, target = source_of(job), target_of(task, job)
    found = [Touch("read", source), Touch("write", target)]
    found += [Touch("read", place) for place in _asked(job)]
    if job.purge == "system":
        found.append(Touch("purge", source))
    if isinstance(job, WarmJob) and (job.mode == "replace" or job.delete_missing is not None):
        found.append(Touch("purge", target))
    return found


def _asked(job: Job) -> list[Place]:
    """Servers whose load the job asks for."""
    limits = None if isinstance(job, RestoreJob) else job.limits
    lag = limits.replica_lag.connections if limits and limits.replica_lag else ()
    return [Place(connection) for connection in lag]


def _once(found: list[Touch]) -> list[Touch]:
    return list(dict.fromkeys(found))
