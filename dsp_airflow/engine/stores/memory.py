"""A database in this process, for tests: transactions, row locks, and failures on demand.

Tables hold Python values in the types of ``canon``; keys and the wire carry canonical texts.
Filters are comparisons with literals joined by AND, in the words of PostgreSQL.
"""

from __future__ import annotations

import difflib
import itertools
import json
import operator
import re
import struct
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn, TypeAlias
from uuid import UUID

from pydantic import TypeAdapter

from dsp_airflow.engine import canon
from dsp_airflow.engine.errors import (
    BadValue,
    Collision,
    ConfigError,
    DspError,
    Mismatch,
    Refused,
    Transient,
)
from dsp_airflow.engine.model import (
    Batch,
    BatchSize,
    Column,
    Digest,
    Field,
    Fit,
    Key,
    KeyColumn,
    KeyRange,
    LogicalType,
    OnConflict,
    Origin,
    Projection,
    RowHash,
    Shape,
    Written,
)
from dsp_airflow.engine.ports import Dialect, Outcome, Session, Stream
from dsp_airflow.engine.types import FLOATS, INTEGERS

Row: TypeAlias = tuple[Any, ...]
Name: TypeAlias = tuple[str, str]

ROWS_A_BUFFER: Final = 64
PATIENCE: Final = 10.0
"""Seconds to wait for those who write."""
_SHAPE: Final = TypeAdapter(Shape)
_PART: Final = r'"(?:[^"]|"")+"|[^".]+'


class Killed(BaseException):
    """The process died here: no handler of errors may catch it."""


# Values


def from_text(text: str, kind: LogicalType) -> Any:
    """The value of a canonical text; ``ValueError`` when it is none of this type."""
    if kind.name in INTEGERS:
        return int(text)
    if kind.name in FLOATS:
        pattern = "f" if kind.name == "float32" else "d"
        return struct.unpack(pattern, struct.pack(pattern, float(text)))[0]
    parse = _PARSERS.get(kind.name)
    if parse is None:
        raise ValueError(f"no values of type {kind} here")
    return parse(text, kind)


def _moment(parse: Callable[[str], Any]) -> Callable[[str, LogicalType], Any]:
    def parsed(text: str, _kind: LogicalType) -> Any:
        try:
            return parse(text)
        except ValueError:
            return text  # Infinity, and years that Python has no value for.

    return parsed


def _list_of(text: str, kind: LogicalType) -> list[Any]:
    if kind.element is None:
        raise ValueError(f"no values of type {kind} here")
    count, _, rest = text.partition(":")
    values: list[Any] = []
    for _ in range(int(count)):
        if rest.startswith("N"):
            values.append(None)
            rest = rest[1:]
            continue
        octets, _, rest = rest.partition(":")
        value = rest.encode()[: int(octets)].decode()
        values.append(from_text(value, kind.element))
        rest = rest[len(value) :]
    return values


def _flag(text: str, _kind: LogicalType) -> bool:
    return {"0": False, "1": True}[text]


_PARSERS: Final[dict[str, Callable[[str, LogicalType], Any]]] = {
    "bool": _flag,
    "decimal": lambda text, _: Decimal(text),
    "string": lambda text, _: text,
    "enum": lambda text, _: text,
    "bytes": lambda text, _: bytes.fromhex(text),
    "date": _moment(date.fromisoformat),
    "time": _moment(time.fromisoformat),
    "timestamp": _moment(datetime.fromisoformat),
    "timestamptz": _moment(datetime.fromisoformat),
    "duration": lambda text, _: text,
    "uuid": lambda text, _: UUID(text),
    "json": lambda text, _: json.loads(text, parse_float=Decimal),
    "list": _list_of,
}


def converted(value: Any, source: LogicalType, target: LogicalType, label: str) -> Any:
    """The value at the target's type; ``BadValue`` when it does not fit."""
    if value is None:
        return None
    try:
        text = canon.python_text(value, source) or ""
        found = value if source == target else from_text(_plain(text, source, target), target)
        kept = canon.python_text(found, target) or ""
    except (ValueError, TypeError, KeyError, InvalidOperation) as error:
        raise BadValue(f"{label}: value {value!r} does not fit type {target}") from error
    if target.length is not None and len(kept) > target.length * (
        2 if isinstance(found, bytes) else 1
    ):
        raise BadValue(f"{label}: value {value!r} is longer than {target}")
    return found


def _plain(text: str, source: LogicalType, target: LogicalType) -> str:
    whole = target.name in INTEGERS and source.name == "decimal" and "." in text
    return text.rstrip("0").rstrip(".") if whole else text


# The words


def quote(identifier: str) -> str:
    """A quoted identifier."""
    return '"' + identifier.replace('"', '""') + '"'


def _unquoted(text: str) -> str:
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def split_name(table: str) -> Name:
    """Schema and name of ``schema.name``, quoted or not; the schema is ``main`` when left out."""
    match = re.fullmatch(rf"(?:({_PART})\.)?({_PART})", table)
    if match is None:
        raise ConfigError(f"table {table!r} is not a name: write table or schema.table")
    return _unquoted(match[1] or "main"), _unquoted(match[2])


class MemoryDialect:
    """See ``ports.Dialect``."""

    name = "postgres"

    def quote(self, identifier: str) -> str:
        return quote(identifier)

    def literal(self, value: object) -> str:
        if value is None:
            return "NULL"
        if isinstance(value, bool | int | Decimal | float):
            return str(value)
        text = value.isoformat() if isinstance(value, date) else str(value)
        return "'" + text.replace("'", "''") + "'"

    def qualified(self, shape: Shape) -> str:
        return f"{quote(shape.schema)}.{quote(shape.name)}"

    def markers(self, shape: Shape) -> str:
        return f'{quote(shape.schema)}."dsp_commits"'

    def key_column(self, column: Column) -> KeyColumn:
        return KeyColumn(quote(column.name), column.native)

    def native(self, kind: LogicalType) -> str:
        return str(kind)

    def caveat(self, source: Column, target: Column) -> str:
        del source, target
        return ""

    def converted(
        self, expression: str, source: Column, target: Column, fit: Fit
    ) -> tuple[str, str]:
        del source, fit  # A value is converted when it is read, and refused if it does not fit.
        return expression, target.native


_LITERAL: Final = re.compile(r"'((?:[^']|'')*)'|(-?\d+(?:\.\d+)?)|(true|false)|(null)", re.I)
_CONDITION: Final = re.compile(
    r"\(*\s*(\"(?:[^\"]|\"\")+\"|\w+)\s*(?:"
    rf"(<=|>=|<>|!=|=|<|>)\s*\(?({_LITERAL.pattern})\)?"
    r"|(is\s+not\s+null|is\s+null))\s*\)*",
    re.I,
)
_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def literal_value(text: str) -> Any:
    """The value of a literal of this dialect."""
    match = _LITERAL.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is no literal that the memory store knows")
    quoted, number, flag, _ = match.groups()
    if quoted is not None:
        return quoted.replace("''", "'")
    if number is not None:
        return Decimal(number) if "." in number else int(number)
    return flag.lower() == "true" if flag else None


def _filter(where: str | None, shape: Shape) -> Callable[[Row], bool]:
    """The rows that a condition keeps: comparisons of a column with a literal, joined by AND."""
    parts = re.split(r"\s+and\s+", where or "", flags=re.I) if where else []
    tests = [_condition(part, shape) for part in parts]
    return lambda row: all(test(row) for test in tests)


def _condition(text: str, shape: Shape) -> Callable[[Row], bool]:
    match = _CONDITION.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is no condition that the memory store knows")
    at = _position(shape, _unquoted(match[1]))
    if match[8] is not None:
        wanted = "not" in match[8].lower()
        return lambda row: (row[at] is not None) is wanted
    compare, value = _OPERATORS[match[2]], literal_value(match[3])
    if isinstance(value, str):
        value = from_text(value, shape.columns[at].type)
    return lambda row: row[at] is not None and compare(row[at], value)


def _position(shape: Shape, column: str) -> int:
    for n, candidate in enumerate(shape.columns):
        if candidate.name == column:
            return n
    raise ConfigError(f"{shape.table} has no column {column!r}")


# Tables


@dataclass(frozen=True, slots=True)
class _Version:
    """A row as one commit left it."""

    values: Row
    version: int


@dataclass
class _Table:
    shape: Shape
    rows: dict[int, _Version] = field(default_factory=dict)
    purge_refusals: list[str] = field(default_factory=list)
    target_refusals: list[str] = field(default_factory=list)


class _View:
    """One projection of one table at one moment."""

    def __init__(self, table: _Table, what: Projection) -> None:
        self.shape = table.shape
        self._what = what
        self._keeps = _filter(what.where, table.shape)
        self._own = [_position(table.shape, _unquoted(k.column)) for k in what.key]
        self._kinds = [table.shape.columns[n].type for n in self._own]
        self._fields = [(f, *self._source(f)) for f in what.fields]

    def _source(self, wanted: Field) -> tuple[int | None, Any]:
        expression = wanted.expression.strip()
        while expression.startswith("(") and expression.endswith(")"):
            expression = expression[1:-1]
        if self.shape.column(_unquoted(expression)) is not None:
            return _position(self.shape, _unquoted(expression)), None
        return None, literal_value(expression)

    def bound(self, key: Key | None) -> tuple[Any, ...] | None:
        if key is None:
            return None
        return tuple(from_text(t, kind) for t, kind in zip(key, self._kinds, strict=True))

    def order(self, row: Row) -> tuple[Any, ...]:
        return tuple(row[n] for n in self._own)

    def own_key(self, row: Row) -> Key:
        pairs = zip(self._own, self._kinds, strict=True)
        return tuple(canon.python_text(row[n], kind) or "" for n, kind in pairs)

    def values(self, row: Row) -> Row:
        found = []
        for wanted, at, constant in self._fields:
            if at is None:
                found.append(
                    from_text(str(constant), wanted.type) if constant is not None else None
                )
            else:
                kind = self.shape.columns[at].type
                label = f"{self._what.label}, column {wanted.column}"
                found.append(converted(row[at], kind, wanted.type, label))
        return tuple(found)

    def texts(self, row: Row) -> tuple[str | None, ...]:
        pairs = zip(self.values(row), self._what.fields, strict=True)
        return tuple(canon.python_text(value, wanted.type) for value, wanted in pairs)

    def mapped_key(self, texts: Sequence[str | None]) -> Key:
        return tuple(text or "" for text in texts[: len(self._own)])

    def select(
        self, rows: Mapping[int, _Version], within: KeyRange | None
    ) -> list[tuple[int, _Version]]:
        """The matching rows of the range with their numbers, in key order."""
        low = self.bound(within.after) if within else None
        high = self.bound(within.upto) if within else None
        found = [
            (number, version)
            for number, version in rows.items()
            if self._keeps(version.values)
            and (low is None or self.order(version.values) > low)
            and (high is None or self.order(version.values) <= high)
        ]
        return sorted(found, key=lambda item: self.order(item[1].values))

    def digest(self, rows: Iterable[Row]) -> Digest:
        count = total = 0
        for row in rows:
            count += 1
            total += canon.python_digest_md5(self.texts(row))
        return Digest(count, total, self._what.method)

    def hashed(self, version: _Version, mark: str | None) -> RowHash:
        texts = self.texts(version.values)
        return RowHash(
            self.mapped_key(texts),
            canon.python_row_hash_md5(texts),
            None if mark is None else version.version <= int(mark),
            self.own_key(version.values),
        )


class _Turns:
    """Many may share, or one be alone."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._sharing = 0
        self._alone = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        with self._change:
            self._change.wait_for(lambda: not self._alone)
            self._sharing += 1
        try:
            yield
        finally:
            with self._change:
                self._sharing -= 1
                self._change.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        with self._change:
            if not self._change.wait_for(lambda: not (self._alone or self._sharing), PATIENCE):
                raise Transient("other runs are copying into the table; retry")
            self._alone = True
        try:
            yield
        finally:
            with self._change:
                self._alone = False
                self._change.notify_all()


@dataclass
class _Failure:
    after: int
    error: DspError
    kill: bool
    committed: bool


POINTS: Final = frozenset(
    {"session", "describe", "split", "snapshot", "read", "digest", "count", "hashes", "texts"}
    | {"create", "write", "take", "take_keys", "commit"}
)
"""Where a failure can be ordered. ``read`` counts rows, the others count calls."""


class MemoryStore:
    """An endpoint whose tables live here. ``fail`` orders what goes wrong, and where."""

    system = "memory"

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.identity = f"memory/{name}"
        self.dialect: Dialect = MemoryDialect()
        self.may_mark = True
        self.guard = threading.RLock()
        self.tables: dict[Name, _Table] = {}
        self.markers: dict[str, dict[tuple[str, str, int], Written]] = {}
        self.marker_locks: dict[tuple[str, str, int], threading.Lock] = {}
        self.locks: dict[tuple[Name, int], object] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.version = 0
        self.numbers = itertools.count(1)
        self._failures: dict[str, _Failure] = {}
        self._turns: dict[Name, _Turns] = {}

    @contextmanager
    def session(self) -> Iterator[Session]:
        self.passing("session")
        session = MemorySession(self)
        try:
            yield session
        finally:
            session.close()

    # What tests do to the data, as somebody else's committed transactions.

    def add_table(
        self,
        shape: Shape,
        rows: Iterable[Row] = (),
        *,
        purge_refusals: Iterable[str] = (),
        target_refusals: Iterable[str] = (),
    ) -> None:
        """Creates a table."""
        with self.guard:
            table = _Table(shape, {}, list(purge_refusals), list(target_refusals))
            self.tables[shape.schema, shape.name] = table
            self.insert(self.dialect.qualified(shape), rows)

    def insert(self, table: str, rows: Iterable[Row]) -> None:
        """Adds rows, each with all columns in order."""
        with self.guard:
            found = self.tables[split_name(table)]
            self.version += 1
            found.rows |= {next(self.numbers): _Version(tuple(r), self.version) for r in rows}

    def update(self, table: str, key: Row, **values: Any) -> None:
        """Changes one row; ``Transient`` while a purge has locked it."""
        with self.guard:
            name, found, number = self._locate(table, key)
            row = list(found.rows[number].values)
            for column, value in values.items():
                row[_position(found.shape, column)] = value
            self.refuse_locked(name, [number])
            self.version += 1
            found.rows[number] = _Version(tuple(row), self.version)

    def delete(self, table: str, key: Row) -> None:
        """Removes one row; ``Transient`` while a purge has locked it."""
        with self.guard:
            name, found, number = self._locate(table, key)
            self.refuse_locked(name, [number])
            self.version += 1
            del found.rows[number]

    def rows(self, table: str) -> list[Row]:
        """All rows, in key order where there is a key."""
        with self.guard:
            found = self.tables[split_name(table)]
            at = [_position(found.shape, name) for name in found.shape.key]
            rows = [version.values for version in found.rows.values()]
        return sorted(rows, key=lambda row: tuple(row[n] for n in at))

    def _locate(self, table: str, key: Row) -> tuple[Name, _Table, int]:
        name = split_name(table)
        found = self.tables[name]
        at = [_position(found.shape, column) for column in found.shape.key]
        for number, version in found.rows.items():
            if tuple(version.values[n] for n in at) == tuple(key):
                return name, found, number
        raise KeyError(key)

    def turns(self, table: str) -> _Turns:
        """Who writes into a table, and who proves by it."""
        with self.guard:
            return self._turns.setdefault(split_name(table), _Turns())

    def refuse_locked(
        self, name: Name, numbers: Iterable[int], holder: object | None = None
    ) -> None:
        """``Transient`` when another purge has locked one of these rows."""
        for number in numbers:
            if self.locks.get((name, number), holder) is not holder:
                raise Transient(f"{'.'.join(name)}: a row is locked by another transaction")

    # Failures

    def fail(
        self,
        point: str,
        after: int = 0,
        error: DspError | None = None,
        *,
        kill: bool = False,
        committed: bool = False,
    ) -> None:
        """Orders one failure at a point, once ``after`` calls (rows, for ``read``) went well.

        ``kill`` raises ``Killed`` instead of the error. ``committed``: the transaction is
        committed, only its acknowledgement is lost (``write`` and ``commit``).
        """
        if point not in POINTS:
            raise ValueError(f"no point {point!r}; choose one of: {', '.join(sorted(POINTS))}")
        error = error or Transient(f"{self.name}: failure ordered at {point}")
        self._failures[point] = _Failure(after, error, kill, committed)

    def passing(self, point: str, *, committed: bool = False) -> None:
        """Raises the failure ordered here, if it is due."""
        with self.guard:
            failure = self._failures.get(point)
            if failure is None or failure.committed is not committed:
                return
            if failure.after > 0:
                failure.after -= 1
                return
            del self._failures[point]
        if failure.kill:
            raise Killed(f"{self.name}: killed at {point}")
        raise failure.error


class MemoryStream:
    """Rows as JSON lines of canonical texts."""

    def __init__(self, lines: Iterable[tuple[Key, bytes]], max_row_size: int, label: str) -> None:
        self.rows = -1
        self.size = 0
        self._lines = lines
        self._max = max_row_size
        self._label = label
        self._left = False

    def leave(self) -> None:
        self._left = True

    def __iter__(self) -> Iterator[bytes]:
        pieces: list[bytes] = []
        rows = 0
        for key, line in self._lines:
            if self._left:
                return
            if len(line) > self._max:
                raise too_large(self._label, key, len(line), self._max)
            pieces.append(line)
            rows += 1
            if len(pieces) == ROWS_A_BUFFER:
                yield self._handed_on(pieces)
                pieces = []
        if pieces:
            yield self._handed_on(pieces)
        self.rows = rows

    def _handed_on(self, pieces: list[bytes]) -> bytes:
        buffer = b"".join(pieces)
        self.size += len(buffer)
        return buffer


def too_large(label: str, key: Key, size: int, limit: int) -> Refused:
    """A row that is larger than allowed."""
    return Refused(
        f"{label}: the row of key {key} has {size:,} bytes, more than max_row_size ({limit:,}); "
        "raise max_row_size, or leave the column out"
    )


class MemorySession:
    """One connection; after an error of the ``Transient`` kind it is unusable."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self._closed = False
        self._frozen: dict[Name, _Table] | None = None
        self._purge: MemoryPurge | None = None

    def close(self) -> None:
        """Rolls back what is open."""
        self._closed = True

    def passing(self, point: str, *, committed: bool = False) -> None:
        """A place where this connection may break."""
        if self._closed:
            raise Transient(f"{self.store.name}: the connection is closed")
        try:
            self.store.passing(point, committed=committed)
        except (Transient, Killed):
            self._closed = True
            raise

    def _table(self, quoted: str) -> _Table:
        tables = self.store.tables if self._frozen is None else self._frozen
        found = tables.get(split_name(quoted))
        if found is None:
            raise ConfigError(f"{quoted} does not exist; it was dropped or renamed")
        return found

    def _select(
        self, what: Projection, within: KeyRange | None
    ) -> tuple[_View, list[tuple[int, _Version]]]:
        with self.store.guard:
            table = self._table(what.table)
            view = _View(table, what)
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

    def nearest(self, table: str) -> list[str]:
        names = [".".join(name) for name in self.store.tables]
        return difflib.get_close_matches(table, names, n=3, cutoff=0.5)

    def typed(self, shape: Shape, expressions: Sequence[str]) -> list[Column]:
        def column(expression: str) -> Column:
            bare = expression.strip("()")
            found = shape.column(_unquoted(bare))
            if found is not None:
                return replace(found, name=expression)
            kinds = {bool: "bool", int: "int32", Decimal: "decimal"}
            kind = LogicalType(kinds.get(type(literal_value(bare)), "string"))
            return Column(expression, kind, str(kind))

        return [column(expression) for expression in expressions]

    @contextmanager
    def snapshot(self) -> Iterator[str | None]:
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

    def read(self, what: Projection, within: KeyRange, wire: str, max_row_size: int) -> Stream:
        del wire  # There is one format here.
        return MemoryStream(self._lines(what, within), max_row_size, what.label)

    def _lines(self, what: Projection, within: KeyRange) -> Iterator[tuple[Key, bytes]]:
        self.passing("read")
        view, rows = self._select(what, within)
        for n, (_, version) in enumerate(rows):
            if n:
                self.passing("read")
            yield view.own_key(version.values), _line(view.texts(version.values))

    # Splits

    def split(
        self, what: Projection, size: BatchSize, max_row_size: int
    ) -> tuple[Sequence[Batch], int]:
        self.passing("split")
        view, rows = self._select(what, None)
        batches: list[Batch] = []
        last: Key | None = None
        count = weight = total = 0
        for n, (_, version) in enumerate(rows):
            key = view.own_key(version.values)
            width = len(_line(view.texts(version.values)))
            if width > max_row_size:
                raise too_large(what.label, key, width, max_row_size)
            count, weight, total = count + 1, weight + width, total + width
            full = count == size.rows or (size.bytes is not None and weight >= size.bytes)
            if full or n == len(rows) - 1:
                batches.append(Batch(len(batches) + 1, KeyRange(last, key), count))
                last, count, weight = key, 0, 0
        return batches, total

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

    def holds_rows(self, what: Projection) -> bool:
        with self.store.guard:
            return bool(self._table(what.table).rows)

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

    def prepare_markers(self, what: Projection) -> bool:
        with self.store.guard:
            if self.store.may_mark:
                self.store.markers.setdefault(what.markers, {})
            return self.store.may_mark

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
        direct: bool = True,
    ) -> Written:
        del wire
        work = _Write(self, what, within if ordered_alike else None, on_conflict, origin)
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

    def purge_refusals(self, table: str, accepted_triggers: Collection[str]) -> list[str]:
        del accepted_triggers  # There are no triggers here.
        return list(self._table(table).purge_refusals)

    def target_refusals(self, table: str) -> list[str]:
        return list(self._table(table).target_refusals)

    def fingerprint(self, table: str) -> str:
        with self.store.guard:
            found = self._table(table)
            return repr((found.shape, found.purge_refusals, found.target_refusals))

    def same_database(self, other: Session) -> bool:
        return isinstance(other, MemorySession) and other.store is self.store

    def version(self) -> int:
        return 1

    def warnings(self) -> list[str]:
        return []


def _line(texts: Sequence[str | None]) -> bytes:
    return json.dumps(texts, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


class _Write:
    """One batch: gathered first, then merged and committed at once."""

    def __init__(
        self,
        session: MemorySession,
        what: Projection,
        within: KeyRange | None,
        on_conflict: OnConflict,
        origin: Origin,
    ) -> None:
        self._session = session
        self._store = session.store
        self._what = what
        self._within = within
        self._on_conflict = on_conflict
        self._origin = origin

    def run(self, stream: Stream, marker: tuple[str, str, int] | None, direct: bool) -> Written:
        alone = direct and self._within is not None and self._in_range() == 0
        sent = b"".join(bytes(buffer) for buffer in stream)
        rows = [self._row(json.loads(line)) for line in sent.splitlines()]
        if len(rows) != stream.rows:
            raise Mismatch(
                f"{self._what.label}: the source sent {stream.rows:,} rows, {len(rows):,} arrived"
            )
        self._session.passing("write")
        with self._store.guard:
            if alone and self._in_range():
                raise Collision(f"{self._what.label}: rows appeared in the range")
            done = self._merged(rows)
            if marker is not None:
                self._store.markers.setdefault(self._what.markers, {})[marker] = done
        self._session.passing("write", committed=True)
        return done

    def _table(self) -> _Table:
        return self._store.tables[split_name(self._what.table)]

    def _in_range(self) -> int:
        with self._store.guard:
            table = self._table()
            return len(_View(table, self._what).select(table.rows, self._within))

    def _row(self, texts: list[str | None]) -> Row:
        row: list[Any] = []
        for column in self._table().shape.columns:
            at = [n for n, f in enumerate(self._what.fields) if f.column == column.name]
            text = texts[at[0]] if at else None
            if text is None and not column.nullable:
                self._misfit(f"column {column.name} does not accept NULL, and a row has none")
            row.append(None if text is None else self._value(text, column))
        return tuple(row)

    def _value(self, text: str, column: Column) -> Any:
        label = f"{self._what.label}, column {column.name}"
        return converted(from_text(text, column.type), column.type, column.type, label)

    def _misfit(self, why: str) -> NoReturn:
        raise BadValue(f"{self._what.label}: {why}; nothing of the batch was written")

    def _merged(self, rows: list[Row]) -> Written:
        """Applies the rows or raises with nothing applied."""
        name, table = split_name(self._what.table), self._table()
        view = _View(table, self._what)
        there = {view.own_key(version.values): number for number, version in table.rows.items()}
        sent = {view.own_key(row): row for row in rows}
        if len(sent) != len(rows):
            self._misfit("a key was sent twice")
        known = [key for key in sent if key in there]
        if known and self._on_conflict == "error":
            self._misfit(f"the target holds key {known[0]} already and on_conflict is error")
        changed = {
            key
            for key in known
            if view.texts(table.rows[there[key]].values) != view.texts(sent[key])
        }
        update = self._on_conflict == "update"
        others = self._others(view, table, sent)
        instead = self._instead(view, table, sent) if self._on_conflict == "ignore" else None
        result = dict(table.rows)
        version = self._store.version + 1
        for key, row in sent.items():
            if key not in there:
                result[next(self._store.numbers)] = _Version(row, version)
            elif update and key in changed:
                self._store.refuse_locked(name, [there[key]])
                result[there[key]] = _Version(self._kept(table, there[key], row), version)
        self._require_unique(table.shape, result)
        self._store.version, table.rows = version, result
        counts = (len(changed), len(known) - len(changed), 0) if update else (0, 0, len(known))
        return Written(
            len(rows),
            len(rows) - len(known),
            *counts,
            others=others,
            instead=instead,
            origin=self._origin,
        )

    def _kept(self, table: _Table, number: int, row: Row) -> Row:
        """An updated row keeps the columns that are not mapped."""
        mapped = {f.column for f in self._what.fields}
        pairs = zip(table.shape.columns, table.rows[number].values, row, strict=True)
        return tuple(new if column.name in mapped else old for column, old, new in pairs)

    def _others(self, view: _View, table: _Table, sent: Mapping[Key, Row]) -> Digest:
        if self._within is None:
            return Digest(0, 0, self._what.method)
        rows = [version.values for _, version in view.select(table.rows, self._within)]
        others = view.digest(row for row in rows if view.own_key(row) not in sent)
        return others if self._origin.digest is not None else replace(others, sum=0)

    def _instead(self, view: _View, table: _Table, sent: Mapping[Key, Row]) -> Digest | None:
        if self._origin.digest is None:
            return None
        kept = [v.values for v in table.rows.values() if view.own_key(v.values) in sent]
        return view.digest(kept) - view.digest(sent[view.own_key(row)] for row in kept)

    def _require_unique(self, shape: Shape, rows: Mapping[int, _Version]) -> None:
        for columns in {shape.key, *shape.unique} - {()}:
            at = [_position(shape, column) for column in columns]
            seen = set()
            for version in rows.values():
                value = repr([version.values[n] for n in at])
                if value in seen and all(version.values[n] is not None for n in at):
                    self._misfit(f"two rows share {value} in {', '.join(columns)}")
                seen.add(value)


class MemoryPurge:
    """See ``ports.Purge``. A row that another purge has locked raises ``Transient`` at once."""

    def __init__(self, session: MemorySession) -> None:
        self._session = session
        self._store = session.store
        self._token = f"purge-{next(self._store.numbers)}"
        self._held: dict[tuple[Name, int], Row] = {}
        self._doomed: set[tuple[Name, int]] = set()
        self._over = False
        self._store.outcomes[self._token] = "running"

    def take(self, what: Projection, within: KeyRange) -> Digest:
        """Locks, digests and marks for deletion."""
        self._session.passing("take")
        with self._store.guard:
            view, name, rows = self._hold(what, within)
            self._doomed |= {(name, number) for number, _ in rows}
            return view.digest(version.values for _, version in rows)

    def standing(self, name: Name, rows: list[tuple[int, _Version]]) -> list[tuple[int, _Version]]:
        """What this transaction itself still sees."""
        return [(number, version) for number, version in rows if (name, number) not in self._doomed]

    def undo(self) -> None:
        """Lets go of everything."""
        with self._store.guard:
            for held in self._held:
                self._store.locks.pop(held, None)
        self._held.clear()
        self._doomed.clear()

    def take_keys(self, what: Projection, keys: Sequence[Key]) -> list[RowHash]:
        """As ``take``, by key."""
        self._session.passing("take_keys")
        with self._store.guard:
            view, name, rows = self._hold(what, None, set(keys))
            self._doomed |= {(name, number) for number, _ in rows}
            return [view.hashed(version, None) for _, version in rows]

    def settle(self) -> None:
        """Nothing is put off here."""

    def token(self) -> str:
        """Known to ``outcome``."""
        return self._token

    def commit(self) -> None:
        """Deletes what is marked."""
        self._session.passing("commit")
        with self._store.guard:
            self._store.version += 1
            for name, number in self._doomed:
                del self._store.tables[name].rows[number]
            self._end("committed")
        self._session.passing("commit", committed=True)

    def leave(self) -> None:
        """Rolls back unless committed."""
        if not self._over:
            self._end("aborted")

    def _end(self, outcome: Outcome) -> None:
        self._over = True
        self._store.outcomes[self._token] = outcome
        self.undo()

    def _hold(
        self, what: Projection, within: KeyRange | None, keys: Collection[Key] | None = None
    ) -> tuple[_View, Name, list[tuple[int, _Version]]]:
        name = split_name(what.table)
        table = self._store.tables.get(name)
        if table is None:
            raise ConfigError(f"{what.label} does not exist; it was dropped or renamed")
        view = _View(table, what)
        rows = self.standing(name, view.select(table.rows, within))
        if keys is not None:
            rows = [row for row in rows if view.own_key(row[1].values) in keys]
        self._store.refuse_locked(name, [number for number, _ in rows], self)
        for number, version in rows:
            self._held[name, number] = version.values
            self._store.locks[name, number] = self
        return view, name, rows
