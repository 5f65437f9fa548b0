"""Rows of 1 MiB: what matters is the memory of our process."""

from __future__ import annotations

from bench import measure, tables
from bench.measure import Contest, Sample
from bench.report import Report
from bench.stage import SOURCE, TARGET, Stage
from bench.tables import LARGE

ROWS = 500
MAX_PEAK = 64


def measure_large(stage: Stage, report: Report, rows: int = ROWS) -> None:
    limit = Contest("psql COPY | psql COPY, binary", rows)
    steps = {name: Contest(name, rows) for name in ("plan", "copy", "check", "purge")}
    entries: list[measure.Entry] = [
        (limit, lambda: _limit(stage, rows)),
        (steps["copy"], lambda: _ours(stage, steps, rows)),
    ]
    measure.alternate(stage.rounds, entries)
    report.runs("large", limit, *steps.values())
    report.rates("large", f"copy of {rows} rows of 1 MiB, 1 worker", steps["copy"], limit)
    for name, contest in steps.items():
        report.limit("large", f"peak memory of {name}", contest.peak_mb or 0, "MB", MAX_PEAK)


def _filled(stage: Stage, rows: int) -> None:
    for database in (SOURCE, TARGET):
        stage.execute(database, tables.create_large())
    stage.execute(SOURCE, tables.fill_large(rows))
    stage.settle()


def _limit(stage: Stage, rows: int) -> Sample:
    _filled(stage, rows)
    sample = stage.run_programs(
        stage.psql(SOURCE, "--command", f"COPY {LARGE} TO STDOUT (FORMAT binary)"),
        stage.psql(TARGET, "--command", f"COPY {LARGE} FROM STDIN (FORMAT binary)"),
    )
    stage.require_rows(TARGET, LARGE, rows)
    return sample


def _ours(stage: Stage, steps: dict[str, Contest], rows: int) -> Sample:
    """All steps; the copy is what is returned."""
    _filled(stage, rows)
    task = stage.task(LARGE, purge="system", check={"percent": 100})
    found: dict[str, Sample] = {}
    for name, contest in steps.items():
        found[name], counts = task.step(name)
        if name != "copy":
            contest.add(found[name])
        if name == "purge" and counts["rows_purged"] != rows:
            raise measure.FailedError(f"{counts['rows_purged']} rows were purged")
    return found["copy"]
