"""The manifest of one run: enough to restore its rows without anything else of this package.

It is JSON with sorted keys, and the same run always makes the same bytes. Its checksum tells
an accident or an edit; against somebody who means it only the state database can stand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from dsp_airflow.engine.archive.forms import FORMAT_VERSION, Form, form_of
from dsp_airflow.engine.archive.gridfs import columns
from dsp_airflow.engine.canon import CANON_VERSION
from dsp_airflow.engine.errors import ConfigError, Mismatch
from dsp_airflow.engine.model import (
    ArchivedObject,
    BatchRecord,
    Digest,
    Key,
    LogicalType,
    Partition,
    Plan,
    Shape,
)
from dsp_airflow.engine.stores.s3 import Bucket, Gone

KIND: Final = "dsp_airflow archive"
FILES_KIND: Final = f"{KIND} of files"
"""Of a bucket's files: the objects of its batches are indexes, which name all others."""
RECEIPTS_KIND: Final = f"{KIND} receipts"
CHECKSUM: Final = "sha256"
"""Of the document without it."""


@dataclass(frozen=True, slots=True)
class ArchivedColumn:
    """A column: its logical type, the source's own, and how files hold it."""

    name: str
    type: LogicalType
    native: str
    nullable: bool
    held: str
    """``value``: at its own type, or ``text``: as canonical text."""


@dataclass(frozen=True, slots=True)
class ArchivedBatch:
    """A batch: its place in the source's key order, and the objects that hold its rows.

    ``digest`` was taken by the source in the snapshot that was read; ``None`` where the job's
    check did not ask for it.
    """

    number: int
    after: Key | None
    upto: Key | None
    rows: int
    digest: Digest | None
    objects: tuple[ArchivedObject, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was archived, from where, and where it lies now."""

    kind: str
    format_version: int
    canon_version: int
    task: str
    job: str
    run: str
    definition: str
    source_system: str
    source: str
    """Where the connection led."""
    source_table: str
    bucket: str
    prefix: str
    file_format: str
    compression: str
    partitions: tuple[Partition, ...]
    columns: tuple[ArchivedColumn, ...]
    key: tuple[str, ...]
    shape: Shape
    """The table that these columns make in the source's own system."""
    ddl: tuple[str, ...]
    """The statements that create it there."""
    filter: str | None
    variables: Mapping[str, Any]
    rows: int
    batches: tuple[ArchivedBatch, ...]
    name_mode: str = ""
    """Of files: how their objects are named; in the manifest of no other archive."""

    digest: str = ""
    """SHA-256 of the object that it was read from, in hex; no part of it."""

    @property
    def of_files(self) -> bool:
        """Whether it tells of files, and of no rows of a table."""
        return self.kind == FILES_KIND

    def forms(self) -> tuple[Form, ...]:
        """How the files' columns are held."""
        return tuple(form_of(c.name, c.type, c.native) for c in self.columns)


_MANIFESTS: Final = TypeAdapter(Manifest)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a manifest says beyond the plan."""

    task: str
    variables: Mapping[str, Any]
    """As they were resolved."""
    source_system: str
    source: str


def manifest_of(plan: Plan, run: str, facts: Facts, records: Iterable[BatchRecord]) -> Manifest:
    """The manifest of a run whose batches are all copied."""
    archive = plan.archive
    if archive is None:
        raise ValueError(f"job {plan.job} is no S3 job")
    batches = tuple(_batch(record) for record in records)
    nullable = {c.name: c.nullable for c in plan.target_shape.columns}
    if archive.name_mode:
        nullable = dict(columns.NULLABLE)
    return Manifest(
        kind=FILES_KIND if archive.name_mode else KIND,
        format_version=FORMAT_VERSION,
        canon_version=CANON_VERSION,
        task=facts.task,
        job=plan.job,
        run=run,
        definition=plan.definition,
        source_system=facts.source_system,
        source=facts.source,
        source_table=plan.source.label,
        bucket=archive.bucket,
        prefix=archive.prefix,
        file_format=archive.format,
        compression=archive.compression,
        partitions=archive.partitions,
        columns=tuple(_column(form, nullable[form.name]) for form in forms_of(plan)),
        key=plan.key,
        shape=plan.target_shape,
        ddl=plan.ddl,
        filter=plan.filter,
        variables=dict(sorted(facts.variables.items())),
        rows=sum(batch.rows for batch in batches),
        batches=batches,
        name_mode=archive.name_mode,
    )


def forms_of(plan: Plan) -> tuple[Form, ...]:
    """How a job's files hold its columns."""
    if plan.archive is not None and plan.archive.name_mode:
        return columns.FORMS
    return tuple(form_of(f.column, f.type, f.native) for f in plan.target.fields)


def manifest_bytes(manifest: Manifest) -> bytes:
    """The object's content."""
    left_out = {"digest"} if manifest.of_files else {"digest", "name_mode"}
    values = _MANIFESTS.dump_python(manifest, mode="json", exclude=left_out)
    return _json(values | {CHECKSUM: _checksum(values)})


def read_manifest(bucket: Bucket, key: str, sha256: str | None = None) -> Manifest:
    """The manifest that lies there; with ``sha256`` it must be this very object.

    ``ConfigError`` when there is none, ``Mismatch`` when it is another one.
    """
    label = bucket.label(key)
    try:
        data = bucket.read(key)
    except Gone as error:
        raise ConfigError(
            f"{label} is not there: a run has a manifest once all of its batches are archived; "
            "see which runs there are with dsp archive list"
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256:
        raise Mismatch(f"{label} was edited: its SHA-256 is {digest}, and was {sha256}")
    return replace(manifest_from(data, label), digest=digest)


def manifest_from(data: bytes, label: str) -> Manifest:
    """The inverse; ``Mismatch`` for anything that is no manifest of a version known here."""
    values = _document(data, label)
    if values.pop(CHECKSUM, None) != _checksum(values):
        raise Mismatch(f"{label} was edited: it does not have the {CHECKSUM} that it says")
    manifest = _validated(values, label)
    if manifest.rows != sum(batch.rows for batch in manifest.batches):
        raise Mismatch(f"{label} was edited: its batches do not hold {manifest.rows:,} rows")
    return manifest


def unproved_manifest(data: bytes, label: str) -> Manifest:
    """What an edited manifest says now: good for looking further, and for nothing else."""
    values = _document(data, label)
    values.pop(CHECKSUM, None)
    return _validated(values, label)


def _document(data: bytes, label: str) -> dict[str, Any]:
    try:
        values = json.loads(data)
    except ValueError as error:
        raise Mismatch(f"{label} is no manifest: {error}") from error
    if not isinstance(values, dict) or values.get("kind") not in {KIND, FILES_KIND}:
        raise Mismatch(f"{label} is no manifest of {KIND}")
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise Mismatch(
            f"{label} has format version {version}; this version of dsp_airflow reads "
            f"{FORMAT_VERSION}"
        )
    return values


def _validated(values: Mapping[str, Any], label: str) -> Manifest:
    try:
        return _MANIFESTS.validate_python(values, strict=False)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise Mismatch(f"{label} was edited: {place}: {first['msg']}") from error


def apart(told: Manifest, made: Manifest) -> list[str]:
    """Names of the fields in which a manifest differs from the one made of the ledger.

    Versions are those of the package that wrote it, and the ledger does not know the system.
    """
    documents = [_MANIFESTS.dump_python(each, mode="json") for each in (told, made)]
    for values in documents:
        for name in ("format_version", "canon_version", "source_system", "digest"):
            del values[name]
    return list(_apart(documents[0], documents[1], ""))


def _apart(one: Any, other: Any, at: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(one.keys() | other.keys()):
            yield from _apart(one.get(name), other.get(name), f"{at}.{name}" if at else name)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            yield from _apart(mine, theirs, f"{at}[{number}]")
    elif one != other:
        yield at


def receipts_bytes(run: str, job: str, records: Sequence[BatchRecord]) -> bytes:
    """What was read back: an entry for each batch whose rows were compared and found right."""
    entries = [
        receipt_of(_batch(record))
        | {"checked_at": None if record.checked_at is None else record.checked_at.isoformat()}
        for record in records
        if record.compared and not record.different and record.copied is not None
    ]
    return _json(
        {
            "kind": RECEIPTS_KIND,
            "format_version": FORMAT_VERSION,
            "canon_version": CANON_VERSION,
            "run": run,
            "job": job,
            "receipts": entries,
        }
    )


def receipt_of(batch: ArchivedBatch) -> dict[str, Any]:
    """What the receipts say of a batch, but for the time."""
    return {
        "batch": batch.number,
        "rows": batch.rows,
        "digest": _shown(batch.digest),
        "objects": [
            {"key": o.key, "version": o.version, "sha256": o.sha256, "size": o.size}
            for o in batch.objects
        ],
    }


def _checksum(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(_json(values)).hexdigest()


def _batch(record: BatchRecord) -> ArchivedBatch:
    if record.copied is None:
        raise ValueError(f"batch {record.batch.number} is not copied")
    return ArchivedBatch(
        number=record.batch.number,
        after=record.batch.within.after,
        upto=record.batch.within.upto,
        rows=record.copied.written.rows,
        digest=record.copied.digest,
        objects=record.copied.objects,
    )


def _column(form: Form, nullable: bool) -> ArchivedColumn:
    return ArchivedColumn(
        form.name, form.kind, form.native, nullable, "text" if form.text else "value"
    )


def _shown(digest: Digest | None) -> str | None:
    return None if digest is None else f"{digest.method}:{digest.rows}:{digest.sum}"


def _json(values: Any) -> bytes:
    text = json.dumps(values, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"
