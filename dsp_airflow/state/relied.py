"""Tables that may be the only ones to have rows: a purge has deleted them by the proof of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select

from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.tables import BATCHES, RECEIPTS


@dataclass(frozen=True, slots=True)
class Relied:
    """Rows that were deleted because they stand in a table, and the last run that did so.

    ``open``: whether they were is not recorded yet.
    """

    rows: int
    source: str
    run: str
    open: bool = False

    def __str__(self) -> str:
        if self.open:
            return (
                f"run {self.run} was about to purge {self.rows:,} rows from {self.source} because "
                "they stand there, and has not recorded whether it did; let it go on first"
            )
        return (
            f"{self.rows:,} rows were purged from {self.source} because they stand there (run "
            f"{self.run} the last), and may stand nowhere else"
        )


def relied_on(database: StateDatabase, target: str) -> Relied | None:
    """What is gone from a source by the proof of this table (where it is, and its name).

    Asked while no purge can prove by it, nothing is missed: one writes down what it is about to
    delete before it lets go.
    """
    # In this order: what is recorded in between is seen twice, and not never.
    about_to = _about_to(database, target)
    rows, source, run = 0, "", ""
    for found in _recorded(database, target):
        rows, source, run = rows + found.rows, found.source, found.run
    return Relied(rows, source, run) if rows else about_to


def _recorded(database: StateDatabase, target: str) -> Iterator[Relied]:
    # As JSON it is in the receipt; a text that merely holds it is sorted out below.
    needle = json.dumps(target, ensure_ascii=False)
    with database.read() as connection:
        bodies = connection.execute(
            select(RECEIPTS.c.body)
            .where(RECEIPTS.c.body.contains(needle, autoescape=True))
            .order_by(RECEIPTS.c.seq)
        ).scalars()
        for body in bodies:
            receipt = json.loads(body)
            # What somebody else removed stands nowhere else either. Older receipts know no such.
            gone = (receipt.get("gone") or {}).get("rows", 0)
            if receipt["target"] == target and receipt["rows"] + gone:
                yield Relied(receipt["rows"] + gone, receipt["source"], receipt["recorded_run"])


def _about_to(database: StateDatabase, target: str) -> Relied | None:
    with database.read() as connection:
        intents = connection.execute(
            select(BATCHES.c.run, BATCHES.c.intent)
            .where(BATCHES.c.intent.contains(json.dumps(target), autoescape=True))
            .order_by(BATCHES.c.run, BATCHES.c.number)
        ).all()
    for run, intent in intents:
        receipt = json.loads(intent)["purged"]["receipt"]
        if receipt["target"] == target and receipt["rows"]:
            return Relied(receipt["rows"], receipt["source"], run, open=True)
    return None
