"""What MongoDB has not, and the error that says so: see ``mongo_place.GAPS``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dsp_airflow.engine import window
from dsp_airflow.engine.errors import BadValue, ConfigError
from dsp_airflow.engine.model import Projection, Shape, Window
from dsp_airflow.engine.ports import FindsCursors
from dsp_airflow.engine.stores.mongodb import cursor, dialect, query, raw
from dsp_airflow.engine.stores.mongodb.store import MongoStore
from tests.conftest import NewMongoDatabase
from tests.contract.mongo_place import MongoPlace
from tests.contract.places import ALL, ITEMS, items
from tests.servers import MongoDatabase


def test_documents_have_no_expressions(new_mongo_db: NewMongoDatabase) -> None:
    place = MongoPlace(new_mongo_db())
    place.make(ITEMS, items(1, 2))
    shape, what = place.shape(ITEMS), place.project(ITEMS)
    # Its key is ``_id``, whatever a table would have.
    assert (shape.key, [column.name for column in shape.columns]) == (("_id",), ["_id", "document"])
    with place.store.session() as session:
        assert session.nearest(f"{place.schema}.itemz") == [f"{place.schema}.items"]
        told: list[tuple[str, Callable[[], object]]] = [
            (
                r"items: MongoDB has no SQL expressions: 1 \+ 1$",
                lambda: session.typed(shape, ["1 + 1"]),
            ),
            (
                r"^where: not extended JSON: ",
                lambda: session.count(replace(what, where="1 > 0"), ALL),
            ),
            (
                r"^where: must be a query document",
                lambda: session.count(replace(what, where="1"), ALL),
            ),
        ]
        for match, act in told:
            with pytest.raises(ConfigError, match=match):
                act()


def number(value: int) -> str:
    return f'{{"$numberInt": "{value}"}}'


def test_windows_of_a_cursor(new_mongo_db: NewMongoDatabase) -> None:
    """As of any table; only that each value tells its type."""
    place = MongoPlace(new_mongo_db())
    place.make(ITEMS)
    shape = place.shape(ITEMS)

    def read(since: int | None, overlap: int = 0) -> tuple[Window, int]:
        with place.store.session() as session:
            assert isinstance(session, FindsCursors)
            stood = None if since is None else number(since)
            size = session.cursor_column(shape, "size", stood, None)
            found = session.window(shape, size, stood, overlap)
            where = dialect.in_window(size, found, endless=False)
            return found, session.count(replaced(where), ALL)

    def replaced(where: str) -> Projection:
        return replace(place.project(ITEMS), where=where)

    assert read(None) == (Window("size", None, None), 0)
    place.insert(ITEMS.name, items(1, 2, 3, 4))
    assert read(None) == (Window("size", None, number(40)), 4)
    assert read(30) == (Window("size", number(30), number(40)), 2)
    assert read(30, 15) == (Window("size", '{"$numberLong": "15"}', number(40)), 3)
    # Documents that were purged do not move it back.
    assert read(70) == (Window("size", number(70), number(70)), 0)


def test_an_index_serves_a_window(mongo_db: MongoDatabase) -> None:
    """And the looks for the largest value, and for documents without one."""
    start = datetime(2023, 1, 1, tzinfo=UTC)
    documents = [{"_id": n, "at": start + timedelta(seconds=n)} for n in range(1_000)]
    mongo_db["t"].insert_many([*documents, {"_id": -1}, {"_id": -2, "at": "text"}])
    mongo_db["t"].create_index("at")
    table = f'"{mongo_db.name}"."t"'
    store = MongoStore("source", {"host": mongo_db.server.uri()}, mongo_db.name)
    with store.session() as session:
        shape = session.describe("t")
        assert shape is not None
        assert isinstance(session, FindsCursors)
        column = session.cursor_column(shape, "at", None, None)
        since = '{"$date": "2023-01-01T00:16:30.000Z"}'
        found = session.window(shape, column, since, timedelta(seconds=10))
        assert found == Window(
            "at", '{"$date": "2023-01-01T00:16:20.000Z"}', '{"$date": "2023-01-01T00:16:39.000Z"}'
        )
        what = Projection(table, table, (), (), where=None)
        assert session.of_other_types(what, column) == {"string": 1}
    conditions = [
        (dialect.in_window(column, found, endless=False), 20),
        (dialect.in_window(column, found, endless=True), 22),
        (dialect.without_cursor(column), 2),
    ]
    for condition, documents_of_it in conditions:
        told = mongo_db.database.command(
            "explain",
            {"find": "t", "filter": query.parsed(condition)},
            codec_options=raw.OPTIONS,
        )["executionStats"]
        assert told["nReturned"] == documents_of_it
        assert told["totalDocsExamined"] <= 30


GIVEN = {
    "007": '{"$numberLong": "7"}',
    "-1.50": '{"$numberDecimal": "-1.50"}',
    "2026-03-29T01:00:00+02:00": '{"$date": "2026-03-28T23:00:00.000Z"}',
    "2026-03-29": '{"$date": "2026-03-29T00:00:00.000Z"}',
    "1969-01-01": '{"$date": {"$numberLong": "-31536000000"}}',
    "6553f1c20000000000000001": '{"$oid": "6553f1c20000000000000001"}',
    '"007"': '"007"',
    '{"$timestamp": {"t": 1, "i": 2}}': '{"$timestamp": {"t": 1, "i": 2}}',
}


@pytest.mark.parametrize("given", GIVEN)
def test_values_of_a_cursor(given: str) -> None:
    column = window.column_of(Shape("", "t", (), ()), "at", dialect, "job")
    assert cursor.typed_value(column, given) == GIVEN[given]


@pytest.mark.parametrize("given", ["yesterday", "", '{"a": 1}', "true", '{"$oid": "1"}', "{"])
def test_what_is_no_value_of_a_cursor(given: str) -> None:
    column = window.column_of(Shape("", "t", (), ()), "at", dialect, "job")
    with pytest.raises(BadValue, match="extended JSON"):
        cursor.typed_value(column, given)
