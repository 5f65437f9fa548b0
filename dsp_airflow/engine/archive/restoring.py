"""From a manifest and a target table to everything that a restore will do. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.config.where import parse_where
from dsp_airflow.engine import chosen, fitting, mapping, rules
from dsp_airflow.engine import plan as planning
from dsp_airflow.engine.archive.manifest import Manifest
from dsp_airflow.engine.archive.reader import batches_of, wire_of
from dsp_airflow.engine.archive.rereading import reads_as
from dsp_airflow.engine.batches import parse_batches
from dsp_airflow.engine.definition import definition_of
from dsp_airflow.engine.errors import ConfigError, Denied, Refused
from dsp_airflow.engine.mapping import Entry
from dsp_airflow.engine.model import (
    Batch,
    BatchSize,
    Column,
    ColumnPair,
    Field,
    KeyColumn,
    KeyRange,
    LogicalType,
    Plan,
    Projection,
    Shape,
)
from dsp_airflow.engine.near import near
from dsp_airflow.engine.ports import Dialect, Endpoint, Restores, Session, Store

METHOD = "md5"


def plan_restore(
    job: RestoreJob,
    manifest: Manifest,
    source: Endpoint,
    target: Store,
    definition: str,
    parents: Sequence[RestoreJob] = (),
) -> tuple[Plan, Sequence[Batch]]:
    """The plan and its batches, which keep the numbers that the archive gave them.

    ``parents``: the restore that this one belongs to, then that one's own.

    Raises ``ConfigError`` for a table that cannot take the columns as they are, ``Denied`` and
    ``Refused`` for one that may not be written to.
    """
    wanted = batches_of(manifest, parse_batches(job.source.batches))
    if manifest.of_files:
        # Of other archives the driver is not needed.
        from dsp_airflow.engine.archive.gridfs import restoring as files

        return files.plan_restore(job, manifest, wanted, source, target, definition)
    with target.session() as session:
        plan = _structure(job, manifest, source, target, session, definition, parents)
        warnings = list(plan.warnings)
        if not plan.create and session.holds_rows(plan.target):
            warnings.append(
                f"{plan.target.label} holds rows already; of a row with the key of an archived one "
                f"on_conflict: {job.on_conflict} decides"
            )
    percent, seed = (job.check.percent, job.check.seed) if job.check else (0.0, 0)
    sampled = planning.sample(len(wanted), percent, seed)
    batches = [
        Batch(b.number, KeyRange(b.after, b.upto), b.rows, sampled=place in sampled)
        for place, b in enumerate(wanted, 1)
    ]
    if plan.source.where is not None:
        by = " and ".join(
            name for name in ("where", "belongs_to") if getattr(job, name) is not None
        )
        warnings.append(f"rows are counted before {by}: as many as match are restored")
    return replace(
        plan,
        rows=sum(b.rows for b in batches),
        bytes=sum(o.size for b in wanted for o in b.objects),
        batches=len(batches),
        warnings=tuple(warnings),
    ), batches


def restored_columns(manifest: Manifest, target: Shape) -> tuple[int, ...]:
    """Which of the archived columns are written: not those that the target generates itself."""
    generated = {c.name for c in target.columns if c.generated}
    return tuple(n for n, c in enumerate(manifest.columns) if c.name not in generated)


def restored_kinds(manifest: Manifest, target: Shape) -> tuple[LogicalType, ...]:
    """As which types they are written."""
    columns = (_counterpart(manifest, target, n) for n in restored_columns(manifest, target))
    return tuple(column.type for column in columns if column is not None)


def _counterpart(manifest: Manifest, target: Shape, number: int) -> Column | None:
    """Where an archived column goes: by its name, or, in documents made of rows, by its place."""
    if target.open:
        return target.columns[number]
    return target.column(manifest.columns[number].name)


def _structure(
    job: RestoreJob,
    manifest: Manifest,
    source: Endpoint,
    target: Store,
    session: Session,
    definition: str,
    parents: Sequence[RestoreJob],
) -> Plan:
    dialect = restores = target.dialect
    if not isinstance(restores, Restores):
        raise Refused(f"rows of an archive cannot be restored to {target.system}")
    there = session.describe(job.target.table)
    create = there is None
    ddl: tuple[str, ...] = ()
    if there is None:
        there, ddl = _designed(job, manifest, target, session)
    else:
        fitting.refuse_kind(job, there)
        if there.open:
            made, _ = _made(job, manifest, target, session)
            there = mapping.onto(job, there, made)
    numbers = restored_columns(manifest, there)
    names = [manifest.columns[n].name for n in numbers]
    lost = [name for name in manifest.key if name not in names]
    if lost:
        raise ConfigError(
            f"job {job.name}: key column {lost[0]} is generated in {there.table} and cannot be "
            "written there; restore to another table"
        )
    rows = [
        (
            (archived := _archived(manifest, manifest.columns[n].name)),
            _counterpart(manifest, there, n) or _column(job, there, archived),
        )
        for n in numbers
    ]
    pairs = tuple(_pair(column, other, dialect) for column, other in rows)
    _refuse_types(job, there, rows)
    width = len(manifest.key)
    key = tuple(column.name for _, column in rows[:width])
    fitting.require_target(job, there, [column.name for _, column in rows], key)
    fields = tuple(
        Field(c.name, c.type, c.native, dialect.plain(c), not c.deterministic, dialect.utf8(c))
        for _, c in rows
    )
    target_side = Projection(
        table=dialect.qualified(there),
        label=there.table,
        fields=fields,
        key=tuple(dialect.key_column(c) for _, c in rows[:width]),
        markers=dialect.markers(there),
        method=METHOD,
        dated=there.dated,
    )
    refusals = session.write_refusals(target_side, job.on_conflict, create=create)
    if refusals:
        raise Denied(f"job {job.name}: {'; '.join(refusals)}")
    names = [f.column for f in fields]
    where = _condition(job, names, there, dialect, restores)
    told = job.where if isinstance(job.where, str) else where
    if parents:

        def named(name: str) -> str:
            return _quoted(job, name, names, there, restores, "belongs_to")

        belongs = chosen.rows_to_restore(job, session, there, dialect, named, parents)
        told = where = belongs if where is None else f"({where}) AND ({belongs})"
    return Plan(
        job=job.name,
        source=_source_side(job, fields, width, where),
        target=target_side,
        source_shape=manifest.shape,
        target_shape=there,
        create=create,
        ddl=ddl,
        key=key,
        ordered_alike=manifest.source_system == target.system
        and all(fitting.ordered_alike(mine, c) for mine, c in rows[:width]),
        wire=wire_of(restores, session, target.system),
        pairs=pairs,
        filter=told,
        where=told,
        on_conflict=job.on_conflict,
        batch_size=BatchSize(max((b.rows for b in manifest.batches), default=1)),
        max_row_size=job.max_row_size,
        definition=definition_of(definition, manifest.shape, there, source, target),
        accept_triggers=(),
        report_values=job.report_values,
        warnings=tuple(
            [f"connection {target.name}: {w}" for w in session.warnings()]
            + ([] if create else session.move_sequences(target_side, dry=True))
        ),
    )


def _source_side(
    job: RestoreJob, fields: Sequence[Field], width: int, where: str | None
) -> Projection:
    """What of the archive takes part."""
    return Projection(
        table=job.source.table,
        label=job.source.table,
        fields=tuple(replace(f, expression=f.column) for f in fields),
        key=tuple(KeyColumn(f.column, f.native) for f in fields[:width]),
        where=where,
        method=METHOD,
    )


def _condition(
    job: RestoreJob, names: Sequence[str], there: Shape, dialect: Dialect, restores: Restores
) -> str | None:
    """The job's filter over the columns of these names, for the target server to judge."""
    if job.where is None:
        return None
    if not isinstance(job.where, str):
        shape = replace(there, columns=tuple(c for c in there.columns if c.name in names))
        return rules.said(job.where, rules.Words(job, shape, dialect, {}, restores.filtered))

    def quoted(name: str) -> str:
        return _quoted(job, name, names, there, restores, "where")

    return parse_where(job.where, dialect.name).render({}, quoted)


def _quoted(
    job: RestoreJob, name: str, names: Sequence[str], there: Shape, restores: Restores, key: str
) -> str:
    """A column of the archived rows, as the target server judges it."""
    if name not in names:
        raise ConfigError(
            f"job {job.name}: {key}: the archive restores no column {name!r}"
            f"{near(name, list(names))}"
        )
    return restores.filtered(mapping.column_of(there, name, f"job {job.name}: {key}"))


def _archived(manifest: Manifest, name: str) -> Column:
    column = manifest.shape.column(name)
    if column is None:
        raise Refused(f"the manifest's table has no column {name}, which its files have")
    return column


def _column(job: RestoreJob, target: Shape, archived: Column) -> Column:
    return mapping.column_of(
        target, archived.name, f"job {job.name}: restore to another table, or add the column"
    )


def _designed(
    job: RestoreJob, manifest: Manifest, target: Store, session: Session
) -> tuple[Shape, tuple[str, ...]]:
    if job.target.create == "never":
        close = session.nearest(job.target.table)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ConfigError(
            f"job {job.name}: connection {target.name} ({target.identity}) has no table "
            f"{job.target.table} and create is never{hint}"
        )
    return _made(job, manifest, target, session)


def _made(
    job: RestoreJob, manifest: Manifest, target: Store, session: Session
) -> tuple[Shape, tuple[str, ...]]:
    """The table that the archived columns make in this system."""
    dialect = target.dialect
    alike = manifest.source_system == target.system
    archived = manifest.shape.columns
    if dialect.documents:
        archived = tuple(_archived(manifest, c.name) for c in manifest.columns)
    entries = [Entry(c.name, c, dialect.quote(c.name), True, None) for c in archived]
    key = manifest.key
    if dialect.documents and not alike:
        entries = mapping.into_documents(job, entries, len(key), named=False)
        key = tuple(entry.target for entry in entries[: len(key)])
    columns = [mapping.designed(e, dialect, alike=alike, key=e.target in key) for e in entries]
    return session.design(job.target.table, columns, key)


def _pair(archived: Column, column: Column, dialect: Dialect) -> ColumnPair:
    entry = Entry(archived.name, archived, dialect.quote(archived.name), True, None)
    return mapping.pair(entry, column, dialect)


def _refuse_types(job: RestoreJob, target: Shape, rows: Sequence[tuple[Column, Column]]) -> None:
    """``ConfigError`` where a column would not hold every archived value, under the same text."""
    why = [
        f"{mine.name} was {mine.native} and is {column.native}"
        for mine, column in rows
        if not reads_as(mine.type, column.type)
    ]
    if why:
        raise ConfigError(
            f"job {job.name}: {target.table} does not hold the archived values as they were: "
            f"{'; '.join(why)}. Restore to a new table, and convert there"
        )
