"""From an S3 job and its bucket of files to everything that will be done. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from dsp_airflow.config.archives import S3Job
from dsp_airflow.engine import mapping
from dsp_airflow.engine import plan as planning
from dsp_airflow.engine.archive.gridfs import names
from dsp_airflow.engine.archive.gridfs.source import ReadsFiles
from dsp_airflow.engine.definition import definition_of
from dsp_airflow.engine.errors import ConfigError, Denied, Refused
from dsp_airflow.engine.model import (
    Archive,
    BatchSize,
    ColumnPair,
    Field,
    Plan,
    Projection,
    Shape,
)
from dsp_airflow.engine.ports import Dialect, Session
from dsp_airflow.engine.sides import Sides, described
from dsp_airflow.engine.stores.mongodb.gridfs.proof import METHOD
from dsp_airflow.engine.stores.mongodb.gridfs.relay import WIRE
from dsp_airflow.engine.stores.s3 import S3Store

MOST_FILES: Final = 1_000
"""In a batch: a purge looks at the object of each while the batch is locked."""


def fields_of(shape: Shape, dialect: Dialect) -> tuple[Field, ...]:
    """A file's id, its document and its chunks, as everybody compares them."""
    return tuple(Field(c.name, c.type, c.native, dialect.quote(c.name)) for c in shape.columns)


def structure(
    job: S3Job,
    sides: Sides,
    target: S3Store,
    archive: Archive,
    variables: Mapping[str, Any],
    definition: str,
) -> Plan:
    """The plan, without batches."""
    dialect = sides.source.dialect
    if job.target.partitions:
        raise ConfigError(f"job {job.name}: partitions are for rows of tables; leave them out")
    shape = described(job, sides)
    where = mapping.rendered_filter(job, shape, dialect, variables)
    place = f"s3://{archive.bucket}/{archive.prefix}"
    source = Projection(
        table=dialect.qualified(shape),
        label=shape.table,
        fields=fields_of(shape, dialect),
        key=(dialect.key_column(shape.columns[0]),),
        where=where,
        method=METHOD,
    )
    hidden = sides.read.read_refusals(source.table)
    if hidden:
        raise Denied(f"job {job.name}: {'; '.join(hidden)}")
    refusals = sides.read.purge_refusals(job.source.table, job.accept_triggers)
    if job.purge != "none" and refusals:
        raise Refused(f"job {job.name} may not purge {shape.table}: {'; '.join(refusals)}")
    there, ddl = sides.read.design(source.table, shape.columns, shape.key)
    size = planning.batch_size_of(job)
    return Plan(
        job=job.name,
        source=source,
        target=replace(source, table=place, label=place, where=None),
        source_shape=shape,
        target_shape=there,
        create=False,
        ddl=ddl,
        key=shape.key,
        ordered_alike=True,
        wire=WIRE,
        pairs=_pairs(shape, archive),
        filter=where,
        where=where,
        on_conflict="update",
        batch_size=BatchSize(min(size.rows, MOST_FILES), size.bytes),
        max_row_size=job.max_row_size,
        definition=definition_of(definition, shape, there, sides.source, target),
        accept_triggers=job.accept_triggers,
        report_values=job.report_values,
        archive=archive,
        purge_refusals=tuple(refusals),
        warnings=tuple(planning.source_warnings(sides, source)),
    )


def namesakes(plan: Plan, read: Session) -> list[str]:
    """What an operator should know of files of one name."""
    mode = plan.archive.name_mode if plan.archive else ""
    if mode == names.BY_ID or not isinstance(read, ReadsFiles):
        return []
    count = read.count_namesakes(plan.source)
    if not count:
        return []
    which = "newest" if mode == "newest" else "oldest"
    why = f"name_mode: {mode} archives the {which}; they are neither archived nor deleted"
    return [
        f"{count:,} files of {plan.source.label} have no name or one that others have, where {why}"
    ]


def _pairs(shape: Shape, archive: Archive) -> tuple[ColumnPair, ...]:
    """What is stored where, for the type report."""
    own, document, content = (column.name for column in shape.columns)
    index = "in the index of its batch"
    return (
        ColumnPair(own, "_id", "bson", "string", "exact", f"as extended JSON, {index}"),
        ColumnPair(document, "document", "bson", "binary", "exact", f"its bytes, {index}"),
        ColumnPair(
            content,
            "object",
            "chunks",
            "object",
            "exact",
            f"an object for each file, named by {archive.name_mode}; what else its chunks have is "
            f"{index}",
        ),
    )
