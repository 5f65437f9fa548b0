"""Tables that may be the only ones to have rows: a purge has deleted them by the proof of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from dsp_airflow.engine.errors import Refused
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.receipts import parsed, relied_rows, target_digest
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
    delete before it lets go. Asked again and again, it reads no receipt of another table.
    """
    with database.read() as connection:
        # In this order: what is recorded in between is seen twice, and not never.
        about_to = _about_to(connection, target)
        known = [*_recorded(connection, target), *_without_target(connection, target)]
    if not known:
        return about_to
    return Relied(sum(one.rows for one in known), known[-1].source, known[-1].run)


def _recorded(connection: Connection, target: str) -> Iterator[Relied]:
    its = RECEIPTS.c
    rows, last = connection.execute(
        select(func.sum(its.relied), func.max(its.seq)).where(
            its.target == target_digest(target), its.relied > 0
        )
    ).one()
    if last is not None:
        body = json.loads(connection.execute(select(its.body).where(its.seq == last)).scalar_one())
        yield Relied(int(rows), body["source"], body["recorded_run"])


def _without_target(connection: Connection, target: str) -> Iterator[Relied]:
    """By workers of an older version, which were at it while the database was upgraded."""
    rows = connection.execute(
        select(RECEIPTS.c.seq, RECEIPTS.c.body).where(RECEIPTS.c.target.is_(None))
    ).all()
    # Sorted here: a database might read all receipts for their order.
    for row in sorted(rows):
        body = parsed(row.body)
        if body is None:
            raise Refused(
                f"receipt {row.seq} was edited and cannot be read, so it may be one of {target}; "
                "see dsp status --verify"
            )
        if body["target"] == target and (count := relied_rows(body)):
            yield Relied(count, body["source"], body["recorded_run"])


def _about_to(connection: Connection, target: str) -> Relied | None:
    its = BATCHES.c
    intents = connection.execute(
        select(its.run, its.intent)
        .where(its.intent.is_not(None), its.intent.contains(json.dumps(target), autoescape=True))
        .order_by(its.run, its.number)
    ).all()
    for run, intent in intents:
        receipt = json.loads(intent)["purged"]["receipt"]
        if receipt["target"] == target and receipt["rows"]:
            return Relied(receipt["rows"], receipt["source"], run, open=True)
    return None
