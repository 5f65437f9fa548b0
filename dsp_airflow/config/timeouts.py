"""How long a job waits for databases."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema

from dsp_airflow.config.base import Model
from dsp_airflow.config.findings import invalid
from dsp_airflow.config.scalars import parse_duration

LONGEST_WAIT = timedelta(days=24)
"""Databases count milliseconds in 31 bits."""
DURATION_SCHEMA = {"type": "string", "pattern": "^[0-9]+(s|m|h|d|w)$"}


def _wait(value: object) -> timedelta:
    wait = parse_duration(value)
    if not timedelta() < wait <= LONGEST_WAIT:
        raise invalid("must be longer than 0s and at most 24d")
    return wait


class Timeouts(Model):
    """How long one session of the job waits, in source and target alike."""

    lock: Annotated[timedelta, PlainValidator(_wait), WithJsonSchema(DURATION_SCHEMA)] = Field(
        default=timedelta(seconds=30),
        description=(
            "How long to wait for a lock that somebody else holds, such as 5s. After that the "
            "batch is tried again, twice; then the step fails and is retried."
        ),
        examples=["5s"],
    )
    statement: Annotated[
        timedelta | None, PlainValidator(_wait), WithJsonSchema(DURATION_SCHEMA)
    ] = Field(
        default=None,
        description=(
            "How long one statement may take, such as 10m: reading, writing, comparing or "
            "deleting a batch, and cutting the table into batches. Default: as long as it does."
        ),
        examples=["10m"],
    )
