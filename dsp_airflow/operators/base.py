"""What all step operators share: their arguments, their run, and how they end."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferred

from dsp_airflow.approval.gate import Gate, OpenGate, gate_of
from dsp_airflow.approval.settings import NOT_ENFORCED
from dsp_airflow.config.errors import ConfigProblems
from dsp_airflow.config.hours import DailyWindow
from dsp_airflow.config.tasks import Task
from dsp_airflow.connections import open_store
from dsp_airflow.engine.errors import (
    Closed,
    ConfigError,
    DspError,
    SwitchedOff,
    Terminated,
)
from dsp_airflow.engine.pace import BatchEdgePace
from dsp_airflow.engine.ports import Phase
from dsp_airflow.naming import TABLE
from dsp_airflow.opening import open_run
from dsp_airflow.operators.assets import add_event
from dsp_airflow.operators.definition import from_arguments, from_file
from dsp_airflow.operators.errors import translated
from dsp_airflow.operators.leaving import Left, came_back, leave, time_left
from dsp_airflow.operators.metrics import measured
from dsp_airflow.operators.report_link import RunReportLink, report_url
from dsp_airflow.operators.shared_state import require_shared_state
from dsp_airflow.operators.watch import TaskWatch
from dsp_airflow.permissions import settings
from dsp_airflow.permissions.checks import Permit, permit_of
from dsp_airflow.permissions.needs import Act
from dsp_airflow.progress import LogWatch
from dsp_airflow.run_variables import Interval
from dsp_airflow.state.audit import UNKNOWN
from dsp_airflow.state.database import StateDatabase, open_state
from dsp_airflow.state.records import EndState, JobSummary, Run
from dsp_airflow.state.runs import Runs
from dsp_airflow.steps import TaskRun

NOBODY = "airflow"
"""The owner of an operator that nobody gave one."""

JOB_FIELDS = (
    "source",
    "target",
    "key",
    "columns",
    "where",
    "variables",
    "drift",
    "mode",
    "cursor",
    "step",
    "allow_empty",
    "gridfs",
    "field_order",
    "on_conflict",
    "delete_missing",
    "rollback",
    "batch_size",
    "workers",
    "isolation",
    "timeouts",
    "limits",
    "check",
    "purge",
    "accept_loss",
    "accept_triggers",
    "keep_last_auto_increment",
    "keep_newest",
    "max_row_size",
    "report_values",
)


class DeadlinePace(BatchEdgePace):
    """Also stops at the first batch edge after the task's timeout.

    Time in which a window of the task was closed does not count.
    """

    def __init__(
        self,
        inner: BatchEdgePace,
        started: datetime,
        timeout: timedelta,
        windows: Sequence[DailyWindow] = (),
    ) -> None:
        super().__init__()
        self._inner = inner
        self._started = started
        self._timeout = timeout
        self._windows = windows

    def stop(self, reason: str) -> None:
        """Asks every worker to stop at its next batch edge."""
        self._inner.stop(reason)

    def before_batch(self, halt: Event | None = None) -> None:
        """Raises ``Terminated`` once the work was asked to stop or its time is over."""
        self._inner.before_batch(halt)
        if self._over(datetime.now(UTC)):
            raise Terminated(
                f"stopped at a batch edge: the timeout of {self._timeout} is over; what is "
                "recorded stays. Raise timeout in the task file, or clear the step to go on"
            )

    def _over(self, now: datetime) -> bool:
        if now <= self._started + self._timeout:
            return False
        closed = [window.closed_between(self._started, now) for window in self._windows]
        return now > self._started + self._timeout + max(closed, default=timedelta())


class TaskOperator(BaseOperator):
    """Works on a task, or on one job of it.

    :param job: name of the job.
    :param task_file: path of the task file that has the job. Without it the job is made of
        the arguments below, which mean what they mean in a task file; give all operators of
        the job the same ones. The run's state then belongs to this DAG run and job.
    :param source: ``{"connection": ..., "table": ...}``; of a restore ``{"connection": ...,
        "bucket": ..., "manifest": ...}``.
    :param target: ``{"connection": ..., "table": ..., "create": "missing" | "never"}``; of an S3
        job ``{"connection": ..., "bucket": ..., "prefix": ...}``, with ``format`` and
        ``compression``.
    :param key: source columns that identify a row; default: the primary key.
    :param columns: column mappings; default: all columns under their own names.
    :param where: rules, or an SQL condition with ``:name`` variables; of MongoDB also a query
        document.
    :param variables: their values, such as ``{"cutoff": "now-90d"}``.
    :param mode: ``full`` (default), ``incremental``, ``step``, or ``replace``, which ends with
        a ``SwapOperator``.
    :param allow_empty: ``replace`` may leave the target without rows.
    :param cursor: ``{"column": "updated_at", "overlap": "5m"}``, for ``incremental``.
    :param step: ``{"column": "created_at", "start": "2024-01-01", "size": "1M"}``, for ``step``.
    :param gridfs: the source is a bucket of GridFS, and so is the target, or it is S3.
    :param field_order: of documents between two MongoDB: ``count`` (default) or ``ignore``.
    :param on_conflict: ``update`` (default), ``ignore`` or ``error``.
    :param delete_missing: ``{"limit": 1000}`` or ``{"limit": "5%"}``; give it to a
        ``DeleteMissingOperator``, too, which does it.
    :param rollback: note what is written, so that ``dsp rollback`` can undo it.
    :param batch_size: rows, or ``auto`` (default).
    :param workers: batches worked on at once.
    :param isolation: ``repeatable_read`` (default) or ``read_committed``; of MySQL also
        ``read_uncommitted`` and ``serializable``.
    :param timeouts: ``{"lock": "30s", "statement": "10m"}``.
    :param limits: ``{"rows_per_second": 20000, "window": "22:00-06:00"}``, ``{"bytes_per_second":
        "50MiB"}``, ``{"replica_lag": "10s", "threads_running": 50}``.
    :param check: ``{"percent": 10}`` (default), or ``"none"``.
    :param purge: ``none`` (default), ``manual`` or ``system``.
    :param accept_loss: source columns whose loss is accepted.
    :param accept_triggers: delete triggers that are known and accepted.
    :param keep_last_auto_increment: leave the row with the newest AUTO_INCREMENT value.
    :param keep_newest: ``{"by": "closed_at", "per": ["customer"]}``: leave the newest row of each.
    :param max_row_size: such as ``64MiB``.
    :param report_values: show values in difference reports.
    :param drift: ``fail`` (default) or ``add-columns``.
    """

    template_fields: Sequence[str] = (
        "task_file",
        "job",
        "source",
        "target",
        "key",
        "columns",
        "where",
        "variables",
        "check",
    )
    ui_color = "#e3f0f7"
    operator_extra_links = (RunReportLink(),)
    report_url: str | None = None
    """Where the run can be read about, once it is known."""
    retry_unknown: ClassVar[bool] = True
    """Whether an error that nobody foresaw may be tried again."""

    def __init__(
        self,
        *,
        job: str | None = None,
        task_file: str | None = None,
        source: Mapping[str, str] | None = None,
        target: Mapping[str, str] | None = None,
        key: Sequence[str] | None = None,
        columns: Sequence[Mapping[str, Any]] | None = None,
        where: str | Mapping[str, Any] | None = None,
        variables: Mapping[str, Any] | None = None,
        mode: str | None = None,
        cursor: Mapping[str, Any] | None = None,
        step: Mapping[str, Any] | None = None,
        allow_empty: bool | None = None,
        gridfs: bool | None = None,
        field_order: str | None = None,
        on_conflict: str | None = None,
        delete_missing: Mapping[str, Any] | None = None,
        rollback: bool | None = None,
        batch_size: int | str | None = None,
        workers: int | None = None,
        isolation: str | None = None,
        timeouts: Mapping[str, str] | None = None,
        limits: Mapping[str, Any] | None = None,
        check: Mapping[str, Any] | str | None = None,
        purge: str | None = None,
        accept_loss: Sequence[str] | None = None,
        accept_triggers: Sequence[str] | None = None,
        keep_last_auto_increment: bool | None = None,
        keep_newest: Mapping[str, Any] | None = None,
        max_row_size: str | None = None,
        report_values: bool | None = None,
        drift: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.task_file = task_file
        self.source = source
        self.target = target
        self.key = key
        self.columns = columns
        self.where = where
        self.variables = variables
        self.mode = mode
        self.cursor = cursor
        self.step = step
        self.allow_empty = allow_empty
        self.gridfs = gridfs
        self.field_order = field_order
        self.on_conflict = on_conflict
        self.delete_missing = delete_missing
        self.rollback = rollback
        self.batch_size = batch_size
        self.workers = workers
        self.isolation = isolation
        self.timeouts = timeouts
        self.limits = limits
        self.check = check
        self.purge = purge
        self.accept_loss = accept_loss
        self.accept_triggers = accept_triggers
        self.keep_last_auto_increment = keep_last_auto_increment
        self.keep_newest = keep_newest
        self.max_row_size = max_row_size
        self.report_values = report_values
        self.drift = drift
        self._pace: BatchEdgePace | None = None
        self._killed = False
        self._left: Left | None = None

    def on_kill(self) -> None:
        """Airflow asks the process to end: the next batch edge is soon enough."""
        self._killed = True
        if self._pace is not None:
            self._pace.stop("Airflow asked the task to end")

    # Helpers

    @property
    def stands_alone(self) -> bool:
        """Whether the job is made of this operator's arguments."""
        return self.task_file is None

    @property
    def writes_target(self) -> bool:
        """Whether a job of this operator's own stands in its target before any swap."""
        return self.stands_alone and self.mode != "replace"

    def definition(self) -> Task:
        """The task this step belongs to."""
        given = {name: getattr(self, name) for name in JOB_FIELDS}
        if self.task_file is None:
            if self.job is None or self.source is None or self.target is None:
                raise ConfigError(
                    f"{type(self).__name__} {self.task_id} needs job, and either task_file, or "
                    "source and target"
                )
            kind = "s3" if "bucket" in self.target else "warm"
            kind = "restore" if "manifest" in self.source else kind
            return from_arguments(self.dag_id, self.job, kind, given)
        named = [name for name, value in given.items() if value is not None]
        if named:
            raise ConfigError(
                f"{type(self).__name__} {self.task_id} has task_file, so {', '.join(named)} "
                "belongs in that file"
            )
        return from_file(self.task_file)

    def _translated(self) -> AbstractContextManager[None]:
        return translated(retry_unknown=self.retry_unknown, retry_stopped=lambda: self._killed)

    @contextmanager
    def _state(self) -> Iterator[StateDatabase]:
        require_shared_state()
        with open_state() as database:
            yield database

    def _open(self, database: StateDatabase, context: Mapping[str, Any]) -> TaskRun:
        """The run that belongs to this DAG run, watched and paced."""
        task = self._task(database, context)
        dag_run = context["dag_run"]
        try:
            run = open_run(
                database,
                task,
                Path(self.task_file or ""),
                open_store,
                watch=self._watch(task, context),
                external_key=self._external_key(dag_run),
                triggered_by=triggering_user(context),
            )
        except SwitchedOff as off:
            if asked_by_hand(context):
                raise
            raise AirflowSkipException(str(off)) from off
        self._guard(run, database, context)
        self._paced(run)
        self._show_report(run, context)
        return run

    def _task(self, _database: StateDatabase, _context: Mapping[str, Any]) -> Task:
        """What the run is of."""
        return self.definition()

    def _show_report(self, run: TaskRun, context: Mapping[str, Any]) -> None:
        """Stores the link now; Airflow does so only when the task has ended."""
        self.report_url = report_url(run.run)
        try:
            context["ti"].xcom_push(key=RunReportLink().xcom_key, value=self.report_url)
        except Exception:
            self.log.exception("the link to the run's report cannot be shown yet")

    def _guard(
        self,
        run: TaskRun,
        database: StateDatabase,
        context: Mapping[str, Any],
        act: Act = "run",
    ) -> None:
        """Gives the run its gate and its permit; where those are open, the log says so."""
        run.permit = self._permit(database, run.task, context, act)
        run.gate = self._gate(database, context)
        if isinstance(run.gate, OpenGate):
            self.log.info("%s", NOT_ENFORCED)

    def _gate(self, database: StateDatabase, context: Mapping[str, Any]) -> Gate:
        """What the DAG run was approved for."""
        return gate_of(database, dag_run_key(context["dag_run"]))

    def _permit(
        self, database: StateDatabase, task: Task, context: Mapping[str, Any], act: Act = "run"
    ) -> Permit:
        """Who answers for what this step does, and so needs grants."""
        if not settings.enforced():
            self.log.info("%s", settings.NOT_ENFORCED)
        owner = task.owner or ("" if self.owner == NOBODY else str(self.owner))
        return permit_of(database, owner, triggering_user(context), act)

    def _external_key(self, dag_run: Any) -> str:
        return external_key(dag_run.dag_id, dag_run.run_id, self.job if self.stands_alone else None)

    def _watch(self, task: Task, context: Mapping[str, Any]) -> TaskWatch:
        tables = {job.name: job.source.table for job in task.jobs}

        def emit(line: str) -> None:
            self.log.info("%s", line)

        return TaskWatch(LogWatch(emit, tables), context.get("task_state_store"), emit)

    @contextmanager
    def _recorded(self, database: StateDatabase, context: Mapping[str, Any]) -> Iterator[None]:
        """An error that Airflow will not try again ends the run, if there is one already."""
        try:
            with self._translated():
                yield
        except (TaskDeferred, AirflowSkipException):
            raise
        except BaseException as error:
            final = isinstance(error, AirflowFailException)
            if final or not has_retries(context):
                runs = Runs(database)
                run = runs.find(self._external_key(context["dag_run"]))
                cause = (error.__cause__ if final else None) or error
                if run is not None:
                    runs.finish(run.id, self._end(run, cause), error_text(cause))
                if not self.stands_alone:
                    self._gate(database, context).ended(error_text(cause))
            raise

    def _end(self, run: Run, cause: BaseException) -> EndState:
        """A run that Airflow ended has failed, however its last step came to hear of it."""
        by_airflow = (self._killed or run.stop_requested) and not run.stopped_by_hand
        return "terminated" if isinstance(cause, Terminated) and not by_airflow else "failed"

    def _begins_again(self, run: TaskRun, context: Mapping[str, Any]) -> bool:
        """Whether an ended run does. One that somebody stopped goes on when it is cleared only:
        what comes later by itself, such as a shard's retry, stops too.
        """
        if self._left is None and is_again(run, context):
            return True
        run.require_going()
        return False

    def _paced(self, run: TaskRun) -> None:
        run.leaves = True
        if self._left is not None:
            run.opened_at = self._left.since
        self._pace = run.pace
        if self._killed:
            self._pace.stop("Airflow asked the task to end")


class StepOperator(TaskOperator):
    """One step of one job. See ``TaskOperator`` for the arguments."""

    phase: ClassVar[Phase | None] = None
    """What is measured while the step works; a step that moves no rows has none."""

    @property
    def job_name(self) -> str:
        """The job this step is about."""
        if self.job is None:
            raise ConfigError(f"{type(self).__name__} {self.task_id} needs job")
        return self.job

    @abstractmethod
    def do_step(self, run: TaskRun, context: Mapping[str, Any]) -> JobSummary:
        """Does the step, by the facade; may be repeated."""

    def execute(self, context: Any) -> dict[str, Any]:
        """Opens the run, does the step, records how it ended, returns ids and counts.

        Where the job's window closes meanwhile, the task leaves its worker, and ``resume`` goes
        on in the same try when it opens.
        """
        self._left = None
        return self._do(context)

    def resume(
        self,
        context: Any,
        event: str | None = None,
        worked: float = 0.0,
        run: str = "",
        since: str = "",
    ) -> dict[str, Any]:
        """The window has opened, or somebody asked the run to stop.

        ``worked``: seconds of this try before it left, which count for the ``execution_timeout``
        as the time in the closed window does not. ``run`` and ``since``: what it worked on, and
        when it was opened first.
        """
        self.log.info("Going on after %.0f s of work: %s", worked, event or "the window is open")
        self._left = came_back(run, since)
        with time_left(self.execution_timeout, worked):
            return self._do(context, worked)

    # Helpers

    def _do(self, context: Any, worked: float = 0.0) -> dict[str, Any]:
        began = time.monotonic()
        with (
            self._translated(),
            self._state() as database,
            self._recorded(database, context),
        ):
            with self._working(database, context) as run, self._measured(run):
                try:
                    found = self.do_step(run, context)
                except Closed as closed:
                    self.log.info("%s; until then the task leaves its worker", closed)
                    job = closed.job or self.job_name
                    leave(self, run, job, worked + time.monotonic() - began)
            return counts(run, found)

    def _measured(self, run: TaskRun) -> AbstractContextManager[None]:
        return nullcontext() if self.phase is None else measured(run, self.job_name, self.phase)

    def _tell_target(self, run: TaskRun, found: JobSummary, context: Mapping[str, Any]) -> None:
        """The target is written, and proved where the job asks for it: who waits may begin."""
        events = context.get("outlet_events")
        if events is not None:
            facts = counts(run, found)
            told = {name: facts[name] for name in ("run", "job", "rows_written", "rows_checked")}
            job = next(j for j in run.task.jobs if j.name == self.job_name)
            names = run.run.variables.get(self.job_name, {})
            # Which table it is this time, the asset's own name does not tell.
            told |= {"table": names[TABLE]} if TABLE in names else {}
            add_event(list(self.outlets), events, job, told)

    @contextmanager
    def _working(self, database: StateDatabase, context: Mapping[str, Any]) -> Iterator[TaskRun]:
        """The run goes on, or begins; when this step was its last one, it has succeeded."""
        run = self._open(database, context)
        if not run.run.ended or self._begins_again(run, context):
            run.begin(interval(context))
        started, timeout = self._started(run, context), run.task.timeout
        run.pace = self._pace = DeadlinePace(run.pace, started, timeout, run.task.windows)
        yield run
        states = {j.name: j.state for j in run.summary().jobs}
        if all(states.get(j.name) == "succeeded" for j in run.task.jobs):
            run.finish()
            if not self.stands_alone:
                run.gate.ended()

    def _started(self, run: TaskRun, context: Mapping[str, Any]) -> datetime:
        """What the timeout counts from; a cleared DAG run starts anew."""
        starts = [run.run.started_at, getattr(context["dag_run"], "start_date", None)]
        known = [start for start in starts if start is not None]
        return max(known, default=datetime.now(UTC))


def dag_run_key(dag_run: Any) -> str:
    """By which what a DAG run was approved for is found."""
    return external_key(dag_run.dag_id, dag_run.run_id)


def external_key(dag_id: str, run_id: str, job: str | None = None) -> str:
    """By which the run of a DAG run is found in the state database."""
    return f"{dag_id}/{run_id}" + (f"/{job}" if job else "")


def error_text(error: BaseException) -> str:
    """Without a type where the message was written for people."""
    known = isinstance(error, (DspError, ConfigProblems, AirflowFailException))
    return str(error) if known else f"{type(error).__name__}: {error}"


def interval(context: Mapping[str, Any]) -> Interval:
    """A run triggered by hand has none of the three."""
    return Interval(
        context.get("data_interval_start"),
        context.get("data_interval_end"),
        context.get("logical_date"),
    )


def has_retries(context: Mapping[str, Any]) -> bool:
    """Whether Airflow will try this task instance again."""
    instance = context["ti"]
    return int(instance.try_number or 1) <= int(getattr(instance, "max_tries", 0) or 0)


def is_cleared(context: Mapping[str, Any]) -> bool:
    """Whether this is the first try after somebody cleared the task instance.

    A clear raises ``max_tries`` to the tries so far and the retries once more.
    """
    instance = context["ti"]
    retries = int(context["task"].retries or 0)
    first = int(getattr(instance, "max_tries", 0) or 0) - retries + 1
    return first > 1 and int(instance.try_number or 1) == first


def asked_by_hand(context: Mapping[str, Any]) -> bool:
    """Whether a person triggered the DAG run, who is to see why it does nothing."""
    return bool(getattr(context["dag_run"], "run_type", "manual") == "manual")


def triggering_user(context: Mapping[str, Any]) -> str | None:
    """Who triggered the DAG run; ``None`` where it was nobody, such as a schedule."""
    return getattr(context["dag_run"], "triggering_user_name", None) or None


def asker(context: Mapping[str, Any]) -> str:
    """Who triggered the DAG run, for the audit."""
    return triggering_user(context) or UNKNOWN


def is_again(run: TaskRun, context: Mapping[str, Any]) -> bool:
    """Whether an ended run goes on: a retry, or somebody cleared a step or the DAG run.

    A step of another job that merely comes later leaves the end as it was recorded. A retry is
    no reason where somebody stopped the run.
    """
    started, ended = getattr(context["dag_run"], "start_date", None), run.run.ended_at
    if started is not None and ended is not None and started > ended:
        return True
    if run.run.state == "terminated" and run.run.stop_requested:
        return is_cleared(context)
    return int(context["ti"].try_number or 1) > 1


def counts(run: TaskRun, job: JobSummary) -> dict[str, Any]:
    """What goes into XCom: ids and numbers."""
    return {
        "run": run.run.id,
        "job": job.name,
        "rows_total": job.rows_total,
        "rows_written": job.rows_written,
        "rows_checked": job.rows_checked,
        "rows_different": job.rows_different,
        "rows_purged": job.rows_purged,
        "rows_kept": job.rows_kept,
        "batches": job.batches,
        **({"rows_deleted": job.rows_deleted} if job.rows_missing else {}),
        **({"rows_gone": job.rows_gone} if job.rows_gone else {}),
    }
