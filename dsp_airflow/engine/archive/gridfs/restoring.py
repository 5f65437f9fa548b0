"""From the manifest of archived files and a bucket to everything that a restore will do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dsp_airflow.config.restores import RestoreJob
from dsp_airflow.engine import plan as planning
from dsp_airflow.engine.archive.gridfs.planning import fields_of
from dsp_airflow.engine.archive.gridfs.source import HoldsBuckets
from dsp_airflow.engine.archive.manifest import ArchivedBatch, Manifest
from dsp_airflow.engine.definition import definition_of
from dsp_airflow.engine.errors import ConfigError, Denied
from dsp_airflow.engine.model import (
    Batch,
    BatchSize,
    ColumnPair,
    KeyRange,
    Plan,
    Projection,
    Shape,
)
from dsp_airflow.engine.ports import Endpoint, Session, Store
from dsp_airflow.engine.stores.mongodb.gridfs.proof import METHOD
from dsp_airflow.engine.stores.mongodb.gridfs.relay import WIRE


def buckets_of(job: RestoreJob, target: Store) -> Store:
    """The endpoint as it holds files; ``ConfigError`` where it holds none."""
    if not isinstance(target, HoldsBuckets):
        raise ConfigError(
            f"job {job.name}: the archive holds files of GridFS, which only MongoDB has; "
            f"{target.name} is {target.system}. Restore to a connection of type mongo, or take the "
            "objects as they are: each is one file"
        )
    return target.buckets()


def plan_restore(
    job: RestoreJob,
    manifest: Manifest,
    chosen: Sequence[ArchivedBatch],
    source: Endpoint,
    target: Store,
    definition: str,
) -> tuple[Plan, Sequence[Batch]]:
    """See ``archive.restoring.plan_restore``; ``target`` is of ``buckets_of``."""
    if job.where is not None:
        raise ConfigError(
            f"job {job.name}: where: files of an archive cannot be filtered on their way to "
            "MongoDB; restore whole batches"
        )
    if job.belongs_to is not None:
        raise ConfigError(f"job {job.name}: belongs_to is for rows of tables, not for files")
    with target.session() as session:
        plan = _structure(job, manifest, source, target, session, definition)
        if not plan.create and session.holds_rows(plan.target):
            told = (
                f"{plan.target.label} holds files already; of a file with the id of an archived "
                f"one on_conflict: {job.on_conflict} decides"
            )
            plan = replace(plan, warnings=(*plan.warnings, told))
    percent, seed = (job.check.percent, job.check.seed) if job.check else (0.0, 0)
    sampled = planning.sample(len(chosen), percent, seed)
    batches = [
        Batch(b.number, KeyRange(b.after, b.upto), b.rows, sampled=place in sampled)
        for place, b in enumerate(chosen, 1)
    ]
    return replace(plan, rows=sum(b.rows for b in batches), batches=len(batches)), batches


def _structure(
    job: RestoreJob,
    manifest: Manifest,
    source: Endpoint,
    target: Store,
    session: Session,
    definition: str,
) -> Plan:
    dialect = target.dialect
    there = session.describe(job.target.table)
    create = there is None
    ddl: tuple[str, ...] = ()
    if there is None:
        there, ddl = _designed(job, manifest, target, session)
    fields = fields_of(there, dialect)
    key = (dialect.key_column(there.columns[0]),)
    target_side = Projection(
        table=dialect.qualified(there),
        label=there.table,
        fields=fields,
        key=key,
        markers=dialect.markers(there),
        method=METHOD,
    )
    refusals = session.write_refusals(target_side, job.on_conflict, create=create)
    if refusals:
        raise Denied(f"job {job.name}: {'; '.join(refusals)}")
    return Plan(
        job=job.name,
        source=Projection(job.source.table, job.source.table, fields, key, method=METHOD),
        target=target_side,
        source_shape=manifest.shape,
        target_shape=there,
        create=create,
        ddl=ddl,
        key=there.key,
        ordered_alike=True,
        wire=WIRE,
        pairs=_pairs(there),
        filter=None,
        on_conflict=job.on_conflict,
        batch_size=BatchSize(max((b.rows for b in manifest.batches), default=1)),
        max_row_size=job.max_row_size,
        definition=definition_of(definition, manifest.shape, there, source, target),
        report_values=job.report_values,
        warnings=tuple(f"connection {target.name}: {w}" for w in session.warnings()),
    )


def _designed(
    job: RestoreJob, manifest: Manifest, target: Store, session: Session
) -> tuple[Shape, tuple[str, ...]]:
    if job.target.create == "never":
        close = session.nearest(job.target.table)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ConfigError(
            f"job {job.name}: connection {target.name} ({target.identity}) has no bucket "
            f"{job.target.table} and create is never{hint}"
        )
    return session.design(job.target.table, manifest.shape.columns, manifest.shape.key)


def _pairs(there: Shape) -> tuple[ColumnPair, ...]:
    own, document, content = (column.name for column in there.columns)
    note = "of the file's object, and of the index"
    return (
        ColumnPair("_id", own, "string", "bson", "exact", "as it was"),
        ColumnPair("document", document, "binary", "bson", "exact", "its bytes"),
        ColumnPair("object", content, "object", "chunks", "exact", note),
    )
