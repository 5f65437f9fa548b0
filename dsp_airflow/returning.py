"""Rows of a warm target back to where they came from: the job of a run, the other way round."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from pydantic import ValidationError

from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.config.messages import in_words
from dsp_airflow.config.typenames import PLAIN_TYPES
from dsp_airflow.engine import documents
from dsp_airflow.engine.batches import parse_batches
from dsp_airflow.engine.documents import KEY
from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.engine.model import BatchRecord, ColumnPair, KeyRange, LogicalType, Plan
from dsp_airflow.engine.ports import Dialect
from dsp_airflow.engine.types import INTEGERS
from dsp_airflow.state.records import Job

_BARE = (*INTEGERS, "decimal")
"""Types whose keys are written into a condition without quotes."""


def way_back(
    job: WarmJob,
    plan: Plan,
    known: Job,
    records: Sequence[BatchRecord],
    *,
    batches: str,
    where: str | None,
    connection: str | None,
    table: str | None,
    on_conflict: str,
    workers: int,
    dialect: Dialect,
) -> WarmJob:
    """The warm job that brings back what a run of ``job`` copied, as the target has it now.

    ``dialect`` is the target's, where the rows are read. Raises ``Refused`` for batches that were
    not copied, and where the target's rows cannot be told by batch.
    """
    numbers = parse_batches(batches)
    chosen = _chosen(job, records, numbers)
    # Names of collections have dots in them.
    source = plan.target.table if dialect.name == documents.SYSTEM else plan.target.label
    target = plan.source.table if plan.source_shape.open else plan.source.label
    if any(column.absent is not None for column in plan.target_shape.columns):
        if numbers is not None:
            raise Refused(
                f"job {job.name}: its batches cannot be told apart in {plan.target.label}, which "
                "has documents made of rows; leave --batches out, and say which with a condition"
            )
        told: dict[str, Any] = {
            "where": documents.way_back(where, []),
            "columns": _rows_again(job, plan),
        }
    elif dialect.name == documents.SYSTEM:
        target = plan.source.table
        told = {
            "gridfs": job.gridfs,
            "field_order": job.field_order,
            "where": documents.way_back(where, [r.batch.within for r in chosen]),
        }
    else:
        conditions = [where, _within(job, plan, chosen, dialect, every=numbers is None)]
        told = {
            "key": list(plan.key),
            "columns": [_returned(plan, pair) for pair in _plain(plan)],
            "where": " AND ".join(f"({text})" for text in conditions if text) or None,
        }
    values = {
        "name": job.name,
        "type": "warm",
        "source": {"connection": job.target.connection, "table": source},
        "target": {
            "connection": connection or known.source_connection,
            "table": table or target,
        },
        **told,
        "on_conflict": on_conflict,
        "check": {"percent": 100},
        "workers": workers,
        "max_row_size": None if job.gridfs else job.max_row_size,
        "report_values": job.report_values,
    }
    try:
        return WarmJob.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        raise ConfigError(f"nothing was restored: {in_words(error)}") from error


def _plain(plan: Plan) -> list[ColumnPair]:
    """What came from a column goes back to it; constants and expressions came from none."""
    if plan.source_shape.open:
        return list(plan.pairs)
    return [p for p in plan.pairs if plan.source_shape.column(p.source) is not None]


def _returned(plan: Plan, pair: ColumnPair) -> dict[str, Any]:
    """A column on its way back; to a field of documents at the type that it was read as."""
    told = {"source": pair.target, "target": pair.source}
    if not plan.source_shape.open:
        return told
    return {**told, "type": "string" if pair.on_loss == "text" else pair.source_type}


def _rows_again(job: WarmJob, plan: Plan) -> list[dict[str, Any]]:
    """Fields of documents that were made of rows, as columns again."""
    if plan.key != (KEY,):
        raise Refused(
            f"job {job.name}: the key of {plan.target.label} is a document of several columns, "
            "which no job makes columns of again; copy them back by a view, or by hand"
        )
    types = {column.name: column.type for column in plan.target_shape.columns}
    return [
        {"source": p.target, "target": p.source, "type": _type_name(types[p.target])}
        for p in _plain(plan)
    ]


def _type_name(kind: LogicalType) -> str:
    """As a task file has it; what it has no name for is a text in documents."""
    if kind.name == "decimal" and kind.precision is not None:
        return str(kind)
    return kind.name if kind.name in PLAIN_TYPES else "string"


def _chosen(
    job: WarmJob, records: Sequence[BatchRecord], numbers: Collection[int] | None
) -> list[BatchRecord]:
    known = {record.batch.number: record for record in records}
    unknown = sorted(set(numbers or ()) - known.keys())
    if unknown:
        raise Refused(f"job {job.name} has {len(known)} batches; there is no batch {unknown[0]}")
    chosen = [r for n, r in known.items() if numbers is None or n in numbers]
    missing = [r.batch.number for r in chosen if r.copied is None]
    if missing:
        raise Refused(
            f"batch {missing[0]} of job {job.name} was never copied; finish the run first with "
            "dsp run"
        )
    return chosen


def _within(
    job: WarmJob, plan: Plan, chosen: Sequence[BatchRecord], dialect: Dialect, *, every: bool
) -> str:
    """SQL of the keys of the batches, in the target's words; empty when all rows are meant."""
    told = len(plan.key) == 1 and plan.ordered_alike
    if not told:
        if every:
            return ""
        raise Refused(
            f"job {job.name}: its batches cannot be told apart in {plan.target.label}, whose key "
            "sorts otherwise or has several columns; say which rows with a condition instead"
        )
    field = plan.target.fields[0]
    column = dialect.quote(field.column)
    ranges: list[KeyRange] = []
    for record in chosen:
        within = record.batch.within
        if ranges and ranges[-1].upto == within.after:
            ranges[-1] = KeyRange(ranges[-1].after, within.upto)
        else:
            ranges.append(within)
    bare = field.type.name in _BARE
    return " OR ".join(f"({_range(column, within, bare=bare)})" for within in ranges)


def _range(column: str, within: KeyRange, *, bare: bool) -> str:
    def literal(text: str) -> str:
        return text if bare else "'" + text.replace("'", "''") + "'"

    bounds: list[Any] = [(">", within.after), ("<=", within.upto)]
    parts = [f"{column} {sign} {literal(key[0])}" for sign, key in bounds if key is not None]
    return " AND ".join(parts) or "1 = 1"
