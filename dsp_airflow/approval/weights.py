"""How soon Airflow begins the steps of a task, by the priority of its process."""

from __future__ import annotations

from collections.abc import Sequence

from dsp_airflow.approval import settings
from dsp_airflow.approval.matching import Ask, process_for
from dsp_airflow.approval.subject import connections_of, touched
from dsp_airflow.config.processes import BUILT_IN, LAST_PRIORITY, Process
from dsp_airflow.config.tasks import Job, Task
from dsp_airflow.engine.errors import Refused

HIGHEST = 10
"""Of a task's own priority, too: both are on one scale."""


def weight_of(
    task: Task, task_type: str, jobs: Sequence[Job], processes: Sequence[Process]
) -> int | None:
    """Airflow's ``priority_weight``, from 1 to 10; ``None`` leaves it to Airflow.

    It is the task's own priority; else that of the process that holds for it, where the process's
    file says one. ``processes`` are those of files alone: a DAG is built without the state
    database, and is the same wherever it is built.
    """
    if task.priority is not None or not settings.enforced():
        return task.priority
    names = [name for job in jobs for name in connections_of(job)]
    ask = Ask(task_type, frozenset(), touched(names))
    try:
        process = process_for(
            processes, ask, named=task.approval, default=settings.default_process()
        )
    except Refused:
        # It may be in the state database; else the run will say what is wrong.
        return None
    if process.name == BUILT_IN or "priority" not in process.model_fields_set:
        return None
    return HIGHEST - (process.priority - 1) * HIGHEST // LAST_PRIORITY
