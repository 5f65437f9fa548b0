"""What a person does about a run: stop it, try it again, delete from its source, or say it is done.

Nothing of that works on data here. A run stops by itself once it reads that it should; the others
become DAG runs of Airflow, with all their gates, in the name of who asks.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from fastapi import Depends, HTTPException, Request
from pydantic import Field

from dsp_airflow.config.names import PURGE_SUFFIX, ROLLBACK_SUFFIX
from dsp_airflow.engine.batches import parse_batches
from dsp_airflow.engine.errors import Refused
from dsp_airflow.marking import MARK_DELETED
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.records import Run
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.switches import Switches
from dsp_airflow.web import scheduler
from dsp_airflow.web.api.runs import AirflowRun, undoable, visible
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document, Moment
from dsp_airflow.web.routing import router
from dsp_airflow.web.users import Acting, Actor, owner_of

routes = router("actions")

Text = Annotated[str, Field(max_length=4000)]


class Reason(Document):
    """Why; told in log, status and mail."""

    reason: Text | None = None


class Stopping(Document):
    """A run that was asked to stop."""

    run: str
    state: str
    """`running` until those who work on it have stopped."""
    asked_by: str | None
    asked_at: Moment | None
    reason: str | None


class Batches(Document):
    """Which batches."""

    batches: Annotated[str, Field(max_length=10_000)]
    """Numbers such as `1-5`, `3` or `1,4-6`, or `all`."""


@routes.post("/runs/{run}/terminate", summary="Stop a run at the edge of its batches")
def terminate(run: str, said: Reason, database: Database, actor: Acting) -> Stopping:
    """One that nobody works on ends at once. 409 where it has ended already."""
    found = _steered(database, actor, run, "stop")
    asked = Runs(database).terminate(found, actor.name, said.reason)
    return Stopping(
        run=asked.id,
        state=asked.state,
        asked_by=asked.stop_requested_by,
        asked_at=asked.stop_requested_at,
        reason=asked.stop_reason,
    )


def _again(run: str, database: Database, actor: Acting) -> AirflowRun:
    found = visible(database, actor, run)
    dag_run = (found.external_key or "").partition("/")[2].partition("/")[0]
    if not dag_run:
        raise HTTPException(
            409, f"run {found.id} was not begun by Airflow; dsp run {found.file} goes on with it"
        )
    Switches(database).require_enabled(found.task)
    return AirflowRun(dag_id=found.dag, dag_run_id=dag_run)


@routes.post("/runs/{run}/retry", summary="Try a run again", status_code=202)
async def retry(request: Request, its: Annotated[AirflowRun, Depends(_again)]) -> AirflowRun:
    """Clears its failed steps in Airflow, which has to allow you that; they go on where they
    stopped.
    """
    path = scheduler.dag_path(its.dag_id, "dagRuns", its.dag_run_id, "clear")
    await scheduler.ask(request, "POST", path, {"dry_run": False, "only_failed": True})
    return its


def _purged(
    run: str, job: str, said: Batches, database: Database, actor: Acting
) -> tuple[str, dict[str, Any]]:
    found = visible(database, actor, run)
    runs = Runs(database)
    its = next((one for one in runs.jobs(found.id) if one.name == job), None)
    if its is None:
        raise HTTPException(404, f"run {run} has no job {job}")
    if its.purge_mode != "manual":
        raise Refused(
            f"job {job} says purge: {its.purge_mode}; only rows of one that says purge: manual are "
            "deleted, or marked as deleted, by hand here"
        )
    Switches(database).require_online(found.task)
    numbers = parse_batches(said.batches)
    last = next(one.batches for one in runs.summary(found.id).jobs if one.name == job)
    if numbers is not None and max(numbers) > last:
        raise HTTPException(422, f"job {job} has batches 1 to {last}; there is no {max(numbers)}")
    # As the form of the DAG wants it.
    batches = "all" if numbers is None else "".join(said.batches.split())
    return f"{found.task}{PURGE_SUFFIX}", {"job": job, "batches": batches, "run": found.id}


Purged: TypeAlias = Annotated[tuple[str, dict[str, Any]], Depends(_purged)]
"""The DAG of purges by hand, and what its form is filled with."""


@routes.post(
    "/runs/{run}/jobs/{job}/purge", summary="Delete batches from the source", status_code=202
)
async def purge(request: Request, wanted: Purged) -> AirflowRun:
    """Begins a run of the task's DAG of purges by hand, which looks, asks for approval where that
    is enforced, and deletes only what it proves.
    """
    return await begin(request, *wanted)


@routes.post(
    "/runs/{run}/jobs/{job}/mark-deleted",
    summary="Mark batches as removed from the source by hand",
    status_code=202,
)
async def mark_deleted(request: Request, wanted: Purged) -> AirflowRun:
    """Begins a run of the same DAG that deletes nothing: it records the batches whose rows somebody
    has removed, once each is seen to be gone, and fails for the others.
    """
    dag, form = wanted
    return await begin(request, dag, form | {"act": MARK_DELETED})


class Undoing(Document):
    """What of a run."""

    job: Annotated[str, Field(max_length=250)] = "all"
    """One job, or `all`."""


def _undone(
    run: str, said: Undoing, database: Database, actor: Acting
) -> tuple[str, dict[str, Any]]:
    found = visible(database, actor, run)
    noted = undoable(found)
    if not noted or said.job not in ("all", *noted):
        raise Refused(
            f"run {run} noted nothing of what it wrote in job {said.job}, so that it cannot be "
            "undone; with rollback: true the next run can"
        )
    Switches(database).require_online(found.task)
    return f"{found.task}{ROLLBACK_SUFFIX}", {"run": found.id, "job": said.job}


@routes.post("/runs/{run}/rollback", summary="Undo what a run wrote", status_code=202)
async def rollback(
    request: Request, wanted: Annotated[tuple[str, dict[str, Any]], Depends(_undone)]
) -> AirflowRun:
    """Begins a run of the task's DAG of rollbacks, which looks, asks for approval where that is
    enforced, and undoes only what the source still has.
    """
    return await begin(request, *wanted)


async def begin(request: Request, dag: str, conf: dict[str, Any] | None = None) -> AirflowRun:
    """A run of a DAG, in the name of who asks."""
    body = {"logical_date": None, "conf": conf or {}}
    made = await scheduler.ask(request, "POST", scheduler.dag_path(dag, "dagRuns"), body)
    return AirflowRun(dag_id=made["dag_id"], dag_run_id=made["dag_run_id"])


def _steered(database: StateDatabase, actor: Actor, run: str, what: str) -> Run:
    found = visible(database, actor, run)
    actor.require_steering(found.dag, owner_of(found), f"{what} run {found.id}")
    return found
