"""The first step of a task: how much it is going to do, before anybody approves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsp_airflow.advancing import bound_of
from dsp_airflow.config.definition import data_digest
from dsp_airflow.config.tasks import Job
from dsp_airflow.config.variables import UnresolvedVariableError
from dsp_airflow.engine import stepping
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.operators.base import TaskOperator, interval
from dsp_airflow.paths import Given
from dsp_airflow.placing import placing
from dsp_airflow.steps import TaskRun, resolved_variables


class EstimateOperator(TaskOperator):
    """Looks at every job of a task: whether it can be planned, and how many rows it has now.

    Writes nothing in the databases. Missing tables, columns and privileges, and purges that
    would not be safe, fail here, before approval.

    :param job: look at this job only.
    """

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
            variables = self._variables(run, context)
            rows = {job.name: self._rows(run, job, variables) for job in jobs}
            return {"run": run.run.id, "rows": rows}

    def _variables(self, run: TaskRun, context: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Only for this look: the run's own values are set when its execution starts."""
        now, when = run.database.now(), interval(context)
        try:
            return {job.name: resolved_variables(run.task, job, now, when) for job in run.task.jobs}
        except UnresolvedVariableError as error:
            raise ConfigError(str(error)) from error

    def _rows(self, run: TaskRun, job: Job, variables: Mapping[str, Mapping[str, Any]]) -> int:
        path = run.path(job, "estimate", variables)
        with placing(run.run.file, job.name):
            bound = bound_of(run.database, run.task.name, job, path.source)
            given = Given(variables[job.name], data_digest(run.task), bound=bound)
            plan, _ = path.plan(given, count=False)
        rows = path.rows(plan)
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
        return rows
