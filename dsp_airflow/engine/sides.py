"""Both ends of a job, while it is planned."""

from __future__ import annotations

from dataclasses import dataclass

from dsp_airflow.config.jobs import TableJob
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import Shape
from dsp_airflow.engine.ports import Session, Store


@dataclass(frozen=True, slots=True)
class Sides:
    """What planning works with: both stores, an open session to each."""

    source: Store
    target: Store
    read: Session
    write: Session


def described(job: TableJob, sides: Sides) -> Shape:
    """The source table's shape; ``ConfigError`` with near names when it is not there."""
    shape = sides.read.describe(job.source.table)
    if shape is None:
        close = sides.read.nearest(job.source.table)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ConfigError(
            f"job {job.name}: connection {sides.source.name} ({sides.source.identity}) has no "
            f"table {job.source.table}{hint}"
        )
    return shape
