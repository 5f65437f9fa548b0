"""The step that deletes from the target what the source does not have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsp_airflow.operators.assets import target_alias
from dsp_airflow.operators.base import StepOperator
from dsp_airflow.state.records import JobSummary
from dsp_airflow.steps import TaskRun


class DeleteMissingOperator(StepOperator):
    """Deletes rows of the target whose key the source does not have, up to the job's limit.

    It follows the check, or the copy of a job without one. An error that nobody foresaw is not
    tried again: who deletes must know why it failed. See ``TableSyncOperator`` for an example in a
    hand-written DAG.
    """

    ui_color = "#f7e3e3"
    retry_unknown = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.stands_alone:
            self.outlets = [*self.outlets, target_alias(self.dag_id, self.task_id)]

    def do_step(self, run: TaskRun, context: Mapping[str, Any]) -> JobSummary:
        """Deletes them, and tells Airflow that the target was written."""
        found = run.delete_missing(self.job_name)
        if found.rows_deleted < found.rows_missing:
            self.log.warning(
                "%s rows were kept in the target: they changed, or stand in the source again",
                f"{found.rows_missing - found.rows_deleted:,}",
            )
        self._tell_target(run, found, context)
        return found
