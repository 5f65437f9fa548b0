"""What must fit together inside one job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dsp_airflow.config import documents, rules
from dsp_airflow.config.archives import Partitioning, S3Job
from dsp_airflow.config.belonging import choice_findings
from dsp_airflow.config.errors import nearest
from dsp_airflow.config.findings import Finding, Location
from dsp_airflow.config.jobs import TableJob, WarmJob, duplicates, same_table
from dsp_airflow.config.replacing import replace_findings
from dsp_airflow.config.rollbacks import rollback_findings
from dsp_airflow.config.sqlgrammar import is_moving, moving_told
from dsp_airflow.config.sqltokens import SqlError
from dsp_airflow.config.where import (
    Expression,
    in_any_dialect,
    missing_variable,
    parse_expression,
    parse_where,
)


def job_findings(job: TableJob) -> list[Finding]:
    """Everything in the job that contradicts something else in it, or cannot be read as SQL."""
    return [
        *(_table_findings(job) if isinstance(job, WarmJob) else ()),
        *_purge_findings(job),
        *choice_findings(job),
        *_cursor_findings(job),
        *_step_findings(job),
        *(replace_findings(job) if isinstance(job, WarmJob) else ()),
        *(_missing_findings(job) if isinstance(job, WarmJob) and job.delete_missing else ()),
        *(rollback_findings(job) if isinstance(job, WarmJob) and job.rollback else ()),
        *(_bucket_findings(job) if isinstance(job, WarmJob | S3Job) and job.gridfs else ()),
        *(_order_findings(job) if isinstance(job, WarmJob) else ()),
        *(_object_findings(job) if isinstance(job, S3Job) else ()),
        *duplicates("key", job.key),
        *duplicates("accept_loss", job.accept_loss),
        *duplicates("accept_triggers", job.accept_triggers),
        *_column_findings(job),
        *_partition_findings(job),
        *_sql_findings(job),
    ]


def _table_findings(job: WarmJob) -> Iterator[Finding]:
    if same_table(job):
        location: Location = ("target", "table") if job.target.table else ("target",)
        yield Finding(
            location,
            "is the source itself; name another connection or another table",
            job.target_table,
            involves=frozenset({"source", "target"}),
        )


def _purge_findings(job: TableJob) -> Iterator[Finding]:
    if job.check is None and job.purge != "none":
        yield Finding(
            ("check",),
            f"must not be none with purge: {job.purge}; give a percentage such as {{percent: 10}}",
            "none",
            involves=frozenset({"check", "purge"}),
        )
    if job.keep_last_auto_increment and job.purge == "none":
        yield Finding(
            ("keep_last_auto_increment",),
            "is only used with purge: manual or purge: system; write one, or leave it out",
            involves=frozenset({"keep_last_auto_increment", "purge"}),
        )


def _cursor_findings(job: TableJob) -> Iterator[Finding]:
    both = frozenset({"mode", "cursor"})
    if job.mode != "incremental" and job.cursor is not None:
        message = "is only used with mode: incremental; write that, or leave cursor out"
        yield Finding(("cursor",), message, involves=both)
    if job.mode == "incremental" and job.cursor is None:
        message = "needs cursor, such as {column: updated_at, overlap: 5m}"
        yield Finding(("mode",), message, "incremental", involves=both)
    if isinstance(job, WarmJob) and job.mode == "incremental" and job.on_conflict != "update":
        yield Finding(
            ("on_conflict",),
            "must be update with mode: incremental, as changed rows are there already",
            job.on_conflict,
            "update",
            involves=frozenset({"mode", "on_conflict"}),
        )


def _step_findings(job: TableJob) -> Iterator[Finding]:
    both = frozenset({"mode", "step"})
    if job.mode != "step" and job.step is not None:
        message = "is only used with mode: step; write that, or leave step out"
        yield Finding(("step",), message, involves=both)
    if job.mode == "step" and job.step is None:
        message = "needs step, such as {column: created_at, start: 2024-01-01, size: 1M}"
        yield Finding(("mode",), message, "step", involves=both)
    if isinstance(job, WarmJob) and job.mode == "step" and job.on_conflict == "error":
        yield Finding(
            ("on_conflict",),
            "must be update or ignore with mode: step, as a step that failed is repeated",
            "error",
            "update",
            involves=frozenset({"mode", "on_conflict"}),
        )


def _missing_findings(job: WarmJob) -> Iterator[Finding]:
    """What cannot be beside ``delete_missing``, and why."""
    purged = "would make every purged row a missing one, and delete its copy"
    reasons = {
        "mode": (
            job.mode != "full",
            "does not see all rows, and would take the others for missing",
        ),
        "purge": (job.purge != "none", purged),
        "where": (job.where is not None, "takes some of the rows only; others are not missing"),
        "on_conflict": (job.on_conflict == "error", "lets no second run write the same rows"),
        "gridfs": (job.gridfs, "is for buckets, whose files are deleted with all their chunks"),
    }
    for name, (given, why) in reasons.items():
        if given:
            value = getattr(job, name)
            shown = value if isinstance(value, str) and name != "where" else None
            yield Finding(
                ("delete_missing",),
                f"must not be given with {name}{f': {shown}' if shown else ''}, which {why}",
                involves=frozenset({"delete_missing", name}),
            )


def _bucket_findings(job: WarmJob | S3Job) -> Iterator[Finding]:
    for name in ("columns", "key", "accept_loss", "max_row_size"):
        if name in job.model_fields_set and getattr(job, name):
            why = "files pass in chunks" if name == "max_row_size" else "files are copied whole"
            yield Finding(
                (name,),
                f"must not be given with gridfs: true, as {why}; leave it out",
                involves=frozenset({name, "gridfs"}),
            )
    if job.mode == "replace" or (isinstance(job, S3Job) and job.mode != "full"):
        yield Finding(
            ("mode",),
            "must be full with gridfs: true; a where on uploadDate tells what is new",
            job.mode,
            "full",
            involves=frozenset({"mode", "gridfs"}),
        )


def _order_findings(job: WarmJob) -> Iterator[Finding]:
    if job.field_order == "count":
        return
    why = ""
    if job.columns is not None:
        why = "columns, whose values have no order"
    elif job.gridfs:
        why = "gridfs: true, as files are compared byte by byte"
    elif isinstance(job.where, str) or job.mode == "incremental":
        given = "mode: incremental" if job.mode == "incremental" else "a where in SQL"
        why = f"{given}, as it is for whole documents of MongoDB at both ends"
    if why:
        yield Finding(
            ("field_order",),
            f"must not be ignore with {why}; leave it out",
            job.field_order,
            "count",
            involves=frozenset({"field_order", "columns", "gridfs", "where", "mode"}),
        )


def _object_findings(job: S3Job) -> Iterator[Finding]:
    """Of what becomes objects in a bucket of S3."""
    if job.mode == "replace" and not job.gridfs:
        yield Finding(
            ("mode",),
            "must be full, incremental or step with type: s3; a run never replaces another's",
            job.mode,
            "full",
            involves=frozenset({"mode"}),
        )
    if job.gridfs and job.target.partitions:
        yield Finding(
            ("target", "partitions"),
            "must not be given with gridfs: true, as files lie by their names; leave it out",
            involves=frozenset({"target", "gridfs"}),
        )
    if not job.gridfs and job.target.name_mode is not None:
        yield Finding(
            ("target", "name_mode"),
            "is only used with gridfs: true; write that, or leave it out",
            job.target.name_mode,
            involves=frozenset({"target", "gridfs"}),
        )


def _column_findings(job: TableJob) -> Iterator[Finding]:
    if job.columns is None:
        return
    targets: dict[str, int] = {}
    for index, column in enumerate(job.columns):
        if column.target_name in targets:
            yield Finding(
                ("columns", index, "target" if column.target else "source"),
                "two columns are written to the same target column",
                column.target_name,
                involves=frozenset(
                    {f"columns[{index}]", f"columns[{targets[column.target_name]}]"}
                ),
            )
        targets.setdefault(column.target_name, index)
    sources = [column.source for column in job.columns if column.source]
    for index, name in enumerate(job.key):
        if name not in sources:
            yield Finding(
                ("key", index),
                "is not among the source columns that are copied; add it to columns",
                name,
                nearest(name, sources),
                involves=frozenset({"columns", "key"}),
            )


def _partitions(job: TableJob) -> tuple[Partitioning, ...]:
    return job.target.partitions if isinstance(job, S3Job) else ()


def _partition_findings(job: TableJob) -> Iterator[Finding]:
    names = [partition.name for partition in _partitions(job)]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Finding(
                ("target", "partitions", index, "name"),
                "is the name of a partition before it",
                name,
                involves=frozenset({"target"}),
            )


def _sql_findings(job: TableJob) -> Iterator[Finding]:
    texts: list[tuple[Location, str]] = []
    if isinstance(job.where, str):
        texts.append((("where",), job.where))
    for index, column in enumerate(job.columns or ()):
        if column.expression is not None:
            texts.append((("columns", index, "expression"), column.expression))
    for index, partition in enumerate(_partitions(job)):
        texts.append((("target", "partitions", index, "expression"), partition.expression))
    used: set[str] = set()
    if isinstance(job.where, Mapping):
        used |= documents.placeholders(job.where)
        yield from _undefined(job, dict.fromkeys(used, ()))
    elif job.where is not None and not isinstance(job.where, str):
        places = rules.placeholders(job.where)
        used |= set(places)
        yield from _undefined(job, places)
    readable = True
    for location, text in texts:
        try:
            if location == ("where",):
                parsed: Expression = in_any_dialect(parse_where, text)
            else:
                parsed = in_any_dialect(parse_expression, text)
        except SqlError as error:
            readable = False
            yield Finding(
                location,
                error.message,
                _excerpt(text, error.offset),
                error.suggestion,
                error.offset,
                frozenset({_owner(location)}),
            )
        else:
            used |= parsed.placeholders
            yield from _dangling(job, location, parsed)
            yield from _moving(job, parsed)
    # Where a text cannot be read, which variables it uses is not known.
    if readable:
        yield from _unused(job, used)


def _undefined(job: TableJob, used: Mapping[str, Location]) -> Iterator[Finding]:
    for name in sorted(set(used) - set(job.variables)):
        message, near = missing_variable(name, job.variables)
        message += "; a text that begins with a colon and is none is written with two"
        place = ("where", *used[name])
        yield Finding(place, message, None, near, involves=frozenset({"where", "variables"}))


def _dangling(job: TableJob, location: Location, parsed: Expression) -> Iterator[Finding]:
    for name in sorted(parsed.placeholders - set(job.variables)):
        message, near = missing_variable(name, job.variables)
        yield Finding(
            location,
            message,
            None,
            near,
            parsed.text.index(f":{name}"),
            frozenset({_owner(location), "variables"}),
        )


def _moving(job: TableJob, parsed: Expression) -> Iterator[Finding]:
    for name in sorted(parsed.placeholders & set(job.variables)):
        value = job.variables[name]
        if isinstance(value, str) and is_moving(value):
            yield Finding(
                ("variables", name),
                f"{moving_told(value)}; write a time such as now, run_date or run_date-1d",
                value,
                involves=frozenset({"where", "columns", "variables"}),
            )


def _unused(job: TableJob, used: set[str]) -> Iterator[Finding]:
    for name in job.variables:
        if name not in used:
            yield Finding(
                ("variables", name),
                f"is used neither in where nor in an expression; write :{name} there or remove it",
                involves=frozenset({"where", "columns", "variables"}),
            )


def _owner(location: Location) -> str:
    """The key, or the entry of columns, that a text of SQL belongs to."""
    return f"columns[{location[1]}]" if location[0] == "columns" else str(location[0])


def _excerpt(text: str, offset: int) -> str:
    """The rest of the line from what is wrong, or the whole text when nothing is left."""
    return text[offset:].split("\n", 1)[0].strip()[:40] or text.strip()
