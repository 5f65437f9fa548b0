"""The copy leg, and the plan before it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from bench import measure, peers, tables
from bench.measure import Contest, Sample
from bench.report import Report
from bench.stage import SOURCE, TARGET, Stage
from bench.tables import TABLE

MIN_OF_LIMIT = 0.95
MIN_OF_ONE_BATCH = 0.8
MIN_OF_GENERIC = 25
MAX_CPU = 1.7
MAX_PEAK = 64
GENERIC_ROWS = 100_000
FEW_ROWS = 50_000
"""For the slowest."""
MIN_OF_DLT = 10
DLT = (("pyarrow", "parquet"), ("connectorx", "insert_values"), ("sqlalchemy", "default"))
"""Backend and file format. The first is the fastest that takes this table: `parquet` goes through
ADBC. `csv` takes no bytea, and the types of connectorx do not fit ADBC. The last is the default."""


def measure_copy(stage: Stage, report: Report) -> None:
    rows = stage.rows
    few = min(GENERIC_ROWS, rows)
    plan, count = Contest("plan", rows), Contest("count(*)", rows)
    limit = Contest("psql COPY | psql COPY, binary", rows)
    dump = Contest("pg_dump | pg_restore", rows)
    one, two = Contest("1 worker", rows), Contest("2 workers", rows)
    whole, sampled = Contest("one batch of all rows", rows), Contest("check of 10 %", rows)
    generic = Contest(f"GenericTransfer, {few:,} rows", few)
    slow = min(FEW_ROWS, rows)
    stage.execute(SOURCE, tables.create(tables.FEW))
    stage.execute(SOURCE, tables.fill(slow, tables.FEW))
    dlts = [
        (Contest(f"dlt, {backend}, {file_format}, {slow:,} rows", slow), backend, file_format)
        for backend, file_format in DLT
    ]

    def ours(**job: Any) -> Callable[[], Sample]:
        return lambda: _ours(stage, plan, **job)

    measure.alternate(
        stage.rounds,
        [
            (count, lambda: _count(stage)),
            (limit, lambda: relayed(stage)),
            (one, ours(check="none")),
            (whole, ours(check="none", batch_size=rows)),
            (dump, lambda: _dump(stage)),
            (two, ours(check="none", workers=2)),
            (sampled, ours(check={"percent": 10})),
            (generic, lambda: _generic(stage, few)),
            *[
                (contest, functools.partial(peers.dlt, stage, tables.FEW, backend, kind, slow))
                for contest, backend, kind in dlts
            ],
        ],
    )
    report.runs("copy", plan, count, limit, one, whole, dump, two, sampled, generic)
    report.runs("copy", *[contest for contest, *_ in dlts])
    report.times("plan", "cutting the table into batches", plan, count)
    report.rates("copy", "1 worker", one, limit, MIN_OF_LIMIT)
    report.limit("copy", "client CPU per million rows", one.cpu_per_million, "s", MAX_CPU)
    report.limit("copy", "peak memory above imports", one.peak_mb or 0, "MB", MAX_PEAK)
    report.rates("copy", "1 worker, digest of 10 % of the batches (the default)", sampled, limit)
    report.rates("copy", "2 workers", two, limit)
    report.rates("copy", "default batches", one, whole, MIN_OF_ONE_BATCH)
    report.rates("copy", "1 worker", one, dump)
    report.rates("copy", "1 worker", one, generic, MIN_OF_GENERIC)
    for contest, *_ in dlts:
        report.rates("copy", "1 worker", one, contest, MIN_OF_DLT)


def _emptied(stage: Stage) -> None:
    stage.execute(TARGET, tables.create())
    stage.settle()


def _ours(stage: Stage, plan: Contest, **job: Any) -> Sample:
    """The operators of a task file's DAG, one after the other; the copy is what is returned."""
    _emptied(stage)
    task = stage.task(**job)
    planned, _ = task.step("plan")
    if "batch_size" not in job:
        plan.add(planned)
    sample, _ = task.step("copy")
    stage.require_rows(TARGET, TABLE, stage.rows)
    return sample


def relayed(stage: Stage) -> Sample:
    """The whole table through two `psql`."""
    _emptied(stage)
    sample = stage.run_programs(
        stage.psql(SOURCE, "--command", f"COPY {TABLE} TO STDOUT (FORMAT binary)"),
        stage.psql(TARGET, "--command", f"COPY {TABLE} FROM STDIN (FORMAT binary)"),
    )
    stage.require_rows(TARGET, TABLE, stage.rows)
    return sample


def _dump(stage: Stage) -> Sample:
    """Uncompressed, as fits a pipe on one machine."""
    _emptied(stage)
    sample = stage.run_programs(
        [
            *(stage.program("pg_dump"), "--format=custom", "--compress=0", "--data-only"),
            *(f"--table={TABLE}", "--dbname", SOURCE),
        ],
        [stage.program("pg_restore"), "--data-only", "--dbname", TARGET],
    )
    stage.require_rows(TARGET, TABLE, stage.rows)
    return sample


def _generic(stage: Stage, rows: int) -> Sample:
    _emptied(stage)
    arguments = {
        "sql": f"SELECT * FROM {TABLE} WHERE id <= {rows}",
        "destination_table": TABLE,
        "source_conn_id": SOURCE,
        "destination_conn_id": TARGET,
    }
    sample, _ = stage.run_step({"step": "generic", "arguments": arguments})
    stage.require_rows(TARGET, TABLE, rows)
    return sample


def _count(stage: Stage) -> Sample:
    stage.settle()
    return stage.run_programs(stage.psql(SOURCE, "--command", f"SELECT count(*) FROM {TABLE}"))
