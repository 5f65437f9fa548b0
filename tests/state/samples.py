"""A planned job and what its phases record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import update

from dsp_airflow.engine.model import (
    Batch,
    BatchSize,
    Checked,
    Claim,
    Column,
    Copied,
    Difference,
    Digest,
    KeyRange,
    LogicalType,
    Origin,
    Plan,
    Projection,
    Purged,
    Receipt,
    Shape,
    Written,
)
from dsp_airflow.engine.ports import Phase
from dsp_airflow.naming import BATCHES as SAMPLE
from dsp_airflow.naming import RUN, TABLE
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.ledger import SqlLedger
from dsp_airflow.state.records import JobState
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.tables import BATCHES, RUNS

ENDS: tuple[JobState, ...] = ("planned", "copying", "copied", "succeeded")
JOB = "flights"
ROWS = 10
BIG = 2**91 + 7
DIFFER = "4 rows differ between source and target"
DRILL = {
    "name": "drill",
    "jobs": [
        {
            "name": "one",
            "type": "restore",
            "target": {"connection": "pg", "table": "t"},
            "drill": {"task": "cold", "job": "one", "percent": 10},
        },
        {"name": "other", "type": "restore", "target": {"connection": "pg", "table": "t"}},
    ],
}
"""A drill of what `ran` archives, and a restore."""


def plan(job: str = JOB) -> Plan:
    kinds = LogicalType("list", element=LogicalType("enum", labels=("ü", "b\x00")))
    columns = (Column("id", LogicalType("int", precision=64), "int8", nullable=False),)
    shape = Shape("public", "flights", (*columns, Column("k", kinds, "k[]")), ("id",))
    side = Projection('"public"."flights"', "public.flights", (), (), where="a < 1")
    return Plan(
        job=job,
        source=side,
        target=side,
        source_shape=shape,
        target_shape=shape,
        create=False,
        ddl=(),
        key=("id",),
        ordered_alike=True,
        wire="binary",
        pairs=(),
        filter="a < 1",
        on_conflict="update",
        batch_size=BatchSize(ROWS),
        max_row_size=64,
        definition="d1",
        rows=5,
    )


def batches(count: int, sampled: Iterable[int] = ()) -> list[Batch]:
    chosen = set(sampled)
    return [
        Batch(n, KeyRange((str(n - 1), "x"), (str(n), "é")), ROWS, n in chosen)
        for n in range(1, count + 1)
    ]


def planned(runs: Runs, count: int, *, percent: float | None = 10.0, job: str = JOB) -> SqlLedger:
    """A ledger of a fresh run with one planned job."""
    run = runs.start("shop", "shop.yaml", {"name": "shop"}, "d" * 64)
    runs.add_job(
        run.id,
        job,
        0,
        source_table="public.flights",
        source_connection="shop_pg",
        source_identity="db:5432/shop",
        purge_mode="manual",
        check_percent=percent,
        check_seed=7,
    )
    ledger = SqlLedger(runs.database, run.id, job)
    ledger.planned(plan(job), batches(count))
    return ledger


def take(ledger: SqlLedger, phase: Phase, only: Iterable[int] | None = None) -> Claim:
    numbers = None if only is None else list(only)
    claim = ledger.claim(phase, numbers)
    assert claim is not None
    return claim


def copied(ignored: int = 0) -> Copied:
    written = Written(
        ROWS,
        ROWS - ignored,
        ignored=ignored,
        others=Digest(1, -BIG, "md5"),
        origin=Origin(Digest(ROWS, BIG, "md5"), "7:8:"),
    )
    return Copied(rows_read=ROWS, written=written, bytes=3 * 2**40, seconds=0.25)


def checked(different: int = 0, reported: int | None = None) -> Checked:
    count = different if reported is None else reported
    found = tuple(
        Difference("changed", (str(n), "é"), ("a",), ("x", None), (None, "y")) for n in range(count)
    )
    return Checked(ROWS, compared=True, different=different, differences=found, note="n")


def purged(ledger: SqlLedger, claim: Claim, kept: int = 0, deleted: int | None = None) -> Purged:
    gone = ROWS - kept if deleted is None else deleted
    within = claim.batch.within
    receipt = Receipt(
        format=1,
        canon=1,
        run=ledger.run,
        task="shop",
        job=ledger.job,
        batch=claim.batch.number,
        source="db:5432/shop public.flights",
        target="wh:5432/wh public.flights",
        after=within.after,
        upto=within.upto,
        filter="a < 1",
        rows=gone,
        kept=kept,
        source_digest=f"md5:{gone}:{BIG}",
        target_digest=f"md5:{gone}:{BIG}",
        definition="d1",
    )
    found = tuple(Difference("changed", (str(n),), reason="since the copy") for n in range(kept))
    return Purged(gone, kept, found, receipt)


def copy_all(ledger: SqlLedger) -> None:
    while claim := ledger.claim("copy"):
        ledger.copied(claim, copied())


def check_all(ledger: SqlLedger) -> None:
    while claim := ledger.claim("check"):
        ledger.checked(claim, checked())


def purge_all(ledger: SqlLedger, kept: int = 0) -> None:
    while claim := ledger.claim("purge"):
        ledger.purging(claim, "{}")
        ledger.purged(claim, purged(ledger, claim, kept))


def ran(
    state: StateDatabase,
    task: str,
    *,
    rows: int,
    until: JobState = "succeeded",
    at: datetime | None = None,
    seconds: float = 1.0,
    **batch: Any,
) -> str:
    """A run of one job with two batches of so many rows; that of the task `cold` is one to S3."""
    kind = "s3" if task == "cold" else "warm"
    target = {"connection": "s3", "bucket": "b", "prefix": "p"} if task == "cold" else {}
    job = {"name": "one", "type": kind, "target": target or {"connection": "dw"}}
    runs = Runs(state)
    run = runs.start(task, "f", {"name": task, "jobs": [job]}, "d" * 64).id
    runs.add_job(run, "one", 0, source_table="t", source_connection="pg", source_identity="db")
    SqlLedger(state, run, "one").planned(plan("one"), batches(2))
    values = {
        "copied_at": at or state.now(),
        "rows_written": rows,
        "bytes": rows * 10,
        "seconds": seconds,
        **batch,
    }
    with state.write() as connection:
        connection.execute(update(BATCHES).where(BATCHES.c.run == run).values(**values))
    for move in ENDS[: ENDS.index(until) + 1] if until in ENDS else (*ENDS[:2], until):
        runs.move(run, "one", move, "it broke" if move == "failed" else None)
    return run


def made_at(state: StateDatabase, run: str, at: datetime) -> None:
    """A run that was made at this time."""
    with state.write() as connection:
        connection.execute(update(RUNS).where(RUNS.c.id == run).values(created_at=at))


def drilled(
    state: StateDatabase, at: datetime, tried: str | None, until: JobState = "succeeded"
) -> str:
    """A drill of an archive, of two batches of five rows; of none, one that found none."""
    runs = Runs(state)
    run = runs.start("drill", "f", DRILL, "d" * 64).id
    made_at(state, run, at)
    if tried is None:
        runs.finish(run, "failed", "nothing to try")
        return run
    its: Mapping[str, Any] = {RUN: tried, SAMPLE: "1-2", TABLE: f"t_{run}"}
    runs.begin(run, {"one": its, "other": {}})
    runs.add_job(run, "one", 0, source_table="t", source_connection="s3", source_identity="s3")
    SqlLedger(state, run, "one").planned(plan("one"), batches(2))
    with state.write() as connection:
        counts = {"rows_written": 5, "rows_checked": 5, "rows_different": 0}
        if until == "failed":
            counts["rows_different"] = 2
        connection.execute(update(BATCHES).where(BATCHES.c.run == run).values(**counts))
    for move in ENDS[: ENDS.index(until) + 1] if until in ENDS else (*ENDS[:2], until):
        runs.move(run, "one", move, DIFFER if move == "failed" else None)
    if until in ("succeeded", "failed", "terminated"):
        runs.finish(run, until)
    return run
