"""From a job and both tables' shapes to everything that will be done. Writes nothing."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from dsp_airflow.config.jobs import TableJob, WarmJob
from dsp_airflow.engine import (
    adding,
    chosen,
    documents,
    fitting,
    keys,
    mapping,
    missing,
    quarantine,
    references,
    stepping,
    swap,
)
from dsp_airflow.engine.chosen import Parent
from dsp_airflow.engine.definition import definition_of
from dsp_airflow.engine.errors import ConfigError, Denied, Refused
from dsp_airflow.engine.fitting import Matched
from dsp_airflow.engine.mapping import Entry
from dsp_airflow.engine.model import Batch, BatchSize, KeyRange, Plan, Projection, Shape, Window
from dsp_airflow.engine.notes import noting_costs
from dsp_airflow.engine.notes import refuse_unfit as refuse_unnoted
from dsp_airflow.engine.ports import Session, Store
from dsp_airflow.engine.sides import Sides, described
from dsp_airflow.engine.step import Step
from dsp_airflow.engine.stepping import Stand
from dsp_airflow.engine.window import moved, refuse_endless, warnings_of, window_of

AUTO_ROWS = 100_000
AUTO_BYTES = 64 * 1024 * 1024
BEGINNING = Stand()
BURST = 2
"""Seconds' worth of a limited rate that a batch may have, unless that would be fewer than these."""
FEWEST_ROWS = 1_000
FEWEST_BYTES = 1024 * 1024
MANY_ROWS = 1_000_000
ONLY_MYSQL = ("read_uncommitted", "serializable")


def plan_job(
    job: WarmJob,
    source: Store,
    target: Store,
    variables: Mapping[str, Any],
    definition: str,
    *,
    count: bool = True,
    shared: bool = False,
    purged_beside: tuple[str, ...] = (),
    since: str | None = None,
    window: Window | None = None,
    stand: Stand = BEGINNING,
    parents: Sequence[Parent] = (),
) -> tuple[Plan, Sequence[Batch]]:
    """The plan and its batches. ``variables`` are resolved; ``definition`` is the data digest.

    ``count=False`` leaves the batches out, for a quick look. ``shared``: another job of the task
    has the same target table. ``purged_beside``: see ``Plan``. ``since``: where the cursor of an
    incremental job stood at the end of its last run; ``window``: what it reads, if that was
    decided before; ``stand``: the same of a job that goes by steps; ``parents``: see
    ``chosen.rows_of``. Raises ``ConfigError`` when
    the job does not fit the tables, ``Refused`` when a purge it asks for would not be safe, and
    ``Denied`` when a privilege is missing.
    """
    with source.session() as read, target.session() as write:
        sides = Sides(source, target, read, write)
        documents.refuse_unfit(job, source, target.system)
        if job.cursor is not None and window is None:
            window = window_of(job, sides, variables, since)
        step = stepping.step_of(job, sides, stand)
        plan = _structure(
            job, sides, variables, definition, window, step, purged_beside, parents, shared=shared
        )
        if job.delete_missing is not None:
            missing.refuse_unfit(job.name, plan, read, write)
        if job.rollback:
            refuse_unnoted(plan, write)
        if count:
            refuse_endless(job, plan, sides)
        if not count:
            return plan, ()
        fills = not plan.create and not plan.replaces
        if not plan.key and fills and write.holds_rows(plan.target):
            raise Refused(
                f"job {job.name}: {plan.target.label} holds rows, and {plan.source.label} has no "
                "key to tell which of them are copies; empty the target, or name unique columns "
                "under key"
            )
        if plan.source.loose and plan.window is not None:
            # A row that came with a key of one that was copied before would take its place.
            read.prove_key(replace(plan.source, where=plan.where))
        batches, size = cut(read, plan)
        sampled = sample(len(batches), job.check.percent, job.check.seed) if job.check else set()
        batches = [replace(b, sampled=b.number in sampled) for b in batches]
        rows = sum(b.rows for b in batches)
        if plan.replaces and not rows and not job.allow_empty:
            raise Refused(swap.empty(plan))
        warnings = (
            *plan.warnings,
            *quarantine.warnings(read, plan.source),
            *stepping.warnings(job, plan, read, source.dialect, stand),
            *missing.warnings(job.delete_missing, plan, write, rows),
            *noting_costs(plan, rows),
            *_size_warnings(job, rows, plan, sides),
        )
    return replace(plan, rows=rows, bytes=size, batches=len(batches), warnings=warnings), batches


def cut(session: Session, plan: Plan) -> tuple[Sequence[Batch], int]:
    """The batches, and their bytes; none of a step that waits."""
    if plan.step is not None and plan.step.waits:
        return (), 0
    return session.split(plan.source, plan.batch_size, plan.max_row_size)


def sample(batches: int, percent: float, seed: int) -> set[int]:
    """The batch numbers a check of ``percent`` compares: the same ones for the same seed."""
    wanted = min(batches, math.ceil(batches * percent / 100))
    return set(random.Random(seed).sample(range(1, batches + 1), wanted))  # noqa: S311


def _structure(
    job: WarmJob,
    sides: Sides,
    variables: Mapping[str, Any],
    definition: str,
    window: Window | None,
    step: Step | None,
    purged_beside: tuple[str, ...],
    parents: Sequence[Parent],
    *,
    shared: bool,
) -> Plan:
    shape = described(job, sides)
    target_table = job.target_table
    if job.isolation in ONLY_MYSQL and sides.source.system != "mysql":
        raise ConfigError(
            f"job {job.name}: isolation: {job.isolation} is MySQL's; {sides.source.system} has "
            "read_committed and repeatable_read"
        )
    there = sides.write.describe(target_table)
    if there is not None:
        fitting.refuse_kind(job, there)
    key = keys.key_of(job, shape, shared=shared)
    literals = {name: sides.source.dialect.literal(v) for name, v in variables.items()}
    entries = mapping.entries(job, shape, there, sides.read, sides.source.dialect, literals)
    entries = key_first(job, entries, key, there)
    mapped = _require_mapping(job, sides)
    if mapped and sides.target.dialect.documents:
        entries = mapping.into_documents(job, entries, len(key), named=job.columns is not None)
    target_key = tuple(e.target for e in entries[: len(key)])
    create = there is None
    ddl: tuple[str, ...] = ()
    if there is None:
        there, ddl = _designed(job, sides, shape, entries, target_table, target_key)
    elif mapped and sides.target.dialect.documents:
        made, _ = _designed(job, sides, shape, entries, target_table, target_key)
        there = mapping.onto(job, there, made)
    standing = there
    there, adds = adding.completed(job, sides, entries, there, target_key)
    _refuse_same_table(sides, shape, there)
    rows = fitting.matched(job, sides, entries, there)
    fitting.refuse_types(job, sides, rows, len(key))
    fitting.require_target(job, there, {c.name for _, c, _ in rows}, target_key)
    both = mapping.fields(rows, sides.source.dialect, sides.target.dialect, len(key))
    plain = where = chosen.rows_of(job, sides.read, shape, sides.source.dialect, variables, parents)
    if window is not None:
        where = moved(job, shape, sides.source.dialect, window, plain)
    if step is not None:
        where = stepping.narrowed(plain, job, shape, sides.source.dialect, step)
    # Of rows made of documents, or documents of rows, texts are all that both sides have.
    method = "md5" if mapped else fitting.method(sides, job)
    source_side = source_side_of(job, sides, shape, entries, key, both, where, method)
    target_side = Projection(
        table=sides.target.dialect.qualified(there),
        label=there.table,
        fields=both.target,
        key=tuple(sides.target.dialect.key_column(c) for _, c, _ in rows[: len(key)]),
        markers=sides.target.dialect.markers(there),
        method=method,
        loose=source_side.loose,
        dated=there.dated,
    )
    refusals = sides.read.read_refusals(source_side.table)
    now = adding.seen(target_side, standing) if adds else target_side
    refusals += sides.write.write_refusals(now, job.on_conflict, create=create)
    if refusals:
        raise Denied(f"job {job.name}: {'; '.join(refusals)}")
    told = _of_a_swap(job, sides, target_side, create=create, shared=shared)
    purge_refusals = tuple(
        purge_refusals_of(job, sides, shape, there, key, rows, purged_beside, create=create)
    )
    if job.purge != "none" and purge_refusals:
        raise Refused(f"job {job.name} may not purge {shape.table}: " + "; ".join(purge_refusals))
    return Plan(
        job=job.name,
        source=source_side,
        target=target_side,
        source_shape=shape,
        target_shape=there,
        create=create,
        ddl=ddl,
        key=target_key,
        # What moved stands scattered over the target, whose ranges hold mostly other rows.
        ordered_alike=(window is None or window.after is None)
        and all(fitting.ordered_alike(e.source, c) for e, c, _ in rows[: len(key)]),
        wire=fitting.wire(sides, rows),
        pairs=tuple(p for _, _, p in rows),
        filter=where,
        where=plain,
        window=window,
        step=step,
        on_conflict=job.on_conflict,
        batch_size=batch_size_of(job),
        max_row_size=job.max_row_size,
        definition=definition_of(definition, shape, there, sides.source, sides.target),
        accept_triggers=job.accept_triggers,
        purged_beside=purged_beside,
        adds=adds,
        report_values=job.report_values,
        replaces=job.mode == "replace",
        shared=shared,
        rollback=job.rollback,
        purge_refusals=purge_refusals,
        warnings=tuple(
            source_warnings(sides, source_side)
            + [f"connection {sides.target.name}: {w}" for w in sides.write.warnings()]
            + ([] if create else sides.write.move_sequences(now, dry=True))
            + told
            + adding.told(there, adds)
            + references.warnings_of(job, sides.read, purged_beside)
            + keys.warnings_of(job, shape, there, key, sides.source.dialect, source_side)
            + warnings_of(window)
        ),
    )


def _of_a_swap(
    job: WarmJob, sides: Sides, target: Projection, *, create: bool, shared: bool
) -> list[str]:
    """What to know of it, where the job replaces; ``Refused`` where no other may take its place."""
    if job.mode != "replace":
        return []
    swaps = swap.swaps_of(sides.write)
    why = swaps.refusals(target, create=create)
    if shared:
        why.append(f"another job of the task writes to {target.label}, too")
    if why:
        raise Refused(f"job {job.name} may not replace {target.label}: {'; '.join(why)}")
    return swaps.warnings(target)


def _require_mapping(job: WarmJob, sides: Sides) -> bool:
    """Whether rows are made of documents, or documents of rows; ``ConfigError`` without columns."""
    source, target = sides.source.dialect.documents, sides.target.dialect.documents
    if source and not target and job.columns is None:
        raise ConfigError(
            f"job {job.name}: {job.source.table} holds documents, and {sides.target.system} takes "
            "rows: name the fields under columns, each with its type; dsp plan --infer FILE "
            "proposes them"
        )
    for item in job.columns or ():
        if "null_as" in item.model_fields_set and not target:
            raise ConfigError(
                f"job {job.name}: column {item.target_name}: null_as is for documents, and "
                f"{sides.target.system} has NULL; remove it"
            )
    return source != target or (source and job.columns is not None)


def source_side_of(
    job: TableJob,
    sides: Sides,
    shape: Shape,
    entries: Sequence[Entry],
    key: tuple[str, ...],
    both: mapping.Fields,
    where: str | None,
    method: str,
) -> Projection:
    """What of the source takes part; ``entries`` have the key's columns first."""
    dialect = sides.source.dialect
    fields_of_documents = shape.open and job.columns is not None
    return Projection(
        table=dialect.qualified(shape),
        label=shape.table,
        fields=both.source,
        key=tuple(dialect.key_column(e.source) for e in entries[: len(key)]),
        where=where,
        method=method,
        loose=bool(key) and not keys.kept_unique(shape, key),
        # A row that did not change may be one of the job since, or no more, by what others are.
        dated="no" if chosen.by_others(job) else shape.dated,
        losses=both.losses,
        numbered=keys.numbered_of(job, shape, dialect),
        accepted=tuple(sorted(job.accept_loss)) if fields_of_documents else (),
    )


def source_warnings(sides: Sides, source: Projection) -> list[str]:
    """What an operator should know of reading it."""
    found = [f"connection {sides.source.name}: {w}" for w in sides.read.warnings()]
    return found + sides.read.read_warnings(source.table)


def batch_size_of(job: TableJob) -> BatchSize:
    """As the job says; by rows and bytes when it leaves that to us.

    A limit on the rate makes batches smaller, so that none is a burst of more than two seconds.
    """
    if job.batch_size != "auto":
        return BatchSize(job.batch_size)
    rows, size = AUTO_ROWS, AUTO_BYTES
    if job.limits is not None and job.limits.rows_per_second is not None:
        rows = min(rows, max(FEWEST_ROWS, BURST * job.limits.rows_per_second))
    if job.limits is not None and job.limits.bytes_per_second is not None:
        size = min(size, max(FEWEST_BYTES, BURST * job.limits.bytes_per_second))
    return BatchSize(rows, size)


def key_first(
    job: TableJob, entries: list[Entry], key: tuple[str, ...], there: Shape | None
) -> list[Entry]:
    """The key's columns in key order, then the rest as mapped."""
    first = []
    for name in key:
        found = next((e for e in entries if e.plain and e.source.name == name), None)
        if found is None:
            generated = there is not None and any(
                c.generated and c.name == name for c in there.columns
            )
            why = (
                "is generated in the target and cannot be written there; name other columns under "
                "key, or ALTER COLUMN ... DROP EXPRESSION"
                if generated and job.columns is None
                else "is not mapped; the target needs it to find the row again"
            )
            raise ConfigError(f"job {job.name}: key column {name} {why}")
        first.append(found)
    return first + [e for e in entries if not any(e is f for f in first)]


def _designed(
    job: WarmJob,
    sides: Sides,
    shape: Shape,
    entries: list[Entry],
    table: str,
    key: tuple[str, ...],
) -> tuple[Shape, tuple[str, ...]]:
    if job.target.create == "never":
        close = sides.write.nearest(table)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ConfigError(
            f"job {job.name}: connection {sides.target.name} ({sides.target.identity}) has no "
            f"table {table} and create is never{hint}"
        )
    alike = sides.source.system == sides.target.system
    columns = [
        mapping.designed(e, sides.target.dialect, alike=alike, key=e.target in key) for e in entries
    ]
    if job.columns is None and not sides.target.dialect.documents:
        # The source's own order reads better than the key's columns first.
        order = [c.name for c in shape.columns]
        columns.sort(key=lambda c: order.index(c.name))
    return sides.write.design(table, columns, key)


def _refuse_same_table(sides: Sides, shape: Shape, target: Shape) -> None:
    if sides.source.system != sides.target.system:
        return
    if not sides.read.same_database(sides.write):
        return
    dialect = sides.source.dialect
    if (shape.schema, shape.name) == (target.schema, target.name):
        raise Refused(f"{shape.table} is its own target; a copy of a table to itself is no copy")
    # A view may well look for what the target lacks; no row of it is ever purged.
    if "view" not in shape.kind and sides.read.share_rows(
        dialect.qualified(shape), dialect.qualified(target)
    ):
        raise Refused(
            f"{target.table} is a part of {shape.table}, or the other way round; a copy of rows to "
            "themselves is no copy"
        )


def purge_refusals_of(
    job: TableJob,
    sides: Sides,
    shape: Shape,
    target: Shape,
    key: tuple[str, ...],
    rows: list[Matched],
    purged_beside: tuple[str, ...],
    *,
    create: bool,
) -> list[str]:
    """Why the job may not delete: what the source would do, what the copy lacks."""
    why = sides.read.purge_refusals(job.source.table, job.accept_triggers, purged_beside)
    if not why and not keys.kept_unique(shape, key):
        why = [keys.unproved(shape, key)]
    if not create:
        why += sides.write.target_refusals(sides.target.dialect.qualified(target))
    if shape.open and any(e.source.absent is not None for e, _, _ in rows):
        lost = [
            p.source for _, _, p in rows if p.fit == "lossy" and not fitting.refused_alone(sides, p)
        ]
        lost = [] if "*" in job.accept_loss else [n for n in lost if n not in job.accept_loss]
        return why + ([_not_held(lost)] if lost else [])
    kept = {
        e.source.name
        for e, _, p in rows
        if e.plain and (p.fit != "lossy" or fitting.refused_alone(sides, p))
    }
    lost = [
        c.name
        for c in shape.columns
        if c.name not in kept and not c.generated and c.name not in job.accept_loss
    ]
    if lost:
        why.append(_not_held(lost))
    return why


def _not_held(names: Sequence[str]) -> str:
    return (
        f"the target does not hold all of {', '.join(names)}; map them as they are, or list them "
        "under accept_loss"
    )


def _size_warnings(job: WarmJob, rows: int, plan: Plan, sides: Sides) -> list[str]:
    found = []
    if rows > MANY_ROWS and job.where is None and job.mode == "full":
        found.append(
            f"{rows:,} rows in full mode; mode: incremental or a filter would move fewer each run"
        )
    if plan.replaces and not plan.create:
        standing = sides.write.count(plan.target, KeyRange())
        found.append(
            f"the {standing:,} rows of {plan.target.label} give way to {rows:,}, and with them "
            "whatever is written there until the swap"
        )
    elif not plan.create and sides.write.holds_rows(plan.target):
        found.append(
            f"{plan.target.label} holds rows already; back it up and try the job on a copy first"
        )
    return found


def as_json(plan: Plan) -> dict[str, Any]:
    """For ``dsp plan --json``."""
    return asdict(plan)
