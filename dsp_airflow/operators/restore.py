"""The steps that put archived rows back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dsp_airflow.config.tasks import Task
from dsp_airflow.connections import open_store
from dsp_airflow.notify import LATEST
from dsp_airflow.operators.base import StepOperator, TaskOperator, asker
from dsp_airflow.operators.check import ConsistencyCheckOperator
from dsp_airflow.operators.sync import TableSyncOperator
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.records import JobSummary
from dsp_airflow.state.runs import Runs
from dsp_airflow.steps import TaskRun


class AskedToRestore(TaskOperator):
    """A step of a restore that somebody asks for by a form: of an earlier run of a task file.

    :param earlier_run: id of the run that archived the rows, or ``latest``.
    :param batches: ``all`` (default) or batch numbers such as ``1-5,8``.
    :param condition: SQL condition over the archived columns; empty for all rows.
    :param to_table: where to; empty for the table that the rows came from.
    :param to_connection: where to; empty for the connection that the rows came from.
    :param conflict: ``error`` (default), ``ignore`` or ``update``.
    """

    template_fields: Sequence[str] = (
        *TaskOperator.template_fields,
        "earlier_run",
        "batches",
        "condition",
        "to_table",
        "to_connection",
        "conflict",
    )
    ui_color = "#e6f3e3"

    def __init__(
        self,
        *,
        earlier_run: str | None = None,
        batches: str = "all",
        condition: str | None = None,
        to_table: str | None = None,
        to_connection: str | None = None,
        conflict: str = "error",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.earlier_run = earlier_run
        self.batches = batches
        self.condition = condition
        self.to_table = to_table
        self.to_connection = to_connection
        self.conflict = conflict

    def _task(self, database: StateDatabase, context: Mapping[str, Any]) -> Task:
        """What the form asks for; once it is begun, what it was then (the latest run moves on)."""
        from dsp_airflow.restoring import Wish, again, of_run

        task = self.definition()
        if self.earlier_run is None:
            return task
        begun = Runs(database).find(self._external_key(context["dag_run"]))
        if begun is not None:
            return again(begun, task)
        wanted = self.earlier_run.strip()
        wish = Wish(
            batches=self.batches,
            where=_given(self.condition),
            connection=_given(self.to_connection),
            table=_given(self.to_table),
            on_conflict=self.conflict,
        )
        run = None if wanted in ("", LATEST) else wanted
        return of_run(
            database,
            task,
            run,
            self.job,
            wish,
            open_store,
            self._permit(database, task, context, "archive"),
        )

    def _open(self, database: StateDatabase, context: Mapping[str, Any]) -> TaskRun:
        run = super()._open(database, context)
        if self.earlier_run is not None:
            run.by_hand = asker(context)
            run.permit = self._permit(database, run.task, context, "restore")
        return run


class RestoreOperator(AskedToRestore, TableSyncOperator):
    """Puts archived rows back into a table. A retry, or a clear, restores what is left.

    With ``task_file`` and ``earlier_run`` it restores what a run of that file archived. Standing
    alone it needs the manifest only::

        back = {
            "job": "flights",
            "source": {
                "connection": "archive_s3",
                "bucket": "archive",
                "manifest": "flights/run=20261201T020000-3f9a1c/_manifest.json",
            },
            "target": {"connection": "shop_pg", "table": "public.flights"},
        }
        with DAG("bring_back_flights", schedule=None):
            RestoreOperator(task_id="restore", **back) >> RestoreCheckOperator(
                task_id="check", **back
            )

    :param shard: number of this task among several that share the job's batches.
    """

    def do_step(self, run: TaskRun, context: Mapping[str, Any]) -> JobSummary:
        """Restores every batch that is not restored yet."""
        if self.earlier_run is not None:
            run.plan(self.job_name)
        return super().do_step(run, context)


class RestoreCheckOperator(AskedToRestore, ConsistencyCheckOperator):
    """Compares what was restored with the archive; fails when rows differ.

    See ``RestoreOperator`` for an example.
    """


class DropDrillOperator(StepOperator):
    """Drops the table that a drill restored to, once all of it is proved.

    After a check that failed it stays, until the job's next drill. In a hand-written DAG it
    follows the check::

        (
            RestoreOperator(task_id="restore", **drill)
            >> RestoreCheckOperator(task_id="check", **drill)
            >> DropDrillOperator(task_id="drop", **drill)
        )
    """

    def do_step(self, run: TaskRun, context: Mapping[str, Any]) -> JobSummary:  # noqa: ARG002
        """Drops it, unless that has happened."""
        return run.drop_drill(self.job_name)


def _given(text: str | None) -> str | None:
    """A field of the form that was left empty."""
    return (text or "").strip() or None
