"""The names that targets have in one run: what a task file leaves to it is filled in once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final

from dsp_airflow.config import templates
from dsp_airflow.config.archives import S3Job
from dsp_airflow.config.belonging import ancestors
from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.config.tasks import Job, Task
from dsp_airflow.config.variables import TimeVariable
from dsp_airflow.engine.chosen import Parent

PREFIX: Final = "{prefix}"
TABLE: Final = "{table}"
"""Among a run's resolved variables, where an S3 job's folder stands, and the table of a warm job
whose name the run completes; no variable has these names."""
RUN: Final = "{run}"
MANIFEST: Final = "{manifest}"
BATCHES: Final = "{batches}"
"""Of a drill: the archived run that is tried, its manifest and which of its batches."""
END: Final = "step.end"
"""And what no step of a job in ``mode: step`` goes beyond, where that is a time."""
_OF: Final = "of {} "
"""Before the names of variables of a job that this one belongs to."""
_OURS: Final = (PREFIX, TABLE, END, RUN, MANIFEST, BATCHES)


def own_variables(variables: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of a run's resolved variables, those that people wrote; jobs that have none are left out."""
    found = {
        job: {name: value for name, value in values.items() if name not in _OURS}
        for job, values in variables.items()
    }
    return {job: values for job, values in found.items() if values}


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
        elif isinstance(job, RestoreJob) and table is not None:
            jobs.append(_drawn(job, variables[job.name]))
        else:
            jobs.append(job)
    return task.model_copy(update={"jobs": tuple(jobs)})


def is_open(job: Job) -> bool:
    """Whether a run has yet to say which table it writes."""
    return _template(job) is not None or (
        isinstance(job, RestoreJob) and job.source.manifest is None
    )


def plain(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of the job in the task file alone."""
    return {n: value for n, value in variables.items() if n not in _OURS and " " not in n}


def variables_above(
    task: Task, job: Job, resolve: Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> dict[str, Any]:
    """The variables of the jobs that it belongs to, for its own: its rows are chosen by them."""
    return {
        f"{_OF.format(above.name)}{name}": value
        for above in ancestors(job.name, task.jobs)
        if not isinstance(above, RestoreJob)
        for name, value in resolve(above.variables).items()
    }


def parents_of(task: Task, job: Job, variables: Mapping[str, Any]) -> list[Parent]:
    """The jobs that it belongs to, the nearest first; ``variables`` are those of its run."""
    found = []
    for above in ancestors(job.name, task.jobs):
        begin = _OF.format(above.name)
        theirs = {n.removeprefix(begin): v for n, v in variables.items() if n.startswith(begin)}
        found.append(Parent(above, theirs))
    return found


def _drawn(job: RestoreJob, variables: Mapping[str, Any]) -> RestoreJob:
    """A drill with what its run tries."""
    found = {"manifest": variables[MANIFEST], "batches": variables[BATCHES]}
    return job.model_copy(
        update={
            "source": job.source.model_copy(update=found),
            "target": job.target.model_copy(update={"table": variables[TABLE]}),
        }
    )


def _template(job: Job) -> str | None:
    table = job.target.table if isinstance(job, WarmJob) else None
    return table if table is not None and templates.is_template(table) else None
