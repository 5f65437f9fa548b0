"""What was done to the receipts shows."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from dsp_airflow.state import receipts
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.state.runs import Runs
from tests.state import processes
from tests.state.samples import copy_all, planned, purge_all


@pytest.fixture
def ledger(runs: Runs) -> SqlLedger:
    made = planned(runs, 5, percent=None)
    copy_all(made)
    purge_all(made)
    return made


def change(state: StateDatabase, statement: str, **values: Any) -> None:
    with state.write() as connection:
        assert connection.execute(text(statement), values).rowcount >= 1


def test_untouched(ledger: SqlLedger, state: StateDatabase) -> None:
    assert receipts.verify(state) == []
    assert receipts.head(state).seq == 5


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('"rows":10', '"rows":11', ": rows no"),
        ('"kept":0', '"kept":5', ": kept no"),
        ('"task":"shop"', '"task":"shap"', ": task no"),
        ('"definition":"d1"', '"definition":"d2"', ": definition no"),
        ('"filter":"a < 1"', '"filter":"a < 2"', ": filter no"),
        ('"upto":["3"', '"upto":["4"', ": upto no"),
        ('"batch":3', '"batch":4', ": batch no"),
        ('"seq":3', '"seq":9', ": seq no"),
        ("wh:5432", "wx:5432", ""),
        ("{", "[{", ": its body is no JSON object"),
    ],
)
def test_edited_body(
    ledger: SqlLedger, state: StateDatabase, old: str, new: str, field: str
) -> None:
    statement = "UPDATE receipts SET body = replace(body, :old, :new) WHERE seq = 3"
    change(state, statement, old=old, new=new)
    [found] = receipts.verify(state)
    name = f"receipt 3 (run {ledger.run_id}, job flights, batch 3) was edited"
    assert found.startswith(name + field)


@pytest.mark.parametrize(
    "assignment",
    ["job = 'x'", "batch = 4", "created_at = '2020-01-01'", "target = 'x'", "relied = 9"],
)
def test_edited_column(ledger: SqlLedger, state: StateDatabase, assignment: str) -> None:
    if state.is_sqlite:
        assignment = assignment.replace("01-01'", "01-01 00:00:00.000000'")
    change(state, f"UPDATE receipts SET {assignment} WHERE seq = 3")
    found = receipts.verify(state)
    column = assignment.split(" ", maxsplit=1)[0]
    assert f"was edited: {column} differ from its body" in found[0]
    assert "receipt 3 " in found[0]


@pytest.mark.parametrize("seq", [3, 5])
def test_edited_with_a_fitting_hash(ledger: SqlLedger, state: StateDatabase, seq: int) -> None:
    with state.write() as connection:
        row = connection.execute(
            text("SELECT body, previous_hash FROM receipts WHERE seq = :s"), {"s": seq}
        ).one()
        body = row.body.replace('"rows":10', '"rows":99')
        digest = receipts.chained(row.previous_hash, body)
        connection.execute(
            text("UPDATE receipts SET body = :b, hash = :h WHERE seq = :s"),
            {"b": body, "h": digest, "s": seq},
        )
    edited, found = receipts.verify(state)
    assert "was edited: relied differ from its body" in edited
    assert found.startswith(f"receipt {seq} (run {ledger.run_id}, job flights, batch {seq})")
    assert "was rewritten" in found
    assert ": rows no longer match" in found


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        ((1,), ["receipt 1 is missing"]),
        ((2, 3), ["receipts 2 to 3 are missing"]),
        ((5,), ["receipt 5 is missing"]),
        ((1, 2, 3, 4, 5), ["receipts 1 to 5 are missing"]),
    ],
)
def test_deleted(
    ledger: SqlLedger, state: StateDatabase, gone: tuple[int, ...], told: list[str]
) -> None:
    for seq in gone:
        change(state, "DELETE FROM receipts WHERE seq = :seq", seq=seq)
    bare = [f"batch {n} of job flights in run {ledger.run_id} has no receipt" for n in gone]
    assert receipts.verify(state) == told + bare


def test_deleted_with_the_head_turned_back(ledger: SqlLedger, state: StateDatabase) -> None:
    change(state, "DELETE FROM receipts WHERE seq = 5")
    change(
        state,
        "UPDATE receipt_head SET seq = 4, hash = (SELECT hash FROM receipts WHERE seq = 4)",
    )
    assert receipts.verify(state) == [
        f"batch 5 of job flights in run {ledger.run_id} has no receipt"
    ]


def test_reordered(ledger: SqlLedger, state: StateDatabase) -> None:
    change(state, "UPDATE receipts SET seq = 99 WHERE seq = 2")
    change(state, "UPDATE receipts SET seq = 2 WHERE seq = 4")
    change(state, "UPDATE receipts SET seq = 4 WHERE seq = 99")
    found = "\n".join(receipts.verify(state))
    assert f"receipt 2 (run {ledger.run_id}, job flights, batch 4) was moved" in found
    assert f"receipt 4 (run {ledger.run_id}, job flights, batch 2) was moved" in found


def test_other_runs_are_left_out(ledger: SqlLedger, state: StateDatabase) -> None:
    change(state, "UPDATE receipts SET hash = :h WHERE seq = 3", h="0" * 64)
    assert receipts.verify(state, run="another") == []
    assert receipts.verify(state, run=ledger.run_id) != []


def test_eight_processes_make_one_chain(runs: Runs, state: StateDatabase, state_url: str) -> None:
    ledger = planned(runs, 60, percent=None)
    copy_all(ledger)
    processes.together(8, processes.purge_claims, state_url, ledger.run_id, ledger.job)
    assert receipts.verify(state) == []
    assert receipts.head(state).seq == 60
