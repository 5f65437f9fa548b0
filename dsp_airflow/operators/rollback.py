"""The steps that undo what an earlier run wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dsp_airflow.approval.estimates import HEADER, Estimates
from dsp_airflow.approval.subject import header_of
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.notify import LATEST
from dsp_airflow.operators.base import TaskOperator, asker, dag_run_key
from dsp_airflow.operators.purge import earlier
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.switches import Switches
from dsp_airflow.steps import TaskRun
from dsp_airflow.undoing import look_at_rollback, rollback_task, undo_of, undoable

ALL = "all"


class AskedToRollBack(TaskOperator):
    """A step of a rollback of an earlier run of a task file.

    :param earlier_run: id of the run to undo, or ``latest``.
    :param only: name of one of its jobs, or ``all`` (default).
    """

    template_fields: Sequence[str] = (*TaskOperator.template_fields, "earlier_run", "only")
    ui_color = "#f7e3e3"
    retry_unknown = False

    def __init__(self, *, earlier_run: str = LATEST, only: str = ALL, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.earlier_run = earlier_run
        self.only = only

    @contextmanager
    def _earlier(self, database: StateDatabase, context: Mapping[str, Any]) -> Iterator[TaskRun]:
        if self.task_file is None:
            raise ConfigError(f"{type(self).__name__} {self.task_id} needs task_file")
        run = earlier(database, self.definition(), self.earlier_run)
        run.watch = self._watch(run.task, context)
        Switches(database).require_online(run.run.task)
        self._guard(run, database, context, "rollback")
        run.by_hand = asker(context)
        self._paced(run)
        self._show_report(run, context)
        yield run

    def _names(self, run: TaskRun) -> tuple[str, ...]:
        return undoable(run) if self.only.strip() in ("", ALL) else (self.only.strip(),)


class RollbackEstimateOperator(AskedToRollBack):
    """Looks at what a rollback would undo; see ``RollbackOperator``."""

    def execute(self, context: Any) -> dict[str, Any]:
        """Returns the run's id and the rows that would be undone."""
        with (
            self._translated(),
            self._state() as database,
            self._earlier(database, context) as run,
        ):
            names = self._names(run)
            estimates, key = Estimates(database), dag_run_key(context["dag_run"])
            rows = {}
            for name in names:
                found = look_at_rollback(run, name)
                estimates.put(key, name, found)
                rows[name] = found["rows"]
                self.log.info("Job %s: undoes %s", name, found["deletes"])
            header = header_of(rollback_task(run.task), "rollback") | {"jobs": list(names)}
            estimates.put(key, HEADER, header)
            return {"run": run.run.id, "rows": rows}


class RollbackOperator(AskedToRollBack):
    """Undoes what a run wrote: rows that it inserted go, those that it updated are set back.

    Only what the source still has is undone, and nothing that others have changed since. A retry,
    or a clear, undoes what is left::

        with DAG("undo_flights", schedule=None):
            RollbackOperator(
                task_id="rollback", task_file="/dags/tasks/flights.yaml", earlier_run="latest"
            )
    """

    def execute(self, context: Any) -> dict[str, Any]:
        """Returns the run's id and, of each job, what became of its rows."""
        with (
            self._translated(),
            self._state() as database,
            self._earlier(database, context) as run,
        ):
            found = {}
            for name in self._names(run):
                done = undo_of(run, name).do(run.by_hand or asker(context))
                found[name] = {
                    "removed": done.removed,
                    "restored": done.restored,
                    "kept": done.kept,
                }
                if done.kept:
                    self.log.warning(
                        "Job %s: %s rows were kept; see dsp status %s",
                        name,
                        f"{done.kept:,}",
                        run.run.id,
                    )
            run.gate.ended()
            return {"run": run.run.id, "rows": found}
