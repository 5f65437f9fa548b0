"""A task: one file, one DAG, one or more jobs."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema, model_validator

from dsp_airflow.config.archives import S3Job, same_folder
from dsp_airflow.config.base import Model
from dsp_airflow.config.belonging import Kin, belonging_findings
from dsp_airflow.config.cron import check_cron
from dsp_airflow.config.findings import Finding, invalid, invalid_together
from dsp_airflow.config.hours import DailyWindow
from dsp_airflow.config.jobs import Listed, Text, WarmJob
from dsp_airflow.config.names import (
    TASK_NAME_PATTERN,
    check_email,
    check_task_name,
    split_table,
)
from dsp_airflow.config.order import Place, order_findings
from dsp_airflow.config.processes import (
    MATCH,
    NAME_PATTERN,
    NONE,
    check_process_name,
)
from dsp_airflow.config.replacing import shared_with_replace
from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.config.scalars import parse_duration
from dsp_airflow.config.timeouts import DURATION_SCHEMA

MANUAL = "manual"

TaskName = Annotated[
    str,
    AfterValidator(check_task_name),
    WithJsonSchema({"type": "string", "pattern": f"^{TASK_NAME_PATTERN}$"}),
]
Email = Annotated[str, AfterValidator(check_email)]


def _positive_duration(value: object) -> timedelta:
    duration = parse_duration(value)
    if not duration:
        raise invalid("must be longer than 0s")
    return duration


Duration = Annotated[timedelta, PlainValidator(parse_duration), WithJsonSchema(DURATION_SCHEMA)]
PositiveDuration = Annotated[
    timedelta, PlainValidator(_positive_duration), WithJsonSchema(DURATION_SCHEMA)
]


def _moment(value: object) -> datetime:
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
    if not isinstance(moment, datetime):
        example = f"{value}T02:00+00:00" if isinstance(value, date) else None
        raise invalid("must be a time such as 2026-12-01T02:00+07:00", example)
    if moment.utcoffset() is None:
        raise invalid(
            "must say its time zone, such as +07:00 or Z", f"{moment.isoformat('T', 'minutes')}Z"
        )
    return moment


class Once(Model):
    """One run at a given time."""

    once: Annotated[
        datetime,
        PlainValidator(_moment),
        WithJsonSchema({"type": "string", "format": "date-time"}),
    ] = Field(
        description="When to run, with the time zone.", examples=["2026-12-01T02:00:00+07:00"]
    )


def _schedule(value: object) -> str | Once:
    if isinstance(value, Once):
        return value
    if isinstance(value, dict):
        return Once.model_validate(value)
    if not isinstance(value, str):
        raise invalid("must be manual, {once: <time with zone>}, or a cron expression in quotes")
    return MANUAL if value == MANUAL else check_cron(value)


def _approval(value: str) -> str:
    return value if value in (MATCH, NONE) else check_process_name(value)


class Notify(Model):
    """Who hears about the end of a run by e-mail."""

    when: Literal["never", "failure", "success", "always"] = Field(
        default="never",
        description="Which ends are told: never, failure, success, or always (both).",
    )
    to: Annotated[tuple[Email, ...], Listed] = Field(
        default=(),
        description="E-mail addresses. Needed unless when is never.",
        examples=[["oncall@example.com"]],
    )

    @model_validator(mode="after")
    def _has_readers(self) -> Notify:
        if self.when != "never" and not self.to:
            raise invalid(f"when is {self.when}, so to needs at least one e-mail address")
        return self


class FileReference(Model):
    """A part of the definition that lives in a file of its own."""

    file: Text = Field(
        description="Path of a YAML file, relative to the file that names it.",
        examples=["../jobs/flights.yaml"],
    )


Job: TypeAlias = WarmJob | S3Job | RestoreJob
JOB_TYPES: dict[str, type[Job]] = {"warm": WarmJob, "s3": S3Job, "restore": RestoreJob}
"""By what `type` says."""


class Task(Model):
    """What one task file says."""

    name: TaskName = Field(
        description="Name of the task and id of its DAG: letters, digits, _ - and .",
        examples=["flights_archive"],
    )
    display_name: str = Field(
        default="",
        description="Title for pages, logs and mails, in any words. Default: the name.",
        examples=["Move old flights"],
    )
    description: str = Field(default="", description="What the task is for, in a sentence.")
    owner: str = Field(
        default="",
        description=(
            "Person or team that answers for the task. Where grants are enforced, what the task "
            "does has to be granted to this name."
        ),
        examples=["data"],
    )
    schedule: Annotated[
        str | Once,
        PlainValidator(_schedule),
        WithJsonSchema({"type": "string"}),
    ] = Field(
        default=MANUAL,
        description=(
            "When the task runs: a cron expression of five fields in quotes, {once: <time with "
            "zone>}, or manual."
        ),
        examples=["0 2 * * *", "manual"],
    )
    execution: Literal["serial", "parallel"] = Field(
        default="serial", description="Whether the jobs run one after the other or at once."
    )
    priority: int | None = Field(
        default=None,
        ge=1,
        le=10,
        description=(
            "Whose steps Airflow begins first where not all can begin: from 1 to 10, higher first. "
            "Default: by Airflow's own weights."
        ),
        examples=[8],
    )
    timeout: PositiveDuration = Field(
        default=timedelta(hours=24),
        description="How long one execution may take, such as 24h. Units s, m, h, d, w.",
        examples=["24h"],
    )
    retries: int = Field(
        default=3, ge=0, le=100, description="How often a failed step is tried again."
    )
    retry_delay: Duration = Field(
        default=timedelta(minutes=5),
        description="How long to wait before the first retry, such as 5m.",
        examples=["5m"],
    )
    retry_backoff: float = Field(
        default=2.0,
        ge=1,
        le=100,
        description="By how much the wait grows with each retry; 1 keeps it the same.",
    )
    notify: Notify = Field(
        default_factory=Notify, description="Which ends of a run are told by e-mail, and to whom."
    )
    approval: Annotated[
        str,
        AfterValidator(_approval),
        WithJsonSchema({"type": "string", "pattern": f"^{NAME_PATTERN}$"}),
    ] = Field(
        default=MATCH,
        description=(
            "Which approval process holds for its runs: match (the first that fits), or a process "
            "by name. none asks nobody, and is refused while approval is enforced."
        ),
        examples=["match"],
    )
    remarks: str = Field(default="", description="Anything worth keeping beside the task.")
    jobs: Annotated[tuple[Annotated[Job, Field(discriminator="type")], ...], Listed] = Field(
        min_length=1,
        description=(
            "What the task does, in order. An entry {file: ...} takes the job from a file of its "
            "own, so that several tasks can share it."
        ),
    )

    @property
    def title(self) -> str:
        """What people read: the display name, or the name where there is none."""
        return self.display_name or self.name

    def job(self, name: str) -> Job:
        """The job of that name; KeyError with the names there are."""
        for job in self.jobs:
            if job.name == name:
                return job
        names = ", ".join(job.name for job in self.jobs)
        raise KeyError(f"task '{self.name}' has no job '{name}'; its jobs are {names}")

    @property
    def windows(self) -> tuple[DailyWindow, ...]:
        """The windows of those jobs that have one."""
        limits = [job.limits for job in self.jobs if not isinstance(job, RestoreJob)]
        return tuple(one.window for one in limits if one is not None and one.window is not None)

    @model_validator(mode="after")
    def _unique_jobs(self) -> Task:
        named = list(enumerate(job.name for job in self.jobs))
        jobs = list(enumerate(self.jobs))
        found = [
            *duplicate_jobs(named),
            *shared_folders(jobs),
            *shared_targets(jobs),
            *touched_targets(jobs),
            *belonging_findings(kin(jobs), dict(named)),
            *order_findings(places(jobs), dict(named), serial=self.execution == "serial"),
        ]
        if found:
            raise invalid_together(found)
        return self


def kin(jobs: list[tuple[int, Job]]) -> list[Kin]:
    """Which of them belong to which."""
    found = []
    for index, job in jobs:
        kind, end, whole = "restore", job.target.connection, True
        if not isinstance(job, RestoreJob):
            kind, end, whole = "table", job.source.connection, job.mode in ("full", "replace")
        found.append(Kin(index, job.name, job.belongs_to, kind, end, whole))
    return found


def places(jobs: list[tuple[int, Job]]) -> list[Place]:
    """Which of them comes after which."""
    return [Place(index, job.name, job.after) for index, job in jobs]


def duplicate_jobs(names: list[tuple[int, str]]) -> list[Finding]:
    """A finding for every job, given as index and name, whose name an earlier one has."""
    seen: dict[str, int] = {}
    found: list[Finding] = []
    for index, name in names:
        if name in seen:
            message = f"jobs[{seen[name]}] has this name already; names of jobs must be unique"
            found.append(Finding(("jobs", index, "name"), message, name))
        seen.setdefault(name, index)
    return found


def touched_targets(jobs: list[tuple[int, Job]]) -> list[Finding]:
    """A finding for every job that deletes missing rows where others of the task have theirs.

    Rows that another job writes into the target, or takes from the source, would be missing ones.
    """
    found: list[Finding] = []
    for index, job in jobs:
        if not isinstance(job, WarmJob) or job.delete_missing is None:
            continue
        for other_index, other in jobs:
            if other is job:
                continue
            why = ""
            if not isinstance(other, S3Job) and _target(other) == _target(job):
                why = "writes into the same target, and its rows would be missing in this source"
            elif not isinstance(other, RestoreJob) and _source(other) == _source(job):
                why = "" if other.purge == "none" else f"has purge: {other.purge} on this source"
                why += ", and what it deletes there would be missing" if why else ""
            if why:
                message = f"must not be given, as jobs[{other_index}] {why}"
                found.append(Finding(("jobs", index, "delete_missing"), message))
    return found


def _target(job: WarmJob | RestoreJob) -> tuple[str, tuple[str, ...]]:
    name = job.target_name if isinstance(job, WarmJob) else split_table(job.target_table)
    return job.target.connection, tuple(name)


def _source(job: WarmJob | S3Job) -> tuple[str, tuple[str, ...]]:
    return job.source.connection, tuple(split_table(job.source.table))


def shared_targets(jobs: list[tuple[int, Job]]) -> list[Finding]:
    """A finding for every job that writes to a table which another job of the task replaces."""
    return shared_with_replace([(n, job) for n, job in jobs if isinstance(job, WarmJob)])


def shared_folders(jobs: list[tuple[int, Job]]) -> list[Finding]:
    """A finding for every S3 job that writes into the folder of an earlier one."""
    found: list[Finding] = []
    seen: list[tuple[int, S3Job]] = []
    for index, job in jobs:
        if not isinstance(job, S3Job):
            continue
        first = next((n for n, other in seen if same_folder(job, other)), None)
        if first is not None:
            message = f"jobs[{first}] writes into this folder; give each job one of its own"
            found.append(Finding(("jobs", index, "target", "prefix"), message, job.target.prefix))
        seen.append((index, job))
    return found
