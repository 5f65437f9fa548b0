"""The definition in one form, so that two files that mean the same give the same digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from dsp_airflow.config import documents, rules
from dsp_airflow.config.archives import S3Job
from dsp_airflow.config.belonging import KeepNewest
from dsp_airflow.config.cursors import Cursor
from dsp_airflow.config.jobs import Check, ColumnMapping, WarmJob
from dsp_airflow.config.limits import Limits
from dsp_airflow.config.missing import DeleteMissing
from dsp_airflow.config.names import split_table
from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.config.scalars import format_duration
from dsp_airflow.config.stepping import Step, point_text
from dsp_airflow.config.tasks import Job, Once, Task
from dsp_airflow.config.variables import TimeVariable, Variable

# Rises when the form changes, as then every digest does.
FORMAT = 1


def normalise(task: Task) -> dict[str, Any]:
    """Everything the task says, included files resolved and defaults filled in, fit for JSON."""
    schedule = task.schedule
    return {
        "format": FORMAT,
        "name": task.name,
        "display_name": task.display_name,
        "description": task.description,
        "owner": task.owner,
        "schedule": {"once": _moment(schedule.once)} if isinstance(schedule, Once) else schedule,
        "execution": task.execution,
        # Left out where there is none, so that other tasks have the digests that they had.
        **({} if task.priority is None else {"priority": task.priority}),
        "timeout": format_duration(task.timeout),
        "retries": task.retries,
        "retry_delay": format_duration(task.retry_delay),
        "retry_backoff": task.retry_backoff,
        "notify": {"when": task.notify.when, "to": list(task.notify.to)},
        "approval": task.approval,
        "remarks": task.remarks,
        "jobs": [{**job_definition(job), **_pace(job)} for job in task.jobs],
    }


def data_definition(task: Task) -> dict[str, Any]:
    """Only what decides which rows move where, how that is proved, and what is deleted.

    Titles, schedule, retries, mails, and how fast and how patiently it goes are left out.
    """
    return {"format": FORMAT, "jobs": [job_definition(job) for job in task.jobs]}


def definition_digest(task: Task) -> str:
    """SHA-256 of the whole normalised definition, in hex."""
    return digest(normalise(task))


def data_digest(task: Task) -> str:
    """SHA-256 of the data definition, in hex."""
    return digest(data_definition(task))


def digest(definition: dict[str, Any]) -> str:
    """SHA-256, in hex, of the JSON text with sorted keys and no blanks."""
    text = json.dumps(definition, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def job_definition(job: Job) -> dict[str, Any]:
    """What one job does with data, fit for JSON."""
    if isinstance(job, RestoreJob):
        return _restore(job)
    columns = job.columns
    return {
        "name": job.name,
        "type": job.type,
        "source": {"connection": job.source.connection, "table": _table(job.source.table)},
        "target": _target(job),
        "key": list(job.key),
        "columns": None if columns is None else [_column(column) for column in columns],
        "where": _where(job.where),
        # Left out where other rows decide nothing, so that such jobs have the digests they had.
        **_chosen(job),
        "variables": {name: _variable(value) for name, value in sorted(job.variables.items())},
        **(_writing(job) if isinstance(job, WarmJob) else _moving(job)),
        # Left out where rows are archived, so that such jobs have the digests that they had.
        **({"gridfs": True} if isinstance(job, S3Job) and job.gridfs else {}),
        # Left out where there are none, so that other jobs have the digests that they had.
        **({} if job.step is None else {"mode": job.mode, "step": _step(job.step)}),
        # Left out where it is the default, so that other jobs have the digests that they had.
        **({} if job.drift == "fail" else {"drift": job.drift}),
        "check": _check(job.check),
        "purge": job.purge,
        "accept_loss": sorted(job.accept_loss),
        "accept_triggers": sorted(job.accept_triggers),
        # Left out where it is not so, as it is in the definitions that runs are bound to.
        **({"keep_last_auto_increment": True} if job.keep_last_auto_increment else {}),
    }


def _belonging(job: Job) -> dict[str, Any]:
    return {} if job.belongs_to is None else {"belongs_to": job.belongs_to}


def _chosen(job: WarmJob | S3Job) -> dict[str, Any]:
    kept = {} if job.keep_newest is None else {"keep_newest": _newest(job.keep_newest)}
    return {**_belonging(job), **kept}


def _newest(kept: KeepNewest) -> dict[str, Any]:
    return {"by": kept.by, "per": list(kept.per)}


def _where(where: str | documents.Query | rules.Rules | None) -> str | None:
    if where is None or isinstance(where, str):
        return where and where.strip()
    if not isinstance(where, Mapping):
        return rules.text(where)
    # The order of fields may matter in a document that is compared as a whole.
    return documents.text(where)


def _restore(job: RestoreJob) -> dict[str, Any]:
    return {
        "name": job.name,
        "type": job.type,
        "source": job.source.model_dump(),
        "target": job.target.model_dump(),
        "where": _where(job.where),
        "on_conflict": job.on_conflict,
        "check": _check(job.check),
        # Left out where there is none, so that other jobs have the digests that they had.
        **_belonging(job),
        **({} if job.drill is None else {"drill": job.drill.model_dump()}),
    }


def _check(check: Check | None) -> dict[str, Any] | None:
    return None if check is None else {"percent": check.percent, "seed": check.seed}


def _target(job: WarmJob | S3Job) -> dict[str, Any]:
    if isinstance(job, S3Job):
        told = job.target.model_dump(exclude={"name_mode"})
        return {**told, "name_mode": job.name_mode} if job.gridfs else told
    return {
        "connection": job.target.connection,
        "table": list(job.target_name),
        "create": job.target.create,
    }


def _writing(job: WarmJob) -> dict[str, Any]:
    return {
        "mode": job.mode,
        "cursor": None if job.cursor is None else _cursor(job.cursor),
        "on_conflict": job.on_conflict,
        # Left out where it is false, so that other jobs have the digests that they had.
        **({"gridfs": True} if job.gridfs else {}),
        **({"field_order": job.field_order} if job.field_order != "count" else {}),
        **({} if job.delete_missing is None else {"delete_missing": _missing(job.delete_missing)}),
        **({"allow_empty": True} if job.allow_empty else {}),
        **({"rollback": True} if job.rollback else {}),
    }


def _missing(wanted: DeleteMissing) -> dict[str, Any]:
    return {"limit": str(wanted.limit), "allow_empty": wanted.allow_empty}


def _moving(job: S3Job) -> dict[str, Any]:
    # Left out where all rows are archived, so that such jobs have the digests that they had.
    return {} if job.cursor is None else {"mode": job.mode, "cursor": _cursor(job.cursor)}


def _cursor(cursor: Cursor) -> dict[str, Any]:
    overlap = cursor.overlap
    return {
        "column": cursor.column,
        "overlap": overlap if isinstance(overlap, int) else format_duration(overlap),
        "null_cursor": cursor.null_cursor,
    }


def _step(step: Step) -> dict[str, Any]:
    end = step.end
    return {
        "column": step.column,
        "start": point_text(step.start),
        "size": str(step.size),
        "end": None if end is None else point_text(end),
        "zone": step.zone.key,
    }


def _pace(job: Job) -> dict[str, Any]:
    timeouts = job.timeouts
    return {
        # Left out where there is none, so that other tasks have the digests that they had.
        **({"after": sorted(job.after)} if job.after else {}),
        **({} if isinstance(job, RestoreJob) else {"batch_size": job.batch_size}),
        "workers": job.workers,
        "shards": job.shards,
        **(_warm(job) if isinstance(job, WarmJob) else {}),
        **_kept(job),
        "timeouts": {
            "lock": format_duration(timeouts.lock),
            "statement": None
            if timeouts.statement is None
            else format_duration(timeouts.statement),
        },
        "max_row_size": job.max_row_size,
        "report_values": job.report_values,
    }


def _warm(job: WarmJob) -> dict[str, Any]:
    wanted = job.delete_missing
    return {
        "isolation": job.isolation,
        "gridfs": job.gridfs,
        "field_order": job.field_order,
        "allow_empty": job.allow_empty,
        "rollback": job.rollback,
        "delete_missing": None if wanted is None else _missing(wanted),
    }


def _kept(job: Job) -> dict[str, Any]:
    if isinstance(job, RestoreJob):
        return {}
    return {
        "belongs_to": job.belongs_to,
        "keep_newest": None if job.keep_newest is None else _newest(job.keep_newest),
        "mode": job.mode,
        "step": None if job.step is None else _step(job.step),
        "keep_last_auto_increment": job.keep_last_auto_increment,
        "limits": None if job.limits is None else _limits(job.limits),
    }


def _limits(limits: Limits) -> dict[str, Any]:
    lag = limits.replica_lag
    return {
        "replica_lag": None
        if lag is None
        else {"max": format_duration(lag.max), "connections": list(lag.connections)},
        "threads_running": limits.threads_running,
        "rows_per_second": limits.rows_per_second,
        "bytes_per_second": limits.bytes_per_second,
        "window": None if limits.window is None else str(limits.window),
    }


def _column(column: ColumnMapping) -> dict[str, Any]:
    shown: dict[str, Any] = {"target": column.target_name}
    if column.has_constant:
        shown["constant"] = _variable(column.constant)
    elif column.expression is not None:
        shown["expression"] = column.expression.strip()
    else:
        shown["source"] = column.source
    shown["type"] = None if column.type is None else str(column.type)
    if column.on_loss != "error":
        shown["on_loss"] = column.on_loss
    if column.missing != "null":
        shown["missing"] = column.missing
    if column.null_as != "null":
        shown["null_as"] = column.null_as
    return shown


def _variable(value: Variable | None) -> dict[str, Any] | None:
    """The value with its type, as the text `1` and the number 1 are not the same filter."""
    match value:
        case None:
            return None
        case TimeVariable():
            return {"time": str(value)}
        case bool() | int() | float() | str():
            return {type(value).__name__: value if not isinstance(value, float) else repr(value)}
        case datetime():
            return {"datetime": _moment(value)}
        case date():
            return {"date": value.isoformat()}


def _moment(value: datetime) -> str:
    return (value.astimezone(UTC) if value.utcoffset() is not None else value).isoformat()


def _table(text: str) -> list[str]:
    return list(split_table(text))
