"""What a batch costs in the state database does not depend on how many there are."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from bench.hollow import HollowStore
from dsp_airflow.config.loading import load_task
from dsp_airflow.engine.ports import Store
from dsp_airflow.opening import open_run
from dsp_airflow.state.database import StateDatabase, open_state
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.state.runs import Runs
from dsp_airflow.web.run_report import run_report
from tests.state.samples import planned

STEPS = ("plan", "copy", "check", "purge")
OF_BATCHES = re.compile(r"\b(?:batches|differences|receipts|receipt_head)\b")


class Statements:
    """Those about batches, with how often each was executed; the others go by the clock."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self.values: dict[str, Any] = {}

    def add(self, text: str, values: Any) -> None:
        if OF_BATCHES.search(text):
            self.counts[text] += 1
            self.values[text] = values

    def __len__(self) -> int:
        return self.counts.total()


@contextmanager
def executed(database: StateDatabase) -> Iterator[Statements]:
    found = Statements()

    def add(_c: Any, _cursor: Any, text: str, values: Any, _context: Any, many: bool) -> None:
        found.add(text, values[0] if many else values)

    event.listen(database.engine, "before_cursor_execute", add)
    yield found
    event.remove(database.engine, "before_cursor_execute", add)


def run(database: StateDatabase, folder: Path, batches: int) -> dict[str, Statements]:
    """A whole run over a table of so many batches; the statements of each of its steps."""
    file = folder / f"of_{batches}.yaml"
    job = {
        "name": "copy",
        "type": "warm",
        "source": {"connection": "source", "table": "public.hollow"},
        "target": {"connection": "target"},
        "check": {"percent": 10},
        "purge": "manual",
    }
    file.write_text(json.dumps({"name": f"of_{batches}", "jobs": [job]}))
    stores: dict[str, Store] = {
        "source": HollowStore("source", batches, holds=True),
        "target": HollowStore("target", batches, holds=False),
    }
    work = open_run(database, load_task(file), file, stores.__getitem__)
    work.begin()
    found = {}
    for step in STEPS:
        with executed(database) as found[step]:
            getattr(work, step)("copy")
    with executed(database) as found["status"]:
        run_report(database, work.task.name, work.run.id)
    assert work.summary().jobs[0].batches_purged == batches
    return found


def test_a_batch_costs_the_same_in_a_long_run(tmp_path: Path) -> None:
    """And no statement about batches looks at those that it is not about."""
    with open_state(f"sqlite:///{tmp_path / 'state.db'}", create=True) as database:
        few, more, many = (run(database, tmp_path, batches) for batches in (2, 12, 112))
        for step in ("copy", "check", "purge"):
            each = (len(more[step]) - len(few[step])) / 10
            assert (len(many[step]) - len(more[step])) / 100 == each, step
        # They are inserted, and read, some hundreds at once.
        assert [len(many[step]) for step in ("plan", "status")] == [
            len(more[step]) for step in ("plan", "status")
        ]
        with database.read() as connection:
            for statements in many.values():
                for text, values in statements.values.items():
                    explained = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)
                    plan = [str(row[3]) for row in explained]
                    assert not [one for one in plan if re.fullmatch(r"SCAN [a-z]+s", one)], text
                    # The next batch is the first that its index gives.
                    sorts = "USE TEMP B-TREE FOR ORDER BY" in plan
                    assert not (sorts and "FROM batches" in text and "LIMIT" in text), text


@pytest.mark.parametrize("numbers", [range(1, 400, 2), [*range(1, 150), *range(200, 400)]])
def test_a_batch_costs_the_same_where_many_are_chosen(runs: Runs, numbers: range) -> None:
    ledger = planned(runs, 400)
    for phase in ("first", "again"):
        with executed(ledger.database) as found:
            claims = [ledger.claim("copy", numbers) for _ in numbers]
        taken = [claim for claim in claims if claim is not None]
        assert [claim.batch.number for claim in taken] == list(numbers), phase
        # Two for each claim, who may be dead, and the parts that have none left.
        assert len(found) <= 3 * len(numbers) + len(numbers) // 50 + 1
        assert ledger.claim("copy", numbers) is None
        assert ledger.waiting("copy", numbers) == len(numbers)
        for claim in taken:
            ledger.release(claim)
        ledger = SqlLedger(ledger.database, ledger.run_id, ledger.job)


def test_one_that_comes_back_is_found(runs: Runs) -> None:
    """Whichever part of many numbers the last claim was in."""
    ledger, numbers = planned(runs, 400), range(1, 400, 2)
    claims = [ledger.claim("copy", numbers) for _ in numbers]
    first = claims[3]
    assert first is not None
    ledger.release(first)
    again = ledger.claim("copy", numbers)
    assert again is not None
    assert again.batch == first.batch
    assert ledger.claim("copy", numbers) is None
