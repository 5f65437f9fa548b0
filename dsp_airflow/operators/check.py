"""The step that proves the copy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsp_airflow.operators.assets import target_alias
from dsp_airflow.operators.base import StepOperator
from dsp_airflow.state.records import JobSummary
from dsp_airflow.steps import TaskRun


class ConsistencyCheckOperator(StepOperator):
    """Compares source and target as much as the job says; fails when rows differ.

    It tells Airflow that the target was written: who is scheduled on it begins with proved rows.

    See ``TableSyncOperator`` for an example in a hand-written DAG.

    :param shard: number of this task, from 1, among several that share the job's batches.
    """

    phase = "check"

    def __init__(self, *, shard: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shard = shard
        if self.writes_target and self.check != "none":
            self.outlets = [*self.outlets, target_alias(self.dag_id, self.task_id)]

    @property
    def leads(self) -> bool:
        """Whether this task sees the job to its end; one shard does, for all of them."""
        return self.shard in {None, 1}

    def do_step(self, run: TaskRun, context: Mapping[str, Any]) -> JobSummary:
        """Checks every batch that is not checked yet, and those that differed before."""
        found = run.check(self.job_name, wait=self.leads)
        if self.leads and run.is_checked(self.job_name):
            self._tell_target(run, found, context)
        return found
