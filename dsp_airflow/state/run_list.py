"""Lists of runs, page by page. What they are sorted and chosen by stands in columns."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from sqlalchemy import ColumnElement, Connection, func, select

from dsp_airflow.state.records import Run, RunState
from dsp_airflow.state.runs import run_of
from dsp_airflow.state.tables import RUNS

Order: TypeAlias = Literal["created_at", "started_at", "ended_at", "task", "state"]


@dataclass(frozen=True, slots=True)
class WantedRuns:
    """All runs that fit everything that is given.

    ``dags``: of these alone. ``dag``: of this one too. ``dag_run``: of this run of it, as Airflow
    calls it. ``type``: with a job of this type. ``name``: a part of the task's name or of the run's
    id. ``since`` and ``until``: begun then, or between.
    """

    dags: Collection[str] | None = None
    task: str | None = None
    dag: str | None = None
    dag_run: str | None = None
    type: str | None = None
    states: Collection[RunState] = ()
    name: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def dags_with_runs(connection: Connection) -> set[str]:
    """Every DAG that has a run, so that somebody can say whose readers may see which."""
    return set(connection.execute(select(RUNS.c.dag).distinct()).scalars())


def latest_runs(connection: Connection, tasks: Collection[str]) -> dict[str, Run]:
    """The youngest run of each of these tasks; none of those that have had none."""
    place = func.row_number().over(
        partition_by=RUNS.c.task, order_by=(RUNS.c.created_at.desc(), RUNS.c.id.desc())
    )
    placed = (
        select(RUNS.c.id, place.label("place")).where(RUNS.c.task.in_(sorted(tasks))).subquery()
    )
    query = select(RUNS).join(placed, placed.c.id == RUNS.c.id).where(placed.c.place == 1)
    return {row.task: run_of(row) for row in connection.execute(query)}


def runs_page(
    connection: Connection,
    wanted: WantedRuns,
    *,
    limit: int,
    offset: int = 0,
    order: Order = "created_at",
    descending: bool = True,
) -> tuple[list[Run], int]:
    """A page of the runs that are wanted, and how many there are in all."""
    conditions = _conditions(wanted)
    total = connection.execute(
        select(func.count()).select_from(RUNS).where(*conditions)
    ).scalar_one()
    keys: list[Any] = [RUNS.c[order], RUNS.c.id]
    if order != "created_at":
        keys.insert(1, RUNS.c.created_at)
    query = (
        select(RUNS)
        .where(*conditions)
        .order_by(*(key.desc() if descending else key for key in keys))
        .limit(limit)
        .offset(offset)
    )
    return [run_of(row) for row in connection.execute(query)], total


def _conditions(wanted: WantedRuns) -> list[ColumnElement[bool]]:
    its, found = RUNS.c, list[ColumnElement[bool]]()
    if wanted.dags is not None:
        found.append(its.dag.in_(sorted(wanted.dags)))
    if wanted.task is not None:
        found.append(its.task == wanted.task)
    if wanted.dag is not None:
        found.append(its.dag == wanted.dag)
    if wanted.dag_run is not None:
        key = f"{wanted.dag}/{wanted.dag_run}"
        found.append(
            (its.external_key == key) | its.external_key.startswith(f"{key}/", autoescape=True)
        )
    if wanted.type is not None:
        found.append(its.types.contains(wanted.type, autoescape=True))
    if wanted.states:
        found.append(its.state.in_(sorted(wanted.states)))
    if wanted.name is not None:
        found.append(
            its.task.icontains(wanted.name, autoescape=True)
            | its.id.icontains(wanted.name, autoescape=True)
        )
    if wanted.since is not None:
        found.append(its.created_at >= wanted.since)
    if wanted.until is not None:
        found.append(its.created_at < wanted.until)
    return found
