"""The check leg."""

from __future__ import annotations

from bench import measure, peers, tables
from bench.measure import Contest, Sample
from bench.report import Report
from bench.stage import SOURCE, TARGET, Stage, Task
from bench.tables import TABLE

MIN_OF_PLAIN_HASH = 0.8
MIN_OF_RELADIFF = 4
OTHER = f"{TABLE}_undigested"


def measure_check(stage: Stage, report: Report) -> None:
    digested = _copied(stage, TABLE, percent=100)
    bare = _copied(stage, OTHER, percent=None)
    rows = stage.rows
    step = Contest("check of 100 %", rows)
    both = Contest("check of 100 % by hand", rows)
    peer = Contest("sum(hash_record_extended), both sides", rows)
    diff = Contest("reladiff", rows)
    measure.alternate(
        stage.rounds,
        [
            (peer, lambda: _plain(stage)),
            (diff, lambda: peers.reladiff(stage)),
            (step, lambda: _step(stage, digested)),
            (both, lambda: _again(stage, bare)),
        ],
    )
    report.runs("check", peer, step, both, diff)
    report.times("check", "the step: the copy took the digests", step, peer, MIN_OF_PLAIN_HASH)
    report.times("check", "digests of both sides, by batch", both, peer, MIN_OF_PLAIN_HASH)
    report.times("check", "the step: the copy took the digests", step, diff, MIN_OF_RELADIFF)
    report.times("check", "digests of both sides, by batch", both, diff, MIN_OF_RELADIFF)


def _copied(stage: Stage, target: str, *, percent: float | None) -> Task:
    stage.execute(TARGET, tables.create(target))
    check = "none" if percent is None else {"percent": percent}
    task = stage.task(target=target, check=check)
    for name in ("plan", "copy"):
        task.step(name)
    stage.require_rows(TARGET, target, stage.rows)
    return task


def _step(stage: Stage, task: Task) -> Sample:
    """Each time anew, with the digests of the copy."""
    task.reopen_check()
    stage.settle()
    sample, counts = task.step("check")
    if counts["rows_checked"] != stage.rows:
        raise measure.FailedError(f"{counts['rows_checked']} rows were checked")
    return sample


def _again(stage: Stage, task: Task) -> Sample:
    """What ``dsp check`` does after a copy that took no digests: it reads both sides."""
    stage.settle()
    sample, counts = task.step("check_again")
    if counts["rows_checked"] != stage.rows:
        raise measure.FailedError(f"{counts['rows_checked']} rows were checked")
    return sample


def _plain(stage: Stage) -> Sample:
    """One statement a side, one after the other, as the check does it."""
    stage.settle()
    query = f"SELECT count(*), sum(hash_record_extended(t.*, 0)) FROM {TABLE} t"
    first = stage.run_programs(stage.psql(SOURCE, "--command", query))
    second = stage.run_programs(stage.psql(TARGET, "--command", query))
    server = (first.server or 0) + (second.server or 0)
    return Sample(first.seconds + second.seconds, first.cpu + second.cpu, server=server)
