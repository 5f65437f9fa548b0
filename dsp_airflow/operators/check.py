"""The step that proves the copy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsp_airflow.operators.base import StepOperator
from dsp_airflow.state.records import JobSummary
from dsp_airflow.steps import TaskRun


class ConsistencyCheckOperator(StepOperator):
    """Compares source and target as much as the job says; fails when rows differ.

    See ``TableSyncOperator`` for an example in a hand-written DAG.

    :param shard: number of this task among several that share the job's batches.
    """

    def __init__(self, *, shard: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shard = shard

    def step(self, run: TaskRun, context: Mapping[str, Any]) -> JobSummary:
        """Checks every batch that is not checked yet, and those that differed before."""
        del context
        return run.check(self.job_name, wait=self.shard is None)
