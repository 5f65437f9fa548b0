"""The step that puts a table that was built anew in its target's place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsp_airflow.operators.assets import target_alias
from dsp_airflow.operators.base import StepOperator
from dsp_airflow.state.records import JobSummary
from dsp_airflow.steps import TaskRun


class SwapOperator(StepOperator):
    """Ends a job with ``mode: replace``: readers have the old table before it, then the new one.

    It tells Airflow that the target was written. A retry, or a clear, swaps what is not swapped
    yet. In a hand-written DAG it follows the check::

        (
            TableSyncOperator(task_id="copy", **flights)
            >> ConsistencyCheckOperator(task_id="check", **flights)
            >> SwapOperator(task_id="swap", **flights)
        )
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.stands_alone:
            self.outlets = [*self.outlets, target_alias(self.dag_id, self.task_id)]

    def do_step(self, run: TaskRun, context: Mapping[str, Any]) -> JobSummary:
        """Swaps, unless that has happened."""
        found = run.swap(self.job_name)
        self._tell_target(run, found, context)
        return found
