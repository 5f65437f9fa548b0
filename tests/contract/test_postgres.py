"""What only PostgreSQL can do to its store: waiting locks, triggers, privileges."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from dsp_airflow.engine.errors import Denied, Mismatch, Transient
from dsp_airflow.engine.model import Dated, LogicalType
from dsp_airflow.engine.stores.postgres import PostgresStore
from tests.contract.places import ALL, BIGINT, ITEMS, Leg, PostgresPlace, Table, items
from tests.servers import Database

SWALLOW = """
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END $$;
CREATE TRIGGER swallow BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION swallow()
"""


@pytest.fixture
def place(pg_db: Database) -> PostgresPlace:
    return PostgresPlace(pg_db)


@pytest.fixture
def pair(place: PostgresPlace) -> Iterator[Leg]:
    from tests.servers import fresh_database

    with fresh_database(place.database.server) as other:
        yield Leg(place, PostgresPlace(other), "binary")


def waiting(place: PostgresPlace) -> bool:
    return bool(place.database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))


def change_while_waited_for(place: PostgresPlace, waiter: threading.Thread) -> None:
    """Changes row 2 in a transaction that ends only when the waiter stands before it."""
    with psycopg.connect(place.database.uri) as other:
        other.execute("UPDATE items SET size = -1 WHERE id = 2")
        # Other transactions begin and end meanwhile: the numbers move on.
        for n in range(5):
            place.insert(ITEMS.name, items(100 + n))
        waiter.start()
        for _ in range(1000):
            if waiting(place):
                break
            time.sleep(0.01)
        other.commit()
    waiter.join()


def test_a_row_that_changes_while_its_lock_is_awaited(place: PostgresPlace) -> None:
    place.make(ITEMS, items(1, 2, 3))
    what = place.project(ITEMS, where='"id" < 50')
    hashes: dict[str, str] = {}

    def take() -> None:
        with place.session() as session, session.purge() as purge:
            for row in purge.take_keys(what, [("1",), ("2",), ("3",)]):
                hashes[row.key[0]] = row.hash

    change_while_waited_for(place, threading.Thread(target=take))
    assert len(hashes) == 3
    with place.session() as session:
        assert {row.key[0]: row.hash for row in session.hashes(what, ALL)} == hashes


def test_a_row_of_a_transaction_younger_than_the_question_is_not_settled(
    place: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between asking where the server's numbers stand and reading the rows, others commit."""
    from dsp_airflow.engine.stores.postgres import proof

    place.make(ITEMS, items(1, 2, 3))
    what = place.project(ITEMS)
    with place.session() as session:
        with session.snapshot() as mark:
            pass
        settled = proof.settled

        def slow(mark: str | None, dated: Dated = "rows") -> str:
            told = settled(mark, dated)
            for n in range(4):
                place.change(ITEMS, (2,), "size", -n)
            return told

        monkeypatch.setattr(proof, "settled", slow)
        found = {row.key[0]: row.settled for row in session.hashes(what, ALL, mark=mark)}
    assert found == {"1": True, "2": False, "3": True}


@pytest.mark.parametrize("on_conflict", ["update", "ignore", "error"])
@pytest.mark.parametrize("direct", [True, False])
def test_a_trigger_that_swallows_rows_is_noticed(pair: Leg, on_conflict: str, direct: bool) -> None:
    pair.source.make(ITEMS, items(1, 2, 3))
    pair.target.make(ITEMS, items(9))
    assert isinstance(pair.target, PostgresPlace)
    pair.target.database.execute(SWALLOW)
    within = replace(ALL, upto=("5",))
    with pytest.raises(Mismatch, match="trigger"):
        pair.copy(ITEMS, within=within, on_conflict=on_conflict, direct=direct)  # type: ignore[arg-type]
    assert pair.target.rows(ITEMS) == items(9)


def limited(place: PostgresPlace, *grants: str) -> PostgresStore:
    """The place as a role sees it that has these privileges only."""
    place.database.execute(
        "DROP ROLE IF EXISTS dsp_limited",
        "CREATE ROLE dsp_limited LOGIN PASSWORD 'x'",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        "GRANT USAGE ON SCHEMA public TO dsp_limited",
        *grants,
    )
    uri = place.database.server.uri(place.database.name, user="dsp_limited", password="x")
    return PostgresStore("limited", conninfo_to_dict(uri))


@pytest.fixture
def drop_role(place: PostgresPlace) -> Iterator[None]:
    yield
    place.database.execute("DROP OWNED BY dsp_limited", "DROP ROLE dsp_limited")


@pytest.mark.usefixtures("drop_role")
def test_markers_that_somebody_else_created(place: PostgresPlace) -> None:
    place.make(ITEMS)
    what = place.project(ITEMS)
    with place.session() as session:
        assert session.prepare_markers(what)
    store = limited(
        place,
        "GRANT SELECT, INSERT, UPDATE ON items TO dsp_limited",
        "GRANT SELECT, INSERT, DELETE ON dsp_commits TO dsp_limited",
    )
    with store.session() as session:
        assert session.write_refusals(what, "ignore", create=False) == []
        assert session.prepare_markers(what)


@pytest.mark.usefixtures("drop_role")
def test_markers_that_may_not_be_created(place: PostgresPlace) -> None:
    place.make(ITEMS)
    what = place.project(ITEMS)
    store = limited(place, "GRANT SELECT, INSERT, UPDATE ON items TO dsp_limited")
    with store.session() as session:
        assert session.write_refusals(what, "update", create=False) == []
        assert "dsp_commits" in session.write_refusals(what, "ignore", create=False)[0]
        assert not session.prepare_markers(what)
        assert session.count(what, ALL) == 0


@pytest.mark.usefixtures("drop_role")
def test_what_may_not_be_read_is_denied(place: PostgresPlace) -> None:
    place.make(ITEMS)
    what = place.project(ITEMS)
    with limited(place).session() as session, pytest.raises(Denied, match="items"):
        session.digest(what, ALL)


def test_a_wrong_password_is_denied(place: PostgresPlace) -> None:
    uri = place.database.server.uri(place.database.name, password="wrong")
    with (
        pytest.raises(Denied, match="password") as error,
        PostgresStore("here", conninfo_to_dict(uri)).session(),
    ):
        pass
    assert "wrong" not in str(error.value)


def test_a_connection_cut_by_the_server_is_transient(place: PostgresPlace) -> None:
    place.make(ITEMS, items(1))
    what = place.project(ITEMS)
    with place.session() as session:
        place.database.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'dsp' AND datname = current_database()"
        )
        with pytest.raises(Transient):
            session.digest(what, ALL)


def test_enum_types_are_created_once_by_several_workers(pair: Leg) -> None:
    """Two tables that share a missing enum type, created at the same moment."""
    assert isinstance(pair.source, PostgresPlace)
    pair.source.database.execute(
        "CREATE TYPE mood AS ENUM ('good', 'bad')",
        *(f"CREATE TABLE t{n} (id bigint PRIMARY KEY, m mood)" for n in range(6)),
    )
    designs = []
    with pair.target.session() as session:
        for n in range(6):
            shape = pair.source.shape(f"t{n}")
            label = pair.target.label(f"t{n}")
            designs.append((label, session.design(label, shape.columns, shape.key)[1]))
    barrier = threading.Barrier(6)

    def create(label: str, ddl: tuple[str, ...]) -> None:
        with pair.target.session() as session:
            barrier.wait()
            session.create(label, ddl)

    with ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(create, *design) for design in designs]:
            future.result()


def test_enums_arrays_and_json_travel(pair: Leg) -> None:
    assert isinstance(pair.source, PostgresPlace)
    assert isinstance(pair.target, PostgresPlace)
    for side in (pair.source, pair.target):
        side.database.execute(
            "CREATE TYPE mood AS ENUM ('good', 'bad')",
            "CREATE TABLE odd (id bigint PRIMARY KEY, m mood, ms mood[], j jsonb, raw json,"
            " padded char(5), matrix int[], reals real[])",
        )
    pair.source.database.execute(
        "INSERT INTO odd VALUES"
        " (1, 'good', '{good,NULL}', '{\"b\": 1.0, \"a\": -1}', '{\"a\" :1}', 'ab',"
        " '{{1,2},{3,4}}', '{-0,NaN}'), (2, NULL, '{}', 'null', 'null', '', '[0:1]={1,2}', NULL)"
    )
    table = Table("odd", {"id": BIGINT, "m": LogicalType("enum")}, ("id",))
    for method in pair.source.methods:
        pair.target.database.execute("TRUNCATE odd")
        _, sent = pair.copy(table, method=method)
        with pair.target.session() as session:
            assert session.digest(pair.target.project(table, method=method), ALL) == sent
        again, _ = pair.copy(table, method=method)
        assert (again.updated, again.unchanged) == (0, 2)
    texts = "SELECT odd::text FROM odd ORDER BY id"
    assert pair.target.database.rows(texts) == pair.source.database.rows(texts)
