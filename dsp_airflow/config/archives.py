"""An S3 job: one table archived to object storage, proved there, and removed from the source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from dsp_airflow.config import templates
from dsp_airflow.config.base import Model
from dsp_airflow.config.findings import invalid
from dsp_airflow.config.jobs import Endpoint, Listed, TableJob, Text

BUCKET = r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,254}"
LONGEST_PREFIX = 700
"""Of the 1,024 bytes that a key may have."""


def check_prefix(value: str) -> str:
    """The template as it was given; raises for anything but text and known names."""
    sample = templates.check_prefix_places(value)
    if sample != sample.strip("/") or "//" in sample:
        raise invalid("must not begin or end with a slash, nor have two in a row")
    if any(part in (".", "..") for part in sample.split("/")):
        raise invalid("must not have . or .. as a folder")
    if not sample.isprintable():
        raise invalid("must not have control characters")
    if len(value.encode()) > LONGEST_PREFIX:
        raise invalid(f"must not be longer than {LONGEST_PREFIX} bytes")
    return value


def _partition(value: str) -> str:
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value) is None:
        raise invalid("must be letters, digits and _, and not begin with a digit")
    if value in ("run", "batch"):
        raise invalid("is what the archive's own folders are called; choose another name")
    return value


def prefixes_like(prefix: str, known: Mapping[str, str]) -> tuple[str, re.Pattern[str]]:
    """What every resolved prefix begins with, and what they all look like.

    ``known`` words have their value; every other place is a time.
    """
    begin, pattern, fixed = "", "", True
    for piece in templates.pieces(prefix):
        text = piece if isinstance(piece, str) else known.get(str(piece.what))
        fixed = fixed and text is not None
        if fixed:
            begin += text or ""
        pattern += re.escape(text) if text is not None else piece.like  # type: ignore[union-attr]
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
            "Folder in the bucket, for this job alone. It may hold times as variables have them, "
            "{{ run_date }} or {{ now-90d:%Y/%m }} (days as 2026-12-01 unless a form says "
            "otherwise: %Y, %m, %d, %H, %M, %S, %j, %G, %V), {{ task }} and {{ job }}."
        ),
        examples=["flights/{{ run_date }}", "flights/{{ data_interval_start:%Y/%m }}"],
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
    name_mode: Literal["keep", "newest", "id_and_filename"] | None = Field(
        default=None,
        description=(
            "With gridfs: true, how the objects of files are named below the run's folder. "
            "id_and_filename: by the file's name with its id before it, so that every file has an "
            "object. keep: by the name alone; of files of one name the one uploaded first is "
            "archived. newest: the one uploaded last is. The others stay in the source, are not "
            "purged, and are told of. Default: id_and_filename."
        ),
    )


class S3Job(TableJob):
    """Archives a table to object storage, proves it there, and purges the source if so asked."""

    type: Literal["s3"] = Field(description="s3: from database table to object storage.")
    target: S3Target = Field(description="Connection, bucket and folder to write to.")
    gridfs: bool = Field(
        default=False,
        description=(
            "Of MongoDB: the table is a bucket of GridFS, and every file becomes an object. where "
            "is a query document over the bucket's files."
        ),
    )

    @property
    def name_mode(self) -> str:
        """How objects of files are named; empty where rows are archived."""
        return (self.target.name_mode or "id_and_filename") if self.gridfs else ""


def same_folder(one: S3Job, other: S3Job) -> bool:
    """Whether both write into one folder, whatever the connections are called.

    A folder of the one's partitions may be the other's prefix.
    """
    mine, theirs = (_shown(job) for job in (one, other))
    return same_place(one, mine, other, theirs)


def same_place(one: S3Job, mine: str, other: S3Job, theirs: str) -> bool:
    """The same of prefixes that are resolved: two names may turn out to be one day."""
    if one.target.bucket != other.target.bucket:
        return False
    return mine == theirs or _holds(one, mine, theirs) or _holds(other, theirs, mine)


def _holds(job: S3Job, prefix: str, other: str) -> bool:
    names = [partition.name for partition in job.target.partitions]
    return bool(names) and f"{other}/".startswith(f"{prefix}/{names[0]}=")


def _shown(job: S3Job) -> str:
    """The prefix with its places by their names."""
    found = templates.pieces(job.target.prefix)
    return "".join(job.name if str(piece) == "{{ job }}" else str(piece) for piece in found)
