"""The steps that copy once more what a check found to differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dsp_airflow.engine.errors import Refused
from dsp_airflow.operators.base import StepOperator, asker
from dsp_airflow.operators.earlier import AskedOfRun
from dsp_airflow.repairing import look_at_repair, repair, repair_task, repairable
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.records import JobSummary
from dsp_airflow.state.repairs import Repairs
from dsp_airflow.steps import TaskRun


class RepairEstimateOperator(AskedOfRun):
    """Looks at what a repair would copy; see ``RepairOperator``."""

    def execute(self, context: Any) -> dict[str, Any]:
        """Returns the run's id and the rows of the batches that would be copied once more."""
        with (
            self._translated(),
            self._state() as database,
            self._earlier(database, context) as run,
        ):
            found = {name: look_at_repair(run, name) for name in repairable(run, self.one)}
            for name, one in found.items():
                rows = f"{one['rows']:,}"
                self.log.info("Job %s: %s rows would be copied once more", name, rows)
            return self._keep(run, context, repair_task(run.task), "repair", found)


class RepairOperator(AskedOfRun, StepOperator):
    """Copies the batches of a run that a check found to differ once more, and checks them again.

    It fails when rows differ still. The other batches are not touched. A retry, or a clear, goes
    on where it was::

        with DAG("repair_flights", schedule=None):
            RepairOperator(
                task_id="repair", task_file="/dags/tasks/flights.yaml", earlier_run="latest"
            )
    """

    ui_color = "#e6f3e3"

    @contextmanager
    def _working(self, database: StateDatabase, context: Mapping[str, Any]) -> Iterator[TaskRun]:
        """The run keeps its recorded end, unless it had failed for nothing else."""
        with self._earlier(database, context) as run:
            yield run
            run.gate.ended()

    def do_step(self, run: TaskRun, context: Mapping[str, Any]) -> JobSummary:
        """Repairs every job that was asked for; of several, tells of the last one."""
        names = self._names(run, context)
        for name in names:
            repair(run, name, run.by_hand or asker(context))
        last = names[-1] if names else self.one
        jobs = run.summary().jobs
        return next((job for job in jobs if job.name == last), jobs[0])

    def _names(self, run: TaskRun, context: Mapping[str, Any]) -> tuple[str, ...]:
        """None where an earlier try did it all, and was killed before it could say so."""
        try:
            return repairable(run, self.one)
        except Refused:
            since = getattr(context["dag_run"], "start_date", None)
            ended = [
                one.ended_at
                for one in Repairs(run.database).of_run(run.run.id)
                if one.ended_at is not None and not one.rows_left and self.one in (None, one.job)
            ]
            if since is None or not any(at >= since for at in ended):
                raise
            return ()
