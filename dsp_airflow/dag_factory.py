"""Task files to DAGs: the only place that knows the order of a task's steps.

Building is deterministic and touches neither a database nor the network. A worker, which
runs one DAG, loads that DAG's file only.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Param, TaskGroup, chain, get_parsing_context

from dsp_airflow.approval import settings
from dsp_airflow.approval.subject import task_type_of
from dsp_airflow.approval.waived import without_waived
from dsp_airflow.approval.weights import weight_of
from dsp_airflow.config.archives import S3Job
from dsp_airflow.config.errors import ConfigProblems, Problem
from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.config.loading import load_task, load_tasks
from dsp_airflow.config.names import BY_HAND, PURGE_SUFFIX, RESTORE_SUFFIX
from dsp_airflow.config.process_loading import load_processes
from dsp_airflow.config.processes import Process
from dsp_airflow.config.restores import RestoreJob, is_drill
from dsp_airflow.config.tasknames import task_names
from dsp_airflow.config.tasks import MANUAL, Job, Once, Task
from dsp_airflow.import_errors import report
from dsp_airflow.listener import BEARER, CARRIED, TAG
from dsp_airflow.marking import ACTS, DELETE, MARK_DELETED
from dsp_airflow.notify import LATEST, Act, Event, RunEnded
from dsp_airflow.operators.archive import S3ArchiveOperator
from dsp_airflow.operators.assets import target_alias, target_asset
from dsp_airflow.operators.check import ConsistencyCheckOperator
from dsp_airflow.operators.delete_missing import DeleteMissingOperator
from dsp_airflow.operators.earlier import ALL
from dsp_airflow.operators.estimate import EstimateOperator, RestoreEstimateOperator
from dsp_airflow.operators.plan import PlanOperator
from dsp_airflow.operators.purge import PurgeEstimateOperator, PurgeSourceOperator
from dsp_airflow.operators.repair import RepairEstimateOperator, RepairOperator
from dsp_airflow.operators.restore import (
    DropDrillOperator,
    RestoreCheckOperator,
    RestoreOperator,
)
from dsp_airflow.operators.rollback import (
    AgainOperator,
    RollbackEstimateOperator,
    RollbackOperator,
)
from dsp_airflow.operators.swap import SwapOperator
from dsp_airflow.operators.sync import TableSyncOperator
from dsp_airflow.pools import pooled
from dsp_airflow.repairing import irreparable, repair_task
from dsp_airflow.replacing import replaces
from dsp_airflow.sensors.approval import LONGEST_WAIT, ApprovalSensor
from dsp_airflow.step_ids import group_id
from dsp_airflow.steps import DELETE_MISSING, deletes_missing
from dsp_airflow.undoing import rollback_task

GRACE = timedelta(minutes=15)
"""A run stops by itself at the first batch edge after its timeout; Airflow waits this longer."""
_AS_LOOKED_AT = {"earlier_run": "{{ ti.xcom_pull(task_ids='estimate')['run'] }}"}
"""The latest run may be another one by the time that somebody has agreed."""


def dags_in(folder: str | Path) -> dict[str, DAG]:
    """The DAGs of all task files below a folder, by id; of a worker's one file only.

    Files with errors become import errors of their own and take no other file with them.
    """
    wanted = get_parsing_context().dag_id
    if wanted is not None:
        name = _task_of(wanted)
        path = task_names(folder).get(name)
        found, failed = _one(path) if path else ([], [])
    else:
        found, failed = load_tasks(folder)
    found, waived = without_waived(found)
    failed += waived
    processes, broken = load_processes(settings.processes_folder())
    filed = [process for _, process in processes]
    dags: dict[str, DAG] = {}
    for path, task in found:
        try:
            dags |= {dag.dag_id: dag for dag in _valid(build_dags(task, path, filed))}
        except Exception as error:  # noqa: BLE001 - Airflow takes its own view of some values
            message = f"Airflow refuses the task: {type(error).__name__}: {error}"
            failed.append(ConfigProblems([Problem(str(path), 1, 1, "", message)]))
    if wanted is None:
        failed += [one.problems for one in broken]
    report(failed)
    return dags


def _task_of(dag_id: str) -> str:
    for suffix in BY_HAND:
        dag_id = dag_id.removesuffix(suffix)
    return dag_id


def build_dags(task: Task, path: str | Path, processes: Sequence[Process] = ()) -> list[DAG]:
    """The task's DAG; those of what is asked for by hand, where a job allows it.

    ``processes`` are those of files: the priority of one may be that of the tasks it is for.
    """
    dags = [build_dag(task, path, processes)]
    if any(job.purge == "manual" for job in task.jobs):
        dags.append(build_purge_dag(task, path, processes))
    if any(isinstance(job, S3Job) for job in task.jobs):
        dags.append(build_restore_dag(task, path, processes))
    if any(_can_be_undone(job) for job in task.jobs):
        dags.append(build_rollback_dag(task, path, processes))
    if any(_is_repaired(job) for job in task.jobs):
        dags.append(build_repair_dag(task, path, processes))
    return dags


def build_dag(task: Task, path: str | Path, processes: Sequence[Process] = ()) -> DAG:
    """``estimate >> approval >> jobs (plan >> copy >> check >> swap or delete) >> purge``."""
    file = str(path)
    schedule, start = _schedule(task)
    weight = weight_of(task, task_type_of(task), task.jobs, processes)
    with _dag(task, task.name, task.title, weight, schedule=schedule, start_date=start) as dag:
        estimate = EstimateOperator(task_id="estimate", task_file=file)
        approval = _approval(task)
        jobs = [_job_group(job, file, task) for job in task.jobs]
        estimate >> approval
        _in_order(task, approval, jobs)
        purged = [job for job in task.jobs if job.purge == "system"]
        if purged:
            jobs >> _purge_group(purged, file, task)
    return dag


def build_purge_dag(task: Task, path: str | Path, processes: Sequence[Process] = ()) -> DAG:
    """Deletes batches of an earlier run by hand, or marks them as deleted; its form asks which."""
    jobs = [job for job in task.jobs if job.purge == "manual"]
    names = [job.name for job in jobs]
    source, *others = {job.source.connection for job in jobs}
    # Which job it is about is not known before somebody asks, and a step has one pool.
    pool = {} if others else pooled(source)
    params = {
        "job": Param(names[0], enum=names, title="Job", description="Whose rows are deleted."),
        "batches": _batches(),
        "run": _run("Id of the run that copied the rows, as dsp status shows it, or latest."),
        "act": Param(
            DELETE,
            enum=list(ACTS),
            title="What to do",
            description="Delete what is proved; or delete nothing, and record rows that somebody "
            "has removed already, once they are seen to be gone.",
            values_display={
                DELETE: "Delete the rows from the source",
                MARK_DELETED: "Mark as deleted what was removed by hand",
            },
        ),
    }
    title = f"{task.title}: purge by hand"
    name, weight = f"{task.name}{PURGE_SUFFIX}", weight_of(task, "purge", jobs, processes)
    with _dag(task, name, title, weight, params=params, act="purge") as dag:
        asked: dict[str, Any] = {
            "task_file": str(path),
            "job": "{{ params.job }}",
            "batches": "{{ params.batches }}",
            "earlier_run": "{{ params.run }}",
            "act": "{{ params.act }}",
        }
        estimate = PurgeEstimateOperator(task_id="estimate", **asked)
        purge = PurgeSourceOperator(task_id="purge", **asked, **pool)
        estimate >> _approval(task, "purge") >> purge
    return dag


def build_restore_dag(task: Task, path: str | Path, processes: Sequence[Process] = ()) -> DAG:
    """Restores batches of an earlier run; its form asks which, and where to."""
    jobs = [job for job in task.jobs if isinstance(job, S3Job)]
    names = [job.name for job in jobs]
    params = {
        "job": Param(names[0], enum=names, title="Job", description="Whose rows are restored."),
        "run": _run("Id of the run that archived the rows, as dsp status shows it, or latest."),
        "batches": _batches(),
        "where": Param(
            "",
            type="string",
            title="Filter",
            description="SQL condition over the archived columns; empty for all rows.",
        ),
        "table": Param(
            "",
            type="string",
            title="Table",
            description="Table to write, with its schema; empty for the one they came from.",
        ),
        "connection": Param(
            "",
            type="string",
            title="Connection",
            description="Database to write to; empty for the one they came from.",
        ),
        "on_conflict": Param(
            "error",
            enum=["error", "ignore", "update"],
            title="On conflict",
            description="What to do where the table holds a row of the same key.",
        ),
    }
    asked = task.model_copy(
        update={"name": f"{task.name}{RESTORE_SUFFIX}", "display_name": f"{task.title}: restore"}
    )
    weight = weight_of(task, "restore", jobs, processes)
    with _dag(asked, asked.name, asked.title, weight, params=params, kind="restore") as dag:
        wish: dict[str, Any] = {
            "task_file": str(path),
            "job": "{{ params.job }}",
            "earlier_run": "{{ params.run }}",
            "batches": "{{ params.batches }}",
            "condition": "{{ params.where }}",
            "to_table": "{{ params.table }}",
            "to_connection": "{{ params.connection }}",
            "conflict": "{{ params.on_conflict }}",
        }
        estimate = RestoreEstimateOperator(task_id="estimate", **wish)
        restore = RestoreOperator(task_id="restore", **wish)
        check = RestoreCheckOperator(task_id="check", **wish)
        estimate >> _approval(asked) >> restore >> check
    return dag


def build_rollback_dag(task: Task, path: str | Path, processes: Sequence[Process] = ()) -> DAG:
    """Undoes what an earlier run wrote, and does it again where that is wanted; its form asks."""
    jobs = [job for job in task.jobs if _can_be_undone(job)]
    params = {
        "run": _run("Id of the run to undo, as dsp status shows it, or latest."),
        "job": Param(
            ALL,
            enum=[ALL, *(job.name for job in jobs)],
            title="Job",
            description="Whose writes are undone; all: of the whole run, the last job first.",
        ),
        "again": Param(
            False,
            type="boolean",
            title="Re-execute",
            description="Then do the work again, by a new run of the task as its file is then.",
        ),
    }
    asked = rollback_task(task)
    weight = weight_of(task, "rollback", jobs, processes)
    with _dag(task, asked.name, asked.title, weight, params=params, act="rollback") as dag:
        wish: dict[str, Any] = {
            "task_file": str(path),
            "earlier_run": "{{ params.run }}",
            "only": "{{ params.job }}",
            "again": "{{ params.again }}",
        }
        estimate = RollbackEstimateOperator(task_id="estimate", **wish)
        wish |= _AS_LOOKED_AT
        undo = RollbackOperator(task_id="rollback", **wish)
        again = AgainOperator(task_id="again", **wish)
        trigger = TriggerDagRunOperator(
            task_id="trigger",
            trigger_dag_id=task.name,
            trigger_run_id="{{ ti.xcom_pull(task_ids='again')['dag_run_id'] }}",
            logical_date=None,
            # Whoever tries again finds the DAG run that an earlier try has begun.
            skip_when_already_exists=True,
            fail_when_dag_is_paused=True,
        )
        estimate >> _approval(task, "rollback") >> undo >> again >> trigger
    return dag


def build_repair_dag(task: Task, path: str | Path, processes: Sequence[Process] = ()) -> DAG:
    """Copies what an earlier run's check found to differ once more; its form asks which."""
    jobs = [job for job in task.jobs if _is_repaired(job)]
    params = {
        "run": _run("Id of the run whose check found rows, as dsp status shows it, or latest."),
        "job": Param(
            ALL,
            enum=[ALL, *(job.name for job in jobs)],
            title="Job",
            description="Whose batches are copied once more; all: of every job of which rows "
            "differ.",
        ),
    }
    asked = repair_task(task)
    weight = weight_of(task, "repair", jobs, processes)
    with _dag(task, asked.name, asked.title, weight, params=params, act="repair") as dag:
        wish: dict[str, Any] = {
            "task_file": str(path),
            "earlier_run": "{{ params.run }}",
            "only": "{{ params.job }}",
        }
        estimate = RepairEstimateOperator(task_id="estimate", **wish)
        repair = RepairOperator(task_id="repair", **wish | _AS_LOOKED_AT)
        estimate >> _approval(task, "repair") >> repair
    return dag


def _can_be_undone(job: Job) -> bool:
    return isinstance(job, S3Job) or (isinstance(job, WarmJob) and job.rollback)


def _is_repaired(job: Job) -> bool:
    """Of a job that has no check, no run finds by itself what differs."""
    return irreparable(job) is None and job.check is not None


def _run(description: str) -> Param:
    return Param(LATEST, type="string", title="Run", description=description)


def _batches() -> Param:
    return Param(
        "all",
        type="string",
        title="Batches",
        pattern=r"^\s*(all|\d+(-\d+)?(\s*,\s*\d+(-\d+)?)*)\s*$",
        description="Batch numbers such as 1-5,8, or all.",
    )


def _dag(
    task: Task,
    dag_id: str,
    title: str,
    weight: int | None,
    *,
    act: Act = "run",
    kind: str | None = None,
    **values: Any,
) -> DAG:
    # A failure is always recorded; an end that nobody wants to hear of needs no callback.
    success = _ended("success", task, act)
    kind = kind or (None if act == "run" else act)
    return DAG(
        dag_id,
        description=task.description or None,
        dag_display_name=title,
        doc_md=_documentation(task),
        tags=[TAG, kind] if kind else [TAG],
        # The loader registers it, once all of the task is known to be right.
        auto_register=False,
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=_longest(task) + GRACE + _waiting(),
        default_args=_defaults(task, weight),
        on_failure_callback=_ended("failure", task, act),
        on_success_callback=success if success.tells else None,
        **values,
    )


def _longest(task: Task) -> timedelta:
    """Time in which a job's window is closed does not count."""
    return max((window.longest(task.timeout) for window in task.windows), default=task.timeout)


def _waiting() -> timedelta:
    """How long approvers may take: the task's own timeout begins after that."""
    return LONGEST_WAIT if settings.enforced() else timedelta()


def _ended(event: Event, task: Task, act: Act) -> RunEnded:
    return RunEnded(event, task.name, task.title, task.notify.when, task.notify.to, act)


def _approval(task: Task, act: Act = "run") -> ApprovalSensor:
    carried = _ended("failure", task, act).carried()
    return ApprovalSensor(task_id=BEARER, **{CARRIED: carried})


def _defaults(task: Task, weight: int | None) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "retries": task.retries,
        "retry_delay": task.retry_delay,
        # Airflow's word for "the same wait each time" is 0.
        "retry_exponential_backoff": task.retry_backoff if task.retry_backoff > 1 else 0,
    }
    if task.owner:
        defaults["owner"] = task.owner
    if weight is not None:
        # Airflow's usual rule adds up what follows a step: the longer task would go first.
        defaults |= {"priority_weight": weight, "weight_rule": "absolute"}
    return defaults


def _schedule(task: Task) -> tuple[str | None, datetime | None]:
    """Without a start date Airflow waits for the next time, also of a DAG just unpaused."""
    if isinstance(task.schedule, Once):
        return "@once", task.schedule.once
    return (None if task.schedule == MANUAL else task.schedule), None


def _documentation(task: Task) -> str | None:
    parts = [part.strip() for part in (task.description, task.remarks) if part.strip()]
    # The line break keeps Airflow from taking a text that ends in .md for a file's name.
    return "\n\n".join(parts) + "\n" if parts else None


def _job_group(job: Job, file: str, task: Task) -> TaskGroup:
    with TaskGroup(group_id(job.name, [one.name for one in task.jobs])) as group:
        read, written = pooled(job.source.connection), pooled(job.target.connection)
        steps: list[Any] = [PlanOperator(task_id="plan", task_file=file, job=job.name, **read)]
        mapped = job.shards > 1 and not replaces(job)
        told = [target_alias(task.name, job.name) if mapped else target_asset(job)]
        checked = job.check is not None
        deletes, swaps = deletes_missing(job), replaces(job)
        drops = is_drill(job)
        if drops:
            # What is dropped again is nothing that others wait for.
            told = []
        last = deletes or swaps
        first: type[TableSyncOperator] = TableSyncOperator
        name = "copy"
        if isinstance(job, S3Job):
            first, name = S3ArchiveOperator, "archive"
        elif isinstance(job, RestoreJob):
            first, name = RestoreOperator, "restore"
        steps.append(_sharded(first, name, job, file, [] if checked or last else told))
        if checked:
            outlets = [] if last else told
            steps.append(_sharded(ConsistencyCheckOperator, "check", job, file, outlets))
        if deletes:
            steps.append(
                DeleteMissingOperator(
                    task_id=DELETE_MISSING, task_file=file, job=job.name, outlets=told, **written
                )
            )
        if swaps:
            swap = SwapOperator(
                task_id="swap", task_file=file, job=job.name, outlets=told, **written
            )
            steps.append(swap)
        if drops:
            steps.append(DropDrillOperator(task_id="drop", task_file=file, job=job.name, **written))
        chain(*steps)
    return group


def _sharded(
    operator: type[TableSyncOperator | ConsistencyCheckOperator],
    task_id: str,
    job: Job,
    file: str,
    outlets: list[Any],
) -> Any:
    """One task; or several, each in a worker of its own, that share the job's batches."""
    end = job.target if task_id == "check" else job.source
    values: dict[str, Any] = {"outlets": outlets, **pooled(end.connection, job.workers)}
    if job.shards == 1:
        return operator(task_id=task_id, task_file=file, job=job.name, **values)
    mapped = operator.partial(task_id=task_id, task_file=file, job=job.name, **values)
    return mapped.expand(shard=list(range(1, job.shards + 1)))


def _purge_group(jobs: list[Job], file: str, task: Task) -> TaskGroup:
    with TaskGroup("purge") as group:
        tables: dict[object, list[Any]] = {}
        for job in jobs:
            purge = PurgeSourceOperator(
                task_id=job.name, task_file=file, job=job.name, **pooled(job.source.connection)
            )
            # Two purges of one table exclude each other anyway.
            together = None if task.execution == "serial" else job.source
            tables.setdefault(together, []).append(purge)
        for row in tables.values():
            chain(*row)
    return group


def _in_order(task: Task, first: Any, groups: list[TaskGroup]) -> None:
    if task.execution == "serial":
        chain(first, *groups)
        return
    named = {job.name: group for job, group in zip(task.jobs, groups, strict=True)}
    for job in task.jobs:
        before = [named[name] for name in job.after] or [first]
        before >> named[job.name]


def _valid(dags: list[DAG]) -> list[DAG]:
    """Looked at as Airflow will: what it finds later, it holds against every other DAG too."""
    for dag in dags:
        dag.validate()  # type: ignore[no-untyped-call]
        dag.check_cycle()
    return dags


def _one(path: Path) -> tuple[list[tuple[Path, Task]], list[ConfigProblems]]:
    try:
        return [(path, load_task(path))], []
    except ConfigProblems as problems:
        return [], [problems]
