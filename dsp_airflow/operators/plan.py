"""The step that freezes what a job will do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsp_airflow.operators.base import StepOperator, is_cleared
from dsp_airflow.state.records import JobSummary
from dsp_airflow.steps import TaskRun


class PlanOperator(StepOperator):
    """Plans a job: mapping, filter, batches. Nothing is written to the databases.

    A retry goes on with the plan there is. A clear begins a new attempt, which copies anew.
    """

    def do_step(self, run: TaskRun, context: Mapping[str, Any]) -> JobSummary:
        """Plans, unless the job is planned already."""
        plan = run.plan(self.job_name, anew=is_cleared(context))
        for pair in plan.pairs:
            if pair.fit != "exact":
                self.log.info(
                    "Column %s (%s) -> %s (%s): %s %s",
                    pair.source,
                    pair.source_type,
                    pair.target,
                    pair.target_type,
                    pair.fit,
                    pair.note,
                )
        for warning in plan.warnings:
            self.log.warning("%s", warning)
        return next(j for j in run.summary().jobs if j.name == self.job_name)
