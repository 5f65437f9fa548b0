"""From an S3 job and its table's shape to everything that will be done. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, Final

from dsp_airflow.config.archives import S3Job
from dsp_airflow.engine import (
    chosen,
    documents,
    fitting,
    keys,
    mapping,
    quarantine,
    references,
    stepping,
)
from dsp_airflow.engine import plan as planning
from dsp_airflow.engine.archive import layout, owner
from dsp_airflow.engine.archive.forms import EXACT, Form, form_of
from dsp_airflow.engine.chosen import Parent
from dsp_airflow.engine.definition import definition_of
from dsp_airflow.engine.errors import ConfigError, Denied, Refused
from dsp_airflow.engine.model import (
    Archive,
    Batch,
    ColumnPair,
    Field,
    KeyColumn,
    Partition,
    Plan,
    Projection,
    Window,
)
from dsp_airflow.engine.ports import ReadsArrow, Restores, Store
from dsp_airflow.engine.sides import Sides, described
from dsp_airflow.engine.step import Step
from dsp_airflow.engine.stepping import Stand
from dsp_airflow.engine.stores.s3 import S3Store
from dsp_airflow.engine.window import moved, refuse_endless, warnings_of, window_of

METHOD: Final = "md5"
_PADDED: Final = "bpchar[]"
"""Texts of its keys have blanks that canonical texts have not."""


def plan_archive(
    job: S3Job,
    task: str,
    source: Store,
    target: S3Store,
    variables: Mapping[str, Any],
    prefix: str,
    definition: str,
    *,
    count: bool = True,
    since: str | None = None,
    window: Window | None = None,
    stand: Stand = planning.BEGINNING,
    purged_beside: tuple[str, ...] = (),
    parents: Sequence[Parent] = (),
) -> tuple[Plan, Sequence[Batch]]:
    """The plan and its batches; ``prefix`` is resolved. See ``plan.plan_job``.

    Raises ``ConfigError`` too when the bucket is not there or the prefix is another job's.
    """
    archive = Archive(
        job.target.bucket,
        prefix,
        job.target.format,
        job.target.compression,
        name_mode=job.name_mode,
    )
    documents.refuse_unfit(job, source, "s3")
    with source.session() as read:
        # What is archived is designed as if it were to stand in the source's own system again.
        sides = Sides(source, source, read, read)
        if not (isinstance(read, ReadsArrow) and isinstance(source.dialect, Restores)):
            raise ConfigError(f"job {job.name}: {source.system} cannot be archived to S3")
        files = _of_files() if job.gridfs else None
        if files:
            plan = files.structure(job, sides, target, archive, variables, definition)
        else:
            archive = replace(archive, partitions=_partitions(job, sides, variables))
            if job.cursor is not None and window is None:
                window = window_of(job, sides, variables, since)
            step = stepping.step_of(job, sides, stand)
            plan = _structure(
                job,
                sides,
                target,
                archive,
                variables,
                definition,
                window,
                step,
                purged_beside,
                parents,
            )
            plan = replace(plan, ddl=source.dialect.ddl(plan.target_shape))
        warnings = _folder_warnings(job, task, plan, target)
        batches: Sequence[Batch] = ()
        size = 0
        if count:
            refuse_endless(job, plan, sides)
            batches, size = planning.cut(read, plan)
            warnings += quarantine.warnings(read, plan.source)
            warnings += files.namesakes(plan, read) if files else []
            warnings += stepping.warnings(job, plan, read, source.dialect, stand)
            percent, seed = (job.check.percent, job.check.seed) if job.check else (0.0, 0)
            sampled = planning.sample(len(batches), percent, seed)
            batches = [replace(b, sampled=b.number in sampled) for b in batches]
    return replace(
        plan,
        rows=sum(b.rows for b in batches),
        bytes=size,
        batches=len(batches),
        warnings=(*plan.warnings, *warnings),
    ), batches


def _of_files() -> ModuleType:
    """How files are planned. For rows of tables their driver is not needed."""
    from dsp_airflow.engine.archive.gridfs import planning as files

    return files


def _structure(
    job: S3Job,
    sides: Sides,
    target: S3Store,
    archive: Archive,
    variables: Mapping[str, Any],
    definition: str,
    window: Window | None,
    step: Step | None,
    purged_beside: tuple[str, ...],
    parents: Sequence[Parent],
) -> Plan:
    dialect = sides.source.dialect
    shape = described(job, sides)
    if job.columns is None and isinstance(dialect, Restores):
        shape = dialect.archived(shape)
    key = keys.key_of(job, shape, shared=False)
    if not key:
        raise ConfigError(
            f"job {job.name}: {shape.table} has no key, by which rows of an archive are found "
            "again; name unique columns under key"
        )
    literals = {name: dialect.literal(v) for name, v in variables.items()}
    entries = mapping.entries(job, shape, None, sides.read, dialect, literals)
    entries = planning.key_first(job, entries, key, None)
    target_key = tuple(e.target for e in entries[: len(key)])
    columns = [
        mapping.designed(e, dialect, alike=True, key=e.target in target_key) for e in entries
    ]
    if job.columns is None:
        order = [c.name for c in shape.columns]
        columns.sort(key=lambda c: order.index(c.name))
    there, _ = sides.read.design(dialect.qualified(shape), columns, target_key)
    rows = fitting.matched(job, sides, entries, there)
    fitting.refuse_types(job, sides, rows, len(key))
    _refuse_columns(job, [c.name for c in there.columns])
    both = mapping.fields(rows, dialect, dialect, len(key))
    forms = [form_of(f.column, f.type, f.native) for f in both.target]
    plain = where = chosen.rows_of(job, sides.read, shape, dialect, variables, parents)
    if window is not None:
        where = moved(job, shape, dialect, window, plain)
    if step is not None:
        where = stepping.narrowed(plain, job, shape, dialect, step)
    source_side = planning.source_side_of(job, sides, shape, entries, key, both, where, METHOD)
    _refuse_keys(job, source_side.key, forms)
    hidden = sides.read.read_refusals(source_side.table)
    if hidden:
        raise Denied(f"job {job.name}: {'; '.join(hidden)}")
    refusals = planning.purge_refusals_of(
        job, sides, shape, there, key, rows, purged_beside, create=True
    )
    if job.purge != "none" and refusals:
        raise Refused(f"job {job.name} may not purge {shape.table}: {'; '.join(refusals)}")
    return Plan(
        job=job.name,
        source=source_side,
        target=_files(archive, both.target, len(key)),
        source_shape=shape,
        target_shape=there,
        create=False,
        ddl=(),
        key=target_key,
        # The object of a batch holds its range, whatever sorts how.
        ordered_alike=True,
        wire="arrow",
        pairs=tuple(_pair(p, form) for (_, _, p), form in zip(rows, forms, strict=True)),
        filter=where,
        where=plain,
        window=window,
        step=step,
        on_conflict="update",
        batch_size=planning.batch_size_of(job),
        max_row_size=job.max_row_size,
        definition=definition_of(definition, shape, there, sides.source, target),
        accept_triggers=job.accept_triggers,
        purged_beside=purged_beside,
        report_values=job.report_values,
        archive=archive,
        purge_refusals=tuple(refusals),
        warnings=tuple(
            planning.source_warnings(sides, source_side)
            + references.warnings_of(job, sides.read, purged_beside)
            + keys.warnings_of(job, shape, there, key, dialect, source_side)
            + warnings_of(window)
        ),
    )


def _partitions(job: S3Job, sides: Sides, variables: Mapping[str, Any]) -> tuple[Partition, ...]:
    dialect = sides.source.dialect
    if dialect.documents and job.target.partitions:
        raise ConfigError(
            f"job {job.name}: partitions are SQL expressions, and {sides.source.system} has none; "
            "leave them out, or give each part a job with a where and a prefix of its own"
        )
    literals = {name: dialect.literal(v) for name, v in variables.items()}
    shape = described(job, sides)
    found = tuple(
        Partition(p.name, mapping.rendered(job, p.expression, shape, dialect, literals))
        for p in job.target.partitions
    )
    if found:
        sides.read.typed(shape, [p.expression for p in found])
    taken = {c.target_name for c in job.columns or ()} or {c.name for c in shape.columns}
    for partition in found:
        if partition.name in taken:
            raise ConfigError(
                f"job {job.name}: partition {partition.name} has the name of a column, which "
                "readers of partitions would take for it; choose another name"
            )
    return found


def _files(archive: Archive, fields: Sequence[Field], width: int) -> Projection:
    place = f"s3://{archive.bucket}/{archive.prefix}"
    return Projection(
        table=place,
        label=place,
        fields=tuple(replace(f, expression=f.column) for f in fields),
        key=tuple(KeyColumn(f.column, f.native) for f in fields[:width]),
        method=METHOD,
    )


def _pair(pair: ColumnPair, form: Form) -> ColumnPair:
    notes = [pair.note]
    if form.text:
        notes.append("kept as its exact text")
    elif form.bounded:
        notes.append(f"values beyond it are kept as text in {EXACT}")
    return replace(pair, target_type=str(form.arrow), note="; ".join(filter(None, notes)))


def _refuse_columns(job: S3Job, names: Sequence[str]) -> None:
    if EXACT in names:
        raise ConfigError(
            f"job {job.name}: the column name {EXACT} is needed for values that no other column "
            "of a file can hold; map the column to another name"
        )


def _refuse_keys(job: S3Job, key: Sequence[KeyColumn], forms: Sequence[Form]) -> None:
    for column, form in zip(key, forms, strict=False):
        if column.native == _PADDED:
            raise ConfigError(
                f"job {job.name}: key column {form.name} is {form.native}, by which rows of an "
                "archive cannot be found again; name other unique columns under key"
            )


def _folder_warnings(job: S3Job, task: str, plan: Plan, target: S3Store) -> list[str]:
    """``ConfigError`` when the folder is another job's."""
    archive = plan.archive
    if archive is None:
        return []
    bucket = target.bucket(archive.bucket)
    if owner.require_own(bucket, archive, owner.Owner(task, job.name, plan.source.label)):
        return []
    found = next(bucket.list(layout.folder(archive)), None)
    if found is None:
        return []
    why = f"{plan.target.label} holds objects of others already, such as {found.key}"
    return [f"{why}; a folder of its own is easier to read as a whole"]
