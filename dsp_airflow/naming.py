"""The names that targets have in one run: what a task file leaves to it is filled in once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final

from dsp_airflow.config import templates
from dsp_airflow.config.archives import S3Job
from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.config.tasks import Job, Task
from dsp_airflow.config.variables import TimeVariable

PREFIX: Final = "{prefix}"
TABLE: Final = "{table}"
"""Among a run's resolved variables, where an S3 job's folder stands, and the table of a warm job
whose name the run completes; no variable has these names."""
END: Final = "step.end"
"""And what no step of a job in ``mode: step`` goes beyond, where that is a time."""


def names_of(
    task: Task, job: Job, resolve: Callable[[Mapping[str, TimeVariable]], Mapping[str, date]]
) -> dict[str, str]:
    """What the run's variables have to say of the job's target."""
    words = {"task": task.name, "job": job.name}

    def filled(text: str) -> str:
        return templates.filled(text, words, resolve(templates.moments(text)))

    if isinstance(job, S3Job):
        return {PREFIX: filled(job.target.prefix)}
    template = _template(job)
    return {} if template is None else {TABLE: filled(template)}


def named(task: Task, variables: Mapping[str, Mapping[str, Any]]) -> Task:
    """The task whose jobs write to the tables of one run; ``variables`` are those of its jobs.

    A job whose name is not known keeps its template, which is the name of no table.
    """
    jobs: list[Job] = []
    for job in task.jobs:
        table = variables.get(job.name, {}).get(TABLE)
        if isinstance(job, WarmJob) and table is not None:
            target = job.target.model_copy(update={"table": table})
            jobs.append(job.model_copy(update={"target": target}))
        else:
            jobs.append(job)
    return task.model_copy(update={"jobs": tuple(jobs)})


def is_open(job: Job) -> bool:
    """Whether a run has yet to say which table it writes."""
    return _template(job) is not None


def plain(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of the task file alone."""
    return {name: value for name, value in variables.items() if name not in (PREFIX, TABLE, END)}


def _template(job: Job) -> str | None:
    table = job.target.table if isinstance(job, WarmJob) else None
    return table if table is not None and templates.is_template(table) else None
