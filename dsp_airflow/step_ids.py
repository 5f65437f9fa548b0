"""What the steps of a task are called in Airflow: for the DAG, and for who links to their logs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from dsp_airflow.config.names import RESTORE_SUFFIX

ESTIMATE, APPROVAL, PURGE = "estimate", "approval", "purge"
PLAN, CHECK, DELETE_MISSING, SWAP = "plan", "check", "delete_missing", "swap"
MOVING: Mapping[str, str] = {"warm": "copy", "s3": "archive", "restore": "restore"}
"""The step that moves rows, by the job's type."""
_ROOTS = (ESTIMATE, APPROVAL, PURGE)


@dataclass(frozen=True, slots=True)
class StepId:
    """A step of a DAG. ``job`` is ``None`` for one of all jobs; ``mapped``: it runs in shards."""

    job: str | None
    step: str
    task_id: str
    mapped: bool = False


def group_id(job: str, jobs: Collection[str]) -> str:
    """The group of a job among these: its name; with an underscore where a step has that name."""
    name, others = job, {other for other in jobs if other != job}
    while name in _ROOTS or (name != job and name in others):
        name += "_"
    return name


def steps_of(definition: Mapping[str, Any], dag: str) -> list[StepId]:
    """The steps of a run by its definition, where this package made its DAG; else none."""
    task, jobs = str(definition.get("name", "")), list(definition.get("jobs", ()))
    if dag.endswith(RESTORE_SUFFIX):
        whole = (ESTIMATE, APPROVAL, MOVING["restore"], CHECK)
        return [StepId(None, name, name) for name in whole]
    if dag != task:
        return []
    found = [StepId(None, name, name) for name in (ESTIMATE, APPROVAL)]
    names = [one["name"] for one in jobs]
    for one in jobs:
        group, sharded = group_id(one["name"], names), one.get("shards", 1) > 1
        for step in _of_job(one):
            mapped = sharded and step in {MOVING.get(one["type"]), CHECK}
            found.append(StepId(one["name"], step, f"{group}.{step}", mapped))
        if one.get("purge") == "system":
            found.append(StepId(one["name"], PURGE, f"{PURGE}.{one['name']}"))
    return found


def _of_job(job: Mapping[str, Any]) -> list[str]:
    found = [PLAN, MOVING.get(job["type"], MOVING["warm"])]
    if job.get("check") is not None:
        found.append(CHECK)
    if job.get("delete_missing") is not None:
        found.append(DELETE_MISSING)
    elif job.get("mode") == "replace":
        found.append(SWAP)
    return found
