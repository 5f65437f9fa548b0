"""Purges: nothing is final before the commit, and what is deleted was held."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from dsp_airflow.engine.errors import Transient
from dsp_airflow.engine.model import Digest, Projection
from dsp_airflow.engine.stores.mysql.query import execute
from dsp_airflow.engine.stores.mysql.store import MySqlSession
from tests.contract.places import ALL, BIGINT, ITEMS, TEXT, Place, Table, items


def count(taken: Digest | None) -> int:
    assert taken is not None
    return taken.rows


@pytest.fixture
def full(place: Place) -> Place:
    place.make(ITEMS, items(*range(1, 6)))
    return place


def test_take_digests_exactly_what_it_deletes(full: Place) -> None:
    for method in full.methods:
        what = full.project(ITEMS, where='"size" > 20', method=method)
        with full.session() as session:
            expected = session.digest(what, ALL)
            with session.purge() as purge:
                assert purge.take(what, ALL) == expected
                assert expected.rows == 3
    with full.session() as session, session.purge() as purge:
        purge.take(full.project(ITEMS, where='"size" > 20'), ALL)
        purge.commit()
    assert full.rows(ITEMS) == items(1, 2)


def test_leaving_without_commit_changes_nothing(full: Place) -> None:
    what = full.project(ITEMS)
    with full.session() as session, session.purge() as purge:
        purge.take(what, ALL)
        assert full.rows(ITEMS) == items(*range(1, 6))
        token = purge.token()
    assert full.rows(ITEMS) == items(*range(1, 6))
    with full.session() as session:
        assert session.outcome(token) == ended(full, "aborted")
        assert full.may_change(ITEMS, (1,), "size", 0)


def test_an_error_inside_rolls_back(full: Place) -> None:
    def fail() -> None:
        with full.session() as session, session.purge() as purge:
            purge.take(full.project(ITEMS), ALL)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert full.rows(ITEMS) == items(*range(1, 6))


def test_undo_gives_the_locks_back(full: Place) -> None:
    what = full.project(ITEMS)
    with full.session() as session, session.purge() as purge:
        purge.take(what, ALL)
        assert not full.may_change(ITEMS, (1,), "size", 0)
        purge.undo()
        assert full.may_change(ITEMS, (1,), "size", 0)
        assert count(purge.take(what, ALL)) == 5


def test_rows_are_taken_by_key_and_hashed(full: Place) -> None:
    what = full.project(ITEMS, where='"size" > 20')
    with full.session() as session:
        expected = {row.key: row.hash for row in session.hashes(what, ALL)}
        with session.purge() as purge:
            taken = purge.take_keys(what, [(str(n),) for n in range(9)])
            assert {row.key: row.hash for row in taken} == expected
            assert not full.may_change(ITEMS, (4,), "size", 0)
            assert full.may_change(ITEMS, (1,), "size", 0)


def test_only_what_was_asked_is_taken(full: Place) -> None:
    what = full.project(ITEMS)
    with full.session() as session, session.purge() as purge:
        keys = [row.at for row in session.hashes(what, ALL) if row.key != ("3",)]
        assert len(purge.take_keys(what, keys)) == 4
        assert purge.take_keys(what, keys) == []
        assert purge.take_keys(what, []) == []
        assert purge.take_keys(what, [("99",)]) == []
        assert full.rows(ITEMS) == items(*range(1, 6))
        purge.commit()
    assert full.rows(ITEMS) == items(3)


def test_take_undo_take_by_key_commit(full: Place) -> None:
    """The whole way of a batch that is not equal as a whole."""
    what = full.project(ITEMS, where='"size" < 100')
    with full.session() as session, session.purge() as purge:
        assert count(purge.take(what, ALL)) == 5
        purge.undo()
        full.change(ITEMS, (2,), "size", 1000)
        full.change(ITEMS, (3,), "size", 31)
        standing = {row.key: row for row in session.hashes(what, ALL)}
        assert ("2",) not in standing
        keys = [row.at for key, row in standing.items() if key != ("3",)]
        assert len(purge.take_keys(what, keys)) == 3
        assert [row.key for row in session.hashes(what, ALL)] == [("3",)]
        token = purge.token()
        purge.commit()
        assert session.outcome(token) == ended(full, "committed")
    assert [row[0] for row in full.rows(ITEMS)] == [2, 3]


def test_a_proof_waits_for_the_batch_that_is_written(full: Place) -> None:
    """And a batch that is to be written waits for the proof."""
    what = full.project(ITEMS)
    order: list[str] = []
    held = threading.Event()

    def prove() -> None:
        with full.session() as session:
            held.wait()
            with session.proving(what):
                order.append("proved")

    with full.session() as one, full.session() as two, ThreadPoolExecutor(1) as pool:
        with one.writing(what), two.writing(what):
            proof = pool.submit(prove)
            held.set()
            time.sleep(0.2)
            order.append("written")
        proof.result()
        with one.proving(what):
            held.clear()
            late = pool.submit(lambda: _write(full, what, order))
            time.sleep(0.2)
            order.append("purged")
        late.result()
    assert order == ["written", "proved", "purged", "late"]


def test_a_proof_goes_with_its_session(full: Place) -> None:
    what = full.project(ITEMS)
    with full.session() as session, full.session() as other:
        with session.proving(what):
            session.require_proving(what)
        if isinstance(session, MySqlSession) and isinstance(other, MySqlSession):
            with session.proving(what):
                execute(other.connection, f"KILL {session.connection.thread_id()}")
                with pytest.raises(Transient):
                    session.require_proving(what)


def _write(place: Place, what: Projection, order: list[str]) -> None:
    with place.session() as session, session.writing(what):
        order.append("late")


def test_rows_that_appear_later_stay(full: Place) -> None:
    what = full.project(ITEMS)
    with full.session() as session, session.purge() as purge:
        taken = purge.take(what, ALL)
        full.insert(ITEMS.name, items(6))
        assert count(taken) == 5
        purge.commit()
    assert full.rows(ITEMS) == items(6)


def test_composite_and_text_keys(place: Place) -> None:
    table = Table("pairs", {"n": BIGINT, "t": TEXT}, ("t", "n"))
    place.make(table, [(1, "a'b"), (2, "\\"), (3, "%s"), (3, "")])
    what = place.project(table)
    with place.session() as session, session.purge() as purge:
        keys = [row.at for row in session.hashes(what, ALL) if row.key != ("%s", "3")]
        assert len(purge.take_keys(what, keys)) == 3
        purge.commit()
    assert place.rows(table) == [(3, "%s")]


def ended(place: Place, how: str) -> str:
    """How a purge that is through is told of."""
    return how if place.tells_outcomes else "unknown"


def test_outcomes(full: Place) -> None:
    what = full.project(ITEMS)
    with full.session() as other:
        with full.session() as session, session.purge() as purge:
            purge.take(what, ALL)
            token = purge.token()
            assert purge.token() == token
            assert other.outcome(token) == "running"
            purge.commit()
            assert other.outcome(token) == ended(full, "committed")
        assert other.outcome(token) == ended(full, "committed")


def test_outcome_of_a_connection_that_was_lost(full: Place) -> None:
    with full.session() as other:
        with full.session() as session:
            work = session.purge()
            purge = work.__enter__()
            purge.take(full.project(ITEMS), ALL)
            token = purge.token()
            session.close()
            work.__exit__(None, None, None)
        for _ in range(100):
            if other.outcome(token) != "running":
                break
        assert other.outcome(token) == ended(full, "aborted")
    assert full.rows(ITEMS) == items(*range(1, 6))


def test_a_token_nobody_gave_is_not_committed(full: Place) -> None:
    with full.session() as session:
        assert session.outcome("9000000000") in {"aborted", "unknown"}


def test_two_purges_at_once_never_take_a_row_twice(full: Place) -> None:
    what = full.project(ITEMS)

    def run() -> int:
        with full.session() as session, session.purge() as purge:
            try:
                taken = purge.take(what, ALL)
            except Transient:
                return 0
            if taken is None:
                return 0
            purge.commit()
            return taken.rows

    with ThreadPoolExecutor(4) as pool:
        done = [f.result() for f in [pool.submit(run) for _ in range(4)]]
    assert sum(done) == 5
    assert full.rows(ITEMS) == []


def test_fit_tables_are_not_refused(full: Place) -> None:
    with full.session() as session:
        assert session.purge_refusals(full.label(ITEMS.name), ()) == []
        assert session.target_refusals(full.label(ITEMS.name)) == []


def test_fingerprint_changes_with_the_table(full: Place) -> None:
    label = full.label(ITEMS.name)
    with full.session() as session:
        before = session.fingerprint(label)
        full.insert(ITEMS.name, items(9))
        assert session.fingerprint(label) == before
        full.alter(ITEMS)
        assert session.fingerprint(label) != before


def test_same_database(
    place: Place, new_place: Callable[[str], Place], request: pytest.FixtureRequest
) -> None:
    elsewhere = new_place(request.node.callspec.params["place"])
    with place.session() as one, place.session() as two, elsewhere.session() as other:
        assert one.same_database(two)
        # Where names may say the schema, all of a server is one database.
        assert one.same_database(other) == (place.system in {"mysql", "mongodb"})
        assert one.version() == two.version() >= 1
        assert isinstance(one.warnings(), list)


def test_purge_through_a_narrower_projection(full: Place) -> None:
    """Only the mapped columns are hashed; the row goes as a whole."""
    what = full.project(ITEMS)
    narrow = replace(what, fields=what.fields[:2])
    with full.session() as session:
        expected = session.digest(narrow, ALL)
        assert expected != session.digest(what, ALL)
    with full.session() as session, session.purge() as purge:
        assert purge.take(narrow, ALL) == expected
        purge.undo()
        keys = [row.at for row in session.hashes(narrow, ALL)]
        assert len(purge.take_keys(narrow, keys)) == 5
