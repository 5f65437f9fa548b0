"""Rows of a warm target back to where they came from: the job of a run, the other way round."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from pydantic import ValidationError

from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.config.messages import in_words
from dsp_airflow.engine import documents
from dsp_airflow.engine.batches import parse_batches
from dsp_airflow.engine.errors import ConfigError, Refused
from dsp_airflow.engine.model import BatchRecord, ColumnPair, KeyRange, Plan
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
    whole = dialect.name == documents.SYSTEM
    # Collections have dots in their names.
    here, there = (plan.target, plan.source)
    source, target = (here.table, there.table) if whole else (here.label, there.label)
    values = {
        "name": job.name,
        "type": "warm",
        "source": {"connection": job.target.connection, "table": source},
        "target": {
            "connection": connection or known.source_connection,
            "table": table or target,
        },
        "on_conflict": on_conflict,
        "check": {"percent": 100},
        "workers": workers,
        "max_row_size": None if job.gridfs else job.max_row_size,
        "report_values": job.report_values,
    }
    if whole:
        values["gridfs"] = job.gridfs
        values["where"] = _query(job, plan, chosen, where, every=numbers is None)
    else:
        conditions = [where, _within(job, plan, chosen, dialect, every=numbers is None)]
        given = [text for text in conditions if text]
        values["key"] = list(plan.key)
        values["columns"] = [{"source": p.target, "target": p.source} for p in _plain(plan)]
        values["where"] = " AND ".join(f"({text})" for text in given) or None
    try:
        return WarmJob.model_validate({k: v for k, v in values.items() if v is not None})
    except ValidationError as error:
        raise ConfigError(f"nothing was restored: {in_words(error)}") from error


def _plain(plan: Plan) -> list[ColumnPair]:
    """What came from a column goes back to it; constants and expressions came from none."""
    return [p for p in plan.pairs if plan.source_shape.column(p.source) is not None]


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
    bare = field.type.name in _BARE
    return " OR ".join(f"({_range(column, within, bare=bare)})" for within in _ranges(chosen))


def _ranges(chosen: Sequence[BatchRecord]) -> list[KeyRange]:
    """Those of the batches; of neighbours one."""
    ranges: list[KeyRange] = []
    for record in chosen:
        within = record.batch.within
        if ranges and ranges[-1].upto == within.after:
            ranges[-1] = KeyRange(ranges[-1].after, within.upto)
        else:
            ranges.append(within)
    return ranges


def _query(
    job: WarmJob, plan: Plan, chosen: Sequence[BatchRecord], where: str | None, *, every: bool
) -> dict[str, Any] | None:
    """The query document of what is to come back, whole documents or files; ``None``: all."""
    parts: list[dict[str, Any]] = []
    if where is not None:
        parts.append(_given(where))
    if not every:
        if not plan.ordered_alike:
            raise Refused(
                f"job {job.name}: its batches cannot be told apart in {plan.target.label}; say "
                "which with a condition instead"
            )
        parts.append({"$or": [_id_within(job, within) for within in _ranges(chosen)]})
    return {"$and": parts} if parts else None


def _given(where: str) -> dict[str, Any]:
    try:
        found = json.loads(where)
    except ValueError as error:
        raise ConfigError(f"where: MongoDB takes a query document, as JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError('where: MongoDB takes a query document, such as {"status": "done"}')
    return found


def _id_within(job: WarmJob, within: KeyRange) -> dict[str, Any]:
    bounds = [
        {"$expr": {sign: ["$_id", {"$literal": _id(job, key[0])}]}}
        for sign, key in (("$gt", within.after), ("$lte", within.upto))
        if key is not None
    ]
    return {"$and": bounds} if bounds else {"_id": {"$exists": True}}


def _id(job: WarmJob, text: str) -> Any:
    found = json.loads(text)
    if isinstance(found, dict) and documents.EXACT in found:
        raise Refused(
            f"job {job.name}: a batch begins or ends at an _id that extended JSON has no words for "
            f"({text}); restore all batches, or say which by a condition"
        )
    return _no_variable(found)


def _no_variable(value: Any) -> Any:
    """A text that begins with a colon is written with two, where it is not a variable."""
    if isinstance(value, dict):
        return {name: _no_variable(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_no_variable(part) for part in value]
    return f":{value}" if isinstance(value, str) and value.startswith(":") else value


def _range(column: str, within: KeyRange, *, bare: bool) -> str:
    def literal(text: str) -> str:
        return text if bare else "'" + text.replace("'", "''") + "'"

    bounds: list[Any] = [(">", within.after), ("<=", within.upto)]
    parts = [f"{column} {sign} {literal(key[0])}" for sign, key in bounds if key is not None]
    return " AND ".join(parts) or "1 = 1"
