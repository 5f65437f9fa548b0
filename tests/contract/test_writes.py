"""Writes: idempotent, exact, and never a row that is not of the batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal

import pytest

from dsp_airflow.engine.errors import BadValue, Collision, Mismatch, Refused, Transient
from dsp_airflow.engine.model import Digest, KeyRange, LogicalType, OnConflict, Origin, Written
from tests.contract.places import (
    ALL,
    BIGINT,
    INTEGER,
    ITEMS,
    TEXT,
    Leg,
    Place,
    Row,
    Table,
    items,
    nothing,
)
from tests.contract.test_digests import WIDE, WIDE_ROWS

MARKER = ("run 1", "job's %", 3)


def both(leg: Leg, ours: list[Row], theirs: list[Row] | None = None, table: Table = ITEMS) -> None:
    leg.source.make(table, ours)
    leg.target.make(table, theirs or [])


def counts(written: Written) -> tuple[int, ...]:
    return (
        *(written.rows, written.inserted, written.updated),
        *(written.unchanged, written.ignored),
    )


def assert_range_adds_up(leg: Leg, within: KeyRange, written: Written, sent: Digest) -> None:
    """What the check relies on: the range holds the batch, the others, and what was kept."""
    with leg.target.session() as session:
        standing = session.digest(leg.target.project(ITEMS), within)
    expected = sent + written.others
    if written.instead is not None:
        expected += written.instead
    assert standing == expected


def test_round_trip_of_every_type(leg: Leg) -> None:
    both(leg, WIDE_ROWS, table=WIDE)
    written, sent = leg.copy(WIDE)
    assert counts(written) == (3, 3, 0, 0, 0)
    assert repr(leg.target.rows(WIDE)) == repr(leg.source.rows(WIDE))
    with leg.target.session() as session:
        assert session.digest(leg.target.project(WIDE), ALL) == sent
    again, _ = leg.copy(WIDE)
    assert counts(again) == (3, 0, 0, 3, 0)


def test_round_trip_with_each_row_hash(leg: Leg) -> None:
    both(leg, WIDE_ROWS, table=WIDE)
    for method in leg.source.methods:
        written, sent = leg.copy(WIDE, method=method)
        with leg.target.session() as session:
            assert session.digest(leg.target.project(WIDE, method=method), ALL) == sent
        assert written.others.method == method


def test_nothing_to_copy(leg: Leg) -> None:
    both(leg, [])
    written, sent = leg.copy(ITEMS, marker=MARKER)
    assert counts(written) == (0, 0, 0, 0, 0)
    assert sent.rows == 0


def test_filter_and_range(leg: Leg) -> None:
    both(leg, items(*range(10)))
    written, _ = leg.copy(ITEMS, within=KeyRange(("2",), ("8",)), where='"size" <> 50')
    assert written.rows == 5
    assert leg.target.rows(ITEMS) == items(3, 4, 6, 7, 8)


def test_many_rows(leg: Leg) -> None:
    both(leg, items(*range(3000)))
    written, _ = leg.copy(ITEMS)
    assert written.inserted == 3000
    assert leg.target.rows(ITEMS) == leg.source.rows(ITEMS)


@pytest.mark.parametrize("direct", [True, False])
def test_a_repeated_batch_is_recognised(leg: Leg, direct: bool) -> None:
    both(leg, items(1, 2, 3))
    first, _ = leg.copy(ITEMS, marker=MARKER, direct=direct)
    leg.source.change(ITEMS, (1,), "size", 99)

    def never() -> None:
        pytest.fail("the stream was read")

    again, _ = leg.copy(ITEMS, marker=MARKER, direct=direct, on_start=never, on_conflict="error")
    assert again == replace(first, recovered=True)
    assert not first.recovered
    assert leg.target.rows(ITEMS) == items(1, 2, 3)


def test_markers_tell_runs_jobs_and_batches_apart(leg: Leg) -> None:
    both(leg, items(1))
    run, job, number = MARKER
    for marker in (MARKER, (run, job, number + 1), ("run 2", job, number), (run, "other", number)):
        assert not leg.copy(ITEMS, marker=marker)[0].recovered


def test_forgotten_markers(leg: Leg) -> None:
    both(leg, items(1))
    leg.copy(ITEMS, marker=MARKER)
    leg.copy(ITEMS, marker=("run 2", *MARKER[1:]))
    with leg.target.session() as session:
        session.forget_markers(leg.target.project(ITEMS), *MARKER[:2])
    assert not leg.copy(ITEMS, marker=MARKER)[0].recovered
    assert leg.copy(ITEMS, marker=("run 2", *MARKER[1:]))[0].recovered


def test_a_failed_batch_leaves_no_marker(leg: Leg) -> None:
    both(leg, items(1, 2), items(2))
    with pytest.raises(BadValue):
        leg.copy(ITEMS, marker=MARKER, on_conflict="error")
    leg.target.remove(ITEMS, (2,))
    assert counts(leg.copy(ITEMS, marker=MARKER, on_conflict="error")[0]) == (2, 2, 0, 0, 0)


def test_the_same_batch_by_several_workers_is_written_once(leg: Leg) -> None:
    both(leg, items(*range(200)))
    with leg.target.session() as session:
        session.prepare_markers(leg.target.project(ITEMS))
    with ThreadPoolExecutor(4) as pool:
        done = [
            f.result()[0]
            for f in [
                pool.submit(leg.copy, ITEMS, marker=MARKER, on_conflict="error") for _ in range(4)
            ]
        ]
    assert sorted(written.recovered for written in done) == [False, True, True, True]
    assert {counts(written) for written in done} == {(200, 200, 0, 0, 0)}
    assert leg.target.rows(ITEMS) == items(*range(200))


# 1 new, 2 changed, 3 the same; in the target 4 inside the range and 50 outside.
OURS = items(1, 2, 3)
THEIRS: list[Row] = [(2, "old", -1), *items(3), (4, "theirs", 4), (50, "far", 50)]
WITHIN = KeyRange(None, ("10",))

CONFLICTS: list[tuple[OnConflict, tuple[int, ...], list[Row]]] = [
    ("update", (3, 1, 1, 1, 0), items(1, 2, 3)),
    ("ignore", (3, 1, 0, 0, 2), [*items(1), (2, "old", -1), *items(3)]),
]


@pytest.mark.parametrize(("on_conflict", "expected", "rows"), CONFLICTS)
@pytest.mark.parametrize("ordered_alike", [True, False])
def test_conflicts(
    leg: Leg,
    on_conflict: OnConflict,
    expected: tuple[int, ...],
    rows: list[Row],
    ordered_alike: bool,
) -> None:
    both(leg, OURS, THEIRS)
    written, sent = leg.copy(
        ITEMS, within=WITHIN, on_conflict=on_conflict, ordered_alike=ordered_alike
    )
    assert counts(written) == expected
    assert leg.target.rows(ITEMS) == [*rows, *THEIRS[2:]]
    if ordered_alike:
        assert written.others.rows == 1
        assert_range_adds_up(leg, WITHIN, written, sent)


@pytest.mark.parametrize("direct", [True, False])
def test_conflict_is_an_error_when_asked(leg: Leg, direct: bool) -> None:
    both(leg, OURS, THEIRS)
    with pytest.raises(BadValue, match=r"2.*on_conflict") as error:
        leg.copy(ITEMS, within=WITHIN, on_conflict="error", direct=direct)
    assert "items" in str(error.value)
    assert leg.target.rows(ITEMS) == THEIRS


def test_no_conflict_under_error(leg: Leg) -> None:
    both(leg, OURS, THEIRS[2:])
    written, sent = leg.copy(ITEMS, within=WITHIN, on_conflict="error")
    assert counts(written) == (3, 3, 0, 0, 0)
    assert_range_adds_up(leg, WITHIN, written, sent)


def test_rows_of_others_are_counted_even_when_not_digested(leg: Leg) -> None:
    both(leg, OURS, THEIRS)
    written, _ = leg.copy(ITEMS, within=WITHIN, digest=False)
    assert written.others.rows == 1
    assert written.origin is not None
    assert written.origin.digest is None


def test_origin_is_kept_with_the_marker(leg: Leg) -> None:
    both(leg, OURS)
    first, sent = leg.copy(ITEMS, marker=MARKER)
    again, _ = leg.copy(ITEMS, marker=MARKER)
    assert again.origin is not None
    assert again.origin == first.origin
    assert again.origin.digest == sent


def test_columns_that_are_not_mapped_stay(leg: Leg) -> None:
    both(leg, items(1), [(1, "old", 7)])
    ours, theirs = leg.source.project(ITEMS), leg.target.project(ITEMS)
    with leg.source.session() as source, leg.target.session() as target, source.snapshot():
        written = target.write(
            replace(theirs, fields=theirs.fields[:2]),
            ALL,
            source.read(replace(ours, fields=ours.fields[:2]), ALL, leg.wire, 1000),
            wire=leg.wire,
            on_conflict="update",
            ordered_alike=True,
            origin=Origin(),
            marker=None,
            fence=nothing,
        )
    assert counts(written) == (1, 0, 1, 0, 0)
    assert leg.target.rows(ITEMS) == [(1, "item 1", 7)]


@pytest.mark.parametrize("lie", [-1, 1])
@pytest.mark.parametrize("direct", [True, False])
def test_rows_written_must_be_rows_sent(leg: Leg, lie: int, direct: bool) -> None:
    both(leg, OURS)
    with pytest.raises(Mismatch):
        leg.copy(ITEMS, lie=lie, direct=direct, marker=MARKER)
    assert leg.target.rows(ITEMS) == []
    assert not leg.copy(ITEMS, marker=MARKER)[0].recovered


def test_a_stream_that_fails_leaves_nothing(leg: Leg) -> None:
    both(leg, [*items(*range(500)), (1000, "x" * 5000, 0)])
    for direct in (True, False):
        with pytest.raises(Refused, match="max_row_size"):
            leg.copy(ITEMS, direct=direct, max_row_size=4000, marker=MARKER)
    assert leg.target.rows(ITEMS) == []


def test_a_session_survives_a_refused_batch(leg: Leg) -> None:
    both(leg, items(1), items(1))
    what = leg.target.project(ITEMS)
    with leg.source.session() as source, leg.target.session() as target:

        def write(on_conflict: OnConflict) -> Written:
            return target.write(
                what,
                ALL,
                source.read(leg.source.project(ITEMS), ALL, leg.wire, 1000),
                wire=leg.wire,
                on_conflict=on_conflict,
                ordered_alike=True,
                origin=Origin(),
                marker=None,
                fence=nothing,
            )

        with pytest.raises(BadValue):
            write("error")
        assert counts(write("update")) == (1, 0, 0, 1, 0)


@pytest.mark.parametrize("direct", [True, False])
def test_who_lost_the_batch_writes_nothing(leg: Leg, direct: bool) -> None:
    both(leg, items(1, 2), [(1, "newer", 0)])

    def lost() -> None:
        raise Transient("somebody else took the batch over")

    with pytest.raises(Transient, match="took the batch over"):
        leg.copy(ITEMS, direct=direct, marker=MARKER, fence=lost)
    assert leg.target.rows(ITEMS) == [(1, "newer", 0)]
    assert not leg.copy(ITEMS, marker=MARKER)[0].recovered


def test_null_where_none_is_taken(leg: Leg) -> None:
    leg.source.make(ITEMS, [*items(1), (2, None, 2)])
    leg.target.make(replace(ITEMS, required=("name",)))
    for direct in (True, False):
        with pytest.raises(BadValue, match="name"):
            leg.copy(ITEMS, direct=direct)
    assert leg.target.rows(ITEMS) == []


def test_a_text_that_is_too_long(leg: Leg) -> None:
    leg.source.make(ITEMS, [(1, "four", 1)])
    leg.target.make(
        replace(ITEMS, columns={**ITEMS.columns, "name": LogicalType("string", length=3)})
    )
    for direct in (True, False):
        with pytest.raises(BadValue):
            leg.copy(ITEMS, direct=direct)
    assert leg.target.rows(ITEMS) == []


@pytest.mark.parametrize("on_conflict", ["update", "error", "ignore"])
def test_a_second_unique_index_never_eats_a_row(leg: Leg, on_conflict: OnConflict) -> None:
    leg.source.make(ITEMS, [(1, "same", 1), (2, "new", 2)])
    leg.target.make(replace(ITEMS, unique=(("name",),)), [(9, "same", 9)])
    with pytest.raises(BadValue):
        leg.copy(ITEMS, within=WITHIN, on_conflict=on_conflict, direct=False)
    assert leg.target.rows(ITEMS) == [(9, "same", 9)]


def test_rows_that_appear_during_a_direct_load(leg: Leg) -> None:
    both(leg, items(1, 2))

    def meanwhile() -> None:
        leg.target.insert(ITEMS.name, [(2, "theirs", 0)])

    with pytest.raises(Collision):
        leg.copy(ITEMS, on_start=meanwhile)
    assert leg.target.rows(ITEMS) == [(2, "theirs", 0)]
    assert counts(leg.copy(ITEMS, direct=False)[0]) == (2, 1, 1, 0, 0)
    assert leg.target.rows(ITEMS) == items(1, 2)


def test_a_table_of_its_key_only(leg: Leg) -> None:
    table = Table("only", {"a": BIGINT, "b": TEXT}, key=("a", "b"))
    both(leg, [(1, "x"), (2, "y")], [(1, "x")], table)
    assert counts(leg.copy(table)[0]) == (2, 1, 0, 1, 0)


def test_minus_zero_and_scales_are_updates(leg: Leg) -> None:
    table = Table(
        "exact", {"id": INTEGER, "f": LogicalType("float64"), "d": LogicalType("decimal")}, ("id",)
    )
    both(leg, [(1, -0.0, Decimal("1.00"))], [(1, 0.0, Decimal("1.0"))], table)
    # Unless the store has already made one of them.
    unlike = repr(leg.target.rows(table)) != repr(leg.source.rows(table))
    expected = (1, 0, 1, 0, 0) if unlike else (1, 0, 0, 1, 0)
    assert counts(leg.copy(table)[0]) == expected
    assert repr(leg.target.rows(table)) == repr(leg.source.rows(table))


# Creating


def test_create_what_was_designed(leg: Leg) -> None:
    leg.source.make(WIDE, WIDE_ROWS)
    shape = leg.source.shape(WIDE)
    label = leg.target.label(WIDE.name)
    with leg.target.session() as session:
        designed, ddl = session.design(label, shape.columns, shape.key)
        assert session.describe(label) is None
        session.create(label, ddl)
        found = session.describe(label)
    assert found is not None
    assert found.key == designed.key == shape.key
    assert [(c.name, c.type, c.nullable) for c in found.columns] == [
        (c.name, c.type, c.nullable) for c in designed.columns
    ]
    leg.copy(WIDE)
    assert repr(leg.target.rows(WIDE)) == repr(leg.source.rows(WIDE))


def test_create_by_several_workers_at_once(place: Place) -> None:
    place.make(ITEMS)
    shape = place.shape(ITEMS)
    with place.session() as session:
        _, ddl = session.design(place.label("made"), shape.columns, shape.key)

    def create() -> bool:
        with place.session() as session:
            session.create(place.label("made"), ddl)
            return session.prepare_markers(place.project("made"))

    with ThreadPoolExecutor(8) as pool:
        assert all(f.result() for f in [pool.submit(create) for _ in range(8)])
    assert place.shape("made").key == shape.key


def test_create_leaves_an_existing_table_alone(place: Place) -> None:
    place.make(ITEMS, items(1))
    shape = place.shape(ITEMS)
    with place.session() as session:
        _, ddl = session.design(place.label(ITEMS.name), shape.columns, shape.key)
        session.create(place.label(ITEMS.name), ddl)
    assert place.rows(ITEMS) == items(1)


def test_who_may_write_is_not_refused(place: Place) -> None:
    place.make(ITEMS)
    with place.session() as session:
        for on_conflict in ("update", "ignore", "error"):
            assert session.write_refusals(place.project(ITEMS), on_conflict, create=False) == []
