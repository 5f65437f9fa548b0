"""Leaving the worker while a job's window is closed, and coming back to it in the same try."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, cast

from airflow.sdk import BaseOperator
from airflow.sdk.execution_time.timeout import timeout

from dsp_airflow.limits import limits_in_file
from dsp_airflow.steps import TaskRun
from dsp_airflow.triggers.window import WindowTrigger


@dataclass(frozen=True, slots=True)
class Left:
    """What a task worked on when it left its worker, and when it had opened that."""

    run: str
    since: datetime


def leave(operator: BaseOperator, run: TaskRun, job: str, worked: float) -> NoReturn:
    """The triggerer waits in the task's place, and calls ``resume`` with what is kept here."""
    defined = next(one for one in run.task.jobs if one.name == job)
    window = limits_in_file(defined).window
    kept = {"run": run.run.id, "since": run.opened_at.isoformat()}
    operator.defer(
        trigger=WindowTrigger(job=job, window=None if window is None else str(window), **kept),
        method_name="resume",
        kwargs={"worked": worked, **kept},
    )


def came_back(run: str, since: str) -> Left:
    """From what was kept; ``dag.test()`` keeps nothing."""
    return Left(run, datetime.fromisoformat(since) if since else datetime.now(UTC))


def time_left(limit: timedelta | None, worked: float) -> AbstractContextManager[Any]:
    """What is left of an ``execution_timeout``: Airflow begins to count anew at each return."""
    if limit is None:
        return nullcontext()
    # None at all would be no limit.
    left = timeout(max(limit.total_seconds() - worked, 0.001))  # type: ignore[no-untyped-call]
    return cast("AbstractContextManager[Any]", left)
