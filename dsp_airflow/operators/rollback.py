"""The steps that undo what an earlier run wrote, and do its work again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException

from dsp_airflow.connections import open_store
from dsp_airflow.engine.errors import Refused
from dsp_airflow.opening import open_run
from dsp_airflow.operators.base import asker, external_key, triggering_user
from dsp_airflow.operators.earlier import AskedOfRun
from dsp_airflow.state.rollbacks import Rollbacks
from dsp_airflow.state.switches import Switches
from dsp_airflow.steps import TaskRun
from dsp_airflow.undoing import look_at_rollback, rollback_task, undo_of, undoable


class AskedToRollBack(AskedOfRun):
    """A step of a rollback of an earlier run of a task file.

    :param again: whether the work is done again then, by a new run.
    """

    template_fields = (*AskedOfRun.template_fields, "again")
    ui_color = "#f7e3e3"
    retry_unknown = False
    act = "rollback"

    def __init__(self, *, again: bool | str = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.again = again

    @property
    def is_again(self) -> bool:
        """A rendered template is text."""
        return str(self.again).strip().lower() == "true"

    def _names(self, run: TaskRun) -> tuple[str, ...]:
        return undoable(run) if self.one is None else (self.one,)


class RollbackEstimateOperator(AskedToRollBack):
    """Looks at what a rollback would undo; see ``RollbackOperator``."""

    def execute(self, context: Any) -> dict[str, Any]:
        """Returns the run's id and the rows that would be undone."""
        with (
            self._translated(),
            self._state() as database,
            self._earlier(database, context) as run,
        ):
            if self.is_again:
                # Before anything is undone that nobody may do again.
                Switches(database).require_enabled(run.task.name)
            found = {name: look_at_rollback(run, name) for name in self._names(run)}
            for name, one in found.items():
                self.log.info("Job %s: undoes %s", name, one["deletes"])
            return self._keep(run, context, rollback_task(run.task), "rollback", found)


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


class AgainOperator(AskedToRollBack):
    """Makes the new run that does again what was undone, and links the two; else it is skipped.

    The DAG run of its id is begun by the step that follows. It is one of the task's own DAG, with
    all its gates; of whoever asked for the rollback.
    """

    ui_color = "#e3f0f7"

    def execute(self, context: Any) -> dict[str, Any]:
        """Returns the new run's id, and that of its DAG run. May be repeated: it is the same."""
        if not self.is_again:
            raise AirflowSkipException("nobody asked that the work is done again")
        with (
            self._translated(),
            self._state() as database,
            self._earlier(database, context) as run,
        ):
            rollbacks, dag_run_id = Rollbacks(database), f"again__{run.run.id}"
            if not rollbacks.undone(run.run.id):
                raise Refused(f"run {run.run.id} was not rolled back, so nothing is done again")
            new = open_run(
                database,
                run.task,
                Path(self.task_file or ""),
                open_store,
                external_key=external_key(run.task.name, dag_run_id),
                triggered_by=triggering_user(context),
            )
            rollbacks.link(run.run.id, new.run.id)
            self.log.info("Run %s does the work of run %s again", new.run.id, run.run.id)
            return {"run": new.run.id, "dag_run_id": dag_run_id}
