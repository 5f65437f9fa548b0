"""A restore job: rows of an archived run put back into a table, and proved there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from dsp_airflow.config.archives import BucketName
from dsp_airflow.config.base import Model
from dsp_airflow.config.belonging import BelongsTo
from dsp_airflow.config.drills import Drill
from dsp_airflow.config.findings import Finding, Location, invalid, invalid_together
from dsp_airflow.config.jobs import (
    Check,
    Endpoint,
    JobName,
    NameList,
    RowSize,
    TableText,
    Text,
    check_or_none,
)
from dsp_airflow.config.order import AFTER
from dsp_airflow.config.rulereader import are_rules, parse_rules
from dsp_airflow.config.rules import Group, Not, Rule, Rules, placeholders
from dsp_airflow.config.sqltokens import SqlError
from dsp_airflow.config.timeouts import Timeouts
from dsp_airflow.config.where import in_any_dialect, parse_where

_EMPTY = "a drill restores to a table of its own, which it creates"
BATCHES = r"\s*(all|[0-9]+(-[0-9]+)?(\s*,\s*[0-9]+(-[0-9]+)?)*)\s*"


def _batches(value: str) -> str:
    if re.fullmatch(BATCHES, value) is None:
        raise invalid("must be all, or numbers such as 1-5,8", "all")
    return value


def _where(value: object) -> str | Rules:
    if isinstance(value, Mapping) and are_rules(value):
        return parse_rules(value)
    if isinstance(value, Rule | Not | Group) or (isinstance(value, str) and value):
        return value
    raise invalid("must be rules, or a condition of SQL")


class ArchiveSource(Model):
    """The run that is restored."""

    connection: Text = Field(
        description="Id of the Airflow connection to read from, of type aws.",
        examples=["archive_s3"],
    )
    bucket: BucketName = Field(description="Bucket of the archive.", examples=["archive"])
    manifest: Text | None = Field(
        default=None,
        description="Key of the run's manifest in the bucket. A drill draws it.",
        examples=["flights/2026-12-01/run=20261201T020000-3f9a1c/_manifest.json"],
    )
    batches: Annotated[
        str,
        AfterValidator(_batches),
        WithJsonSchema({"type": "string", "pattern": f"^{BATCHES}$"}),
    ] = Field(default="all", description="Batches to restore, such as 1-5,8.")
    sha256: str | None = Field(
        default=None,
        description="SHA-256 that the manifest must have. Default: the one that it says itself.",
    )

    @property
    def table(self) -> str:
        """What rows come from, for messages."""
        return f"s3://{self.bucket}/{self.manifest or '...'}"


class RestoreTarget(Endpoint):
    """A table that rows are restored to."""

    table: TableText = Field(
        description="Table to write, with its schema.", examples=["public.flights"]
    )
    create: Literal["missing", "never"] = Field(
        default="missing",
        description=(
            "missing: create the table as it was archived when it is not there. never: refuse to "
            "run without it."
        ),
    )


class RestoreJob(Model):
    """Puts rows of an archived run back into a table, and proves them there."""

    name: JobName = Field(
        description="Name of the job, unique in its task: letters, digits, _ and -.",
        examples=["flights_back"],
    )
    type: Literal["restore"] = Field(description="restore: from an archive to a database table.")
    after: NameList = Field(default=(), description=AFTER, examples=[["customers"]])
    source: ArchiveSource = Field(description="Which archived run, and which of its batches.")
    target: RestoreTarget = Field(description="Connection and table to write to.")
    where: (
        Annotated[
            str | Rules,
            PlainValidator(_where),
            WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}]}),
        ]
        | None
    ) = Field(
        default=None,
        description=(
            "Which rows are restored: rules, or one SQL condition of the target's dialect, over "
            "the archived columns, without variables. Default: all rows of the batches."
        ),
        examples=["carrier = 'UA'"],
    )
    belongs_to: BelongsTo = None
    on_conflict: Literal["error", "ignore", "update"] = Field(
        default="error",
        description=(
            "When the target holds a row of the same key: fail with an error, ignore the archived "
            "row, or update the row to what was archived."
        ),
    )
    workers: int = Field(
        default=1, ge=1, le=32, description="Batches restored at once inside one worker process."
    )
    shards: int = Field(
        default=1, ge=1, le=256, description="Airflow tasks that share the job's batches."
    )
    timeouts: Timeouts = Field(
        default_factory=Timeouts,
        description="How long to wait for locks and statements of the target.",
    )
    check: Annotated[Check | None, BeforeValidator(check_or_none)] = Field(
        default_factory=lambda: Check(percent=100.0),
        description=(
            "How much of what was restored is compared with the archive: {percent: 100}. none "
            "skips the comparison; every object is read by its SHA-256 all the same."
        ),
    )
    max_row_size: RowSize = Field(
        default=64 * 1024**2,
        description="The largest row that may pass; a larger one is an error. From 1KiB to 1GiB.",
        examples=["64MiB"],
    )
    drill: Drill | None = Field(
        default=None,
        description=(
            "Whether archives can be restored is tried: each execution draws one and restores a "
            "sample of it to a new table, whose name begins as target says; when that is proved it "
            "is dropped."
        ),
    )
    report_values: bool = Field(
        default=False,
        description="Show values in difference reports. Default: keys and hashes only.",
    )

    @property
    def purge(self) -> Literal["none", "manual", "system"]:
        """An archive loses nothing by being restored."""
        return "none"

    @property
    def target_table(self) -> str:
        """The table written."""
        return self.target.table

    @model_validator(mode="after")
    def _drilled(self) -> Self:
        source = self.source
        if self.drill is None:
            if source.manifest is None:
                message = "must be given: the key of the archived run's manifest"
                raise invalid_together([Finding(("source", "manifest"), message)])
            return self
        found = [
            Finding(location, f"must not be {shown}: {why}", shown)
            for location, shown, bad, why in (
                (
                    ("source", "batches"),
                    source.batches,
                    source.batches != "all",
                    "drill.percent says how many",
                ),
                (("source", "sha256"), "given", source.sha256 is not None, "a drill draws one"),
                (("on_conflict",), self.on_conflict, self.on_conflict != "error", _EMPTY),
                (("target", "create"), "never", self.target.create == "never", _EMPTY),
                (("check",), "none", self.check is None, "a drill is there to compare"),
            )
            if bad
        ]
        if found:
            raise invalid_together(found)
        return self

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if self.where is None:
            return self
        if not isinstance(self.where, str):
            self._refuse_variables(placeholders(self.where))
            return self
        try:
            parsed = in_any_dialect(parse_where, self.where)
        except SqlError as error:
            excerpt = self.where[error.offset :].split("\n", 1)[0].strip()[:40]
            found = Finding(
                ("where",), error.message, excerpt or self.where, error.suggestion, error.offset
            )
            raise invalid_together([found]) from error
        self._refuse_variables(dict.fromkeys(sorted(parsed.placeholders), ()))
        return self

    def _refuse_variables(self, names: Mapping[str, Location]) -> None:
        found = [
            Finding(
                ("where", *place),
                f"':{name}' stands for nothing here; a restore has no variables",
                self.where if isinstance(self.where, str) else f":{name}",
            )
            for name, place in names.items()
        ]
        if found:
            raise invalid_together(found[:1])


def is_drill(job: object) -> bool:
    """Whether a job restores to a table that is dropped when it is proved."""
    return isinstance(job, RestoreJob) and job.drill is not None
