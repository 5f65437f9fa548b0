"""What a person does about a run: stop it, try it again, delete from its source, or say it is done.

Nothing of that works on data here. A run stops by itself once it reads that it should; the others
become DAG runs of Airflow, with all their gates, in the name of who asks.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from fastapi import Depends, HTTPException, Request
from pydantic import Field

from dsp_airflow.config.names import PURGE_SUFFIX, REPAIR_SUFFIX, ROLLBACK_SUFFIX
from dsp_airflow.engine.batches import parse_batches
from dsp_airflow.engine.errors import Denied, Refused
from dsp_airflow.marking import MARK_DELETED
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.records import Run
from dsp_airflow.state.repairs import Repairs
from dsp_airflow.state.rollbacks import Rollbacks
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.switches import Switches
from dsp_airflow.web import scheduler
from dsp_airflow.web.api.runs import AirflowRun, visible
from dsp_airflow.web.api.undone import mendable, undoable
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document, Moment
from dsp_airflow.web.routing import router
from dsp_airflow.web.users import Acting, Actor, owner_of

routes = router("actions")

ALL = "all"
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
    if Rollbacks(database).undone(found.id):
        raise Refused(f"run {found.id} was rolled back; nothing works on it any more")
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


class OfRun(Document):
    """What of a run."""

    job: Annotated[str, Field(max_length=250)] = ALL
    """One job, or `all`."""


class Undoing(OfRun):
    """What of a run, and whether it is done anew."""

    again: bool = False
    """Whether the work is done again then, by a new run of the task, which is linked to this."""


def _undone(
    run: str, said: Undoing, database: Database, actor: Acting
) -> tuple[str, dict[str, Any]]:
    found = visible(database, actor, run)
    noted = undoable(found)
    _require_job(found, said.job)
    if not noted or said.job not in (ALL, *noted):
        raise Refused(
            f"run {run} noted nothing of what it wrote in job {said.job}, so that it cannot be "
            "undone; with rollback: true the next run can"
        )
    Switches(database).require_online(found.task)
    form: dict[str, Any] = {"run": found.id, "job": said.job}
    if said.again:
        _require_again(database, actor, found.task)
        form["again"] = True
    return f"{found.task}{ROLLBACK_SUFFIX}", form


def _require_again(database: StateDatabase, actor: Actor, task: str) -> None:
    """Asked before anything is undone that nobody could do again."""
    if not actor.may_begin(task):
        raise Denied(f"{actor.name} may not run task {task} again: Airflow does not allow it")
    Switches(database).require_enabled(task)
    dag = scheduler.scheduled([task]).get(task)
    if dag is None or dag.paused:
        why = "is paused in Airflow" if dag else "is not in Airflow"
        raise Refused(f"DAG {task} {why}, so that its work would not be done again")


def _require_job(run: Run, job: str) -> None:
    if job != ALL and job not in [one["name"] for one in run.definition["jobs"]]:
        raise HTTPException(404, f"run {run.id} has no job {job}")


@routes.post("/runs/{run}/rollback", summary="Undo what a run wrote", status_code=202)
async def rollback(
    request: Request, wanted: Annotated[tuple[str, dict[str, Any]], Depends(_undone)]
) -> AirflowRun:
    """Begins a run of the task's DAG of rollbacks, which looks, asks for approval where that is
    enforced, and undoes only what the source still has; with `again` it then runs the task anew.
    """
    return await begin(request, *wanted)


def _repaired(
    run: str, said: OfRun, database: Database, actor: Acting
) -> tuple[str, dict[str, Any]]:
    found = visible(database, actor, run)
    _require_job(found, said.job)
    wanted = [one for one in mendable(found) if said.job in (ALL, one)]
    if not wanted:
        raise Refused(
            f"job {said.job} of run {run} cannot be repaired: only a job of type warm with "
            "on_conflict: update, without mode: replace, writes over what differs"
        )
    repairs = Repairs(database)
    if not any(repairs.waiting(found.id, one) for one in wanted):
        raise Refused(f"no check of run {run} has found a row to differ, so nothing is repaired")
    if not found.ended:
        raise Refused(f"run {run} is {found.state}; it is repaired once it has ended")
    Switches(database).require_online(found.task)
    return f"{found.task}{REPAIR_SUFFIX}", {"run": found.id, "job": said.job}


@routes.post(
    "/runs/{run}/repair", summary="Copy what differs once more, and check it", status_code=202
)
async def repair(
    request: Request, wanted: Annotated[tuple[str, dict[str, Any]], Depends(_repaired)]
) -> AirflowRun:
    """Begins a run of the task's DAG of repairs, which looks, asks for approval where that is
    enforced, and copies only the batches of which the check found rows to differ.
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
