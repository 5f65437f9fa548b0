"""The seams. Everything the engine asks of a database, a ledger or an onlooker is here.

A *store* is one endpoint; a *session* is one connection to it, used by one thread. Any
method may raise ``Transient`` (the connection is then unusable; open another session),
``Denied`` or ``Refused``. A capability that a store lacks is refused by the plan.
"""

from __future__ import annotations

from collections.abc import (
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractContextManager
from datetime import timedelta
from threading import Event
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

from dsp_airflow.engine.model import (
    Batch,
    BatchRecord,
    BatchSize,
    Checked,
    Claim,
    Column,
    Converted,
    Copied,
    Difference,
    Digest,
    Fit,
    Inferred,
    Isolation,
    Key,
    KeyColumn,
    KeyRange,
    Lag,
    LogicalType,
    LossCount,
    OnConflict,
    OnLoss,
    Origin,
    Plan,
    Projection,
    Purged,
    RowHash,
    Shape,
    Window,
    Written,
)
from dsp_airflow.engine.options import SessionOptions

Phase: TypeAlias = Literal["copy", "check", "purge"]
T_co = TypeVar("T_co", covariant=True)
Outcome: TypeAlias = Literal["committed", "aborted", "running", "unknown"]


class Stream(Protocol):
    """Buffers in a wire format, and after the last one how many rows and bytes they were."""

    @property
    def rows(self) -> int:
        """What the source says it sent; negative until it was read to the end."""
        ...

    @property
    def size(self) -> int:
        """Bytes so far."""
        ...

    def __iter__(self) -> Iterator[bytes | memoryview]: ...


class Reads(Protocol):
    """Describes tables and streams their rows."""

    def describe(self, table: str) -> Shape | None:
        """The shape, or ``None`` when there is no such table (or it may not be seen)."""
        ...

    def snapshot(
        self, isolation: Isolation = "repeatable_read"
    ) -> AbstractContextManager[str | None]:
        """One consistent view for all reads inside; yields the mark of its horizon.

        A row version whose writer is older than the mark was surely visible in it. Under a lower
        ``isolation`` than repeatable read the view is that of each statement.
        """
        ...

    def horizon(self) -> str | None:
        """The mark of this moment, for a later read that sees at least as much."""
        ...

    def read(self, what: Projection, within: KeyRange, wire: str, max_row_size: int) -> Stream:
        """The range's rows that match the filter, rendered by the database.

        A row larger than ``max_row_size`` bytes raises ``Refused``.
        """
        ...

    def renders(self) -> Sequence[str]:
        """The wire formats that ``read`` sends."""
        ...

    def read_refusals(self, table: str) -> list[str]:
        """Why this role would not see every row of the table. ``table`` is quoted SQL."""
        ...

    def share_rows(self, table: str, other: str) -> bool:
        """Whether both show the same rows, or some: one table, its partitions, views of it."""
        ...

    def read_warnings(self, table: str) -> list[str]:
        """What an operator should know of reading this table, short of a refusal."""
        ...

    def nearest(self, table: str) -> list[str]:
        """Existing tables of similar name, for an error message."""
        ...

    def typed(self, shape: Shape, expressions: Sequence[str]) -> list[Column]:
        """The type each SQL expression over this table has; nothing is read."""
        ...

    def window(
        self, shape: Shape, column: Column, since: str | None, overlap: timedelta | int
    ) -> Window:
        """What of a cursor is to be read now, ``since`` being the end of the last run.

        ``ConfigError`` where values of the column would not tell what is new.
        """
        ...

    def typed_value(self, column: Column, text: str) -> str:
        """The value as the database prints it in this column; ``BadValue`` when it is none."""
        ...


class Splits(Protocol):
    """Cuts a table into batches."""

    def split(
        self, what: Projection, size: BatchSize, max_row_size: int
    ) -> tuple[Sequence[Batch], int]:
        """All batches up to the largest key there is now, and their bytes (estimated).

        Batches count rows that match the filter; none is empty. A row that is surely
        larger than ``max_row_size`` raises ``Refused`` naming its key. Without a key all rows
        are one batch. A loose key is proved first.
        """
        ...

    def prove_key(self, what: Projection) -> None:
        """``ConfigError`` when a matching row lacks a part of the key, or shares the key."""
        ...


class Digests(Protocol):
    """Proves what rows are there."""

    def digest(
        self, what: Projection, within: KeyRange | None, keys: Sequence[Key] | None = None
    ) -> Digest:
        """Of the rows that match the filter: in the range, of the given keys, or both."""
        ...

    def count(self, what: Projection, within: KeyRange) -> int:
        """Only the number of them."""
        ...

    def losses(self, what: Projection, within: KeyRange) -> tuple[LossCount, ...]:
        """How many values of the range ``what.losses`` change; only what is not zero."""
        ...

    def holds_rows(self, what: Projection) -> bool:
        """Whether the table holds any row that matches the filter."""
        ...

    def hashes(
        self,
        what: Projection,
        within: KeyRange | None = None,
        keys: Sequence[Key] | None = None,
        mark: str | None = None,
    ) -> Iterator[RowHash]:
        """Row by row: in the range, of the given keys (as ``what.key`` names them), or both.

        ``mark`` fills ``RowHash.settled``. Without a key they come in order of their hashes.
        """
        ...

    def texts(self, what: Projection, keys: Sequence[Key]) -> dict[Key, tuple[str | None, ...]]:
        """The canonical text of every field, by key. For naming what differs."""
        ...


class Writes(Protocol):
    """Takes rows in. Never touches a row that is not of the batch."""

    def design(
        self, table: str, columns: Sequence[Column], key: Sequence[str]
    ) -> tuple[Shape, tuple[str, ...]]:
        """The shape that a table created here would have, and the DDL that creates it."""
        ...

    def create(self, table: str, ddl: Sequence[str]) -> None:
        """Creates a missing table (quoted SQL); safe when several workers do it at once."""
        ...

    def write_refusals(
        self, what: Projection, on_conflict: OnConflict, *, create: bool
    ) -> list[str]:
        """What keeps this role from writing so; writes nothing."""
        ...

    def loads(self) -> Sequence[str]:
        """The wire formats that ``write`` takes, the one it takes fastest first."""
        ...

    def prepare_markers(self, what: Projection) -> bool:
        """Whether commit markers can be kept beside the target (created when missing)."""
        ...

    def write(
        self,
        what: Projection,
        within: KeyRange,
        stream: Stream,
        *,
        wire: str,
        on_conflict: OnConflict,
        ordered_alike: bool,
        origin: Origin,
        marker: tuple[str, str, int] | None,
        fence: Callable[[], None],
        direct: bool = True,
    ) -> Written:
        """One transaction: the batch's rows, and the marker (run, job, batch number).

        Idempotent: when the marker is there already, nothing is read from the stream and
        what it tells is returned with ``recovered``. Commits only when rows written equal
        rows sent. When ``origin`` has a digest, the range's other rows are digested too; it
        is kept with the marker. ``direct`` allows loading
        straight into an empty range; ``Collision`` says that it was not empty after all, and
        the batch is to be sent again without. ``fence`` is called last before the commit, and
        what it raises prevents it: somebody else may hold the batch by now. Raises
        ``BadValue`` for a value that does not fit, for a conflict under ``error``, and for a
        loose key that stands in two rows. Without a key only an empty table is written to;
        ``Refused`` when it is not.
        """
        ...

    def writing(self, what: Projection) -> AbstractContextManager[None]:
        """Held from before a batch is read until it is written: no purge proves by this table.

        Bound to this session, so that what it did not write in time it cannot write later.
        """
        ...

    def proving(self, what: Projection) -> AbstractContextManager[None]:
        """Held while this table is the proof of a purge: waits until no batch is being written.

        Raises ``Transient`` when that takes too long.
        """
        ...

    def require_proving(self, what: Projection) -> None:
        """Inside ``proving``: ``Transient`` when it has been lost, and others may have come in."""
        ...

    def move_sequences(self, what: Projection, *, dry: bool = False) -> list[str]:
        """Moves sequences that fill mapped columns past the values there; tells what it did.

        Never backwards. ``dry`` tells only what it could not do.
        """
        ...

    def forget_markers(self, what: Projection, run: str, job: str) -> None:
        """Drops the markers of a job whose batches are all recorded."""
        ...


class Purge(Protocol):
    """One open purge transaction on the source. Nothing is final before ``commit``."""

    def take(
        self, what: Projection, within: KeyRange, locked: Callable[[Digest], None] | None = None
    ) -> Digest | None:
        """Deletes the matching rows of the range, tentatively, and digests exactly those.

        The first thing done in the transaction. ``None`` when it cannot be done in one go,
        because rows are being changed or kept by a trigger: ``undo`` and go by keys. ``locked``
        is told the digest where the rows are locked and digested before they are deleted.
        """
        ...

    def undo(self) -> None:
        """Takes back what was taken (and its locks); from here on rows are taken by key."""
        ...

    def newest(self, what: Projection) -> Collection[Key]:
        """Own keys of the rows that ``what.numbered`` has every purge leave; none without it.

        They stand until the transaction ends: without them its number could be given again.
        """
        ...

    def take_keys(self, what: Projection, keys: Sequence[Key]) -> list[RowHash]:
        """Deletes the matching rows of these source keys, tentatively, and hashes exactly those."""
        ...

    def settle(self) -> None:
        """Lets triggers and constraints that are put off until the commit act now."""
        ...

    def token(self) -> str:
        """Names this transaction, so that its outcome can be asked after a crash."""
        ...

    def commit(self) -> None:
        """Makes the deletions final."""
        ...


class Purges(Protocol):
    """Deletes proved rows."""

    def purge(self) -> AbstractContextManager[Purge]:
        """Opens a purge transaction; leaving without ``commit`` rolls it back."""
        ...

    def outcome(self, token: str) -> Outcome:
        """What became of an earlier purge transaction."""
        ...

    def purge_refusals(
        self, table: str, accepted_triggers: Collection[str], beside: Collection[str] = ()
    ) -> list[str]:
        """Why rows of this table may not be deleted (cascades, triggers, kind).

        ``beside`` are tables of which rows are purged by proofs of their own.
        """
        ...

    def target_refusals(self, table: str) -> list[str]:
        """Why a copy in this table is no ground for deletion (volatile, replicated)."""
        ...


class Witness(Digests, Protocol):
    """Where a copy stands, as a check and a purge ask it."""

    def proving(self, what: Projection) -> AbstractContextManager[None]:
        """See ``Writes``."""
        ...

    def require_proving(self, what: Projection) -> None:
        """See ``Writes``."""
        ...

    def fingerprint(self, table: str) -> str:
        """See ``Session``."""
        ...


@runtime_checkable
class ReadsArrow(Protocol):
    """A session that reads into archives."""

    def arrow(
        self,
        what: Projection,
        within: KeyRange,
        forms: Sequence[Any],
        *,
        exact: bool,
        max_row_size: int,
    ) -> Generator[Any, None, None]:
        """The range's rows as Arrow record batches of a few megabytes (``archive.forms``).

        In the snapshot that is open; who leaves early closes the generator. Raises ``Beyond``
        when a value needs the column ``EXACT`` and ``exact`` is false, ``Refused`` for a row
        larger than ``max_row_size``.
        """
        ...

    def parts(
        self, what: Projection, within: KeyRange, expressions: Sequence[str], most: int
    ) -> list[tuple[tuple[str | None, ...], str]]:
        """The different values of the expressions over the range's rows, as texts, in order.

        Each comes with the condition of its rows. ``Refused`` when there are more than ``most``.
        """
        ...


@runtime_checkable
class Quarantines(Protocol):
    """A session whose rows may be damaged: such are not read, digested, counted or purged."""

    def quarantined(self, what: Projection, within: KeyRange) -> Iterator[Difference]:
        """The damaged ones among the matching rows of the range, each with the reason."""
        ...


@runtime_checkable
class FindsCursors(Protocol):
    """A session whose tables do not say of what type a cursor is: each value does."""

    def cursor_column(
        self, shape: Shape, name: str, since: str | None, where: str | None
    ) -> Column:
        """The cursor at the type of ``since``, or of the largest value among the matching rows."""
        ...

    def of_other_types(self, what: Projection, column: Column) -> Mapping[str, int]:
        """How many matching rows have a value of another type there, which no window holds."""
        ...


@runtime_checkable
class FindsTwins(Protocol):
    """A session that tells which texts another collation would take for one."""

    def twins(
        self, table: str, key: Sequence[str], column: str, collation: str
    ) -> tuple[str, str] | None:
        """Two texts of a key column, of rows that this collation gives one key.

        Of the first rows of a large table only; ``None`` also where the server has no such
        collation.
        """
        ...


@runtime_checkable
class TellsLoad(Protocol):
    """A session that tells how loaded its server is."""

    def lags(self) -> Sequence[Lag]:
        """Of each replication from another server to this one; none where there is none."""
        ...

    def threads_running(self) -> int:
        """Threads that do something at this moment."""
        ...


@runtime_checkable
class Sifts(Protocol):
    """A session that tells which rows of an archive match a filter."""

    def matching(self, what: Projection, stream: Stream, *, wire: str) -> list[Key]:
        """Canonical keys of those rows of the stream that match ``what.where``.

        The fields are columns here, so that the server judges them by its own rules; nothing
        outlives the call.
        """
        ...


@runtime_checkable
class Infers(Protocol):
    """A session whose tables hold documents, of which columns are proposed."""

    def infer(self, table: str, where: str | None, most: int | None) -> Inferred:
        """What at most so many documents of those that match suggest; ``None`` means all."""
        ...


class CopySource(Digests, Protocol):
    """What is copied from, as a copy and its check ask it; see ``Reads``."""

    def snapshot(
        self, isolation: Isolation = "repeatable_read"
    ) -> AbstractContextManager[str | None]:
        """See ``Reads``."""
        ...

    def horizon(self) -> str | None:
        """See ``Reads``."""
        ...

    def read(self, what: Projection, within: KeyRange, wire: str, max_row_size: int) -> Stream:
        """See ``Reads``."""
        ...


class Session(Reads, Splits, Digests, Writes, Purges, Protocol):
    """One connection."""

    def fingerprint(self, table: str) -> str:
        """A text that changes when deleting from this table, or trusting it, becomes different.

        Columns, triggers, rules, references to it, persistence. One cheap query, to be asked
        again inside a purge transaction.
        """
        ...

    def same_database(self, other: object) -> bool:
        """Whether both sessions talk to the very same database."""
        ...

    def version(self) -> int:
        """Major version of the server."""
        ...

    def warnings(self) -> list[str]:
        """What an operator should know of this login and server, short of a refusal."""
        ...

    def close(self) -> None:
        """Ends the connection; what is open is rolled back."""
        ...


class Dialect(Protocol):
    """A system's words. Pure text, no connection."""

    name: str
    """The SQL dialect that filters and expressions are written in."""
    documents: bool
    """Whether tables hold documents: columns are paths into them, and a job names their types."""

    def quote(self, identifier: str) -> str:
        """A quoted identifier, whatever it holds."""
        ...

    def literal(self, value: object) -> str:
        """A typed, quoted literal of a Python value."""
        ...

    def qualified(self, shape: Shape) -> str:
        """The table's quoted full name."""
        ...

    def in_window(self, column: Column, window: Window, *, endless: bool) -> str:
        """Condition of the rows of a window; ``endless``: and of those without a finite value."""
        ...

    def without_cursor(self, column: Column) -> str:
        """Condition of the rows whose cursor is NULL or not finite."""
        ...

    def markers(self, shape: Shape) -> str:
        """The quoted name of the commit markers' table beside it."""
        ...

    def key_column(self, column: Column) -> KeyColumn:
        """How a key column is compared and its bounds are cast."""
        ...

    def native(self, kind: LogicalType) -> str:
        """The type that holds a logical type in a table made here."""
        ...

    def held(self, kind: LogicalType) -> LogicalType:
        """The logical type of a column made here with ``native``, as the catalog will tell it."""
        ...

    def said(self, column: Column) -> str:
        """The type here that takes and refuses what another system's column does."""
        ...

    def compared(self, kind: LogicalType) -> LogicalType:
        """The type that values of this one are compared as, where this system takes part."""
        ...

    def at(self, expression: str, kind: LogicalType) -> str:
        """An expression at another type, which holds all its values."""
        ...

    def typed(self, expression: str, native_type: str) -> str:
        """A constant or expression that has a type, whatever it had before."""
        ...

    def as_text(self, expression: str) -> str:
        """A value as the database prints it, for an error message."""
        ...

    def caveat(self, source: Column, target: Column) -> str:
        """What the native types lose beyond what the logical ones do, if anything."""
        ...

    def plain(self, column: Column) -> str:
        """The column's value for digests: quoted, and at its carrier's type where it has one."""
        ...

    def utf8(self, column: Column) -> bool:
        """Whether ``plain`` of it is a text in UTF-8, where that spares a conversion."""
        ...

    def binary(self, source: Column, target: Column) -> bool:
        """Whether this pair's values mean the same in both systems' binary form."""
        ...

    def converted(
        self, expression: str, source: Column, target: Column, fit: Fit, on_loss: OnLoss, key: str
    ) -> Converted:
        """A source expression at the target's type.

        ``key`` is SQL: the row's key as texts, comma-separated, to name it in an error.
        """
        ...

    def across(self, made: Converted, target: Column, key: str, system: str) -> Converted:
        """A value on its way to another system, refused if that would change it silently."""
        ...

    def policy_refusal(self, source: Column, target: Column, on_loss: OnLoss) -> str:
        """Why this policy cannot be kept for this lossy pair; empty when it can."""
        ...


@runtime_checkable
class Restores(Protocol):
    """A dialect in which rows of an archive can be said again."""

    @property
    def wires(self) -> Sequence[str]:
        """The wire formats that ``own_cells`` are made for, the best first (``archive.wires``)."""
        ...

    @property
    def own_kinds(self) -> Collection[str]:
        """Names of the types for which ``own_text`` is not the canonical text."""
        ...

    def archived(self, shape: Shape) -> Shape:
        """The table as files hold its rows: itself, where its columns are columns of files."""
        ...

    def filtered(self, column: Column) -> str:
        """A column among archived rows, as a filter compares it in the table it is to go to."""
        ...

    def ddl(self, shape: Shape) -> tuple[str, ...]:
        """Statements that create this table anywhere, with the types it needs."""
        ...

    def own_text(self, text: str, kind: LogicalType) -> str:
        """What a value's canonical text is in the database's own words, as its keys are told."""
        ...

    def own_cells(self, texts: Any, kind: LogicalType) -> Any:
        """An Arrow column of canonical texts, as the cells of a row that is written.

        They are read as the type; what reads as the same value may stand as it is.
        """
        ...


class Located(Protocol):
    """What a connection leads to."""

    @property
    def identity(self) -> str:
        """Where it leads. Never a secret."""
        ...


class Endpoint(Located, Protocol):
    """Where a connection leads."""

    @property
    def system(self) -> str:
        """The kind of it: ``postgres``, ``s3``."""
        ...


class Opens(Located, Protocol[T_co]):
    """Something that is worked on in sessions of its own kind."""

    @property
    def name(self) -> str:
        """The connection's id, for messages."""
        ...

    def session(self) -> AbstractContextManager[T_co]:
        """Opens one, for one thread."""
        ...


class Store(Protocol):
    """One endpoint. Opening sessions is the only thing that needs the network."""

    system: str
    name: str
    """The connection's id, for messages."""
    identity: str
    """``host:port/database``: where the connection leads. Never a secret."""
    dialect: Dialect

    def having(self, options: SessionOptions) -> Store:
        """The same endpoint, with these options for the sessions it opens."""
        ...

    def session(self) -> AbstractContextManager[Session]:
        """Opens one connection."""
        ...


@runtime_checkable
class Tells(Protocol):
    """A store whose rows can be said in the words of any system that takes rows of archives."""

    def telling(self, words: Restores) -> Store:
        """The same endpoint, whose sessions read in wire formats of ``words``."""
        ...


class Ledger(Protocol):
    """The record of one job in one run. Written only after the commit it describes."""

    run: str
    job: str

    def plan(self) -> Plan | None:
        """The job's plan, once there is one."""
        ...

    def planned(self, plan: Plan, batches: Iterable[Batch]) -> None:
        """Stores both at once, in place of an earlier plan of which nothing was copied yet."""
        ...

    def claim(self, phase: Phase, only: Collection[int] | None = None) -> Claim | None:
        """Leases the lowest batch that waits for the phase; ``None`` when none is left to take.

        A batch leased by a dead or silent holder is taken over with a larger token.
        """
        ...

    def waiting(self, phase: Phase, only: Collection[int] | None = None) -> int:
        """Batches not through the phase, those that others hold included."""
        ...

    def keep(self, claim: Claim) -> None:
        """Renews the lease. ``Transient`` when somebody else took the batch over."""
        ...

    def copied(self, claim: Claim, what: Copied) -> None:
        """Records a copy that is committed."""
        ...

    def checked(self, claim: Claim, what: Checked) -> None:
        """Records what the check found."""
        ...

    def purging(self, claim: Claim, intent: str) -> None:
        """A purge is about to commit; read back by ``Claim.intent`` after a crash."""
        ...

    def purged(self, claim: Claim, what: Purged) -> None:
        """Stores the outcome and chains the receipt, in one transaction."""
        ...

    def records(self) -> Iterator[BatchRecord]:
        """Every batch with what is recorded of it, by number."""
        ...

    def release(self, claim: Claim, error: str | None = None) -> None:
        """Gives the batch back undone."""
        ...

    def stop_requested(self) -> bool:
        """Whether somebody asked the run to stop."""
        ...


class Pace(Protocol):
    """Decides when the next batch may begin."""

    def before_batch(self, halt: Event | None = None) -> None:
        """Returns when it may, or ``halt`` is set by another worker, whose error ends the phase.

        Raises ``Terminated`` when the run was asked to stop.
        """
        ...


class Watch(Protocol):
    """Onlooker. Its failures are never the work's."""

    def on(self, event: object) -> None:
        """Is told an event of ``events``; called from any worker's thread."""
        ...
