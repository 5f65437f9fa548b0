"""What a job waits for before it begins a batch: loaded servers, its own rate, the time of day."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import CoreSchema

from dsp_airflow.config.base import Model
from dsp_airflow.config.findings import invalid
from dsp_airflow.config.hours import WINDOW_PATTERN, DailyWindow, parse_window
from dsp_airflow.config.scalars import parse_duration, parse_size
from dsp_airflow.config.timeouts import DURATION_SCHEMA


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _at_most(value: object) -> object:
    """A duration alone is the most that replication may be behind."""
    if value is None or isinstance(value, dict | ReplicaLag):
        return value
    return {"max": parse_duration(value)}


def _bytes_per_second(value: object) -> int:
    size = parse_size(value)
    if size < 1:
        raise invalid("must be at least 1B")
    return size


class _OrDuration:
    """In the JSON Schema."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [DURATION_SCHEMA, handler(core_schema)]}


class ReplicaLag(Model):
    """How far replication may be behind, and where that is asked."""

    max: Annotated[timedelta, PlainValidator(parse_duration), WithJsonSchema(DURATION_SCHEMA)] = (
        Field(description="How far replication may be behind, such as 10s.", examples=["10s"])
    )
    connections: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_listed)
    ] = Field(
        default=(),
        description=(
            "Airflow connections to the replicas that are asked. Default: the job's source and "
            "target, as far as they are replicas themselves."
        ),
        examples=[["shop_replica"]],
    )


class Limits(Model):
    """Above these a job begins no batch: it waits, and goes on when they are kept again."""

    rows_per_second: int | None = Field(
        default=None,
        ge=1,
        description=(
            "How many rows all workers and shards of the job may copy, compare or delete in a "
            "second, on average. Default: as many as they can."
        ),
        examples=[20000],
    )
    bytes_per_second: Annotated[
        int | None,
        PlainValidator(lambda value: None if value is None else _bytes_per_second(value)),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "pattern": "^[0-9]+(B|kB|MB|GB|KiB|MiB|GiB)$"},
                    {"type": "integer", "minimum": 1},
                ]
            }
        ),
    ] = Field(
        default=None,
        description=(
            "The same in bytes, such as 50MiB, by the size of the rows that the plan estimated; "
            "once a batch is copied, by what it had."
        ),
        examples=["50MiB"],
    )
    window: Annotated[
        DailyWindow | None,
        PlainValidator(lambda value: None if value is None else parse_window(value)),
        WithJsonSchema({"type": "string", "pattern": WINDOW_PATTERN}),
    ] = Field(
        default=None,
        description=(
            "The time of day in which batches may begin, such as 22:00-06:00, in UTC or in the "
            "time zone that follows. Default: at any time."
        ),
        examples=["22:00-06:00 Europe/Vienna"],
    )
    replica_lag: Annotated[
        ReplicaLag | None,
        BeforeValidator(_at_most),
        _OrDuration(),
    ] = Field(
        default=None,
        description=(
            "How far replicas of MySQL or MariaDB may be behind: 10s, or {max: 10s, connections: "
            "[shop_replica]}. What is not known, as where replication has stopped, counts as too "
            "far."
        ),
        examples=["10s"],
    )
    threads_running: int | None = Field(
        default=None,
        ge=1,
        description=(
            "How many threads may run (Threads_running) on the servers of MySQL or MariaDB that "
            "the job reads and writes."
        ),
        examples=[50],
    )
