"""What of its column a job in ``mode: step`` reads in this run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from dsp_airflow.config.jobs import TableJob
from dsp_airflow.config.stepping import Point, point_text
from dsp_airflow.config.stepping import Step as Wanted
from dsp_airflow.config.variables import TimeVariable
from dsp_airflow.engine import mapping
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import KeyRange, Plan, Projection, Shape
from dsp_airflow.engine.ports import Dialect, Session
from dsp_airflow.engine.sides import Sides, described
from dsp_airflow.engine.step import Bound, OutOfReachError, Scale, Step, Steps
from dsp_airflow.engine.types import INTEGERS

_SCALES: Final[Mapping[str, Scale]] = {
    **dict.fromkeys((*INTEGERS, "decimal"), "number"),
    "date": "date",
    "timestamp": "timestamp",
    "timestamptz": "timestamptz",
}
_BSON: Final[Mapping[Scale, str]] = {"number": "number", "timestamptz": "date"}
"""Types of MongoDB that a query compares with a bound."""


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a job stands that goes by steps."""

    bound: str | None = None
    """Where the last step that is through ended; ``None`` before the first."""
    start: str | None = None
    """What ``step.start`` was then."""
    end: Point | None = None
    """What ``step.end`` is in this run, where that is a time relative to it."""
    step: Step | None = None
    """The step itself, where that was decided before."""


def steps_of(job: TableJob, wanted: Wanted, shape: Shape, dialect: Dialect) -> Steps:
    """The steps through the column. ``ConfigError`` when its type is none for them."""
    scale: Scale = "timestamptz" if wanted.is_timed else "number"
    if not dialect.documents:
        column = mapping.column_of(shape, wanted.column, f"job {job.name}: step")
        found = _SCALES.get(column.type.name)
        if found is None:
            raise ConfigError(
                f"job {job.name}: {wanted.column} of {shape.table} is {column.native}, through "
                "which there are no steps; use a time, a date, a whole number or a decimal"
            )
        if (found == "number") == wanted.is_timed:
            kind = "an amount of time" if wanted.is_timed else "a number"
            raise ConfigError(
                f"job {job.name}: step.size is {kind}, and {wanted.column} of {shape.table} is "
                f"{column.native}"
            )
        scale = found
        _refuse_parts(job, wanted, column.type.name, f"{shape.table} is {column.native}")
    steps = Steps(scale, wanted.size, wanted.zone)
    for name, point in (("start", wanted.start), ("end", wanted.end)):
        if isinstance(point, TimeVariable) or point is None:
            continue
        try:
            steps.limit(point) if name == "end" else steps.at(point)
        except ValueError as error:
            raise ConfigError(
                f"job {job.name}: step.{name}: {point_text(point)}: {error}, as {wanted.column} of "
                f"{shape.table} has a {scale}"
            ) from error
    return steps


def _refuse_parts(job: TableJob, wanted: Wanted, kind: str, told: str) -> None:
    """A column of whole numbers or days has nothing between two of them."""
    numbers = [n for n in (wanted.start, wanted.size.amount) if not isinstance(n, int)]
    if kind in INTEGERS and numbers:
        raise ConfigError(
            f"job {job.name}: step.start and step.size must be whole numbers, as {wanted.column} "
            f"of {told}"
        )
    if kind == "date" and wanted.size.unit in ("s", "m", "h"):
        raise ConfigError(
            f"job {job.name}: step.size must be in d, w, M or y, as {wanted.column} of {told}"
        )


def step_of(job: TableJob, sides: Sides, stand: Stand) -> Step | None:
    """The step of this run; ``None`` for a job that goes by none."""
    wanted = job.step
    if wanted is None or stand.step is not None:
        return stand.step
    shape = described(job, sides)
    steps = steps_of(job, wanted, shape, sides.source.dialect)
    try:
        begin = steps.at(wanted.start) if stand.bound is None else steps.read(stand.bound)
        end = steps.after(begin)
        beyond = steps.text(steps.after(end))
    except OutOfReachError as error:
        raise ConfigError(f"job {job.name}: {error}; there are no more steps") from error
    except ValueError as error:
        raise ConfigError(
            f"job {job.name}: the last step ended at {stand.bound}, and {wanted.column} of "
            f"{shape.table} has a {steps.scale} now ({error}); set where the next one begins: dsp "
            "cursor FILE --set"
        ) from error
    return Step(
        column=wanted.column,
        at_least=steps.text(begin),
        below=steps.text(end),
        next_below=beyond,
        since=stand.bound,
        waits=_waits(wanted, stand, steps, end, sides, shape),
    )


def _waits(
    wanted: Wanted, stand: Stand, steps: Steps, end: Bound, sides: Sides, shape: Shape
) -> str:
    """Why a step that ends there is not taken yet."""
    limit = stand.end
    if limit is None and not isinstance(wanted.end, TimeVariable):
        limit = wanted.end
    if limit is not None:
        last = steps.limit(limit)
        if not steps.exceeds(end, last):
            return ""
        told = "now" if wanted.end is None else point_text(wanted.end)
        shown = told if limit is wanted.end else f"{steps.text(last)} ({told})"
        return f"it would go beyond its end, {shown}"
    # Numbers that are given out later still fall into it, until one beyond it is there.
    dialect = sides.source.dialect
    reached = _compared(dialect, wanted.column, {">=": steps.value(end)})
    if _holds(sides.read, dialect, shape, reached):
        return ""
    return f"no row has reached {steps.text(end)}, so that more may come; set step.end to take it"


def narrowed(where: str | None, job: TableJob, shape: Shape, dialect: Dialect, step: Step) -> str:
    """A condition, rendered, and that a row is in the step."""
    if job.step is None:
        raise ValueError(f"job {job.name} goes by no steps")
    steps = steps_of(job, job.step, shape, dialect)
    begin, end = (steps.value(steps.read(text)) for text in (step.at_least, step.below))
    return _both(dialect, where, _compared(dialect, step.column, {">=": begin, "<": end}))


def _compared(dialect: Dialect, column: str, bounds: Mapping[str, object]) -> str:
    """A condition of the source's system; of documents a query, in extended JSON."""
    if dialect.documents:
        signs = {">=": "$gte", "<": "$lt"}
        compared = {signs[s]: json.loads(dialect.literal(v)) for s, v in bounds.items()}
        return json.dumps({column: compared})
    name = dialect.quote(column)
    return " AND ".join(f"{name} {sign} {dialect.literal(v)}" for sign, v in bounds.items())


def _both(dialect: Dialect, one: str | None, other: str) -> str:
    if one is None:
        return other
    if dialect.documents:
        return json.dumps({"$and": [json.loads(one), json.loads(other)]})
    return f"({one}) AND ({other})"


def warnings(
    job: TableJob, plan: Plan, session: Session, dialect: Dialect, stand: Stand
) -> list[str]:
    """What an operator should know: rows that no step takes, and what was edited."""
    wanted, step, shape = job.step, plan.step, plan.source_shape
    if wanted is None or step is None:
        return []
    found = []
    steps = steps_of(job, wanted, shape, dialect)
    if stand.start is not None and stand.start != point_text(wanted.start):
        found.append(
            f"step.start was {stand.start} and is {point_text(wanted.start)}, which counts for a "
            f"first step only: the next one begins at {step.at_least}, where the last one ended. "
            "dsp cursor FILE --set begins elsewhere"
        )
    if shape.indexed is None or wanted.column not in shape.indexed:
        return found
    without = _without(shape, wanted.column, dialect, steps.scale)
    if without is not None and (rows := _count(session, plan, _both(dialect, plan.where, without))):
        kind = "no such value" if dialect.documents else "NULL or not finite"
        found.append(f"{rows:,} rows are in no step: their {wanted.column} is {kind}")
    start = steps.value(steps.at(wanted.start))
    before = _compared(dialect, wanted.column, {"<": start})
    if stand.bound is None:
        if session.holds_rows(replace(plan.source, where=_both(dialect, plan.where, before))):
            found.append(
                f"there are rows whose {wanted.column} is before step.start, "
                f"{point_text(wanted.start)}: they are in no step"
            )
    elif job.purge == "system":
        behind = _compared(
            dialect, wanted.column, {">=": start, "<": steps.value(steps.read(step.at_least))}
        )
        if rows := _count(session, plan, _both(dialect, plan.where, behind)):
            found.append(
                f"{rows:,} rows stand behind the steps that are through, where all were deleted: "
                f"they came late, or changed their {wanted.column}. dsp cursor FILE --set begins "
                "before them"
            )
    return found


def _without(shape: Shape, column: str, dialect: Dialect, scale: Scale) -> str | None:
    """Condition of the rows that are in no step; ``None`` where there can be none."""
    if dialect.documents:
        return json.dumps({column: {"$not": {"$type": _BSON[scale]}}})
    found = shape.column(column)
    return None if found is None else dialect.without_cursor(found)


def _count(session: Session, plan: Plan, where: str) -> int:
    return session.count(replace(plan.source, where=where), KeyRange())


def _holds(session: Session, dialect: Dialect, shape: Shape, where: str) -> bool:
    table = dialect.qualified(shape)
    return session.holds_rows(Projection(table, shape.table, (), (), where=where))


def told(job: str, step: Step) -> str:
    """A line of the run's log."""
    if step.waits:
        return f"Job {job}: nothing to do: the next step, {step}, waits: {step.waits}"
    return f"Job {job}: this step: {step}"
