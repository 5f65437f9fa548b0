"""What of its cursor an incremental job reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from dsp_airflow.config.jobs import TableJob
from dsp_airflow.engine import mapping
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import Column, LogicalType, Plan, Shape, Window
from dsp_airflow.engine.ports import Dialect, FindsCursors
from dsp_airflow.engine.sides import Sides, described
from dsp_airflow.engine.types import INTEGERS

NUMBERS: Final = frozenset([*INTEGERS, "decimal", "float64"])
MOMENTS: Final = frozenset(["timestamp", "timestamptz", "date", "uuid", "objectid"])
"""Types whose values tell a time; uuids and ObjectIds have it in front."""
TEXTS: Final = frozenset(["string"])


def window_of(
    job: TableJob, sides: Sides, variables: Mapping[str, Any], since: str | None
) -> Window:
    """What of the cursor this run reads, frozen now. ``variables`` are resolved."""
    if job.cursor is None:
        raise ValueError(f"job {job.name} has no cursor")
    dialect = sides.source.dialect
    shape = described(job, sides)
    where = mapping.rendered_filter(job, shape, dialect, variables)
    column = _cursor(job, sides, shape, since, where)
    _refuse_overlap(job, shape, column, job.cursor.overlap)
    overlap = job.cursor.overlap or (timedelta() if column.type.name in MOMENTS else 0)
    return sides.read.window(shape, column, since, overlap)


def column_of(shape: Shape, name: str, dialect: Dialect, why: str) -> Column:
    """The cursor, of which a collection tells no more than the name."""
    if not dialect.documents:
        return mapping.column_of(shape, name, why)
    parts = name.split(".")
    if any(not part or part.startswith("$") or part.isdecimal() for part in parts):
        raise ConfigError(
            f"{why}: {name!r} is no path of fields, each inside of the one before: write updated, "
            "or meta.updated"
        )
    return Column(name, LogicalType("other", identity="bson"), "bson")


def _cursor(
    job: TableJob, sides: Sides, shape: Shape, since: str | None, where: str | None
) -> Column:
    """The cursor at its type; ``ConfigError`` for one that does not tell what is new."""
    name = job.cursor.column if job.cursor else ""
    column = column_of(shape, name, sides.source.dialect, f"job {job.name}: cursor")
    if isinstance(sides.read, FindsCursors):
        return sides.read.cursor_column(shape, name, since, where)
    if column.type.name not in MOMENTS | NUMBERS | TEXTS:
        raise ConfigError(
            f"job {job.name}: {name} of {shape.table} is {column.native}, which cannot be a "
            "cursor; use a timestamp, a date, a number, a uuid of version 7 or a text"
        )
    return column


def _refuse_overlap(job: TableJob, shape: Shape, column: Column, overlap: timedelta | int) -> None:
    if not overlap:
        return
    wrong = ""
    if column.type.name in TEXTS:
        wrong = "must be left out"
    elif column.type.name in NUMBERS and isinstance(overlap, timedelta):
        wrong = "must be a number"
    elif column.type.name in MOMENTS and not isinstance(overlap, timedelta):
        wrong = "must be a duration such as 5m"
    if wrong:
        raise ConfigError(
            f"job {job.name}: cursor.overlap {wrong}, as {column.name} of {shape.table} is "
            f"{column.native}"
        )


def moved(job: TableJob, shape: Shape, dialect: Dialect, window: Window, where: str | None) -> str:
    """The condition of the rows that this run reads; ``where`` is the job's own."""
    if job.cursor is None:
        raise ValueError(f"job {job.name} has no cursor")
    column = column_of(shape, window.column, dialect, f"job {job.name}: cursor")
    endless = job.cursor.null_cursor == "include"
    return _both(dialect, where, dialect.in_window(column, window, endless=endless))


def _both(dialect: Dialect, where: str | None, other: str) -> str:
    if where is None:
        return other
    if dialect.documents:
        return json.dumps({"$and": [json.loads(where), json.loads(other)]})
    return f"({where}) AND ({other})"


def refuse_endless(job: TableJob, plan: Plan, sides: Sides) -> None:
    """Rows without a cursor stop the run, unless the job says what to do with them."""
    if job.cursor is None or plan.window is None:
        return
    column = _cursor(job, sides, plan.source_shape, plan.window.upto, plan.where)
    if isinstance(sides.read, FindsCursors):
        found = sides.read.of_other_types(replace(plan.source, where=plan.where), column)
        if found:
            told = ", ".join(f"{count:,} are of type {kind}" for kind, count in found.items())
            raise ConfigError(
                f"job {job.name}: values of {column.name} in {plan.source.label} are of several "
                f"types, and no run would know which are new: beside those of type "
                f"{column.native} {told}; make them one type, or leave the others out with where"
            )
    if job.cursor.null_cursor != "error":
        return
    missing = _both(sides.source.dialect, plan.where, sides.source.dialect.without_cursor(column))
    if sides.read.holds_rows(replace(plan.source, where=missing)):
        raise ConfigError(
            f"job {job.name}: {plan.source.label} has rows whose {column.name} is NULL or not "
            "finite, so no run would know that they are new; give them a value, or set "
            "cursor.null_cursor to include or exclude"
        )


def warnings_of(window: Window | None) -> list[str]:
    """What an operator should know of where a cursor stands."""
    if window is None or window.end == window.upto:
        return []
    ahead = f"{window.column} goes up to {window.upto}, which the source's clock has not reached"
    return [f"{ahead}: rows beyond {window.end} are read again by every run until it has"]
