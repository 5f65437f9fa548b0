"""The purge leg. Each purge eats its source table, which is filled anew before the next."""

from __future__ import annotations

import math

from bench import measure, tables
from bench.measure import Contest, Sample
from bench.report import Report
from bench.stage import SOURCE, TARGET, Stage
from bench.tables import EATEN, TABLE

MIN_OF_UNSAFE = 0.9


def measure_purge(stage: Stage, report: Report) -> None:
    rows = stage.rows
    ours, unsafe = Contest("purge", rows), Contest("DELETE by key range, unproved", rows)
    hashed = Contest("the same DELETE, plain hashes of both sides", rows)
    # Planned once, for the size of its batches: both delete by the same ranges.
    _filled(stage)
    _, counts = stage.task(EATEN, purge="manual").step("plan")
    size = math.ceil(rows / counts["batches"])
    measure.alternate(
        stage.rounds,
        [
            (unsafe, lambda: unproved(stage, size)),
            (ours, lambda: _ours(stage)),
            (hashed, lambda: _hashed(stage, size)),
        ],
    )
    report.runs("purge", unsafe, ours, hashed)
    what = f"every row proved, {size:,} rows a batch"
    report.rates("purge", what, ours, unsafe, MIN_OF_UNSAFE)
    report.rates("purge", what, ours, hashed)


def _filled(stage: Stage) -> None:
    stage.execute(SOURCE, tables.create(EATEN))
    stage.execute(TARGET, tables.create(EATEN))
    stage.execute(SOURCE, f"INSERT INTO {EATEN} SELECT * FROM {TABLE} ORDER BY id")


def unproved(stage: Stage, size: int) -> Sample:
    """One transaction a batch, on one connection."""
    return _deleted(stage, size, f"DELETE FROM {EATEN} WHERE {{}};")


def _hashed(stage: Stage, size: int) -> Sample:
    """What a proof costs at least: hashes of what is deleted, and of the other side's rows.

    The table that the source was filled from stands in for the target.
    """
    return _deleted(
        stage,
        size,
        f"BEGIN; WITH d AS (DELETE FROM {EATEN} t WHERE {{}} "
        "RETURNING hash_record_extended(t.*, 0) AS h) SELECT count(*), sum(h) FROM d; "
        f"SELECT count(*), sum(hash_record_extended(t.*, 0)) FROM {TABLE} t WHERE {{}}; COMMIT;",
    )


def _deleted(stage: Stage, size: int, batch: str) -> Sample:
    _filled(stage)
    ranges = [f"id > {after} AND id <= {after + size}" for after in range(0, stage.rows, size)]
    script = stage.folder / "purge.sql"
    script.write_text("\n".join(batch.format(*[within] * 2) for within in ranges))
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
