"""The step that copies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsp_airflow.operators.assets import target_alias
from dsp_airflow.operators.base import StepOperator
from dsp_airflow.state.records import JobSummary
from dsp_airflow.steps import TaskRun


class TableSyncOperator(StepOperator):
    """Copies a job's rows from source to target. A retry, or a clear, copies what is left.

    Where no check follows, it is this step that tells Airflow that the target was written.
    In a task file's DAG it follows the plan. Standing alone it plans by itself::

        flights = {
            "job": "flights",
            "source": {"connection": "shop_pg", "table": "public.flights"},
            "target": {"connection": "warehouse_pg", "table": "public.flights"},
            "where": "time_hour < :cutoff",
            "variables": {"cutoff": "now-90d"},
            "check": {"percent": 100},
            "purge": "system",
        }
        with DAG("move_flights", schedule=None):
            (
                TableSyncOperator(task_id="copy", **flights)
                >> ConsistencyCheckOperator(task_id="check", **flights)
                >> PurgeSourceOperator(task_id="purge", **flights)
            )

    :param shard: number of this task, from 1, among several that share the job's batches. The
        first one sees the job to its end; the others end when only batches that others work on
        are left.
    """

    phase = "copy"

    def __init__(self, *, shard: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shard = shard
        if self.writes_target and self.check == "none":
            self.outlets = [*self.outlets, target_alias(self.dag_id, self.task_id)]

    @property
    def leads(self) -> bool:
        """Whether this task sees the job to its end; one shard does, for all of them."""
        return self.shard in {None, 1}

    def do_step(self, run: TaskRun, context: Mapping[str, Any]) -> JobSummary:
        """Copies every batch that is not copied yet."""
        if self.stands_alone:
            run.plan(self.job_name)
        found = run.copy(self.job_name, wait=self.leads)
        if self.leads and not run.is_checked(self.job_name):
            self._tell_target(run, found, context)
        return found
