"""From a job and both tables' shapes to everything that will be done. Writes nothing."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any

from dsp_airflow.config.jobs import WarmJob
from dsp_airflow.engine import mapping
from dsp_airflow.engine.canon import CANON_VERSION
from dsp_airflow.engine.errors import ConfigError, Denied, Refused
from dsp_airflow.engine.mapping import Entry
from dsp_airflow.engine.model import (
    Batch,
    BatchSize,
    Column,
    ColumnPair,
    Plan,
    Projection,
    Shape,
    Window,
)
from dsp_airflow.engine.ports import Session, Store
from dsp_airflow.engine.types import INTEGERS

CURSORS = ("timestamp", "timestamptz", "date", "decimal")
"""Types of a cursor, beside the integers."""
AUTO_ROWS = 100_000
AUTO_BYTES = 64 * 1024 * 1024
MANY_ROWS = 1_000_000


@dataclass(frozen=True, slots=True)
class _Sides:
    """What planning works with: both stores, an open session to each."""

    source: Store
    target: Store
    read: Session
    write: Session


def plan_job(
    job: WarmJob,
    source: Store,
    target: Store,
    variables: Mapping[str, Any],
    definition: str,
    *,
    count: bool = True,
    shared: bool = False,
    since: str | None = None,
    window: Window | None = None,
) -> tuple[Plan, Sequence[Batch]]:
    """The plan and its batches. ``variables`` are resolved; ``definition`` is the data digest.

    ``count=False`` leaves the batches out, for a quick look. ``shared``: another job of the task
    has the same target table. ``since``: where the cursor of an incremental job stood at the end
    of its last run; ``window``: what it reads, if that was decided before. Raises
    ``ConfigError`` when the job does not fit the tables, ``Refused`` when a purge it asks for
    would not be safe, and ``Denied`` when a privilege is missing.
    """
    with source.session() as read, target.session() as write:
        sides = _Sides(source, target, read, write)
        if job.cursor is not None and window is None:
            window = _window(job, sides, since)
        plan = replace(_structure(job, sides, variables, definition, window), shared=shared)
        if count:
            _refuse_endless(job, plan, sides)
        if not count:
            return plan, ()
        batches, size = read.split(plan.source, plan.batch_size, plan.max_row_size)
        sampled = sample(len(batches), job.check.percent, job.check.seed) if job.check else set()
        batches = [replace(b, sampled=b.number in sampled) for b in batches]
        rows = sum(b.rows for b in batches)
        warnings = (*plan.warnings, *_size_warnings(job, rows, plan, sides))
    return replace(plan, rows=rows, bytes=size, batches=len(batches), warnings=warnings), batches


def sample(batches: int, percent: float, seed: int) -> set[int]:
    """The batch numbers a check of ``percent`` compares: the same ones for the same seed."""
    wanted = min(batches, math.ceil(batches * percent / 100))
    return set(random.Random(seed).sample(range(1, batches + 1), wanted))  # noqa: S311


def definition_of(
    definition: str, source_shape: Shape, target_shape: Shape, source: Store, target: Store
) -> str:
    """Digest of what a decision is bound to: definition, both shapes, where connections lead."""
    text = json.dumps(
        {
            "definition": definition,
            "canon": CANON_VERSION,
            "source": [source.system, source.identity, _structure_of(source_shape)],
            "target": [target.system, target.identity, _structure_of(target_shape)],
        },
        sort_keys=True,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def verify_unchanged(
    plan: Plan, definition: str, source: Store, target: Store, *, begun: bool
) -> None:
    """Raises ``Refused`` unless definition, tables and endpoints are still those of the plan.

    ``begun``: something was copied already, so a target that was to be created is there.
    """
    with source.session() as read, target.session() as write:
        shapes = []
        for session, projection, planned in (
            (read, plan.source, plan.source_shape),
            (write, plan.target, plan.target_shape),
        ):
            shape = session.describe(projection.table)
            if shape is None and session is write and plan.create and not begun:
                shape = planned
            if shape is None:
                raise Refused(f"{projection.label} is gone since the run was planned")
            if _structure_of(shape) != _structure_of(planned):
                raise Refused(
                    f"{projection.label} was altered since the run was planned "
                    f"({_drift(planned, shape)}); start a new run"
                )
            shapes.append(shape)
    if definition_of(definition, shapes[0], shapes[1], source, target) != plan.definition:
        raise Refused(
            f"job {plan.job}: the task file changed, or a connection leads elsewhere, since the "
            "run was planned; start a new run"
        )


def verify_derived(plan: Plan, anew: Plan) -> None:
    """Raises ``Refused`` when a stored plan is not what definition and tables make of it.

    What is compared and deleted follows from the plan, so nobody may narrow it where it is kept.
    """
    names = ("source", "target", "key", "ordered_alike", "shared", "on_conflict", "accept_triggers")
    edited = [name for name in names if getattr(plan, name) != getattr(anew, name)]
    if edited:
        raise Refused(
            f"job {plan.job}: the plan in the state database is not the one that the task file and "
            f"the tables make ({', '.join(edited)}); nothing was deleted. Start a new run"
        )


def _drift(planned: Shape, now: Shape) -> str:
    before = {c.name: c for c in planned.columns}
    after = {c.name: c for c in now.columns}
    parts = [f"column {n} dropped" for n in before.keys() - after.keys()]
    parts += [f"column {n} added" for n in after.keys() - before.keys()]
    parts += [
        f"column {n} was {before[n].native}, is {after[n].native}"
        for n in before.keys() & after.keys()
        if (before[n].native, before[n].nullable) != (after[n].native, after[n].nullable)
    ]
    return ", ".join(sorted(parts)) or "key or column order"


def _structure_of(shape: Shape) -> dict[str, Any]:
    """What of a shape is structure: a new index or default elsewhere is no drift."""
    return {
        "table": [shape.schema, shape.name],
        "key": list(shape.key),
        "columns": [[c.name, c.native, c.nullable] for c in shape.columns],
    }


def _window(job: WarmJob, sides: _Sides, since: str | None) -> Window:
    """What of the cursor this run reads, frozen now."""
    shape, column = _cursor(job, sides)
    cursor = job.cursor
    if cursor is None:
        raise ValueError(f"job {job.name} has no cursor")
    numbers = column.type.name in INTEGERS or column.type.name == "decimal"
    if isinstance(cursor.overlap, timedelta) == numbers and cursor.overlap:
        wanted = "a number" if numbers else "a duration such as 5m"
        raise ConfigError(
            f"job {job.name}: cursor.overlap must be {wanted}, as {cursor.column} of {shape.table} "
            f"is {column.native}"
        )
    overlap = cursor.overlap or (0 if numbers else timedelta())
    return sides.read.window(shape, column, since, overlap)


def _cursor(job: WarmJob, sides: _Sides) -> tuple[Shape, Column]:
    shape = _described(job, sides)
    name = job.cursor.column if job.cursor else ""
    column = mapping.column_of(shape, name, f"job {job.name}: cursor")
    if column.type.name not in CURSORS and column.type.name not in INTEGERS:
        raise ConfigError(
            f"job {job.name}: {name} of {shape.table} is {column.native}, which cannot be a "
            "cursor; use a timestamp, a date, a whole number or a decimal"
        )
    return shape, column


def _refuse_endless(job: WarmJob, plan: Plan, sides: _Sides) -> None:
    """Rows without a cursor stop the run, unless the job says what to do with them."""
    if job.cursor is None or job.cursor.null_cursor != "error":
        return
    _, column = _cursor(job, sides)
    missing = sides.source.dialect.without_cursor(column)
    within = f"({plan.where}) AND {missing}" if plan.where is not None else missing
    if sides.read.holds_rows(replace(plan.source, where=within)):
        raise ConfigError(
            f"job {job.name}: {plan.source.label} has rows whose {column.name} is NULL or not "
            "finite, so no run would know that they are new; give them a value, or set "
            "cursor.null_cursor to include or exclude"
        )


def _structure(
    job: WarmJob,
    sides: _Sides,
    variables: Mapping[str, Any],
    definition: str,
    window: Window | None = None,
) -> Plan:
    shape = _described(job, sides)
    target_table = job.target_table
    there = sides.write.describe(target_table)
    key = _key(job, shape)
    literals = {name: sides.source.dialect.literal(v) for name, v in variables.items()}
    entries = mapping.entries(job, shape, there, sides.read, sides.source.dialect, literals)
    entries = _key_first(job, entries, key)
    target_key = tuple(e.target for e in entries[: len(key)])
    create = there is None
    ddl: tuple[str, ...] = ()
    if there is None:
        there, ddl = _designed(job, sides, shape, entries, target_table, target_key)
    _refuse_same_table(sides, shape, there)
    rows = _matched(job, sides, entries, there)
    _refuse_types(job, rows, len(key))
    _require_target(job, there, rows, target_key)
    ours, theirs = mapping.fields(rows, sides.source.dialect, sides.target.dialect)
    plain = where = mapping.rendered_filter(job, shape, sides.source.dialect, literals)
    if window is not None and job.cursor is not None:
        column = mapping.column_of(shape, window.column, f"job {job.name}: cursor")
        endless = job.cursor.null_cursor == "include"
        moved = sides.source.dialect.in_window(column, window, endless=endless)
        where = f"({moved})" if plain is None else f"({plain}) AND ({moved})"
    method = _method(sides)
    source_side = Projection(
        table=sides.source.dialect.qualified(shape),
        label=shape.table,
        fields=ours,
        key=tuple(sides.source.dialect.key_column(e.source) for e in entries[: len(key)]),
        where=where,
        method=method,
    )
    target_side = Projection(
        table=sides.target.dialect.qualified(there),
        label=there.table,
        fields=theirs,
        key=tuple(sides.target.dialect.key_column(c) for _, c, _ in rows[: len(key)]),
        markers=sides.target.dialect.markers(there),
        method=method,
    )
    refusals = sides.write.write_refusals(target_side, job.on_conflict, create=create)
    if refusals:
        raise Denied(f"job {job.name}: {'; '.join(refusals)}")
    purge_refusals = tuple(_purge_refusals(job, sides, shape, there, rows, create=create))
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
        and all(_ordered_alike(e.source, c) for e, c, _ in rows[: len(key)]),
        wire=_wire(rows),
        pairs=tuple(p for _, _, p in rows),
        filter=where,
        where=plain,
        window=window,
        on_conflict=job.on_conflict,
        batch_size=BatchSize(AUTO_ROWS, AUTO_BYTES)
        if job.batch_size == "auto"
        else BatchSize(job.batch_size),
        max_row_size=job.max_row_size,
        definition=definition_of(definition, shape, there, sides.source, sides.target),
        accept_triggers=job.accept_triggers,
        report_values=job.report_values,
        purge_refusals=purge_refusals,
        warnings=tuple(
            [f"connection {sides.source.name}: {w}" for w in sides.read.warnings()]
            + [f"connection {sides.target.name}: {w}" for w in sides.write.warnings()]
        ),
    )


def _described(job: WarmJob, sides: _Sides) -> Shape:
    shape = sides.read.describe(job.source.table)
    if shape is None:
        close = sides.read.nearest(job.source.table)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ConfigError(
            f"job {job.name}: connection {sides.source.name} ({sides.source.identity}) has no "
            f"table {job.source.table}{hint}"
        )
    return shape


def _key(job: WarmJob, shape: Shape) -> tuple[str, ...]:
    key = job.key or shape.key
    if not key:
        choices = " or ".join("[" + ", ".join(u) + "]" for u in shape.unique)
        raise ConfigError(
            f"job {job.name}: {shape.table} has no primary key; name unique columns under key"
            + (f", such as {choices}" if choices else ", after creating a unique index on them")
        )
    for name in key:
        column = mapping.column_of(shape, name, f"job {job.name}: key")
        if column.nullable:
            raise ConfigError(f"job {job.name}: key column {name} of {shape.table} may be NULL")
    if not any(set(u) == set(key) for u in shape.unique):
        raise ConfigError(
            f"job {job.name}: {shape.table} has no unique index on ({', '.join(key)}); create one, "
            "or name other columns under key"
        )
    return tuple(key)


def _key_first(job: WarmJob, entries: list[Entry], key: tuple[str, ...]) -> list[Entry]:
    """The key's columns in key order, then the rest as mapped."""
    first = []
    for name in key:
        found = next((e for e in entries if e.plain and e.source.name == name), None)
        if found is None:
            raise ConfigError(
                f"job {job.name}: key column {name} is not mapped; the target needs it to find "
                "the row again"
            )
        first.append(found)
    return first + [e for e in entries if not any(e is f for f in first)]


def _designed(
    job: WarmJob,
    sides: _Sides,
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
    if job.columns is None:
        # The source's own order reads better than the key's columns first.
        order = [c.name for c in shape.columns]
        columns.sort(key=lambda c: order.index(c.name))
    return sides.write.design(table, columns, key)


def _refuse_same_table(sides: _Sides, shape: Shape, target: Shape) -> None:
    if sides.source.system != sides.target.system:
        return
    if (shape.schema, shape.name) == (target.schema, target.name) and sides.read.same_database(
        sides.write
    ):
        raise Refused(f"{shape.table} is its own target; a copy of a table to itself is no copy")


def _matched(
    job: WarmJob, sides: _Sides, entries: list[Entry], target: Shape
) -> list[tuple[Entry, Column, ColumnPair]]:
    rows = []
    for entry in entries:
        column = mapping.column_of(target, entry.target, f"job {job.name}: target")
        if column.generated:
            raise ConfigError(
                f"job {job.name}: column {column.name} of {target.table} is generated by the "
                "database; leave it out of columns"
            )
        rows.append((entry, column, mapping.pair(entry, column, sides.target.dialect)))
    return rows


def _refuse_types(job: WarmJob, rows: list[tuple[Entry, Column, ColumnPair]], width: int) -> None:
    why = []
    for entry, column, pair in rows:
        if "other" in (entry.source.type.name, column.type.name) or _holds_other(entry, column):
            why.append(
                f"{pair.source} {pair.source_type} -> {pair.target} {pair.target_type}: "
                "this type is not supported; leave the column out of columns"
            )
        elif not (entry.source.deterministic and column.deterministic):
            why.append(f"{pair.source}: nondeterministic collations are not supported")
        elif pair.fit == "refused":
            why.append(
                f"{pair.source} {pair.source_type} -> {pair.target} {pair.target_type}: {pair.note}"
            )
    for entry, _, pair in rows[:width]:
        if pair.fit == "lossy":
            why.append(f"key column {entry.source.name}: {pair.note} would make keys meet")
    if why:
        raise ConfigError(f"job {job.name}: {'; '.join(why)}")


def _holds_other(entry: Entry, column: Column) -> bool:
    return any(
        t.element is not None and t.element.name == "other"
        for t in (entry.source.type, column.type)
    )


def _require_target(
    job: WarmJob,
    target: Shape,
    rows: list[tuple[Entry, Column, ColumnPair]],
    key: tuple[str, ...],
) -> None:
    mapped = {c.name for _, c, _ in rows}
    missing = [c.name for c in target.columns if c.required and c.name not in mapped]
    if missing:
        raise ConfigError(
            f"job {job.name}: {target.table} needs a value for {', '.join(missing)} (NOT NULL, no "
            "default); map a column, constant or expression to it"
        )
    if not any(set(u) == set(key) for u in target.unique):
        raise ConfigError(
            f"job {job.name}: {target.table} has no unique index on ({', '.join(key)}), so rows "
            f"could double; CREATE UNIQUE INDEX ON {target.table} ({', '.join(key)}) and make "
            "its columns NOT NULL"
        )


def _method(sides: _Sides) -> str:
    """PostgreSQL's own hashes compare within one of its major versions; md5 always."""
    if sides.source.system == sides.target.system == "postgres":
        versions = {sides.read.version(), sides.write.version()}
        if len(versions) == 1 and min(versions) >= 14:
            return "fields" if min(versions) >= 18 else "record"
    return "md5"


def _wire(rows: list[tuple[Entry, Column, ColumnPair]]) -> str:
    """Binary, unless an array holds a type whose number differs between databases."""
    for entry, column, _ in rows:
        for kind in (entry.source.type, column.type):
            if kind.element is not None and kind.element.name == "enum":
                return "text"
    return "binary"


def _order_class(column: Column) -> str | None:
    name = column.type.name
    if name in INTEGERS or name == "decimal":
        return "number"
    if name == "string":
        return None if column.collation is None else f"{column.native[:4]}:{column.collation}"
    if name == "enum":
        return f"enum:{column.type.labels}"
    return None if name in ("list", "json", "other") else name


def _ordered_alike(source: Column, target: Column) -> bool:
    mine = _order_class(source)
    return mine is not None and mine == _order_class(target)


def _purge_refusals(
    job: WarmJob,
    sides: _Sides,
    shape: Shape,
    target: Shape,
    rows: list[tuple[Entry, Column, ColumnPair]],
    *,
    create: bool,
) -> list[str]:
    why = sides.read.purge_refusals(job.source.table, job.accept_triggers)
    if not create:
        why += sides.write.target_refusals(sides.target.dialect.qualified(target))
    kept = {e.source.name for e, _, p in rows if e.plain and p.fit != "lossy"}
    lost = [
        c.name
        for c in shape.columns
        if c.name not in kept and not c.generated and c.name not in job.accept_loss
    ]
    if lost:
        why.append(
            f"the target does not hold all of {', '.join(lost)}; map them as they are, or list "
            "them under accept_loss"
        )
    return why


def _size_warnings(job: WarmJob, rows: int, plan: Plan, sides: _Sides) -> list[str]:
    found = []
    if rows > MANY_ROWS and job.where is None and job.mode == "full":
        found.append(
            f"{rows:,} rows in full mode; mode: incremental or a filter would move fewer each run"
        )
    if not plan.create and sides.write.holds_rows(plan.target):
        found.append(
            f"{plan.target.label} holds rows already; back it up and try the job on a copy first"
        )
    return found


def as_json(plan: Plan) -> dict[str, Any]:
    """For ``dsp plan --json``."""
    return asdict(plan)
