"""Whether anything was purged by the proof of a table, asked as often as rows are deleted there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import event, insert, select, text

from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.model import Gone
from dsp_airflow.state import receipts, schema
from dsp_airflow.state.database import StateDatabase, upgrade
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.state.relied import Relied, relied_on
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.tables import BATCHES, RECEIPTS
from tests.state.samples import ROWS, copy_all, planned, purged, take

SOURCE = "db:5432/shop public.flights"
TARGETS = {
    1: "wh:5432/wh public.flights",
    2: "wh:5432/wh public.Flüge_数据",
    3: "wh:5432/wh " + "a" * 4000,
    4: "wh:5432/wh public.all_kept",
}


def record(ledger: SqlLedger, number: int, target: str, gone: int | None = None) -> None:
    """The purge of a batch; or, with ``gone``, what somebody removed by hand."""
    claim = take(ledger, "purge", [number])
    done = purged(ledger, claim, kept=ROWS if target.endswith("kept") else 0)
    receipt = replace(done.receipt, target=target)
    if gone is not None:
        receipt = replace(receipt, rows=0, gone=Gone(gone, "ann"))
    ledger.purging(claim, json.dumps({"purged": {"receipt": {"target": target, "rows": 7}}}))
    ledger.purged(claim, replace(done, receipt=receipt))


@pytest.fixture
def ledger(runs: Runs) -> SqlLedger:
    made = planned(runs, 8, percent=None)
    copy_all(made)
    for number, target in TARGETS.items():
        record(made, number, target)
    record(made, 5, TARGETS[1])
    record(made, 6, TARGETS[2], gone=4)
    return made


def test_what_relies_on_which_target(ledger: SqlLedger, state: StateDatabase) -> None:
    found = {number: relied_on(state, target) for number, target in TARGETS.items()}
    run = ledger.run_id
    assert found == {
        1: Relied(2 * ROWS, SOURCE, run),
        2: Relied(ROWS + 4, SOURCE, run),
        3: Relied(ROWS, SOURCE, run),
        4: None,
    }
    for other in ("wh:5432/wh public.flight", "WH:5432/wh public.flights", "%", ""):
        assert relied_on(state, other) is None
    claim = take(ledger, "purge", [7])
    about = {"purged": {"receipt": {"target": TARGETS[4], "rows": 7, "source": SOURCE}}}
    ledger.purging(claim, json.dumps(about))
    assert relied_on(state, TARGETS[4]) == Relied(7, SOURCE, run, open=True)


def migrate(state: StateDatabase, act: Callable[[Config, str], None], revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    with state.write() as connection:
        config.attributes["connection"] = connection
        act(config, revision)


def test_receipts_from_before_are_found_and_their_chain_is_as_it_was(
    ledger: SqlLedger, state: StateDatabase, empty_url: str
) -> None:
    before = {target: relied_on(state, target) for target in TARGETS.values()}
    with state.read() as connection:
        rows = connection.execute(select(RECEIPTS).order_by(RECEIPTS.c.seq)).all()
    head = receipts.head(state)
    migrate(state, command.downgrade, "0010")
    with state.read() as connection:
        old = connection.execute(text("SELECT * FROM receipts")).mappings().first()
    assert old is not None
    assert "target" not in old
    upgrade(empty_url)
    assert {target: relied_on(state, target) for target in TARGETS.values()} == before
    with state.read() as connection:
        assert connection.execute(select(RECEIPTS).order_by(RECEIPTS.c.seq)).all() == rows
    assert receipts.head(state) == head
    assert receipts.verify(state) == []


def test_workers_of_an_older_version_are_heard(ledger: SqlLedger, state: StateDatabase) -> None:
    """While the database was upgraded they were at it, and knew no columns but the body."""
    before = [relied_on(state, target) for target in TARGETS.values()]
    with state.write() as connection:
        connection.execute(text("UPDATE receipts SET target = NULL, relied = NULL WHERE seq > 1"))
    assert [relied_on(state, target) for target in TARGETS.values()] == before
    assert receipts.verify(state) == []
    with state.write() as connection:
        connection.execute(text("UPDATE receipts SET body = '[' WHERE seq = 4"))
    with pytest.raises(Refused, match="receipt 4 was edited"):
        relied_on(state, TARGETS[1])


def rows_read(cursor: Any) -> int:
    """By this session of PostgreSQL, of all tables, so far."""
    with cursor.connection.cursor() as asking:
        asking.execute(
            "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)) "
            "FROM pg_stat_xact_user_tables"
        )
        return int(asking.fetchone()[0] or 0)


@contextmanager
def work_of(state: StateDatabase) -> Iterator[list[int]]:
    """Of each statement: the rows that PostgreSQL read, or the steps that SQLite took."""
    found: list[int] = []
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    def before(_c: Any, cursor: Any, *_: Any) -> None:
        nonlocal steps
        steps = 0 if state.is_sqlite else -rows_read(cursor)
        if state.is_sqlite:
            cursor.connection.set_progress_handler(step, 1)

    def after(_c: Any, cursor: Any, *_: Any) -> None:
        if state.is_sqlite:
            cursor.connection.set_progress_handler(None, 1)
        found.append(steps if state.is_sqlite else steps + rows_read(cursor))

    event.listen(state.engine, "before_cursor_execute", before)
    event.listen(state.engine, "after_cursor_execute", after)
    try:
        yield found
    finally:
        event.remove(state.engine, "before_cursor_execute", before)
        event.remove(state.engine, "after_cursor_execute", after)


def test_receipts_of_other_targets_cost_nothing(ledger: SqlLedger, state: StateDatabase) -> None:
    with work_of(state) as few:
        assert relied_on(state, "wh:5432/wh public.another") is None
    with state.write() as connection:
        (receipt,) = connection.execute(select(RECEIPTS).where(RECEIPTS.c.seq == 1)).mappings()
        more = [{**receipt, "seq": number} for number in range(100, 3100)]
        connection.execute(insert(RECEIPTS), more)
        (batch,) = connection.execute(select(BATCHES).where(BATCHES.c.number == 1)).mappings()
        connection.execute(insert(BATCHES), [{**batch, "number": n} for n in range(100, 3100)])
    with state.write() as connection:
        connection.execute(text("ANALYZE"))
    with work_of(state) as many:
        assert relied_on(state, "wh:5432/wh public.another") is None
    assert len(many) == len(few)
    # Of few rows a database may read all, and pass over an index.
    assert max(many) <= 2 * max(few)
    # It is no test of that unless a look at all of them shows.
    with work_of(state) as all_of_them, state.read() as connection:
        connection.execute(text("SELECT count(*) FROM receipts WHERE body LIKE '%x%'"))
    assert max(all_of_them) > 3000
