"""What the jobs of a run are held to, and changing that while they work."""

from __future__ import annotations

from typing import Any

from fastapi import HTTPException

from dsp_airflow.limits import CHANGEABLE, limit_value, limits_now
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.limit_changes import LimitChanges
from dsp_airflow.state.records import Run
from dsp_airflow.web.api.runs import visible
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document, Moment, Number
from dsp_airflow.web.routing import router
from dsp_airflow.web.users import Acting, Actor, owner_of

routes = router("limits")


class JobLimits(Document):
    """What a job is held to now; null is no limit."""

    job: str
    rows_per_second: Number | None
    bytes_per_second: Number | str | None
    window: str | None


class LimitChange(Document):
    """What somebody set in place of the file's limits."""

    job: str | None
    """Null: every job."""
    limits: dict[str, Any]
    """Empty: the file's hold again."""
    changed_by: str | None
    changed_at: Moment


class RunLimits(Document):
    """The limits of a run's jobs."""

    limits: list[JobLimits]
    changes: list[LimitChange]


class NewLimits(Document):
    """What is to change; what is left out stays, and null is no limit."""

    job: str | None = None
    """Without it every job, except for what was changed for single ones."""
    rows_per_second: int | None = None
    bytes_per_second: int | str | None = None
    """Such as `50MiB`."""
    window: str | None = None
    """Such as `22:00-06:00 Europe/Vienna`."""


@routes.get("/runs/{run}/limits", summary="Show the limits of a run")
def show_limits(run: str, database: Database, actor: Acting) -> RunLimits:
    """Of each job, with who changed what."""
    return _shown(database, visible(database, actor, run))


@routes.put("/runs/{run}/limits", summary="Change the limits of a run")
def change_limits(run: str, said: NewLimits, database: Database, actor: Acting) -> RunLimits:
    """For this run alone. Its jobs follow within three seconds."""
    found = _steered(database, actor, run, said.job)
    given = {name: getattr(said, name) for name in CHANGEABLE if name in said.model_fields_set}
    if not given:
        raise HTTPException(422, f"say what is to change: {', '.join(CHANGEABLE)}")
    changes = {name: limit_value(name, value) for name, value in given.items()}
    LimitChanges(database, found.id).set(said.job, changes, actor.name)
    return _shown(database, found)


@routes.delete("/runs/{run}/limits", summary="Take changes of limits back")
def clear_limits(run: str, database: Database, actor: Acting, job: str | None = None) -> RunLimits:
    """What the task file says holds again; without `job` for every job."""
    found = _steered(database, actor, run, job)
    LimitChanges(database, found.id).clear(job, actor.name)
    return _shown(database, found)


def _steered(database: StateDatabase, actor: Actor, run: str, job: str | None) -> Run:
    found = visible(database, actor, run)
    actor.require_steering(found.dag, owner_of(found), f"change the limits of run {found.id}")
    if job is not None and job not in [one["name"] for one in found.definition["jobs"]]:
        raise HTTPException(404, f"run {run} has no job {job}")
    return found


def _shown(database: StateDatabase, run: Run) -> RunLimits:
    known = LimitChanges(database, run.id)
    return RunLimits(
        limits=[
            JobLimits(job=one["name"], **limits_now(one, known.of(one["name"])))
            for one in run.definition["jobs"]
        ],
        changes=[LimitChange.model_validate(one, from_attributes=True) for one in known.all()],
    )
