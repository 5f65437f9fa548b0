"""Reads and Splits: shapes, snapshots, streams, batches."""

from __future__ import annotations

import itertools
import random
import string
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from dsp_airflow.engine.errors import BadValue, ConfigError, Refused
from dsp_airflow.engine.model import Batch, BatchSize, KeyRange, LogicalType, Window
from dsp_airflow.engine.resolved import Resolved, Resolves
from tests.contract.places import ALL, BIG, BIGINT, INTEGER, ITEMS, TEXT, Place, Table, items

ODD = ['we"ird', "Ünï😀", "select", "two words", "50%", "a.b", "it's", "%s", "{x}", "$1", "back\\"]


def test_missing_table_is_none(place: Place) -> None:
    with place.session() as session:
        assert session.describe(place.label("nothing")) is None


def test_a_name_stands_for_one_table_of_the_catalog(place: Place) -> None:
    """Grants are on these names, whether the table is there or would be made."""
    place.make(Table("Items", {"id": BIGINT}, key=("id",)))
    with place.store.session() as session:
        assert isinstance(session, Resolves)
        for name in ("Items", "nothing"):
            expected = Resolved(place.schema, name)
            for written in (name, f'"{name}"', place.label(name)):
                assert session.resolved(written) == expected
            if place.system == "mysql":
                assert session.resolved(f"`{name}`") == expected
        assert session.resolved("else.where") == Resolved("else", "where")
        assert session.resolved("items").name == "items", "no other one, if there were one"


def test_shape_tells_columns_key_and_nullability(place: Place) -> None:
    kinds = {
        "b": BIGINT,
        "a": TEXT,
        "price": LogicalType("decimal", precision=6, scale=1),
        "code": LogicalType("string", length=20),
        "seen": LogicalType("timestamptz", digits=3),
        "tags": LogicalType("list", element=TEXT),
    }
    table = Table(
        "shaped", kinds, key=("a", "b"), required=("price",), unique=(("price",), ("code",))
    )
    place.make(table)
    shape = place.shape(table)
    assert (shape.schema, shape.name) == (place.schema, "shaped")
    told = {column.name: column.type for column in shape.columns}
    # Keys have bounds that nobody asked for, in some stores.
    assert {**told, "a": place.told(TEXT)} == {n: place.told(k) for n, k in kinds.items()}
    assert [column.name for column in shape.columns] == list(kinds)
    assert shape.key == ("a", "b")
    assert {c.name for c in shape.columns if not c.nullable} == {"a", "b", "price"}
    assert ("a", "b") in shape.unique
    assert ("price",) in shape.unique


def test_shape_without_key(place: Place) -> None:
    place.make(Table("keyless", {"a": TEXT}, key=()))
    assert place.shape("keyless").key == ()


@pytest.mark.parametrize("name", ODD)
def test_odd_identifiers(place: Place, name: str) -> None:
    if place.system == "mysql":
        # Its names have no characters beyond the basic plane.
        name = name.replace("😀", "☃")
    table = Table(name, {name: BIGINT, name + "2": TEXT}, key=(name,))
    place.make(table, [(1, "x"), (2, "y")])
    shape = place.shape(table)
    assert (shape.name, shape.key) == (name, (name,))
    what = place.project(table)
    with place.session() as session:
        assert session.digest(what, ALL).rows == 2
        assert [row.at for row in session.hashes(what, ALL)] == [("1",), ("2",)]
        assert [row.at for row in session.hashes(what, keys=[("2",)])] == [("2",)]
        assert session.texts(what, [("1",)]) == {("1",): ("1", "x")}
        batches, _ = session.split(what, BatchSize(1), BIG)
        assert [batch.rows for batch in batches] == [1, 1]
        with session.purge() as purge:
            taken = purge.take(what, ALL)
            assert taken is not None
            assert taken.rows == 2
            purge.undo()
            keys = [row.at for row in session.hashes(what, ALL)]
            assert len(purge.take_keys(what, keys)) == 2


def test_nearest_and_typed(place: Place) -> None:
    place.make(ITEMS)
    with place.session() as session:
        assert any("items" in name for name in session.nearest(f"{place.schema}.itemz"))
        quote = place.store.dialect.quote
        plain, constant = session.typed(place.shape(ITEMS), [quote("id"), "'x'"])
    assert (plain.type, constant.type.name) == (BIGINT, TEXT.name)


def test_snapshot_is_one_view(place: Place) -> None:
    place.make(ITEMS, items(1, 2, 3))
    what = place.project(ITEMS)
    with place.session() as session:
        with session.snapshot():
            before = session.digest(what, ALL)
            place.insert(ITEMS.name, items(4))
            place.change(ITEMS, (1,), "size", -1)
            place.remove(ITEMS, (2,))
            assert session.digest(what, ALL) == before
            stream = session.read(what, ALL, place.wires[0], BIG)
            assert sum(len(buffer) for buffer in stream) == stream.size
            assert stream.rows == 3
        assert session.digest(what, ALL) != before


def test_reading_a_table_that_is_gone(place: Place) -> None:
    place.make(ITEMS)
    gone = replace(place.project(ITEMS), table=place.label("gone"), label="gone")
    with place.session() as session, pytest.raises(ConfigError, match="gone"):
        session.digest(gone, ALL)


def test_rows_are_negative_until_all_was_read(place: Place) -> None:
    place.make(ITEMS, items(1))
    with place.session() as session, session.snapshot():
        stream = session.read(place.project(ITEMS), ALL, place.wires[0], BIG)
        assert stream.rows < 0
        assert list(stream)
        assert stream.rows == 1


def test_a_row_that_is_too_large_is_refused(place: Place) -> None:
    place.make(ITEMS, [(1, "x" * 5000, 0)])
    with place.session() as session, session.snapshot():
        stream = session.read(place.project(ITEMS), ALL, place.wires[0], 4000)
        with pytest.raises(Refused, match="max_row_size"):
            list(stream)


def test_holds_rows(place: Place) -> None:
    place.make(ITEMS)
    with place.session() as session:
        assert not session.holds_rows(place.project(ITEMS))
        place.insert(ITEMS.name, items(1))
        assert session.holds_rows(place.project(ITEMS))


# Splits

START = datetime(2024, 1, 1, tzinfo=UTC)
KEYS: dict[str, tuple[LogicalType, list[Any]]] = {
    "int64": (BIGINT, [n * 7 - 50 for n in range(25)]),
    "decimal": (LogicalType("decimal"), [Decimal(n) / 4 - 3 for n in range(25)]),
    "string": (TEXT, ["", " ", "'", '"', "\\", "a", "B", "ä", "€", "😀", "N", "%", "a'b"]),
    "uuid": (LogicalType("uuid"), [UUID(int=n << 100 | n) for n in range(25)]),
    "date": (LogicalType("date"), [date(2024, 1, 1) + timedelta(n * 40) for n in range(25)]),
    "timestamptz": (
        LogicalType("timestamptz"),
        [START + timedelta(microseconds=n * 333_333) for n in range(25)],
    ),
    "timestamp": (
        LogicalType("timestamp"),
        [START.replace(tzinfo=None) + timedelta(days=n) for n in range(25)],
    ),
    "bytes": (LogicalType("bytes"), [bytes([n, 39, 92]) for n in range(25)]),
    "float64": (LogicalType("float64"), [n / 3 for n in range(25)]),
    "bool": (LogicalType("bool"), [False, True]),
}


def check_batches(place: Place, table: Table, batches: list[Batch], rows: int) -> None:
    """They cover everything once, in order, and none is empty."""
    assert [batch.number for batch in batches] == list(range(1, len(batches) + 1))
    assert sum(batch.rows for batch in batches) == rows
    assert all(batch.rows for batch in batches)
    assert batches[0].within.after is None
    for earlier, later in itertools.pairwise(batches):
        assert later.within.after == earlier.within.upto
    what = place.project(table)
    with place.session() as session:
        seen = [[row.at for row in session.hashes(what, batch.within)] for batch in batches]
        assert [len(keys) for keys in seen] == [batch.rows for batch in batches]
        assert len({key for keys in seen for key in keys}) == rows
        assert all(batch.within.upto in keys for batch, keys in zip(batches, seen, strict=True))
        whole = session.digest(what, ALL)
        parts = [session.digest(what, batch.within) for batch in batches]
        assert sum(parts[1:], parts[0]) == whole
        assert [session.count(what, b.within) for b in batches] == [b.rows for b in batches]


@pytest.mark.parametrize("kind", KEYS)
def test_split_by_every_ordered_type(place: Place, kind: str) -> None:
    type_, values = KEYS[kind]
    table = Table("keyed", {"k": type_, "v": INTEGER}, key=("k",))
    place.make(table, [(value, n) for n, value in enumerate(reversed(values))])
    with place.session() as session:
        batches, size = session.split(place.project(table), BatchSize(4), BIG)
    assert size >= 0
    assert len(batches) == -(-len(values) // 4)
    check_batches(place, table, list(batches), len(values))


def test_split_by_a_composite_key(place: Place) -> None:
    table = Table("pairs", {"n": INTEGER, "t": TEXT, "u": BIGINT}, key=("t", "n", "u"))
    rows = [(n % 3, "abc"[n % 2], n) for n in range(25)]
    place.make(table, rows)
    with place.session() as session:
        batches, _ = session.split(place.project(table), BatchSize(4), BIG)
        first = batches[0].within.upto
    assert first is not None
    assert first[0] == "a"
    check_batches(place, table, list(batches), 25)


def test_split_of_nothing(place: Place) -> None:
    place.make(ITEMS)
    with place.session() as session:
        assert session.split(place.project(ITEMS), BatchSize(4), BIG)[0] == []
        place.insert(ITEMS.name, items(1))
        what = place.project(ITEMS, where='"id" > 5')
        assert list(session.split(what, BatchSize(4), BIG)[0]) == []


def test_split_counts_what_matches_the_filter(place: Place) -> None:
    place.make(ITEMS, items(*range(1, 26)))
    what = place.project(ITEMS, where='"size" > 100 AND "name" <> \'item 20\'')
    with place.session() as session:
        batches, _ = session.split(what, BatchSize(4), BIG)
        assert [batch.rows for batch in batches] == [4, 4, 4, 2]
        assert [session.count(what, batch.within) for batch in batches] == [4, 4, 4, 2]
        assert session.digest(what, ALL).rows == 14


def test_split_freezes_the_upper_bound(place: Place) -> None:
    place.make(ITEMS, items(*range(10)))
    with place.session() as session:
        what = place.project(ITEMS)
        batches, _ = session.split(what, BatchSize(4), BIG)
        place.insert(ITEMS.name, items(100))
        assert batches[-1].within.upto == ("9",)
        assert sum(session.count(what, batch.within) for batch in batches) == 10


def incompressible(length: int, seed: int) -> str:
    """A text that a database keeps out of line, at its full length."""
    return "".join(random.Random(seed).choices(string.printable, k=length))


def test_split_by_bytes(place: Place) -> None:
    wide = [incompressible(20_000, n) for n in range(8)]
    place.make(ITEMS, [(n, text, n) for n, text in enumerate(wide)])
    with place.session() as session:
        batches, size = session.split(place.project(ITEMS), BatchSize(100, 45_000), BIG)
        assert size >= 8 * 20_000
        assert 3 <= len(batches) <= 8
    check_batches(place, ITEMS, list(batches), 8)


def test_split_refuses_a_row_that_is_surely_too_large(place: Place) -> None:
    place.make(ITEMS, items(1, 2))
    wide = incompressible(50_000, 7)
    place.insert(ITEMS.name, [(7, wide, 0)])
    with place.session() as session, pytest.raises(Refused, match=r"7.*max_row_size"):
        session.split(place.project(ITEMS), BatchSize(2), 40_000)


def test_ranges_are_open_below_and_closed_above(place: Place) -> None:
    place.make(ITEMS, items(1, 2, 3))
    what = place.project(ITEMS)
    with place.session() as session:
        assert session.count(what, KeyRange(("1",), ("2",))) == 1
        assert session.count(what, KeyRange(None, ("2",))) == 2
        assert session.count(what, KeyRange(("2",), None)) == 1
        assert session.count(what, KeyRange(("3",), ("3",))) == 0


def test_windows_of_a_cursor(place: Place) -> None:
    """From the end of the last run less the overlap, both bounds included."""
    place.make(ITEMS)
    shape = place.shape(ITEMS)
    size = shape.column("size")
    assert size is not None

    def read(since: str | None, overlap: int = 0) -> tuple[Window, int]:
        with place.session() as session:
            window = session.window(shape, size, since, overlap)
            where = place.store.dialect.in_window(size, window, endless=False)
            return window, session.count(place.project(ITEMS, where=where), ALL)

    assert read(None) == (Window("size", None, None), 0)
    place.insert(ITEMS.name, items(1, 2, 3, 4))
    assert read(None) == (Window("size", None, "40"), 4)
    assert read("30") == (Window("size", "30", "40"), 2)
    assert read("30", 15) == (Window("size", "15", "40"), 3)
    # Rows that were purged do not move it back.
    assert read("70") == (Window("size", "70", "70"), 0)
    with place.session() as session:
        assert session.typed_value(size, "007") == "7"
        with pytest.raises(BadValue):
            session.typed_value(size, "seven")


@pytest.mark.parametrize("bad", [(4, "twin", 10), (4, "none", None)])
def test_a_loose_key_is_proved(place: Place, bad: tuple[Any, ...]) -> None:
    place.make(ITEMS, items(1, 2, 3))
    size = place.shape(ITEMS).column("size")
    assert size is not None
    what = replace(place.project(ITEMS), key=(place.store.dialect.key_column(size),), loose=True)
    with place.session() as session:
        session.prove_key(what)
        batches, _ = session.split(what, BatchSize(2), BIG)
        assert [b.rows for b in batches] == [2, 1]
        place.insert(ITEMS.name, [bad])
        with pytest.raises(ConfigError):
            session.prove_key(what)
        with pytest.raises(ConfigError):
            session.split(what, BatchSize(2), BIG)


def test_a_table_without_a_key_is_one_batch(place: Place) -> None:
    """The store for tests refuses it."""
    bare = replace(ITEMS, key=())
    place.make(bare, [*items(1, 2), *items(1, 2)])
    with place.session() as session:
        if place.system == "memory":
            with pytest.raises(Refused, match="copies no table as a whole"):
                session.split(place.project(bare), BatchSize(2), BIG)
            return
        batches, _ = session.split(place.project(bare), BatchSize(2), BIG)
        assert list(batches) == [Batch(1, KeyRange(), 4)]
        hashes = [row.hash for row in session.hashes(place.project(bare))]
        assert hashes == sorted(hashes)


def test_tables_share_rows_with_themselves(place: Place) -> None:
    place.make(ITEMS)
    place.make(replace(ITEMS, name="others"))
    with place.session() as session:
        mine, others = place.label(ITEMS.name), place.label("others")
        assert session.share_rows(mine, mine)
        assert not session.share_rows(mine, others)
