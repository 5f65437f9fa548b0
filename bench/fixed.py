"""Fixed costs: of a batch, and of a task."""

from __future__ import annotations

import functools
import statistics
import subprocess

from bench import measure, tables
from bench.measure import Contest, FailedError, Sample
from bench.report import Report
from bench.stage import JOB, SOURCE, TARGET, Stage

ROWS = 200_000
SIZES = (1_000, 10_000, 100_000)
TABLE = "bench_fixed"
ONE = "bench_one"


def measure_fixed(stage: Stage, report: Report) -> None:
    _batches(stage, report)
    _steps(stage, report)
    _airflow(stage, report)


def _batches(stage: Stage, report: Report) -> None:
    """The same rows in more and more batches: what a batch costs whatever it holds."""
    stage.execute(SOURCE, tables.create(TABLE))
    stage.execute(SOURCE, tables.fill(ROWS, TABLE))
    contests = {size: Contest(f"batches of {size:,} rows", ROWS) for size in SIZES}
    measure.alternate(
        stage.rounds,
        [(c, functools.partial(_copied, stage, size)) for size, c in contests.items()],
    )
    report.runs("fixed", *contests.values())
    counts = [ROWS / size for size in SIZES]
    times = [contest.seconds for contest in contests.values()]
    cpus = [c.cpu_per_million * ROWS / 1e6 for c in contests.values()]
    wall, cpu = (statistics.linear_regression(counts, found).slope for found in (times, cpus))
    rates = ", ".join(f"{c.rate / 1000:,.0f}" for c in contests.values())
    sizes = ", ".join(f"{size // 1000}" for size in SIZES)
    report.note(
        "fixed",
        f"one more batch (fit over batches of {sizes} k rows: {rates} k rows/s)",
        f"{wall * 1000:.1f} ms, {cpu * 1000:.1f} ms CPU",
    )


def _copied(stage: Stage, size: int) -> Sample:
    stage.execute(TARGET, tables.create(TABLE))
    stage.settle()
    task = stage.task(TABLE, check="none", batch_size=size)
    task.step("plan")
    sample, _ = task.step("copy")
    stage.require_rows(TARGET, TABLE, ROWS)
    return sample


def _steps(stage: Stage, report: Report) -> None:
    """Each operator on a table of one row: connections, ledger, catalogs, one batch."""
    stage.execute(SOURCE, tables.create(ONE))
    stage.execute(SOURCE, tables.fill(1, ONE))
    steps = {name: Contest(f"{name} of one row", 1) for name in ("plan", "copy", "check", "purge")}
    for _ in range(stage.rounds):
        stage.execute(SOURCE, tables.create(ONE))
        stage.execute(SOURCE, tables.fill(1, ONE))
        stage.execute(TARGET, tables.create(ONE))
        task = stage.task(ONE, check={"percent": 100}, purge="system")
        for name, contest in steps.items():
            contest.add(task.step(name)[0])
    report.runs("fixed", *steps.values())
    for name, contest in steps.items():
        cpu = contest.cpu_per_million / 1e6
        report.note(
            "fixed",
            f"the operator `{name}` on one row, after imports",
            f"{contest.seconds * 1000:.0f} ms, {cpu * 1000:.0f} ms CPU",
        )


def _airflow(stage: Stage, report: Report) -> None:
    """Whole DAGs by ``dag.test()``: plan, copy and check of one row beside as many empty tasks."""
    _migrate(stage)
    ours, empty = Contest("a task of ours in dag.test()", 1), Contest("an empty task there", 1)
    for _ in range(stage.rounds):
        stage.execute(SOURCE, tables.create(ONE))
        stage.execute(SOURCE, tables.fill(1, ONE))
        stage.execute(TARGET, tables.create(ONE))
        task = stage.task(ONE, check={"percent": 100})
        spec = {"step": "airflow", "file": str(task.file), "job": JOB}
        _, found = stage.run_step(spec)
        ours.add(Sample(*found["ours"]))
        empty.add(Sample(*found["empty"]))
    report.runs("fixed", ours, empty)

    def text(contest: Contest) -> str:
        cpu = contest.cpu_per_million / 1e6
        return f"{contest.seconds * 1000:.0f} ms, {cpu * 1000:.0f} ms CPU"

    report.note(
        "fixed",
        "an Airflow task in dag.test(): mean of plan, copy, check of one row",
        text(ours),
        "an empty Python task",
        text(empty),
    )


def _migrate(stage: Stage) -> None:
    command = [str(measure.PYTHON), "-m", "airflow", "db", "migrate"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=stage.env)
    if done.returncode:
        raise FailedError(f"airflow db migrate: {done.stderr[-2000:]}")
