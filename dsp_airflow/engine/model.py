"""The values that travel through the engine. All are immutable and JSON-able.

Keys are tuples of text: each value as its own database prints it under the session
settings of the store (UTC, ISO dates, shortest round-trip floats). Text keeps every
ordered type (integers, uuid, timestamps, composite keys) exact and storable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

from dsp_airflow.engine.step import Step

Key: TypeAlias = tuple[str, ...]
OnConflict: TypeAlias = Literal["update", "ignore", "error"]
Isolation: TypeAlias = Literal[
    "read_uncommitted", "read_committed", "repeatable_read", "serializable"
]
OnLoss: TypeAlias = Literal["error", "null", "clamp", "text"]
Fit: TypeAlias = Literal["exact", "widening", "lossy", "refused"]
Kind: TypeAlias = Literal[
    "table",
    "partitioned table",
    "table with inheriting tables",
    "view",
    "materialised view",
    "foreign table",
]
Absent: TypeAlias = Literal["null", "error", "written", "missing"]
"""Of a field that is read: whether one that is not there is NULL or an error. Of a field that is
written: whether NULL is, or makes it missing."""
Dated: TypeAlias = Literal["rows", "parts", "no"]
"""Whether a row tells how old it is: by itself, together with the part it stands in, or not."""


@dataclass(frozen=True, slots=True)
class LogicalType:
    """A type of ``canon``: its name, and what bounds it.

    ``precision`` and ``scale`` bound decimals; ``length`` bounds strings and bytes (in
    characters or bytes); ``digits`` are fractional seconds of times and timestamps;
    ``element`` is the type inside a list; ``labels`` are those of an enum, in order.
    ``identity`` tells a type that only its own system has (``other``) by what it is made of:
    equal identities mean equal values under equal texts. ``None`` means unbounded.
    """

    name: str
    precision: int | None = None
    scale: int | None = None
    length: int | None = None
    digits: int | None = None
    element: LogicalType | None = None
    labels: tuple[str, ...] | None = None
    identity: str | None = None

    def __str__(self) -> str:
        if self.name == "decimal" and self.precision is not None:
            return f"decimal({self.precision},{self.scale or 0})"
        if self.name == "list" and self.element is not None:
            return f"list of {self.element}"
        if self.length is not None:
            return f"{self.name}({self.length})"
        if self.digits is not None and self.digits != 6:
            return f"{self.name}({self.digits})"
        return self.name


@dataclass(frozen=True, slots=True)
class NativeType:
    """A type that a database may lack: an enum, domain, range, composite, or an extension's.

    ``name`` is as the catalogs print it, with its schema. ``statement`` creates it, where that
    takes no more than this one statement and the types it names.
    """

    name: str
    identity: str
    statement: str
    simple: bool = True
    extension: str | None = None
    schema: str = ""
    """Where it stands; of an extension's type, where the extension does."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column as its database describes it.

    ``native`` is the type in the database's own words, fit for DDL and casts.
    ``collation`` names the order and the version of it that the column sorts by
    (``None`` where the type has none): equal texts mean equal order.
    ``default`` is SQL that makes sense in a table created elsewhere, else ``None``.
    """

    name: str
    type: LogicalType
    native: str
    nullable: bool = True
    default: str | None = None
    generated: bool = False
    collation: str | None = None
    deterministic: bool = True
    wide: bool = False
    """Values may be large (kept out of line)."""
    required: bool = False
    """A row cannot be inserted without a value: not nullable, no default, not generated."""
    generation: str | None = None
    """The expression of a generated column."""
    sorts: str = ""
    """SQL to append wherever values are compared, where the column's own order will not do."""
    carrier: str | None = None
    """The type that any database has for these values, where ``native`` is a domain over it."""
    needs: tuple[NativeType, ...] = ()
    """The types it is made of that a database may lack, in the order to create them."""
    comparable: bool = True
    """The type's operators are found in this session, so that a key may have it."""
    absent: Absent | None = None
    """Of a field of documents. Its type is what the job says; values of others may stand there."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A table's structure: what a plan is made from and what drift is measured against."""

    schema: str
    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    """The primary key's columns, in index order; empty when there is none."""
    unique: tuple[tuple[str, ...], ...] = ()
    """Column sets of usable unique indexes (whole, immediate, valid), the key among them."""
    kind: Kind = "table"
    parts: int = 0
    """Tables below it that hold rows: partitions of every level, or inheriting tables."""
    unusable: tuple[str, ...] = ()
    """Unique indexes that are no key, each with the reason and the remedy."""
    indexed: tuple[str, ...] | None = None
    """Columns that some index begins with; ``None`` where the store cannot tell."""
    dated: Dated = "rows"
    numbered: str | None = None
    """The column that the server numbers by itself, where it looks for the last number in it."""
    open: bool = False
    """A collection: its columns are what a job makes of its documents, and say nothing of it."""

    @property
    def table(self) -> str:
        """``schema.name`` for messages; not quoted for SQL."""
        return f"{self.schema}.{self.name}" if self.schema else self.name

    def column(self, name: str) -> Column | None:
        """The column of exactly this name, or ``None``."""
        return next((c for c in self.columns if c.name == name), None)


@dataclass(frozen=True, slots=True)
class KeyRange:
    """``after < key <= upto`` in the source's key order; ``None`` is open on that side."""

    after: Key | None = None
    upto: Key | None = None


@dataclass(frozen=True, slots=True)
class BatchSize:
    """How large a batch may get: rows, and bytes where a row's size varies."""

    rows: int
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Rates:
    """How much a job may move in a second; ``None`` is as much as it can."""

    rows: int | None = None
    bytes: int | None = None

    def __bool__(self) -> bool:
        return self.rows is not None or self.bytes is not None

    def __str__(self) -> str:
        parts = ((self.rows, "rows/s"), (self.bytes, "bytes/s"))
        return " and ".join(f"{rate:,} {unit}" for rate, unit in parts if rate is not None)


@dataclass(frozen=True, slots=True)
class Batch:
    """A range and what was counted in it when it was planned. Numbers start at 1."""

    number: int
    within: KeyRange
    rows: int
    sampled: bool = False
    """The consistency check will compare its digest, so copying takes one."""


@dataclass(frozen=True, slots=True)
class Digest:
    """``count`` and the order-independent sum of 64-bit row hashes, an exact integer.

    ``method`` names the hash. Digests of different methods cannot be compared.
    They add and subtract: the digest of two disjoint sets is the sum of theirs.
    """

    rows: int
    sum: int
    method: str

    def __add__(self, other: Digest) -> Digest:
        return self._combine(other, 1)

    def __sub__(self, other: Digest) -> Digest:
        return self._combine(other, -1)

    def _combine(self, other: Digest, sign: int) -> Digest:
        if other.method != self.method:
            raise ValueError(f"digests of {self.method} and {other.method} do not combine")
        return Digest(self.rows + sign * other.rows, self.sum + sign * other.sum, self.method)


@dataclass(frozen=True, slots=True)
class Field:
    """One mapped column, as one side renders it.

    ``expression`` is SQL of that side that yields the value at the mapped type; on the
    target it is the plain column. ``column`` is the target column's name on both sides.
    """

    column: str
    type: LogicalType
    native: str
    expression: str
    loose: bool = False
    """Its equality takes several texts for one, as a collation that ignores case does."""
    utf8: bool = False
    """The expression is surely a text in UTF-8, so that nothing has to convert it."""


@dataclass(frozen=True, slots=True)
class Converted:
    """A source expression at the target's type, and the native type it then has.

    ``lost`` is a condition: values for which the expression yields what the policy says.
    """

    expression: str
    native: str
    lost: str = ""
    utf8: bool = False
    """See ``Field``."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What a policy makes of values that do not fit: counted in every batch.

    ``condition`` is SQL of the source that is true for them.
    """

    column: str
    rule: str
    condition: str


@dataclass(frozen=True, slots=True)
class LossCount:
    """How many values of a column a policy changed."""

    column: str
    rule: str
    values: int


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """A key column on one side: ``column`` for ranges (quoted SQL), its native type for casts."""

    column: str
    native: str


@dataclass(frozen=True, slots=True)
class Projection:
    """What of a table takes part, seen from one side.

    The source's and the target's projection of one job have the same fields in the same
    order, with the same logical types: their digests are comparable.
    """

    table: str
    """Quoted, schema-qualified SQL."""
    label: str
    """For messages."""
    fields: tuple[Field, ...]
    key: tuple[KeyColumn, ...]
    """Empty for a table that is copied as a whole, in one batch without bounds."""
    where: str | None = None
    """Rendered SQL condition, source side only."""
    markers: str = ""
    """The commit markers' table beside the target (quoted SQL), target side only."""
    notes: str = ""
    """The table of what is written there (quoted SQL), where that is noted; target side only."""
    method: str = "md5"
    """The row hash: ``md5`` over the canonical text, or a store's own."""
    loose: bool = False
    """No index of the source keeps the key unique and present, so it is proved for every batch."""
    dated: Dated = "rows"
    losses: tuple[Loss, ...] = ()
    """What the job's policies change of the values, source side only."""
    numbered: str | None = None
    """A column (quoted SQL): a purge leaves the row with the largest value in it."""
    accepted: tuple[str, ...] = ()
    """Of documents: fields whose loss is accepted, or ``*``, though no column holds them."""


@dataclass(frozen=True, slots=True)
class RowHash:
    """A row reduced to its key and a 128-bit hash of its canonical text.

    ``settled`` is True when the row's version surely existed when the mark was taken (so it
    has not changed since), False when it may be younger, None where the store cannot tell.
    """

    key: Key
    """The mapped key's text: the same on both sides. Empty where the row has none: see ``kept``."""
    hash: str
    settled: bool | None = None
    at: Key = ()
    """The row's own key on the side that was read; what it is locked and deleted by."""
    kept: str = ""
    """Why the row may not be deleted, whatever the target holds; empty when it may."""


@dataclass(frozen=True, slots=True)
class ColumnPair:
    """One line of the type report."""

    source: str
    target: str
    source_type: str
    target_type: str
    fit: Fit
    note: str = ""
    on_loss: OnLoss = "error"
    """What becomes of a value that does not fit, where one may not."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a batch was read from: the source's digest of it (when sampled) and the mark.

    ``losses`` counts the values that a policy changed on the way.
    """

    digest: Digest | None = None
    mark: str | None = None
    losses: tuple[LossCount, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """What a target transaction did with a batch; stored in its commit marker.

    ``rows`` were sent and are accounted for: ``inserted + updated + unchanged + ignored``.
    ``others`` is the digest of what else the target's range holds, measured before the
    write; ``instead`` is what ``ignore`` left in place, less what the source has for those
    keys. The range's digest must be the batch's digest plus both. Their sums are only
    meaningful when the batch is sampled.
    """

    rows: int
    inserted: int
    updated: int = 0
    unchanged: int = 0
    ignored: int = 0
    unlike: int = 0
    """Of the ignored rows, those that stood there with other values."""
    others: Digest = field(default_factory=lambda: Digest(0, 0, "none"))
    instead: Digest | None = None
    origin: Origin | None = None
    bytes: int = 0
    """In the format that was relayed."""
    recovered: bool = False
    """The commit had happened before; its marker told so."""


@dataclass(frozen=True, slots=True)
class ArchivedObject:
    """An object of an archive as it was uploaded: its name, and what proves that it is it.

    ``version`` is ``None`` where the bucket keeps none; ``largest`` are the bytes of the largest
    row of a text file.
    """

    key: str
    size: int
    sha256: str
    etag: str
    version: str | None
    rows: int
    largest: int = 0


UNSEEN = -1
"""In place of a sum: which keys there were could not be seen any more."""


@dataclass(frozen=True, slots=True)
class Copied:
    """The ledger's record of a copied batch."""

    rows_read: int
    written: Written
    bytes: int
    seconds: float
    objects: tuple[ArchivedObject, ...] = ()
    """Of an archive: where the batch lies."""
    keys: int | None = None
    """The sum of hashes of its keys, once the target was seen to hold them: value for value, if it
    will be compared. Looked at where a check could not tell later which rows have come or gone."""

    @property
    def digest(self) -> Digest | None:
        """The source's digest of the batch, taken in the snapshot it was read in."""
        return self.written.origin.digest if self.written.origin else None

    @property
    def losses(self) -> tuple[LossCount, ...]:
        """The values that a policy changed."""
        return self.written.origin.losses if self.written.origin else ()

    @property
    def mark(self) -> str | None:
        """The horizon of that snapshot, where the source has one."""
        return self.written.origin.mark if self.written.origin else None


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that differs or was kept.

    ``kind``: ``missing`` (not in the target), ``extra`` (not in the source), ``changed``
    (columns named); for purge also ``new``, ``left_filter``, ``newest`` and ``referenced`` (by
    a row that stays); ``damaged`` (not
    whole in the source, so neither copied nor purged); ``kept_back`` (whole, and not copied on
    purpose, so not purged). Values are hashed unless the job says
    ``report_values``.
    """

    kind: str
    key: Key
    """The mapped key, as the target has it."""
    columns: tuple[str, ...] = ()
    source: tuple[str | None, ...] = ()
    target: tuple[str | None, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """What the consistency check found in one batch."""

    rows: int
    """Rows that were compared, by digest or by value; 0 when they were only counted."""
    compared: bool
    different: int
    differences: tuple[Difference, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """What the ledger knows of a batch: its copy and its check, once there are any."""

    batch: Batch
    copied: Copied | None = None
    compared: bool = False
    checked_at: datetime | None = None
    different: int = 0
    """Rows that the check found to differ."""


@dataclass(frozen=True, slots=True)
class Gone:
    """Rows of a batch that somebody else had removed from the source."""

    rows: int
    by: str
    """Who says so."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The evidence of one purged batch. Append-only and hash-chained by the ledger."""

    format: int
    canon: int
    run: str
    task: str
    job: str
    batch: int
    source: str
    target: str
    after: Key | None
    upto: Key | None
    filter: str | None
    rows: int
    kept: int
    source_digest: str
    target_digest: str
    definition: str
    objects: tuple[ArchivedObject, ...] = ()
    """Of an archive: what the batch was proved by."""
    gone: Gone | None = None
    """What nobody here deleted: none of it was found in the source."""


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a replication is behind, in seconds; ``None``, and why, where nobody knows."""

    of: str
    seconds: int | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge did with one batch."""

    deleted: int
    kept: int
    differences: tuple[Difference, ...]
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Claim:
    """A leased batch. The token only grows: a stale holder's records are refused."""

    batch: Batch
    owner: str
    token: int
    copied: Copied | None = None
    intent: str | None = None
    """A purge that began to commit: the source's transaction id and its receipt, as JSON."""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """What an incremental run reads of its cursor: ``after <= cursor <= upto``.

    All are the database's own text at native precision. ``after`` is ``None`` on the first run,
    ``upto`` when no row has a finite value; it never moves back because rows were purged.
    """

    column: str
    after: str | None
    upto: str | None
    reached: str | None = None
    """Where the next run begins, if not at ``upto``: no further than the source's clock. Rows
    beyond it are read again, so that one of the year 9999 does not hide all that come after it."""

    @property
    def end(self) -> str | None:
        """Where the cursor stands once all of it is copied and checked."""
        return self.upto if self.reached is None else self.reached


@dataclass(frozen=True, slots=True)
class Partition:
    """A folder ``name=value`` for each value of an expression (SQL of the source)."""

    name: str
    expression: str


@dataclass(frozen=True, slots=True)
class Archive:
    """Where an S3 job writes and how; ``prefix`` is resolved."""

    bucket: str
    prefix: str
    format: str
    compression: str
    partitions: tuple[Partition, ...] = ()
    """By which the rows of a batch are told apart, each group in an object of its own."""
    name_mode: str = ""
    """Of a bucket of files: how their objects are named. Empty where rows are archived."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a job will do, frozen: the copy, check and purge read only this.

    ``warnings`` do not stop the run; ``refusals`` stop it, ``purge_refusals`` stop a purge.
    """

    job: str
    source: Projection
    target: Projection
    source_shape: Shape
    target_shape: Shape
    create: bool
    """The target table is missing and will be created as ``target_shape``."""
    ddl: tuple[str, ...]
    key: tuple[str, ...]
    """Target column names of the key."""
    ordered_alike: bool
    """Both sides sort the key alike: a source range selects the same rows on the target."""
    wire: str
    """The format relayed: ``binary`` or ``text``."""
    pairs: tuple[ColumnPair, ...]
    filter: str | None
    on_conflict: OnConflict
    batch_size: BatchSize
    max_row_size: int
    definition: str
    """Digest of the definition, both shapes and where the connections lead."""
    accept_triggers: tuple[str, ...] = ()
    purged_beside: tuple[str, ...] = ()
    """Tables of the same database that other jobs of the task purge, as the file names them."""
    adds: tuple[str, ...] = ()
    """DDL that adds to the target what it lacks: see ``adding``."""
    report_values: bool = False
    replaces: bool = False
    """The target is built anew beside the one that stands, and swapped: see ``swap``."""
    rollback: bool = False
    """What is written is noted beside the target, so that the run can be undone: see ``notes``."""
    shared: bool = False
    """Another job of the task writes into the same target table: rows appear there meanwhile."""
    where: str | None = None
    """The job's own condition, rendered; ``filter`` adds the window to it."""
    window: Window | None = None
    step: Step | None = None
    """Of a job that goes by steps; ``filter`` has its condition, too."""
    archive: Archive | None = None
    """Of an S3 job, whose target shape is what the table would be when restored."""
    rows: int = 0
    bytes: int = 0
    batches: int = 0
    warnings: tuple[str, ...] = ()
    purge_refusals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SeenField:
    """A field of documents: the types it was seen with, and a column that is proposed for it."""

    path: str
    type: str
    types: Mapping[str, int]
    """How many values of each of the system's own types."""
    missing: int
    on_loss: str = "error"


@dataclass(frozen=True, slots=True)
class Inferred:
    """What some documents of a collection, ``looked_at`` of ``documents``, suggest as columns."""

    label: str
    looked_at: int
    documents: int
    fields: tuple[SeenField, ...]
