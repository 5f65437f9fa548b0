"""What of its cursor an incremental job reads."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.engine import mapping
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import Column, Plan, Shape, Window
from dsp_airflow.engine.sides import Sides, described
from dsp_airflow.engine.types import INTEGERS

CURSORS = ("timestamp", "timestamptz", "date", "decimal")
"""Types of a cursor, beside the integers."""


def window_of(job: WarmJob, sides: Sides, since: str | None) -> Window:
    """What of the cursor this run reads, frozen now."""
    shape, column = _cursor(job, sides)
    cursor = job.cursor
    if cursor is None:
        raise ValueError(f"job {job.name} has no cursor")
    numbers = column.type.name in INTEGERS or column.type.name == "decimal"
    if isinstance(cursor.overlap, timedelta) == numbers and cursor.overlap:
        wanted = "a number" if numbers else "a duration such as 5m"
        raise ConfigError(
            f"job {job.name}: cursor.overlap must be {wanted}, as {cursor.column} of {shape.table} "
            f"is {column.native}"
        )
    overlap = cursor.overlap or (0 if numbers else timedelta())
    return sides.read.window(shape, column, since, overlap)


def _cursor(job: WarmJob, sides: Sides) -> tuple[Shape, Column]:
    shape = described(job, sides)
    name = job.cursor.column if job.cursor else ""
    column = mapping.column_of(shape, name, f"job {job.name}: cursor")
    if column.type.name not in CURSORS and column.type.name not in INTEGERS:
        raise ConfigError(
            f"job {job.name}: {name} of {shape.table} is {column.native}, which cannot be a "
            "cursor; use a timestamp, a date, a whole number or a decimal"
        )
    return shape, column


def refuse_endless(job: WarmJob, plan: Plan, sides: Sides) -> None:
    """Rows without a cursor stop the run, unless the job says what to do with them."""
    if job.cursor is None or job.cursor.null_cursor != "error":
        return
    _, column = _cursor(job, sides)
    missing = sides.source.dialect.without_cursor(column)
    within = f"({plan.where}) AND {missing}" if plan.where is not None else missing
    if sides.read.holds_rows(replace(plan.source, where=within)):
        raise ConfigError(
            f"job {job.name}: {plan.source.label} has rows whose {column.name} is NULL or not "
            "finite, so no run would know that they are new; give them a value, or set "
            "cursor.null_cursor to include or exclude"
        )
