"""``dsp purge``: deletes batches of a run by hand, each row proved as always."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from dsp_airflow.cli.approving import acting, gate_for_purge
from dsp_airflow.cli.check import existing, planned
from dsp_airflow.cli.errors import text
from dsp_airflow.cli.granted import permit_for
from dsp_airflow.cli.report import Report, chosen, load, reporting
from dsp_airflow.cli.run import expect, shown
from dsp_airflow.cli.stopping import Stopper
from dsp_airflow.cli.surroundings import log_to_stderr
from dsp_airflow.engine.batches import parse_batches
from dsp_airflow.engine.errors import ConfigError, Refused, Rejected

if TYPE_CHECKING:
    from dsp_airflow.config import Task
    from dsp_airflow.state.records import BatchStatus
    from dsp_airflow.steps import TaskRun


def purge(
    file: Path,
    *,
    batches: str,
    job: str | None,
    run_id: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Purges the batches of one job, or with ``all`` of every job that allows it."""
    report = Report("Purge of run", as_json=as_json)
    with reporting(report), ExitStack() as stack:
        task = load(report, file)
        names = purgeable(report, task, job)
        numbers = parse_batches(batches)
        if numbers is not None and len(names) > 1:
            raise ConfigError(
                f"task {task.name} has several jobs to purge; name one with --job: "
                + ", ".join(names)
            )
        log_to_stderr()
        from dsp_airflow.purge_order import in_purge_order
        from dsp_airflow.state.database import open_state
        from dsp_airflow.state.switches import Switches

        stopper = stack.enter_context(Stopper(report))
        database = stack.enter_context(open_state(create=True))
        watch = shown(task)
        work = existing(database, task, run_id, watch)
        Switches(database).require_online(task.name)
        report.run = work
        for name in names:
            planned(work, name)
            within(work, name, numbers)
        work.permit = permit_for(database, task, "purge")
        work.gate = gate_for_purge(work, names, numbers)
        work.by_hand = acting()
        names = tuple(in_purge_order(task, names, work.open_store))
        if not yes and sys.stdin.isatty() and sys.stderr.isatty():
            _confirm(work, names, batches, numbers)
        stopper.attach(work)
        stack.enter_context(watch)
        for name in names:
            work.pace.before_batch()
            expect(
                watch, work, "purge", name, lambda batch: numbers is None or batch.number in numbers
            )
            try:
                work.purge(name, numbers)
            except BaseException as error:
                report.errors[name] = error
                work.gate.ended(text(error))
                raise
        work.gate.ended()


def purgeable(report: Report, task: Task, job: str | None) -> tuple[str, ...]:
    """The jobs to work on, of those whose rows may be deleted."""
    names = chosen(report, task, job)
    allowed = tuple(one.name for one in task.jobs if one.name in names and one.purge != "none")
    if not allowed:
        raise Refused(
            f"{'job ' + job if job else 'task ' + task.name} keeps its rows (purge: none); "
            "write purge: manual into the file and run it anew"
        )
    report.jobs = allowed
    return allowed


def within(work: TaskRun, name: str, numbers: frozenset[int] | None) -> None:
    """A slip in ``--batches`` is told before the job's state knows of a purge."""
    last = next(job.batches for job in work.summary().jobs if job.name == name)
    if numbers is not None and last and max(numbers) > last:
        raise ConfigError(f"job {name} has batches 1 to {last}; there is no batch {max(numbers)}")


def _confirm(
    work: TaskRun, names: Sequence[str], batches: str, numbers: frozenset[int] | None
) -> None:
    """Asks once, with the object and the consequence before the eyes."""
    jobs = {job.name: job for job in work.runs.jobs(work.run.id)}
    for name in names:
        job = jobs[name]
        rows = sum(b.rows for b in work.runs.each_batch(work.run.id, name) if _waits(b, numbers))
        sys.stderr.write(
            f"Job {name}: deletes up to {rows:,} rows (batches: {batches}) of "
            f"{job.source_table} in {job.source_connection} ({job.source_identity}).\n"
        )
    sys.stderr.write("Rows that are not proved in the target are kept. ")
    sys.stderr.write("Deleted rows remain in the target only. Delete them? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise Rejected("not confirmed; nothing was deleted")


def _waits(batch: BatchStatus, numbers: frozenset[int] | None) -> bool:
    if numbers is None:
        return batch.purged_at is None
    return batch.number in numbers and (batch.purged_at is None or bool(batch.rows_kept))
