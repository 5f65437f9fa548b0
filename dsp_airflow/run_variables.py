"""The variables of a run: every one gets its value once, when the run begins."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.config.tasks import Job as AnyJob
from dsp_airflow.config.tasks import Task
from dsp_airflow.config.variables import TimeVariable, resolve_variables
from dsp_airflow.naming import END, names_of, variables_above


@dataclass(frozen=True, slots=True)
class Interval:
    """What Airflow knows of a scheduled run's time; all ``None`` for a run by hand."""

    start: datetime | None = None
    end: datetime | None = None
    logical_date: datetime | None = None


def resolved_variables(task: Task, job: AnyJob, now: datetime, when: Interval) -> dict[str, Any]:
    """A job's variables in one execution, and the names that it gives the target."""

    def resolve(variables: Mapping[str, Any]) -> dict[str, Any]:
        return dict(
            resolve_variables(
                variables,
                now=now,
                data_interval_start=when.start,
                data_interval_end=when.end,
                logical_date=when.logical_date,
            )
        )

    if isinstance(job, RestoreJob):
        return {}
    found = {
        **resolve(job.variables),
        **names_of(task, job, resolve),
        **variables_above(task, job, resolve),
    }
    if job.step is not None and job.step.is_timed:
        end = TimeVariable("now") if job.step.end is None else job.step.end
        found |= resolve({END: end}) if isinstance(end, TimeVariable) else {}
    return found


def packed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Variable values for JSON; dates keep their kind."""

    def pack(value: Any) -> Any:
        if isinstance(value, datetime):
            return {"datetime": value.isoformat()}
        if isinstance(value, date):
            return {"date": value.isoformat()}
        if isinstance(value, float) and not math.isfinite(value):
            return {"float": repr(value)}
        return value

    return {name: pack(value) for name, value in values.items()}


def unpacked(values: Mapping[str, Any]) -> dict[str, Any]:
    """What ``packed`` was given."""

    def unpack(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        ((kind, text),) = value.items()
        kinds: dict[str, Callable[[str], Any]] = {
            "datetime": datetime.fromisoformat,
            "date": date.fromisoformat,
            "float": float,
        }
        return kinds[kind](text)

    return {name: unpack(value) for name, value in values.items()}
