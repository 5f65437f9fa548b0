"""The contract's place on MongoDB: rows are documents, their only key column is ``_id``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pymongo
from bson import Binary, Decimal128
from pymongo.errors import PyMongoError

from dsp_airflow.engine.model import Batch, BatchSize, Key, KeyRange, LogicalType, Projection
from dsp_airflow.engine.ports import Session
from dsp_airflow.engine.stores.mongodb import keys
from dsp_airflow.engine.stores.mongodb.store import MongoStore
from tests.contract.places import Place, Row, Table
from tests.servers import MongoDatabase

GAPS = {
    # Documents have no columns that could be described, mapped or rendered one by one.
    "test_shape_tells_columns_key_and_nullability",
    "test_odd_identifiers",
    "test_texts_are_canonical",
    "test_columns_that_are_not_mapped_stay",
    "test_purge_through_a_narrower_projection",
    "test_nearest_and_typed",
    "test_windows_of_a_cursor",
    # The key is ``_id``, which every document has, and nothing else.
    "test_shape_without_key",
    "test_a_table_without_a_key_is_one_batch",
    "test_split_by_a_composite_key",
    "test_a_loose_key_is_proved",
    "test_composite_and_text_keys",
    "test_a_table_of_its_key_only",
    "test_many_keys_at_once",
    # Values have no types that a collection demands.
    "test_a_text_that_is_too_long",
    "test_null_where_none_is_taken",
}
"""Tests of what MongoDB has not. ``test_mongo_gaps.py`` holds what it says instead."""
_CONDITION = re.compile(r"\"(\w+)\" (<>|>=|>|<) (?:'([^']*)'|(-?\d+))")
_SIGNS = {"<>": "$ne", ">=": "$gte", ">": "$gt", "<": "$lt"}
NUMBER = re.compile(r"-?\d+")


class MongoPlace(Place):
    system = "mongodb"
    wires = ("bson",)
    methods = ("bson",)
    dates_rows = False

    def __init__(self, database: MongoDatabase) -> None:
        self.database = database
        self.schema = database.name
        self.store = MongoStore(database.name, {"host": database.server.uri()}, database.name)
        self._columns: dict[str, list[str]] = {}

    @contextmanager
    def session(self) -> Iterator[Session]:
        with self.store.session() as session:
            yield Plain(session)

    def project(
        self, table: Table | str, *, where: str | None = None, method: str = "bson"
    ) -> Projection:
        del method  # There is one.
        return super().project(table, where=where and self._query(where), method="bson")

    def _query(self, where: str) -> str:
        found = _CONDITION.findall(where)
        assert found, where
        parts = [
            {("_id" if name == "id" else name): {_SIGNS[sign]: int(number) if number else text}}
            for name, sign, text, number in found
        ]
        return keys.dump({"$and": parts})

    def make(self, table: Table, rows: Iterable[Row] = ()) -> None:
        (key,) = table.key
        self._columns[table.name] = ["_id" if name == key else name for name in table.columns]
        collection = self.database.database.create_collection(table.name)
        for (column,) in table.unique:
            collection.create_index([(column, 1)], unique=True)
        self.insert(table.name, rows)

    def insert(self, table: str, rows: Iterable[Row]) -> None:
        names = self._columns[table]
        given = [dict(zip(names, map(_adapted, row), strict=True)) for row in rows]
        if given:
            self.database[table].insert_many(given)

    def rows(self, table: Table) -> list[Row]:
        names = self._columns.get(table.name) or ["_id", *list(table.columns)[1:]]
        found = self.database[table.name].find().sort({"_id": 1})
        return [tuple(document[name] for name in names) for document in found]

    def change(self, table: Table, key: Row, column: str, value: Any) -> None:
        self.database[table.name].update_one({"_id": key[0]}, {"$set": {column: _adapted(value)}})

    def remove(self, table: Table, key: Row) -> None:
        self.database[table.name].delete_one({"_id": key[0]})

    def may_change(self, table: Table, key: Row, column: str, value: Any) -> bool:
        try:
            with pymongo.timeout(0.3):
                self.change(table, key, column, value)
        except PyMongoError as error:
            if not error.timeout:
                raise
            return False
        return True

    def alter(self, table: Table) -> None:
        self.database.database.command("collMod", table.name, validator={"size": {"$exists": True}})

    def other(self, value: Any) -> Any:
        # Moments have milliseconds here.
        return value + timedelta(seconds=1) if isinstance(value, datetime) else value

    def told(self, kind: LogicalType) -> LogicalType:
        return kind


def _adapted(value: Any) -> Any:
    """As the driver takes it."""
    if isinstance(value, Decimal):
        return Decimal128(value)
    if isinstance(value, UUID):
        return Binary.from_uuid(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time())
    return value.isoformat() if isinstance(value, time) else value


def theirs(key: Key) -> Key:
    """The tests' text of a number as the store has it."""
    (text,) = key
    return (f'{{"$numberInt": "{text}"}}',) if NUMBER.fullmatch(text) else key


def ours(key: Key) -> Key:
    """And back."""
    found = re.fullmatch(r'\{"\$numberInt": "(-?\d+)"\}', key[0])
    return (found[1],) if found else key


class Plain:
    """A session or purge in whose calls the keys are texts as the tests write them."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def called(*given: Any, **named: Any) -> Any:
            return _outward(
                found(*map(_inward, given), **{k: _inward(v) for k, v in named.items()})
            )

        return called

    def split(
        self, what: Projection, size: BatchSize, max_row_size: int
    ) -> tuple[Sequence[Batch], int]:
        batches, total = self._inner.split(what, size, max_row_size)
        return [replace(b, within=_range(b.within, ours)) for b in batches], total

    def same_database(self, other: Any) -> bool:
        return bool(self._inner.same_database(other._inner))

    @contextmanager
    def purge(self) -> Iterator[Any]:
        with self._inner.purge() as purge:
            yield Plain(purge)

    def hashes(self, *given: Any, **named: Any) -> Iterator[Any]:
        found = self._inner.hashes(
            *map(_inward, given), **{k: _inward(v) for k, v in named.items()}
        )
        return (replace(row, key=ours(row.key), at=ours(row.at)) for row in found)


def _range(within: KeyRange, turned: Any) -> KeyRange:
    after, upto = (key and turned(key) for key in (within.after, within.upto))
    return KeyRange(after, upto)


def _inward(value: Any) -> Any:
    if isinstance(value, KeyRange):
        return _range(value, theirs)
    if isinstance(value, list) and all(isinstance(key, tuple) for key in value):
        return [theirs(key) for key in value]
    return value


def _outward(value: Any) -> Any:
    if isinstance(value, dict):
        return {ours(key): texts for key, texts in value.items()}
    if isinstance(value, list) and value and hasattr(value[0], "at"):
        return [replace(row, key=ours(row.key), at=ours(row.at)) for row in value]
    return value
