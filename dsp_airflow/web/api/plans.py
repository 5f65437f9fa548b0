"""What a run of a task would do, looked at without changing anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, HTTPException
from starlette.concurrency import run_in_threadpool

from dsp_airflow.approval.subject import connections_of
from dsp_airflow.web.api.tasks import visible
from dsp_airflow.web.children import Children, children
from dsp_airflow.web.database import Database
from dsp_airflow.web.paging import Document, plain
from dsp_airflow.web.routing import router
from dsp_airflow.web.secrets import secrets_of
from dsp_airflow.web.users import Acting

routes = router("plans")


class Wish(Document):
    """Which task is planned."""

    task: str
    job: str | None = None
    """Only this job."""


class JobPlan(Document):
    """The plan of one job, or why there is none; both where only the purge is refused."""

    name: str
    plan: dict[str, Any] | None
    sampled: list[int]
    """The batches that the check would compare."""
    error: str | None


class TaskPlan(Document):
    """What a run would do."""

    task: str
    jobs: list[JobPlan]
    approval: dict[str, Any] | None
    """Process, level and nodes that would decide, where approval is enforced."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A task that the user may plan: its file, and where it connects to."""

    task: str
    file: str
    job: str | None
    connections: tuple[str, ...]


def _looked(wish: Wish, database: Database, actor: Acting) -> Looked:
    tasks = visible(database, actor, wish.task)
    found, problems = tasks.loaded(wish.task)
    owner = found.owner if found else None
    actor.require_steering(wish.task, owner, f"plan task {wish.task}, which connects in its name")
    if problems is not None:
        raise problems
    if found is None:
        raise HTTPException(409, f"the file of task {wish.task} is not in {tasks.folder}")
    if wish.job is not None and wish.job not in [job.name for job in found.jobs]:
        raise HTTPException(404, f"task {wish.task} has no job {wish.job}")
    names = {name for job in found.jobs for name in connections_of(job)}
    return Looked(wish.task, str(tasks.files[wish.task]), wish.job, tuple(sorted(names)))


@routes.post("/plans", summary="Plan a task")
async def plan_task(
    looked: Annotated[Looked, Depends(_looked)], commands: Annotated[Children, Depends(children)]
) -> TaskPlan:
    """Connects and reads as `dsp plan` does, for at most a minute; 504 after that."""
    only = ("--job", looked.job) if looked.job else ()
    secrets = await run_in_threadpool(secrets_of, looked.connections)
    found = await commands.document("plan", "--json", *only, "--", looked.file, secrets=secrets)
    return TaskPlan(
        task=looked.task,
        jobs=[
            JobPlan(
                name=one["name"],
                plan=plain(one["plan"]),
                sampled=one.get("sampled", []),
                error=one["error"],
            )
            for one in found["jobs"]
        ],
        approval=plain(found.get("approval")),
    )
