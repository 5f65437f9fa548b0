"""Tables and their rows, and what a projection sees of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dsp_airflow.engine import canon
from dsp_airflow.engine.model import Digest, Field, Key, KeyRange, Projection, RowHash, Shape
from dsp_airflow.engine.stores.memory.dialect import literal_value, position, row_filter, unquoted
from dsp_airflow.engine.stores.memory.values import Row, converted, from_text


@dataclass(frozen=True, slots=True)
class Version:
    """A row as one commit left it."""

    values: Row
    version: int


@dataclass
class Table:
    """Rows by number, and why nothing may be deleted from it, or on its word."""

    shape: Shape
    rows: dict[int, Version] = field(default_factory=dict)
    purge_refusals: list[str] = field(default_factory=list)
    target_refusals: list[str] = field(default_factory=list)


class View:
    """One projection of one table at one moment."""

    def __init__(self, table: Table, what: Projection) -> None:
        self.shape = table.shape
        self._what = what
        self._keeps = row_filter(what.where, table.shape)
        self._own = [position(table.shape, unquoted(k.column)) for k in what.key]
        self._kinds = [table.shape.columns[n].type for n in self._own]
        self._fields = [(f, *self._source(f)) for f in what.fields]

    def _source(self, wanted: Field) -> tuple[int | None, Any]:
        expression = wanted.expression.strip()
        while expression.startswith("(") and expression.endswith(")"):
            expression = expression[1:-1]
        if self.shape.column(unquoted(expression)) is not None:
            return position(self.shape, unquoted(expression)), None
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
        self, rows: Mapping[int, Version], within: KeyRange | None
    ) -> list[tuple[int, Version]]:
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
        return sorted(found, key=lambda item: [(v is None, v) for v in self.order(item[1].values)])

    def digest(self, rows: Iterable[Row]) -> Digest:
        count = total = 0
        for row in rows:
            count += 1
            total += canon.python_digest_md5(self.texts(row))
        return Digest(count, total, self._what.method)

    def hashed(self, version: Version, mark: str | None) -> RowHash:
        texts = self.texts(version.values)
        return RowHash(
            self.mapped_key(texts),
            canon.python_row_hash_md5(texts),
            None if mark is None else version.version <= int(mark),
            self.own_key(version.values),
        )
