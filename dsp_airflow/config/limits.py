"""What of a server's load a job waits for."""

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
from dsp_airflow.config.scalars import parse_duration
from dsp_airflow.config.timeouts import DURATION_SCHEMA


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _at_most(value: object) -> object:
    """A duration alone is the most that replication may be behind."""
    if value is None or isinstance(value, dict | ReplicaLag):
        return value
    return {"max": parse_duration(value)}


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
