"""What an incremental job goes by: a column that tells which rows are new."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, PlainValidator, WithJsonSchema

from dsp_airflow.config.base import Model
from dsp_airflow.config.findings import invalid
from dsp_airflow.config.scalars import parse_duration

Overlap: TypeAlias = timedelta | int
Mode: TypeAlias = Annotated[
    Literal["full", "incremental", "step", "replace"],
    Field(
        description=(
            "full: every run copies all rows of the job. incremental: every run copies the rows "
            "whose cursor moved since the last run that was copied and checked; an S3 job archives "
            "them in a folder of their own. step: every run copies the rows of one step, and the "
            "next run those of the next. Rows deleted in the source stay in the target, unless "
            "delete_missing says otherwise. replace, of warm jobs: every run builds the table anew "
            "beside the target, checks it, and puts it in the target's place in one step: what the "
            "target held before is gone."
        ),
    ),
]


def _overlap(value: object) -> Overlap:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str | timedelta):
        return parse_duration(value)
    raise invalid("must be a duration such as 5m, or a number for a cursor of numbers", "5m")


class Cursor(Model):
    """How an incremental job knows what is new."""

    column: Annotated[str, Field(min_length=1)] = Field(
        description=(
            "Source column that grows with every insert and update: a timestamp, a date, a number, "
            "a uuid of version 7, or a text that sorts so. Of MongoDB's documents the path of a "
            "field, which may also hold a Timestamp or an ObjectId; of a bucket of GridFS "
            "uploadDate. An index on it keeps a run as short as what is new."
        ),
        examples=["updated_at"],
    )
    overlap: Annotated[
        Overlap,
        PlainValidator(_overlap),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "pattern": "^[0-9]{1,12}(s|m|h|d|w)$"},
                    {"type": "integer", "minimum": 0},
                ]
            }
        ),
    ] = Field(
        default=0,
        description=(
            "How far before the last run's end the next one reads again, for rows that were "
            "committed late: longer than the longest transaction that writes, and than clocks go "
            "wrong. A duration, or a number for a cursor of numbers; texts have none."
        ),
        examples=["5m"],
    )
    null_cursor: Literal["error", "include", "exclude"] = Field(
        default="error",
        description=(
            "Rows whose cursor is NULL or infinite, and documents that have none. error: the run "
            "stops and says so. include: every run copies them all. exclude: none does."
        ),
    )
