"""One batch into a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NoReturn

from dsp_airflow.engine.errors import BadValue, Collision, Mismatch
from dsp_airflow.engine.model import (
    Column,
    Digest,
    Key,
    KeyRange,
    OnConflict,
    Origin,
    Projection,
    Shape,
    Written,
)
from dsp_airflow.engine.ports import Stream
from dsp_airflow.engine.stores.memory.database import Connection
from dsp_airflow.engine.stores.memory.dialect import position, split_name
from dsp_airflow.engine.stores.memory.tables import Table, Version, View
from dsp_airflow.engine.stores.memory.values import Row, converted, from_text


class Write:
    """One batch: gathered first, then merged and committed at once."""

    def __init__(
        self,
        connection: Connection,
        what: Projection,
        within: KeyRange | None,
        on_conflict: OnConflict,
        origin: Origin,
        fence: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._store = connection.store
        self._what = what
        self._within = within
        self._on_conflict = on_conflict
        self._origin = origin
        self._fence = fence

    def run(self, stream: Stream, marker: tuple[str, str, int] | None, direct: bool) -> Written:
        alone = direct and self._within is not None and self._in_range() == 0
        sent = b"".join(bytes(buffer) for buffer in stream)
        rows = [self._row(json.loads(line)) for line in sent.splitlines()]
        if len(rows) != stream.rows:
            raise Mismatch(
                f"{self._what.label}: the source sent {stream.rows:,} rows, {len(rows):,} arrived"
            )
        self._connection.passing("write")
        self._fence()
        with self._store.guard:
            if alone and self._in_range():
                raise Collision(f"{self._what.label}: rows appeared in the range")
            done = replace(self._merged(rows), bytes=stream.size)
            if marker is not None:
                self._store.markers.setdefault(self._what.markers, {})[marker] = done
        self._connection.passing("write", committed=True)
        return done

    def _table(self) -> Table:
        return self._store.tables[split_name(self._what.table)]

    def _in_range(self) -> int:
        with self._store.guard:
            table = self._table()
            return len(View(table, self._what).select(table.rows, self._within))

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
        view = View(table, self._what)
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
                result[next(self._store.numbers)] = Version(row, version)
            elif update and key in changed:
                self._store.refuse_locked(name, [there[key]])
                result[there[key]] = Version(self._kept(table, there[key], row), version)
        self._require_unique(table.shape, result)
        self._store.version, table.rows = version, result
        counts = (len(changed), len(known) - len(changed), 0) if update else (0, 0, len(known))
        return Written(
            len(rows),
            len(rows) - len(known),
            *counts,
            unlike=0 if update else len(changed),
            others=others,
            instead=instead,
            origin=self._origin,
        )

    def _kept(self, table: Table, number: int, row: Row) -> Row:
        """An updated row keeps the columns that are not mapped."""
        mapped = {f.column for f in self._what.fields}
        pairs = zip(table.shape.columns, table.rows[number].values, row, strict=True)
        return tuple(new if column.name in mapped else old for column, old, new in pairs)

    def _others(self, view: View, table: Table, sent: Mapping[Key, Row]) -> Digest:
        if self._within is None:
            return Digest(0, 0, self._what.method)
        rows = [version.values for _, version in view.select(table.rows, self._within)]
        others = view.digest(row for row in rows if view.own_key(row) not in sent)
        return others if self._origin.digest is not None else replace(others, sum=0)

    def _instead(self, view: View, table: Table, sent: Mapping[Key, Row]) -> Digest | None:
        if self._origin.digest is None:
            return None
        kept = [v.values for v in table.rows.values() if view.own_key(v.values) in sent]
        return view.digest(kept) - view.digest(sent[view.own_key(row)] for row in kept)

    def _require_unique(self, shape: Shape, rows: Mapping[int, Version]) -> None:
        for columns in {shape.key, *shape.unique} - {()}:
            at = [position(shape, column) for column in columns]
            seen = set()
            for version in rows.values():
                value = repr([version.values[n] for n in at])
                if value in seen and all(version.values[n] is not None for n in at):
                    self._misfit(f"two rows share {value} in {', '.join(columns)}")
                seen.add(value)
