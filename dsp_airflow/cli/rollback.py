"""``dsp rollback``: undoes what a run wrote, and does its work again where that is asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from dsp_airflow.cli import output
from dsp_airflow.cli.approving import acting, gate_for_rollback, gate_for_run
from dsp_airflow.cli.check import existing
from dsp_airflow.cli.errors import text
from dsp_airflow.cli.granted import permit_for
from dsp_airflow.cli.mark import file_of
from dsp_airflow.cli.report import Report, load, reporting
from dsp_airflow.cli.run import Whole, shown
from dsp_airflow.cli.stopping import Stopper
from dsp_airflow.cli.surroundings import log_to_stderr, opener
from dsp_airflow.engine.errors import ConfigError, Rejected

if TYPE_CHECKING:
    from dsp_airflow.config import Task
    from dsp_airflow.state.rollbacks import Rollback
    from dsp_airflow.steps import TaskRun
    from dsp_airflow.undoing import Undo
    from dsp_airflow.undoing_archives import ArchiveUndo


def rollback(
    run_id: str,
    *,
    job: str | None,
    file: Path | None,
    again: bool,
    forget: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Undoes the jobs of a run, the last one first; or forgets what it would be undone by."""
    report = Report("Rollback of run", as_json=as_json)
    with reporting(report), ExitStack() as stack:
        if again and forget:
            raise ConfigError("--forget undoes nothing, so that nothing has to be done again")
        log_to_stderr()
        from dsp_airflow.state.database import open_state
        from dsp_airflow.state.runs import Runs
        from dsp_airflow.state.switches import Switches
        from dsp_airflow.undoing import undo_of, undoable

        stopper = stack.enter_context(Stopper(report))
        database = stack.enter_context(open_state(create=True))
        path = file or file_of(Runs(database).get(run_id).file)
        task = load(report, path)
        watch = shown(task)
        work = existing(database, task, run_id, watch)
        Switches(database).require_online(task.name)
        report.run = work
        work.permit = permit_for(database, task, "rollback")
        names = report.jobs = undoable(work) if job is None else (job,)
        undos = [undo_of(work, name) for name in names]
        if forget:
            for undo in undos:
                undo.forget(acting())
                report.remarks.append(f"Job {undo.name}: what it wrote cannot be undone any more.")
            return
        work.gate = gate_for_rollback(work, names)
        if not yes and sys.stdin.isatty() and sys.stderr.isatty():
            _confirm(undos)
        stopper.attach(work)
        stack.enter_context(watch)
        for undo in undos:
            _undo(work, undo, report)
        work.gate.ended()
        if again:
            _again(stack, work, task, path, report)


def _undo(work: TaskRun, undo: Undo | ArchiveUndo, report: Report) -> None:
    work.pace.before_batch()
    try:
        done = undo.do(acting())
    except BaseException as error:
        report.errors[undo.name] = error
        work.gate.ended(text(error))
        raise
    told = report.more.setdefault("rolled_back", [])
    told.append(_document(done))
    notes = undo.plan.target.notes
    report.remarks.append(
        f"Job {done.job}: {done.removed:,} rows removed, {done.restored:,} set back, {done.kept:,} "
        "kept" + (f"; what those were before is in {notes}" if done.kept and notes else "")
    )
    for one in done.report[:10]:
        report.remarks.append(f"  kept: {', '.join(one['key'])}: {one['why']}")


def _document(done: Rollback) -> dict[str, object]:
    counts = {"removed": done.removed, "restored": done.restored, "kept": done.kept}
    return {"job": done.job, **counts, "rows_kept": list(done.report)}


def _again(stack: ExitStack, work: TaskRun, task: Task, file: Path, report: Report) -> None:
    """A run of its own, of the file as it is now."""
    from dsp_airflow.opening import open_run
    from dsp_airflow.state.rollbacks import Rollbacks

    watch = stack.enter_context(shown(task))
    new = open_run(
        work.database,
        task,
        file.absolute(),
        opener(),
        watch=watch,
        triggered_by=acting(),
        new=True,
    )
    Rollbacks(work.database).link(work.run.id, new.run.id)
    report.act, report.run = f"Run (after the rollback of {work.run.id})", new
    names = report.jobs = tuple(job.name for job in task.jobs)
    new.permit = permit_for(work.database, task)
    new.gate = gate_for_run(new)
    Whole(new, names, watch, report).do()


def _confirm(undos: Sequence[Undo | ArchiveUndo]) -> None:
    """Asks once, with the object and the consequence before the eyes."""
    for undo in undos:
        found = undo.look()
        output.note(
            f"Job {undo.name}: {found.removed:,} rows of {undo.plan.target.label} go, and "
            f"{found.restored:,} get the values that they had before run {undo.work.run.id}; "
            f"{found.changed:,} that others changed since stay"
        )
    sys.stderr.write("Undo it? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise Rejected("not confirmed; nothing was undone")
