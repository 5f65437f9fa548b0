"""What only the memory store has: failures on demand, and a row lock that never waits."""

from __future__ import annotations

from decimal import Decimal

import pytest

from dsp_airflow.engine import canon
from dsp_airflow.engine.errors import BadValue, ConfigError, Denied, Transient
from dsp_airflow.engine.model import BatchSize, Column, Field, LogicalType, Projection
from dsp_airflow.engine.ports import Session
from dsp_airflow.engine.stores.memory import POINTS, Killed, MemoryStore, converted, from_text
from tests.contract.places import ALL, BIG, ITEMS, Leg, MemoryPlace, items
from tests.unit.engine.nasty import CASES, Case


@pytest.fixture
def place() -> MemoryPlace:
    place = MemoryPlace()
    place.make(ITEMS, items(*range(1, 6)))
    return place


def reach(place: MemoryPlace, session: Session, what: Projection, point: str) -> None:
    if point == "describe":
        session.describe(place.label(ITEMS.name))
    elif point == "split":
        session.split(what, BatchSize(2), BIG)
    elif point == "snapshot":
        with session.snapshot():
            pass
    elif point == "read":
        list(session.read(what, ALL, "text", BIG))
    elif point in {"digest", "count"}:
        getattr(session, point)(what, ALL)
    elif point == "hashes":
        list(session.hashes(what, ALL))
    elif point == "texts":
        session.texts(what, [("1",)])
    elif point == "create":
        session.create(place.label("x"), [])
    elif point in {"take", "take_keys", "commit"}:
        with session.purge() as purge:
            purge.take(what, ALL)
            purge.undo()
            purge.take_keys(what, [("1",)])
            purge.commit()


@pytest.mark.parametrize("point", sorted(POINTS - {"session", "write"}))
@pytest.mark.parametrize("kill", [False, True])
def test_every_point_fails_once(place: MemoryPlace, point: str, kill: bool) -> None:
    what = place.project(ITEMS)
    with place.session() as session:
        place.memory.fail(point, kill=kill)
        with pytest.raises(Killed if kill else Transient):
            reach(place, session, what, point)
        with pytest.raises(Transient, match="closed"):
            reach(place, session, what, point)
    assert place.rows(ITEMS) == items(*range(1, 6))
    with place.session() as session:
        reach(place, session, what, point)


def test_session_fails(place: MemoryPlace) -> None:
    place.memory.fail("session", error=Denied("no"))
    with pytest.raises(Denied), place.session():
        pass


def test_read_fails_midway(place: MemoryPlace) -> None:
    place.memory.fail("read", after=3)
    what = place.project(ITEMS)
    with place.session() as session:
        stream = session.read(what, ALL, "text", BIG)
        with pytest.raises(Transient):
            list(stream)
        assert stream.rows < 0


def test_unknown_point(place: MemoryPlace) -> None:
    with pytest.raises(ValueError, match="choose one of"):
        place.memory.fail("nowhere")


@pytest.mark.parametrize("kill", [False, True])
def test_committed_then_died(place: MemoryPlace, kill: bool) -> None:
    leg = Leg(place, MemoryPlace("target"), "text")
    assert isinstance(leg.target, MemoryPlace)
    leg.target.make(ITEMS)
    marker = ("run", "job", 1)
    leg.target.memory.fail("write", kill=kill)
    with pytest.raises(Killed if kill else Transient):
        leg.copy(ITEMS, marker=marker)
    assert leg.target.rows(ITEMS) == []
    leg.target.memory.fail("write", kill=kill, committed=True)
    with pytest.raises(Killed if kill else Transient):
        leg.copy(ITEMS, marker=marker)
    assert leg.target.rows(ITEMS) == items(*range(1, 6))
    assert leg.copy(ITEMS, marker=marker)[0].recovered


@pytest.mark.parametrize("committed", [False, True])
def test_purge_died_at_its_commit(place: MemoryPlace, committed: bool) -> None:
    what = place.project(ITEMS)
    place.memory.fail("commit", kill=True, committed=committed)
    with place.session() as session, session.purge() as purge:
        purge.take(what, ALL)
        token = purge.token()
        with pytest.raises(Killed):
            purge.commit()
    with place.session() as session:
        assert session.outcome(token) == ("committed" if committed else "aborted")
    assert len(place.rows(ITEMS)) == (0 if committed else 5)
    assert place.memory.locks == {}


def test_markers_that_cannot_be_kept(place: MemoryPlace) -> None:
    place.memory.may_mark = False
    with place.session() as session:
        what = place.project(ITEMS)
        assert not session.prepare_markers(what)
        assert session.write_refusals(what, "update", create=False) == []
        assert session.write_refusals(what, "ignore", create=False)


def test_refusals_are_those_the_test_gave() -> None:
    store = MemoryStore()
    place = MemoryPlace()
    place.make(ITEMS)
    store.add_table(place.shape(ITEMS), purge_refusals=["cascades"], target_refusals=["volatile"])
    with store.session() as session:
        assert session.purge_refusals("items", ()) == ["cascades"]
        assert session.target_refusals("main.items") == ["volatile"]


def parsed(case: Case) -> list[str | None]:
    texts = [text for _, _, text in case.values]
    return [canon.python_text(from_text(text, case.kind), case.kind) for text in texts]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_canonical_texts_are_read_back(case: Case) -> None:
    assert parsed(case) == [text for _, _, text in case.values]


CONDITIONS = [
    ('"id" = 3', [3]),
    ("id <> 3 AND size <= 40", [1, 2, 4]),
    ("(\"name\" = 'item 2')", [2]),
    ('("size" > (30)) AND ("id" < 5)', [4]),
    ('"name" IS NULL', []),
    ('"name" IS NOT NULL AND "id" >= 5', [5]),
]


@pytest.mark.parametrize(("where", "numbers"), CONDITIONS)
def test_filters(place: MemoryPlace, where: str, numbers: list[int]) -> None:
    what = place.project(ITEMS, where=where)
    with place.session() as session:
        assert sorted(int(row.key[0]) for row in session.hashes(what, ALL)) == numbers


@pytest.mark.parametrize(
    "where", ["random() < 1", '"id" = "size"', '"nothing" = 1', "id = 1 OR id = 2"]
)
def test_filters_it_does_not_know(place: MemoryPlace, where: str) -> None:
    what = place.project(ITEMS, where=where)
    with place.session() as session, pytest.raises(ConfigError):
        session.count(what, ALL)


def test_values_are_converted_or_refused() -> None:
    def to(value: object, source: str, target: str) -> object:
        return converted(value, LogicalType(source), LogicalType(target), "t")

    assert to(5, "int32", "decimal") == Decimal(5)
    assert to(5, "int32", "string") == "5"
    assert to(Decimal("5.00"), "decimal", "int16") == 5
    for value, source, target in (
        (70000, "int32", "int16"),
        (Decimal("1.5"), "decimal", "int8"),
        ("x", "string", "date"),
    ):
        with pytest.raises(BadValue, match="does not fit"):
            to(value, source, target)


def test_constants_in_a_projection(place: MemoryPlace) -> None:
    what = place.project(ITEMS)
    constant = Field("size", LogicalType("int32"), "int32", "(7)")
    text = Field("name", LogicalType("string"), "string", "'it''s'")
    what = type(what)(what.table, what.label, (what.fields[0], text, constant), what.key)
    with place.session() as session:
        assert session.texts(what, [("1",)]) == {("1",): ("1", "it's", "7")}


def test_dialect() -> None:
    dialect = MemoryStore().dialect
    assert dialect.literal("it's") == "'it''s'"
    assert dialect.literal(None) == "NULL"
    assert dialect.literal(5) == "5"
    assert dialect.quote('a"b') == '"a""b"'
    assert dialect.key_column(Column("a", LogicalType("int64"), "int64")).column == '"a"'
