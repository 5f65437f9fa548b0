"""``dsp status``: what the state database knows of runs."""

from __future__ import annotations

import itertools
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dsp_airflow.cli import output
from dsp_airflow.cli.limits import change_document, change_line
from dsp_airflow.cli.report import job_document, show_jobs
from dsp_airflow.cli.steps import step_line, steps_of
from dsp_airflow.engine.errors import Mismatch

if TYPE_CHECKING:
    from dsp_airflow.state.database import StateDatabase
    from dsp_airflow.state.records import BatchDifference, BatchStatus, JobSummary, Run
    from dsp_airflow.state.rollbacks import Rollback
    from dsp_airflow.state.runs import Runs

_DIFFERENCES = 100
"""How many of them a person is shown; ``--json`` gives all that were kept."""
_BATCHES = 200
"""Of a job with more of them a person is shown the remarkable ones, at most so many."""


def status(
    run: str | None,
    *,
    task: str | None,
    limit: int,
    verify: bool,
    differences: bool,
    as_json: bool,
) -> None:
    """A list of runs, one run, or what is wrong with the receipts."""
    output.stdout()
    from dsp_airflow.state.database import open_state
    from dsp_airflow.state.runs import Runs

    with open_state(create=True) as database:
        runs = Runs(database)
        if run is None and task is not None and differences:
            latest = runs.latest(task)
            run = latest.id if latest is not None else None
        if verify:
            _verify(database, run if run is None else runs.get(run).id, as_json=as_json)
        elif run is not None:
            _one(runs, run, differences=differences, as_json=as_json)
        else:
            _list(runs.recent(task, limit), as_json=as_json)


def _verify(database: StateDatabase, run: str | None, *, as_json: bool) -> None:
    from dsp_airflow.state.receipts import head, verify

    found = verify(database, run)
    count = head(database).seq
    if as_json:
        output.write_json({"receipts": count, "problems": found})
    else:
        for one in found:
            output.write(one)
        if not found:
            output.write(f"{count:,} receipts, each as it was written")
    if found:
        raise Mismatch(f"the receipts are not as they were written: {len(found)} findings")


def _one(runs: Runs, run_id: str, *, differences: bool, as_json: bool) -> None:
    from dsp_airflow.standing import standing
    from dsp_airflow.state.limit_changes import LimitChanges
    from dsp_airflow.state.progress import count_differences
    from dsp_airflow.state.rollbacks import Rollbacks

    run, summary = runs.get(run_id), runs.summary(run_id)
    most = None if as_json else _DIFFERENCES
    found = runs.differences(run_id, most=most) if differences else []
    changes = [change_document(change) for change in LimitChanges(runs.database, run.id).all()]
    notes = standing(runs, run)
    undone = Rollbacks(runs.database).of_run(run.id)
    steps = steps_of(runs.database, run, [job.name for job in summary.jobs])
    if as_json:
        document: dict[str, Any] = {
            "task": run.task,
            "run": run.id,
            "state": run.state,
            "jobs": [job_document(job) for job in summary.jobs],
            **_times(run),
            "stop": _stop(run),
            "notes": [asdict(note) for note in notes],
            "limits": changes,
            "steps": steps,
            "rolled_back": [asdict(one) for one in undone],
            "batches": {
                job.name: [_batch(one) for one in runs.each_batch(run_id, job.name)]
                for job in summary.jobs
            },
        }
        if differences:
            document["differences"] = [_difference(one) for one in found]
        output.write_json(document)
        return
    shown = output.console()
    title = f"Run {run.id} of task {run.task}: {run.state}, attempt {run.attempt}"
    show_jobs(shown, title, [job_document(job) for job in summary.jobs])
    for job in summary.jobs:
        if job.error:
            shown.print(f"{job.name}: {job.error}")
    if run.error and not any(job.error for job in summary.jobs):
        shown.print(f"{run.error}")
    if run.stop and run.state == "terminated":
        output.write(f"Terminated: {run.stop}")
    for note in notes:
        output.write(str(note))
    for change in changes:
        output.write(change_line(change))
    for step in steps:
        output.write(step_line(step))
    for one in undone:
        output.write(_undone(one))
    if differences:
        _show_differences(found, count_differences(runs.database, run_id))
        return
    for job in summary.jobs:
        _show_batches(runs, run_id, job)


def _undone(one: Rollback) -> str:
    told = f"Rolled back: {one.job}: {one.removed:,} rows removed, {one.restored:,} set back, "
    told += f"{one.kept:,} kept" if one.ended_at else "and it is not through"
    return told + (f"; done again by run {one.again}" if one.again else "")


def _show_batches(runs: Runs, run: str, job: JobSummary) -> None:
    """All of a few; of many those that somebody may want to look at, and how many others."""
    from dsp_airflow.state.progress import batch_counts

    heads = (
        "batch",
        "state",
        "source data",
        "rows",
        "written",
        "checked",
        "different",
        "purged",
        "kept",
        "note",
    )
    many = job.batches > _BATCHES
    batches = runs.each_batch(run, job.name, remarkable=many)
    shown = list(itertools.islice(batches, _BATCHES))
    rows = [_row(one) for one in shown]
    right = set(heads) - {"state", "source data", "note"}
    output.console().print(output.table(f"Job {job.name}", heads, rows, right=right))
    if many:
        others = batch_counts(runs.database, run, job.name)[0]
        others.subtract(one.state for one in shown)
        others = +others
        told = ", ".join(f"{count:,} {state}" for state, count in sorted(others.items()))
        output.write(f"and {others.total():,} more batches: {told}; --json lists all of them")


def _stop(run: Run) -> dict[str, Any] | None:
    if not run.stop_requested:
        return None
    return {
        "asked_by": run.stop_requested_by,
        "asked_at": run.stop_requested_at,
        "reason": run.stop_reason,
    }


def _row(one: BatchStatus) -> tuple[object, ...]:
    return (
        one.number,
        one.state,
        one.source_data,
        one.rows,
        one.rows_written,
        one.rows_checked,
        one.rows_different,
        one.rows_purged,
        one.rows_kept,
        one.error or _gone(one) or one.check_note,
    )


def _gone(one: BatchStatus) -> str | None:
    return f"{one.rows_gone:,} rows found removed by hand" if one.rows_gone is not None else None


def _show_differences(found: list[BatchDifference], count: int) -> None:
    shown = output.console()
    rows = [
        (
            one.job,
            one.batch,
            one.phase,
            one.difference.kind,
            ", ".join(one.difference.key),
            ", ".join(one.difference.columns),
            one.difference.reason,
            ", ".join(str(value) for value in one.difference.source),
            ", ".join(str(value) for value in one.difference.target),
        )
        for one in found
    ]
    heads = ("job", "batch", "found by", "kind", "key", "columns", "reason", "source", "target")
    title = f"Differences ({count:,})"
    if count > len(rows):
        title += f", the first {len(rows)}; --json gives all"
    shown.print(output.table(title, heads, rows, right=("batch",)))


def _list(found: list[Run], *, as_json: bool) -> None:
    if as_json:
        output.write_json(
            {
                "runs": [
                    {"run": run.id, "task": run.task, "state": run.state, **_times(run)}
                    for run in found
                ]
            }
        )
        return
    if not found:
        output.write("no runs yet")
        return
    heads = ("run", "task", "state", "attempt", "by", "started (UTC)", "ended (UTC)", "error")
    rows = [
        (
            run.id,
            run.task,
            run.state,
            run.attempt,
            run.triggered_by or ("Airflow" if run.external_key else None),
            run.started_at,
            run.ended_at,
            run.error,
        )
        for run in found
    ]
    output.console().print(output.table("", heads, rows, right=("attempt",)))


def _times(run: Run) -> dict[str, Any]:
    return {
        "attempt": run.attempt,
        "file": run.file,
        "triggered_by": run.triggered_by,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "error": run.error,
    }


def _batch(one: BatchStatus) -> dict[str, Any]:
    return {
        name: getattr(one, name)
        for name in (
            "number",
            "state",
            "source_data",
            "rows",
            "sampled",
            "rows_read",
            "rows_written",
            "rows_checked",
            "rows_different",
            "rows_purged",
            "rows_kept",
            "rows_gone",
            "holder",
            "error",
        )
    } | {"after": one.within.after, "upto": one.within.upto}


def _difference(one: BatchDifference) -> dict[str, Any]:
    return {"job": one.job, "batch": one.batch, "phase": one.phase, **asdict(one.difference)}
