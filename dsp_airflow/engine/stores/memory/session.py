"""One session: reads, splits, digests, writes and purges."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Final

from pydantic import TypeAdapter

from dsp_airflow.engine import canon
from dsp_airflow.engine.errors import BadValue, ConfigError, Refused
from dsp_airflow.engine.model import (
    Batch,
    BatchSize,
    Column,
    Digest,
    Isolation,
    Key,
    KeyRange,
    LogicalType,
    LossCount,
    OnConflict,
    Origin,
    Projection,
    RowHash,
    Shape,
    Window,
    Written,
)
from dsp_airflow.engine.ports import Outcome, Stream
from dsp_airflow.engine.resolved import Resolved
from dsp_airflow.engine.stores.memory.database import Connection, Database
from dsp_airflow.engine.stores.memory.dialect import (
    Name,
    literal_value,
    position,
    split_name,
    unquoted,
)
from dsp_airflow.engine.stores.memory.purge import MemoryPurge
from dsp_airflow.engine.stores.memory.stream import MemoryStream, as_line, too_large
from dsp_airflow.engine.stores.memory.tables import Table, Version, View
from dsp_airflow.engine.stores.memory.values import from_text
from dsp_airflow.engine.stores.memory.write import Write

_SHAPE: Final = TypeAdapter(Shape)


class MemorySession(Connection):
    """One connection; after an error of the ``Transient`` kind it is unusable."""

    def __init__(self, store: Database) -> None:
        super().__init__(store)
        self._frozen: dict[Name, Table] | None = None
        self._purge: MemoryPurge | None = None

    def _table(self, quoted: str) -> Table:
        tables = self.store.tables if self._frozen is None else self._frozen
        found = tables.get(split_name(quoted))
        if found is None:
            raise ConfigError(f"{quoted} does not exist; it was dropped or renamed")
        return found

    def _select(
        self, what: Projection, within: KeyRange | None
    ) -> tuple[View, list[tuple[int, Version]]]:
        with self.store.guard:
            table = self._table(what.table)
            view = View(table, what)
            rows = view.select(table.rows, within)
            if self._purge is not None:
                rows = self._purge.standing(split_name(what.table), rows)
            return view, rows

    # Reads

    def describe(self, table: str) -> Shape | None:
        self.passing("describe")
        with self.store.guard:
            found = self.store.tables.get(split_name(table))
        return found.shape if found else None

    def resolved(self, table: str) -> Resolved:
        """See ``resolved.Resolves``."""
        return Resolved(*split_name(table))

    def renders(self) -> Sequence[str]:
        return "binary", "text"

    def read_refusals(self, table: str) -> list[str]:
        del table  # Whoever is here sees everything.
        return []

    def share_rows(self, table: str, other: str) -> bool:
        return split_name(table) == split_name(other)

    def read_warnings(self, table: str) -> list[str]:
        del table
        return []

    def nearest(self, table: str) -> list[str]:
        names = [".".join(name) for name in self.store.tables]
        return difflib.get_close_matches(table, names, n=3, cutoff=0.5)

    def window(
        self, shape: Shape, column: Column, since: str | None, overlap: timedelta | int
    ) -> Window:
        with self.store.guard:
            table = self._table(self.store.dialect.qualified(shape))
            at = position(shape, column.name)
            values = [v.values[at] for v in table.rows.values() if v.values[at] is not None]
        last = None if since is None else from_text(since, column.type)
        values += [] if last is None else [last]
        upto = canon.python_text(max(values), column.type) if values else None
        after = None if last is None else canon.python_text(last - overlap, column.type)
        return Window(column.name, after, upto)

    def typed_value(self, column: Column, text: str) -> str:
        try:
            return canon.python_text(from_text(text, column.type), column.type) or ""
        except ValueError as error:
            raise BadValue(f"{text!r} is no {column.type}") from error

    def typed(self, shape: Shape, expressions: Sequence[str]) -> list[Column]:
        def column(expression: str) -> Column:
            bare = expression.strip("()")
            found = shape.column(unquoted(bare))
            if found is not None:
                return replace(found, name=expression)
            kinds = {bool: "bool", int: "int32", Decimal: "decimal"}
            kind = LogicalType(kinds.get(type(literal_value(bare)), "string"))
            return Column(expression, kind, str(kind))

        return [column(expression) for expression in expressions]

    @contextmanager
    def snapshot(self, isolation: Isolation = "repeatable_read") -> Iterator[str | None]:  # noqa: ARG002
        self.passing("snapshot")
        with self.store.guard:
            mark = str(self.store.version)
            self._frozen = {
                name: replace(table, rows=dict(table.rows))
                for name, table in self.store.tables.items()
            }
        try:
            yield mark
        finally:
            self._frozen = None

    def horizon(self) -> str | None:
        self.passing("snapshot")
        with self.store.guard:
            return str(self.store.version)

    def read(self, what: Projection, within: KeyRange, wire: str, max_row_size: int) -> Stream:
        del wire  # There is one format here.
        return MemoryStream(self._lines(what, within), max_row_size, what.label)

    def _lines(self, what: Projection, within: KeyRange) -> Iterator[tuple[Key, bytes]]:
        self.passing("read")
        view, rows = self._select(what, within)
        for n, (_, version) in enumerate(rows):
            if n:
                self.passing("read")
            yield view.own_key(version.values), as_line(view.texts(version.values))

    # Splits

    def split(
        self, what: Projection, size: BatchSize, max_row_size: int
    ) -> tuple[Sequence[Batch], int]:
        self.passing("split")
        if not what.key:
            raise Refused(f"{what.label} has no key; this store copies no table as a whole")
        if what.loose:
            self.prove_key(what)
        view, rows = self._select(what, None)
        batches: list[Batch] = []
        last: Key | None = None
        count = weight = total = 0
        for n, (_, version) in enumerate(rows):
            key = view.own_key(version.values)
            width = len(as_line(view.texts(version.values)))
            if width > max_row_size:
                raise too_large(what.label, key, width, max_row_size)
            count, weight, total = count + 1, weight + width, total + width
            full = count == size.rows or (size.bytes is not None and weight >= size.bytes)
            if full or n == len(rows) - 1:
                batches.append(Batch(len(batches) + 1, KeyRange(last, key), count))
                last, count, weight = key, 0, 0
        return batches, total

    def prove_key(self, what: Projection) -> None:
        view, rows = self._select(what, None)
        seen = set()
        for _, version in rows:
            key = view.own_key(version.values)
            if None in view.order(version.values) or key in seen:
                raise ConfigError(f"{what.label}: {key} is no key of its own")
            seen.add(key)

    # Digests

    def digest(
        self, what: Projection, within: KeyRange | None, keys: Sequence[Key] | None = None
    ) -> Digest:
        self.passing("digest")
        view, rows = self._select(what, within)
        wanted = None if keys is None else set(keys)
        return view.digest(
            version.values
            for _, version in rows
            if wanted is None or view.own_key(version.values) in wanted
        )

    def count(self, what: Projection, within: KeyRange) -> int:
        self.passing("count")
        return len(self._select(what, within)[1])

    def losses(self, what: Projection, within: KeyRange) -> tuple[LossCount, ...]:
        del what, within  # A value that does not fit is refused here, whatever the policy.
        return ()

    def holds_rows(self, what: Projection) -> bool:
        with self.store.guard:
            return bool(self._select(what, None)[1])

    def hashes(
        self,
        what: Projection,
        within: KeyRange | None = None,
        keys: Sequence[Key] | None = None,
        mark: str | None = None,
    ) -> Iterator[RowHash]:
        self.passing("hashes")
        view, rows = self._select(what, within)
        wanted = None if keys is None else set(keys)
        for _, version in rows:
            if wanted is None or view.own_key(version.values) in wanted:
                yield view.hashed(version, mark)

    def texts(self, what: Projection, keys: Sequence[Key]) -> dict[Key, tuple[str | None, ...]]:
        self.passing("texts")
        view, rows = self._select(what, None)
        wanted = set(keys)
        found = [view.texts(v.values) for _, v in rows if view.own_key(v.values) in wanted]
        return {view.mapped_key(texts): texts for texts in found}

    # Writes

    def design(
        self, table: str, columns: Sequence[Column], key: Sequence[str]
    ) -> tuple[Shape, tuple[str, ...]]:
        schema, name = split_name(table)
        unique = (tuple(key),) if key else ()
        shape = Shape(schema, name, tuple(columns), tuple(key), unique)
        return shape, (_SHAPE.dump_json(shape).decode(),)

    def create(self, table: str, ddl: Sequence[str]) -> None:
        self.passing("create")
        with self.store.guard:
            if split_name(table) not in self.store.tables:
                for statement in ddl:
                    self.store.add_table(_SHAPE.validate_json(statement))

    def write_refusals(
        self, what: Projection, on_conflict: OnConflict, *, create: bool
    ) -> list[str]:
        del what, create
        if on_conflict != "update" and not self.store.may_mark:
            return [f"on_conflict {on_conflict} needs commit markers, which cannot be kept here"]
        return []

    def loads(self) -> Sequence[str]:
        return "binary", "text"

    def prepare_markers(self, what: Projection) -> bool:
        with self.store.guard:
            if self.store.may_mark:
                self.store.markers.setdefault(what.markers, {})
            return self.store.may_mark

    def move_sequences(self, what: Projection, *, dry: bool = False) -> list[str]:
        del what, dry  # There are no sequences here.
        return []

    def forget_markers(self, what: Projection, run: str, job: str) -> None:
        with self.store.guard:
            kept = self.store.markers.get(what.markers, {})
            self.store.markers[what.markers] = {
                marker: told for marker, told in kept.items() if marker[:2] != (run, job)
            }

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
        del wire
        work = Write(self, what, within if ordered_alike else None, on_conflict, origin, fence)
        with self.store.guard:
            lock = self.store.marker_locks.setdefault(marker or ("", "", 0), threading.Lock())
        if marker is None:
            return work.run(stream, None, direct)
        with lock:
            told = self.store.markers.get(what.markers, {}).get(marker)
            if told is not None:
                return replace(told, recovered=True)
            return work.run(stream, marker, direct)

    @contextmanager
    def writing(self, what: Projection) -> Iterator[None]:
        with self.store.turns(what.table).shared():
            yield

    @contextmanager
    def proving(self, what: Projection) -> Iterator[None]:
        with self.store.turns(what.table).alone():
            yield

    def require_proving(self, what: Projection) -> None:
        del what  # Nobody loses a turn here.

    # Purges

    @contextmanager
    def purge(self) -> Iterator[MemoryPurge]:
        work = self._purge = MemoryPurge(self)
        try:
            yield work
        finally:
            self._purge = None
            work.leave()

    def outcome(self, token: str) -> Outcome:
        return self.store.outcomes.get(token, "unknown")

    def purge_refusals(
        self, table: str, accepted_triggers: Collection[str], beside: Collection[str] = ()
    ) -> list[str]:
        del accepted_triggers, beside  # There are no triggers and references here.
        return list(self._table(table).purge_refusals)

    def target_refusals(self, table: str) -> list[str]:
        return list(self._table(table).target_refusals)

    def fingerprint(self, table: str) -> str:
        with self.store.guard:
            found = self._table(table)
            return repr((found.shape, found.purge_refusals, found.target_refusals))

    def same_database(self, other: object) -> bool:
        return isinstance(other, MemorySession) and other.store is self.store

    def version(self) -> int:
        return 1

    def warnings(self) -> list[str]:
        return []
