"""The purge leg. Each purge eats its source table, which is filled anew before the next."""

from __future__ import annotations

import math

from bench import measure, tables
from bench.measure import Contest, Sample
from bench.report import Report
from bench.stage import SOURCE, TARGET, Stage
from bench.tables import TABLE

MIN_OF_UNSAFE = 0.9
EATEN = f"{TABLE}_purged"


def measure_purge(stage: Stage, report: Report) -> None:
    rows = stage.rows
    ours, unsafe = Contest("purge", rows), Contest("DELETE by key range, unproved", rows)
    # Planned once, for the size of its batches: both delete by the same ranges.
    _filled(stage)
    _, counts = stage.task(EATEN, purge="manual").step("plan")
    size = math.ceil(rows / counts["batches"])
    measure.alternate(
        stage.rounds,
        [(unsafe, lambda: _unsafe(stage, size)), (ours, lambda: _ours(stage))],
    )
    report.runs("purge", unsafe, ours)
    report.rates("purge", f"every row proved, {size:,} rows a batch", ours, unsafe, MIN_OF_UNSAFE)


def _filled(stage: Stage) -> None:
    stage.execute(SOURCE, tables.create(EATEN))
    stage.execute(TARGET, tables.create(EATEN))
    stage.execute(SOURCE, f"INSERT INTO {EATEN} SELECT * FROM {TABLE} ORDER BY id")


def _unsafe(stage: Stage, size: int) -> Sample:
    """One transaction a batch, on one connection."""
    _filled(stage)
    script = stage.folder / "purge.sql"
    script.write_text(
        "\n".join(
            f"DELETE FROM {EATEN} WHERE id > {after} AND id <= {after + size};"
            for after in range(0, stage.rows, size)
        )
    )
    stage.settle()
    sample = stage.run_programs(stage.psql(SOURCE, "--file", str(script)))
    stage.require_rows(SOURCE, EATEN, 0)
    return sample


def _ours(stage: Stage) -> Sample:
    _filled(stage)
    stage.settle()
    task = stage.task(EATEN, purge="system", check={"percent": 10})
    for name in ("plan", "copy", "check"):
        task.step(name)
    stage.settle()
    sample, counts = task.step("purge")
    if counts["rows_purged"] != stage.rows:
        raise measure.FailedError(f"{counts['rows_purged']} rows were purged")
    stage.require_rows(SOURCE, EATEN, 0)
    return sample
