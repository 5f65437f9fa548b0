"""The first step of a task: how much it is going to do, before anybody approves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from dsp_airflow.approval.estimates import HEADER, Estimates
from dsp_airflow.approval.subject import header_of, task_type_of
from dsp_airflow.asking import look, variables_now
from dsp_airflow.config.tasks import Job
from dsp_airflow.engine import stepping
from dsp_airflow.operators.base import TaskOperator, dag_run_key, interval
from dsp_airflow.operators.restore import AskedToRestore
from dsp_airflow.steps import TaskRun


class EstimateOperator(TaskOperator):
    """Looks at every job of a task: whether it can be planned, and how many rows it has now.

    Writes nothing in the databases. Missing tables, columns and privileges, and purges that
    would not be safe, fail here, before approval. What is found is what approvers are shown.

    :param job: look at this job only.
    """

    asks_for: ClassVar[str | None] = None
    """The type of what is asked for; ``None``: by the types of the jobs."""

    def execute(self, context: Any) -> dict[str, Any]:
        """Returns the run's id and each job's rows."""
        with (
            self._translated(),
            self._state() as database,
            self._recorded(database, context),
        ):
            run = self._open(database, context)
            if run.run.ended and self._begins_again(run, context):
                run.begin(interval(context))
            run.pace.before_batch()
            jobs = [j for j in run.task.jobs if self.job in {None, j.name}]
            variables = variables_now(run, interval(context))
            estimates, key = Estimates(database), dag_run_key(context["dag_run"])
            rows = {}
            for job in jobs:
                rows[job.name], found = self._look(run, job, variables)
                estimates.put(key, job.name, found)
            if not self.stands_alone:
                kind = self.asks_for or task_type_of(run.task)
                estimates.put(key, HEADER, header_of(run.task, kind))
            return {"run": run.run.id, "rows": rows}

    def _look(
        self, run: TaskRun, job: Job, variables: Mapping[str, Mapping[str, Any]]
    ) -> tuple[int, dict[str, Any]]:
        plan, rows, found = look(run, job, variables)
        self.log.info(
            "Job %s: %s rows of %s -> %s%s",
            job.name,
            f"{rows:,}",
            plan.source.label,
            plan.target.label,
            " (to be created)" if plan.create else "",
        )
        if plan.step is not None:
            self.log.info("%s", stepping.told(job.name, plan.step))
        for warning in plan.warnings:
            self.log.warning("Job %s: %s", job.name, warning)
        return rows, found


class RestoreEstimateOperator(AskedToRestore, EstimateOperator):
    """Looks at what somebody asks to be restored. See ``RestoreOperator`` for the arguments."""

    asks_for = "restore"
