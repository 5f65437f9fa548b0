"""An S3 job: one table archived to object storage, proved there, and removed from the source."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from dsp_airflow.config.base import Model
from dsp_airflow.config.errors import nearest
from dsp_airflow.config.findings import invalid
from dsp_airflow.config.jobs import Endpoint, Listed, TableJob, Text

PREFIX_NAMES = ("run_date", "logical_date", "data_interval_start", "data_interval_end")
"""Days, as YYYY-MM-DD in UTC."""
DAY = r"\d{4}-\d{2}-\d{2}"
NAMES = (*PREFIX_NAMES, "task", "job")
BUCKET = r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,254}"
LONGEST_PREFIX = 700
"""Of the 1,024 bytes that a key may have."""
_PLACE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


def check_prefix(value: str) -> str:
    """The template as it was given; raises for anything but text and known names."""
    for match in _PLACE.finditer(value):
        if match[1] not in NAMES:
            raise invalid(
                f"knows no {match[1] or 'empty name'!r}; it may name {', '.join(NAMES)}",
                nearest(match[1], NAMES),
            )
    rest = _PLACE.sub("x", value)
    if "{" in rest or "}" in rest:
        raise invalid("has braces that do not hold a name: write them as {{ run_date }}")
    if value != value.strip("/") or "//" in value:
        raise invalid("must not begin or end with a slash, nor have two in a row")
    if any(part in (".", "..") for part in rest.split("/")):
        raise invalid("must not have . or .. as a folder")
    if not rest.isprintable():
        raise invalid("must not have control characters")
    if len(value.encode()) > LONGEST_PREFIX:
        raise invalid(f"must not be longer than {LONGEST_PREFIX} bytes")
    return value


def names_in(prefix: str) -> Iterator[str]:
    """The names a prefix needs values of."""
    for match in _PLACE.finditer(prefix):
        yield match[1]


def resolved_prefix(prefix: str, values: Mapping[str, str]) -> str:
    """The prefix of one run."""
    return _PLACE.sub(lambda match: values[match[1]], prefix)


def _partition(value: str) -> str:
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value) is None:
        raise invalid("must be letters, digits and _, and not begin with a digit")
    if value in ("run", "batch"):
        raise invalid("is what the archive's own folders are called; choose another name")
    return value


def prefixes_like(prefix: str, known: Mapping[str, str]) -> tuple[str, re.Pattern[str]]:
    """What every resolved prefix begins with, and what they all look like.

    ``known`` names have their value; every other one is a day.
    """
    begin, pattern, fixed = "", "", True
    for number, part in enumerate(_PLACE.split(prefix)):
        # Every second part is a name between two texts.
        text = known.get(part) if number % 2 else part
        fixed = fixed and text is not None
        if fixed:
            begin += text or ""
        pattern += DAY if text is None else re.escape(text)
    return begin, re.compile(pattern)


def _bucket(value: str) -> str:
    if re.fullmatch(BUCKET, value) is None:
        raise invalid("is no name of a bucket: letters, digits, dots and hyphens, from 2 to 255")
    return value


BucketName = Annotated[
    str,
    AfterValidator(_bucket),
    WithJsonSchema({"type": "string", "pattern": f"^{BUCKET}$"}),
]


class Partitioning(Model):
    """One level of folders, `name=value`, for each value of an expression over the rows."""

    name: Annotated[str, AfterValidator(_partition)] = Field(
        description="Name of the folders' column: letters, digits and _.", examples=["year"]
    )
    expression: Text = Field(
        description=(
            "One SQL expression of the source's dialect over the columns of the row, whose text "
            "is the value."
        ),
        examples=["extract(year from time_hour)"],
    )


class S3Target(Endpoint):
    """Where an archive goes."""

    bucket: BucketName = Field(
        description="Bucket to write to. It must exist.", examples=["archive"]
    )
    prefix: Annotated[Text, AfterValidator(check_prefix)] = Field(
        description=(
            "Folder in the bucket, for this job alone. It may name {{ run_date }}, "
            "{{ logical_date }}, {{ data_interval_start }} or {{ data_interval_end }} (days, as "
            "2026-12-01), {{ task }} and {{ job }}."
        ),
        examples=["flights/{{ run_date }}"],
    )
    format: Literal["parquet", "csv", "jsonl"] = Field(
        default="parquet",
        description="File format: parquet, csv or jsonl. Each is read back to the last value.",
    )
    compression: Literal["zstd", "gzip", "none"] = Field(
        default="zstd", description="How files are compressed: zstd, gzip or none."
    )
    partitions: Annotated[tuple[Partitioning, ...], Listed] = Field(
        default=(),
        description=(
            "Folders between prefix and run, as Hive and most readers know them: "
            "year=2013/month=7. A batch has one object for each that its rows fall into. Default: "
            "none."
        ),
    )


class S3Job(TableJob):
    """Archives a table to object storage, proves it there, and purges the source if so asked."""

    type: Literal["s3"] = Field(description="s3: from database table to object storage.")
    target: S3Target = Field(description="Connection, bucket and folder to write to.")
    mode: Literal["full", "step"] = Field(
        default="full",
        description=(
            "full: every run archives all rows of the job. step: every run archives the rows of "
            "one step, and the next run those of the next."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _no_files(cls, values: object) -> object:
        if isinstance(values, Mapping) and values.get("gridfs"):
            raise invalid(
                "must not have gridfs: true: buckets of GridFS are copied between MongoDB only, by "
                "a job of type warm; their files are not archived to S3"
            )
        return values


def same_folder(one: S3Job, other: S3Job) -> bool:
    """Whether both write into one folder, whatever the connections are called.

    A folder of the one's partitions may be the other's prefix.
    """
    mine, theirs = (resolved_prefix(job.target.prefix, _shown(job)) for job in (one, other))
    return same_place(one, mine, other, theirs)


def same_place(one: S3Job, mine: str, other: S3Job, theirs: str) -> bool:
    """The same of prefixes that are resolved: two names may turn out to be one day."""
    if one.target.bucket != other.target.bucket:
        return False
    return mine == theirs or _holds(one, mine, theirs) or _holds(other, theirs, mine)


def _holds(job: S3Job, prefix: str, other: str) -> bool:
    names = [partition.name for partition in job.target.partitions]
    return bool(names) and f"{other}/".startswith(f"{prefix}/{names[0]}=")


def _shown(job: Any) -> dict[str, str]:
    return {name: f"<{name}>" for name in NAMES} | {"job": job.name}
