"""The step that deletes from the source, row by proved row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dsp_airflow.approval.estimates import HEADER, Estimates
from dsp_airflow.approval.subject import header_of
from dsp_airflow.asking import look_at_mark, look_at_purge, purge_task
from dsp_airflow.config.tasks import Task
from dsp_airflow.connections import open_store
from dsp_airflow.engine.batches import parse_batches
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.marking import ACTS, DELETE, MARK_DELETED, require_marked
from dsp_airflow.notify import LATEST
from dsp_airflow.opening import latest_run
from dsp_airflow.operators.base import StepOperator, TaskOperator, asker, dag_run_key
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.records import JobSummary
from dsp_airflow.state.switches import Switches
from dsp_airflow.steps import TaskRun


def earlier(database: StateDatabase, task: Task, wanted: str) -> TaskRun:
    """An earlier run of the task: the one that was named, or the ``latest``."""
    named = wanted.strip()
    return latest_run(database, task, open_store, run_id=None if named in ("", LATEST) else named)


class PurgeSourceOperator(StepOperator):
    """Deletes a job's copied and checked rows from the source, each proved under lock.

    An error that nobody foresaw is not tried again: who deletes must know why it failed.
    See ``TableSyncOperator`` for an example in a hand-written DAG.

    :param batches: ``all`` (default) or batch numbers such as ``1-5,8``.
    :param earlier_run: id of an earlier run, or ``latest``; default: the run of this DAG run.
    :param act: ``delete`` (default); or ``mark_deleted``, which deletes nothing: batches whose rows
        somebody removed from the source are recorded, each once it is seen to be gone.
    """

    template_fields: Sequence[str] = (
        *StepOperator.template_fields,
        "batches",
        "earlier_run",
        "act",
    )
    ui_color = "#f7e3e3"
    retry_unknown = False
    phase = "purge"

    def __init__(
        self,
        *,
        batches: str = "all",
        earlier_run: str | None = None,
        act: str = DELETE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batches = batches
        self.earlier_run = earlier_run
        self.act = act

    @contextmanager
    def _working(self, database: StateDatabase, context: Mapping[str, Any]) -> Iterator[TaskRun]:
        """The DAG run's own run; or, by hand, an earlier one, which keeps its recorded end."""
        if self.earlier_run is None:
            with super()._working(database, context) as run:
                yield run
            return
        # The latest run may be another one by now.
        wanted = (self._left.run if self._left else "") or self.earlier_run
        run = earlier(database, self.definition(), wanted)
        run.watch = self._watch(run.task, context)
        Switches(database).require_online(run.run.task)
        self._guard(run, database, context, "purge")
        run.by_hand = asker(context)
        self._paced(run)
        self._show_report(run, context)
        yield run
        run.gate.ended()

    def do_step(self, run: TaskRun, context: Mapping[str, Any]) -> JobSummary:
        """Purges, or marks, every batch that was asked for."""
        numbers = parse_batches(self.batches)
        if _marks(self):
            require_marked(self.job_name, run.mark_deleted(self.job_name, numbers, asker(context)))
            return next(job for job in run.summary().jobs if job.name == self.job_name)
        job = next((j for j in run.task.jobs if j.name == self.job_name), None)
        if job is not None and job.purge == "none":
            raise ConfigError(
                f"job {self.job} says purge: none, so nothing was deleted; "
                "set purge to manual or system"
            )
        found = run.purge(self.job_name, numbers)
        if found.rows_kept:
            self.log.warning(
                "%s rows were kept in the source, as they could not be proved; see dsp status %s",
                f"{found.rows_kept:,}",
                run.run.id,
            )
        return found


class PurgeEstimateOperator(TaskOperator):
    """Looks at what a purge by hand would delete; see ``PurgeSourceOperator``.

    :param batches: ``all`` (default) or batch numbers such as ``1-5,8``.
    :param earlier_run: id of an earlier run, or ``latest``.
    :param act: ``delete`` (default) or ``mark_deleted``.
    """

    template_fields: Sequence[str] = (
        *TaskOperator.template_fields,
        "batches",
        "earlier_run",
        "act",
    )

    def __init__(
        self,
        *,
        batches: str = "all",
        earlier_run: str = LATEST,
        act: str = DELETE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batches = batches
        self.earlier_run = earlier_run
        self.act = act

    def execute(self, context: Any) -> dict[str, Any]:
        """Returns the run's id and the rows that its batches hold."""
        with self._translated(), self._state() as database:
            task = self.definition()
            run = earlier(database, task, self.earlier_run)
            run.permit = self._permit(database, task, context, "purge")
            name = self.job or task.jobs[0].name
            look = look_at_mark if _marks(self) else look_at_purge
            found = look(run, name, parse_batches(self.batches))
            estimates, key = Estimates(database), dag_run_key(context["dag_run"])
            estimates.put(key, name, found)
            header = header_of(purge_task(task), "purge") | {"jobs": [name]}
            estimates.put(key, HEADER, header)
            self.log.info("Job %s: deletes %s", name, found["deletes"])
            return {"run": run.run.id, "rows": {name: found["rows"]}}


def _marks(step: PurgeSourceOperator | PurgeEstimateOperator) -> bool:
    """Whether nothing is to be deleted; what is neither might be either."""
    if step.act not in ACTS:
        raise ConfigError(f"step {step.task_id}: act {step.act!r} is not one of {', '.join(ACTS)}")
    return step.act == MARK_DELETED
