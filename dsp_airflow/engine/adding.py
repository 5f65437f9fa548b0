"""Columns that a target lacks and is to get: ``drift: add-columns``. Nothing else of it changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.engine import mapping
from dsp_airflow.engine.errors import Denied, Refused
from dsp_airflow.engine.mapping import Entry
from dsp_airflow.engine.model import Column, Plan, Projection, Shape
from dsp_airflow.engine.sides import Sides


@runtime_checkable
class AddsColumns(Protocol):
    """A session that can add columns to a table."""

    def design_columns(
        self, table: Shape, columns: Sequence[Column]
    ) -> tuple[tuple[Column, ...], tuple[str, ...]]:
        """The columns as they would be, and the DDL that adds them; writes nothing."""
        ...

    def adding_refusals(self, table: Shape) -> list[str]:
        """What keeps this role from that."""
        ...

    def add_columns(self, table: str, ddl: Sequence[str]) -> None:
        """Adds those that are not there yet; safe when several workers do it at once."""
        ...


def completed(
    job: WarmJob, sides: Sides, entries: Sequence[Entry], there: Shape, key: Sequence[str]
) -> tuple[Shape, tuple[str, ...]]:
    """The target with the columns that it lacks, and the DDL for them."""
    asked = job.drift == "add-columns" and job.columns is None and job.mode != "replace"
    lacking = [e for e in entries if there.column(e.target) is None]
    if not asked or not lacking or there.open or any(e.target in key for e in lacking):
        return there, ()
    names = ", ".join(e.target for e in lacking)
    if not isinstance(sides.write, AddsColumns):
        raise Refused(f"job {job.name}: {sides.target.system} adds no columns ({names})")
    why = sides.write.adding_refusals(there)
    if why:
        raise Denied(f"job {job.name}: {there.table} lacks {names}: {'; '.join(why)}")
    alike = sides.source.system == sides.target.system
    # Rows that stand there already have no value for them.
    columns = [
        replace(mapping.designed(e, sides.target.dialect, alike=alike, key=False), nullable=True)
        for e in lacking
    ]
    made, ddl = sides.write.design_columns(there, columns)
    return replace(there, columns=(*there.columns, *made)), ddl


def seen(what: Projection, standing: Shape) -> Projection:
    """Of the target what is there now."""
    fields = tuple(f for f in what.fields if standing.column(f.column) is not None)
    return replace(what, fields=fields)


def told(there: Shape, adds: Sequence[str]) -> list[str]:
    """What an operator should know of it."""
    return [f"{there.table} gets what it lacks: {statement}" for statement in adds]


def expected(plan: Plan, shape: Shape) -> Shape:
    """The target as it will be once it has what it was planned to get."""
    planned = plan.target_shape
    lacking = [c for c in planned.columns if shape.column(c.name) is None]
    here = planned.columns[: len(shape.columns)]
    if not plan.adds or [c.name for c in here] != [c.name for c in shape.columns]:
        return shape
    return replace(shape, columns=(*shape.columns, *lacking))


def add(session: object, plan: Plan) -> None:
    """Before the first batch."""
    if plan.adds and isinstance(session, AddsColumns):
        session.add_columns(plan.target.table, plan.adds)
