"""Swaps of jobs that replace their targets, and what speaks against one."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import and_, select, update

from dsp_airflow.state.database import StateDatabase, clock
from dsp_airflow.state.tables import JOBS, RECEIPTS


@dataclass(frozen=True, slots=True)
class Relied:
    """Rows that were deleted because they stood in a table, and the last run that did so."""

    rows: int
    source: str
    run: str


def record(database: StateDatabase, run: str, job: str) -> None:
    """The job's target is the table that it built; the time stays that of the first record."""
    with database.write() as connection:
        connection.execute(
            update(JOBS)
            .where(and_(JOBS.c.run == run, JOBS.c.name == job, JOBS.c.swapped_at.is_(None)))
            .values(swapped_at=clock(connection))
        )


def relied_on(database: StateDatabase, target: str) -> Relied | None:
    """What is gone from a source by the proof of this table (where it is, and its name)."""
    # As JSON it is in the receipt; a text that merely holds it is sorted out below.
    needle = json.dumps(target, ensure_ascii=False)
    rows, source, run = 0, "", ""
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
                rows += receipt["rows"] + gone
                source, run = receipt["source"], receipt["recorded_run"]
    return Relied(rows, source, run) if rows else None
