"""Digests: what is there, told the same way by every store."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

import pytest

from dsp_airflow.engine.model import KeyRange, LogicalType
from tests.contract.places import ALL, BIGINT, ITEMS, TEXT, Place, Row, Table, items

WIDE = Table(
    "wide",
    {
        "id": BIGINT,
        "flag": LogicalType("bool"),
        "small": LogicalType("int16"),
        "price": LogicalType("decimal", precision=12, scale=2),
        "loose": LogicalType("decimal"),
        "real": LogicalType("float32"),
        "double": LogicalType("float64"),
        "text": TEXT,
        "short": LogicalType("string", length=10),
        "blob": LogicalType("bytes"),
        "day": LogicalType("date"),
        "clock": LogicalType("time", digits=6),
        "local": LogicalType("timestamp", digits=6),
        "moment": LogicalType("timestamptz", digits=6),
        "uid": LogicalType("uuid"),
        "numbers": LogicalType("list", element=LogicalType("int32")),
    },
    key=("id",),
)
MOMENT = datetime(2024, 2, 29, 12, 30, 0, 1, UTC)
LOCAL = MOMENT.replace(tzinfo=None)
UID = UUID(int=7)
FULL: Row = (
    *(1, True, -5, Decimal("10.50"), Decimal("1.0"), 0.5, 0.1, "a\té😀", "x", b"\x00\xff"),
    *(date(44, 3, 15), time(23, 59, 59, 999999), LOCAL, MOMENT, UID, [1, None, -3]),
)
WIDE_ROWS: list[Row] = [
    FULL,
    (2, *[None] * 15),
    (3, False, 0, Decimal("-10.50"), Decimal("1.00"), -0.0, -0.0, "", "", b"", *FULL[10:15], []),
]


@pytest.fixture(params=["md5", "record", "fields"])
def method(request: pytest.FixtureRequest, place: Place) -> str:
    """Each row hash a store has; asking for another is the caller's mistake."""
    name: str = request.param
    return name if name in place.methods else place.methods[0]


def test_digest_adds_up(place: Place, method: str) -> None:
    place.make(ITEMS, items(*range(20)))
    what = place.project(ITEMS, method=method)
    with place.session() as session:
        whole = session.digest(what, ALL)
        low, high = (session.digest(what, r) for r in (KeyRange(None, ("9",)), KeyRange(("9",))))
    assert (whole.rows, whole.method) == (20, method)
    assert low + high == whole
    assert whole - low == high


def test_digest_of_nothing(place: Place, method: str) -> None:
    place.make(ITEMS)
    with place.session() as session:
        found = session.digest(place.project(ITEMS, method=method), ALL)
    assert (found.rows, found.sum) == (0, 0)


def test_digest_does_not_depend_on_order(
    place: Place, method: str, new_place: Callable[[str], Place], request: pytest.FixtureRequest
) -> None:
    other = new_place(request.node.callspec.params["place"])
    place.make(WIDE, WIDE_ROWS)
    other.make(WIDE, reversed(WIDE_ROWS))
    with place.session() as ours, other.session() as theirs:
        assert ours.digest(place.project(WIDE, method=method), ALL) == theirs.digest(
            other.project(WIDE, method=method), ALL
        )


def test_every_store_gives_the_same_digest(new_place: Callable[[str], Place]) -> None:
    found = []
    for kind in ("memory", "pg15", "pg18"):
        place = new_place(kind)
        place.make(WIDE, WIDE_ROWS)
        what = place.project(WIDE)
        with place.session() as session:
            hashes = [(row.key, row.hash) for row in session.hashes(what, ALL)]
            texts = session.texts(what, [(str(n),) for n in (1, 2, 3)])
            found.append((session.digest(what, ALL), sorted(hashes), texts))
    assert found[0] == found[1] == found[2]


CHANGES = [
    *(("flag", False), ("small", 5), ("price", Decimal("10.51")), ("loose", Decimal("1.00"))),
    *(("real", -0.5), ("double", 0.30000000000000004), ("text", "a\té😀 "), ("short", "")),
    *(("blob", b"\x00\xfe"), ("day", date(44, 3, 16)), ("clock", time(23, 59, 59, 999998))),
    *(("local", LOCAL.replace(microsecond=2)), ("moment", MOMENT.replace(microsecond=0))),
    *(("uid", UUID(int=8)), ("numbers", [1, -3]), ("numbers", [None, 1, -3])),
    *((name, None) for name in WIDE.columns if name != "id"),
]


@pytest.mark.parametrize(("column", "value"), CHANGES, ids=str)
def test_any_change_changes_the_digest(
    place: Place, method: str, column: str, value: object
) -> None:
    place.make(WIDE, [FULL])
    what = place.project(WIDE, method=method)
    with place.session() as session:
        before, [hashed] = session.digest(what, ALL), list(session.hashes(what, ALL))
        place.change(WIDE, (1,), column, place.other(value))
        assert session.digest(what, ALL) != before
        assert [row.hash for row in session.hashes(what, ALL)] != [hashed.hash]


def test_values_swapped_between_columns_change_the_digest(place: Place, method: str) -> None:
    table = Table("swap", {"id": BIGINT, "a": BIGINT, "b": BIGINT}, ("id",))
    place.make(table, [(1, 2, 3)])
    what = place.project(table, method=method)
    with place.session() as session:
        before = session.digest(what, ALL)
        place.change(table, (1,), "a", 3)
        place.change(table, (1,), "b", 2)
        assert session.digest(what, ALL) != before


@pytest.mark.parametrize(("old", "new"), [(-1, 4294967295), (4, 4294967301), (5, -5)])
def test_integers_that_hash_alike_elsewhere(place: Place, method: str, old: int, new: int) -> None:
    table = Table("folded", {"id": BIGINT, "n": BIGINT}, ("id",))
    place.make(table, [(1, old)])
    what = place.project(table, method=method)
    with place.session() as session:
        before = session.digest(what, ALL)
        place.change(table, (1,), "n", new)
        assert session.digest(what, ALL) != before


TRIPLE = Table("triple", {"id": BIGINT, "a": BIGINT, "b": LogicalType("int32"), "t": TEXT}, ("id",))


@pytest.mark.parametrize("columns", ["a", "b", "t", "ab", "bt", "abt"])
def test_values_that_change_places_between_rows_change_the_digest(
    place: Place, method: str, columns: str
) -> None:
    """What a sum over linear row hashes is blind to: no column's own values change."""
    place.make(TRIPLE, [(n, n * 3, n * 5, f"{n}") for n in range(1, 9)])
    what = place.project(TRIPLE, method=method)
    values: dict[str, Callable[[int], object]] = {
        "a": lambda n: n * 3,
        "b": lambda n: n * 5,
        "t": str,
    }
    with place.session() as session:
        seen = {session.digest(what, ALL).sum}
        for other in range(2, 9):
            for column in columns:
                place.change(TRIPLE, (1,), column, values[column](other))
                place.change(TRIPLE, (other,), column, values[column](1))
            seen.add(session.digest(what, ALL).sum)
            for column in columns:
                place.change(TRIPLE, (1,), column, values[column](1))
                place.change(TRIPLE, (other,), column, values[column](other))
    assert len(seen) == 8


def test_nulls_and_equal_values_keep_their_columns(place: Place, method: str) -> None:
    """Every way to fill six columns of one type with 0, 1 and NULL hashes differently."""
    names = [f"c{n}" for n in range(6)]
    table = Table("ways", {"id": BIGINT, **dict.fromkeys(names, LogicalType("int32"))}, ("id",))
    ways = list(itertools.product((None, 0, 1), repeat=6))
    place.make(table, [(n, *way) for n, way in enumerate(ways)])
    # Without the key, so that the ways alone tell the rows apart.
    what = place.project(table, method=method)
    with place.session() as session:
        sums = set()
        for n in range(len(ways)):
            alone = replace(what, fields=what.fields[1:])
            sums.add(session.digest(alone, KeyRange((str(n - 1),), (str(n),))).sum)
    assert len(sums) == len(ways)


def test_hashes_by_range_and_by_keys(place: Place) -> None:
    place.make(ITEMS, items(*range(10)))
    what = place.project(ITEMS)
    with place.session() as session:
        ranged = {row.key: row for row in session.hashes(what, KeyRange(("2",), ("5",)))}
        assert sorted(ranged) == [("3",), ("4",), ("5",)]
        picked = {row.key: row for row in session.hashes(what, keys=[("3",), ("5",), ("99",)])}
        assert sorted(picked) == [("3",), ("5",)]
        assert picked["3",].hash == ranged["3",].hash
        assert picked["3",].at == ("3",)
        assert picked["3",].settled is None
        assert list(session.hashes(what, keys=[])) == []
        assert len({row.hash for row in ranged.values()}) == 3
        assert all(len(row.hash) == 32 for row in ranged.values())


def test_hashes_respect_the_filter(place: Place) -> None:
    place.make(ITEMS, items(*range(10)))
    what = place.project(ITEMS, where='"size" >= 50')
    with place.session() as session:
        assert len(list(session.hashes(what, ALL))) == 5
        assert [row.key for row in session.hashes(what, keys=[("1",), ("7",)])] == [("7",)]


def test_settled_tells_what_existed_at_the_mark(place: Place) -> None:
    place.make(ITEMS, items(1, 2))
    what = place.project(ITEMS)
    with place.session() as session:
        with session.snapshot() as mark:
            pass
        assert (mark is not None) == place.dates_rows
        place.change(ITEMS, (2,), "size", 0)
        place.insert(ITEMS.name, items(3))
        told = {("1",): True, ("2",): False, ("3",): False}
        expected = {key: known if place.dates_rows else None for key, known in told.items()}
        assert {row.key: row.settled for row in session.hashes(what, ALL, mark=mark)} == expected
        given = [("1",), ("2",), ("3",)]
        found = session.hashes(what, keys=given, mark=mark)
        assert {row.key: row.settled for row in found} == expected
        with session.purge():
            assert {
                row.key: row.settled for row in session.hashes(what, ALL, mark=mark)
            } == expected


def test_many_keys_at_once(place: Place) -> None:
    place.make(ITEMS, items(*range(300)))
    table = Table("many", {"t": TEXT, "n": BIGINT}, ("t", "n"))
    place.make(table, [(f"{n}'\\%", n) for n in range(300)])
    what = place.project(table)
    with place.session() as session:
        keys = [row.key for row in session.hashes(what, ALL)]
        assert {row.key for row in session.hashes(what, keys=keys)} == set(keys)
        assert set(session.texts(what, keys)) == set(keys)


def test_texts_are_canonical(place: Place) -> None:
    place.make(WIDE, WIDE_ROWS)
    what = place.project(WIDE)
    with place.session() as session:
        found = session.texts(what, [("1",), ("2",), ("9",)])
    assert found["2",] == ("2", *[None] * 15)
    loose = "1.0" if place.tells_scales else f"1.{'0' * 30}"
    durations = place.told(WIDE.columns["clock"]).name == "duration"
    clock = "0/0/86399999999" if durations else "23:59:59.999999"
    numbers = (
        "3:1:1N2:-3" if place.told(WIDE.columns["numbers"]).name == "list" else "[1, null, -3]"
    )
    assert found["1",] == (
        *("1", "1", "-5", "10.50", loose, "0.5", "0.1", "a\té😀", "x", "00ff"),
        *("0044-03-15", clock, "2024-02-29T12:30:00.000001"),
        *("2024-02-29T12:30:00.000001Z", str(UID), numbers),
    )
    assert ("9",) not in found
