"""The steps of a run's jobs, and those that come next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsp_airflow.state.database import StateDatabase
    from dsp_airflow.state.records import Run


def steps_of(database: StateDatabase, run: Run, jobs: Sequence[str]) -> list[dict[str, Any]]:
    """What each job of a run that goes by steps has read, and where its next step begins."""
    from dsp_airflow.state.bounds import Bounds
    from dsp_airflow.state.ledger import SqlLedger

    known = {
        (bound.key.job, bound.key.column): bound for bound in Bounds(database).of_task(run.task)
    }
    found = []
    for job in jobs:
        plan = SqlLedger(database, run.id, job).plan()
        if plan is None or plan.step is None:
            continue
        step = plan.step
        bound = known.get((job, step.column))
        value = step.at_least if bound is None else bound.value
        found.append(
            {
                "job": job,
                "step": str(step),
                "waits": step.waits or None,
                "next_begins": value,
                "next": {step.at_least: str(step), step.below: step.following}.get(value),
            }
        )
    return found


def step_line(step: dict[str, Any]) -> str:
    """The same for people."""
    waits = f" (it waits: {step['waits']})" if step["waits"] else ""
    following = step["next"] or f"the one that begins at {step['next_begins']}"
    return f"{step['job']}: step {step['step']}{waits}; next: {following}"
