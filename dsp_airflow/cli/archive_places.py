"""Where ``dsp archive`` looks: the S3 jobs of a task file, or a place that is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsp_airflow.cli import output
from dsp_airflow.cli.granted import require_reading
from dsp_airflow.cli.surroundings import log_to_stderr, opener
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.permissions.needs import Place as Touched
from dsp_airflow.permissions.needs import target_of

if TYPE_CHECKING:
    from dsp_airflow.config import Task
    from dsp_airflow.engine.archive.listing import FoundRun, Place
    from dsp_airflow.engine.stores.s3 import S3Store


@dataclass(frozen=True, slots=True)
class Where:
    """As the command line says it."""

    file: Path | None
    at: str | None
    connection: str | None
    job: str | None


@dataclass(frozen=True)
class Looked:
    """A place and the runs there, the youngest first; ``task`` and ``job`` where a file says so."""

    place: Place
    runs: Sequence[FoundRun]
    task: str | None = None
    job: str | None = None


def look(where: Where) -> list[Looked]:
    """Every place that is meant. ``ConfigError`` when none of them holds an archive."""
    # Whatever libraries say is no part of the result.
    opened = opener()
    log_to_stderr()
    if where.file is not None and where.at is None:
        if where.connection is not None:
            raise ConfigError("--connection goes with --at; a task file names its own connections")
        return _of_task(where.file, where.job, opened)
    if where.file is not None or where.at is None:
        raise ConfigError(
            "say where the archive is: a task file, or --at s3://bucket/prefix --connection NAME"
        )
    if where.connection is None:
        raise ConfigError("--at needs --connection, the Airflow connection that leads there")
    from dsp_airflow.engine.archive.listing import find, place_at

    place = place_at(where.at, _s3(opened, where.connection))
    prefix = place.begin.rstrip("/") or None
    require_reading(opened, [Touched(where.connection, bucket=place.bucket.name, prefix=prefix)])
    return [Looked(place, _of_job(find(place), where.job, place))]


def _of_job(runs: Sequence[FoundRun], job: str | None, place: Place) -> Sequence[FoundRun]:
    """Those of one job, as the owner of each folder says; a folder without one may be its own."""
    if job is None:
        return runs
    from dsp_airflow.config.errors import listed
    from dsp_airflow.engine.archive.owner import owner_of

    folders = {at.prefix: at for at in runs}
    owners = {prefix: owner_of(at.bucket, at.archive) for prefix, at in folders.items()}
    jobs = {prefix: None if mine is None else mine.job for prefix, mine in owners.items()}
    found = [at for at in runs if jobs[at.prefix] in (None, job)]
    if not found:
        names = sorted({name for name in jobs.values() if name is not None})
        there = f"; there are {listed(names)}" if names else ""
        raise ConfigError(f"{place.label} holds no archive of a job {job!r}{there}")
    return found


def _of_task(file: Path, job: str | None, opened: Any) -> list[Looked]:
    from dsp_airflow.config import load_task
    from dsp_airflow.config.archives import S3Job
    from dsp_airflow.engine.archive.listing import find, place_of

    task = load_task(file)
    jobs = [one for one in task.jobs if isinstance(one, S3Job)]
    _require_job(task, [one.name for one in jobs], job)
    chosen = tuple(one for one in jobs if job in (None, one.name))
    require_reading(opened, [target_of(task, one) for one in chosen])
    found: list[Looked] = []
    missing: list[ConfigError] = []
    for one in chosen:
        place = place_of(one, task.name, _s3(opened, one.target.connection))
        try:
            found.append(Looked(place, find(place), task.name, one.name))
        except ConfigError as error:
            missing.append(error)
    if missing and not found:
        raise missing[0]
    for none in missing:
        output.note(str(none), "WARNING")
    return found


def _require_job(task: Task, names: Sequence[str], job: str | None) -> None:
    from dsp_airflow.config.errors import listed

    if not names:
        raise ConfigError(f"task {task.name} has no job of type s3, so it archives nothing")
    if job is not None and job not in names:
        raise ConfigError(f"task {task.name} has no S3 job {job!r}; it has {listed(names)}")


def _s3(opened: Any, connection: str) -> S3Store:
    from dsp_airflow.engine.stores.s3 import S3Store

    store: object = opened(connection)
    if not isinstance(store, S3Store):
        raise ConfigError(f"connection {connection} is no connection to S3; name one of type aws")
    return store


def named(places: Sequence[Looked], run: str) -> list[tuple[Looked, FoundRun]]:
    """The folders of a run: one for each job and attempt. ``latest``: of each job the youngest.

    Raises ``ConfigError`` when there is none.
    """
    every = [(looked, at) for looked in places for at in looked.runs]
    if run == "latest":
        found = [(looked, looked.runs[0]) for looked in places if looked.runs]
    else:
        found = [(looked, at) for looked, at in every if at.is_of(run)]
    if not found:
        labels = ", ".join(looked.place.label for looked in places)
        near = ", ".join(at.run for _, at in every[:3])
        raise ConfigError(
            f"no run {run} is archived in {labels}" + (f"; there are {near}" if near else "")
        )
    return found
