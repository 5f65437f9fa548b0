"""The step that deletes from the source, row by proved row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dsp_airflow.connections import open_store
from dsp_airflow.engine.batches import parse_batches
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.notify import LATEST
from dsp_airflow.operators.base import StepOperator
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.records import JobSummary
from dsp_airflow.state.switches import Switches
from dsp_airflow.steps import TaskRun, latest_run


class PurgeSourceOperator(StepOperator):
    """Deletes a job's copied and checked rows from the source, each proved under lock.

    An error that nobody foresaw is not tried again: who deletes must know why it failed.
    See ``TableSyncOperator`` for an example in a hand-written DAG.

    :param batches: ``all`` (default) or batch numbers such as ``1-5,8``.
    :param earlier_run: id of an earlier run, or ``latest``; default: the run of this DAG run.
    """

    template_fields: Sequence[str] = (
        *StepOperator.template_fields,
        "batches",
        "earlier_run",
    )
    ui_color = "#f7e3e3"
    retry_unknown = False
    phase = "purge"

    def __init__(
        self, *, batches: str = "all", earlier_run: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.batches = batches
        self.earlier_run = earlier_run

    @contextmanager
    def _working(self, database: StateDatabase, context: Mapping[str, Any]) -> Iterator[TaskRun]:
        """The DAG run's own run; or, by hand, an earlier one, which keeps its recorded end."""
        if self.earlier_run is None:
            with super()._working(database, context) as run:
                yield run
            return
        # The latest run may be another one by now.
        wanted = (self._left.run if self._left else "") or self.earlier_run.strip()
        task = self.definition()
        run = latest_run(
            database,
            task,
            open_store,
            watch=self._watch(task, context),
            run_id=None if wanted in ("", LATEST) else wanted,
        )
        Switches(database).require_online(run.run.task)
        self._paced(run)
        self._show_report(run, context)
        yield run

    def do_step(self, run: TaskRun, _context: Mapping[str, Any]) -> JobSummary:
        """Purges every batch that was asked for."""
        job = next((j for j in run.task.jobs if j.name == self.job_name), None)
        if job is not None and job.purge == "none":
            raise ConfigError(
                f"job {self.job} says purge: none, so nothing was deleted; "
                "set purge to manual or system"
            )
        found = run.purge(self.job_name, parse_batches(self.batches))
        if found.rows_kept:
            self.log.warning(
                "%s rows were kept in the source, as they could not be proved; see dsp status %s",
                f"{found.rows_kept:,}",
                run.run.id,
            )
        return found
