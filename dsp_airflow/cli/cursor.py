"""``dsp cursor``: how far incremental jobs have come; sets and resets that."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsp_airflow.cli import output
from dsp_airflow.cli.report import Report, chosen, load
from dsp_airflow.cli.surroundings import log_to_stderr, opener
from dsp_airflow.endpoints import for_step
from dsp_airflow.engine.errors import BadValue, ConfigError, Refused

if TYPE_CHECKING:
    from dsp_airflow.config import S3Job, Task, WarmJob
    from dsp_airflow.engine.ports import Store
    from dsp_airflow.state.cursors import CursorKey, Cursors, CursorState
    from dsp_airflow.state.database import StateDatabase


def cursor(file: Path, *, job: str | None, reset: bool, value: str | None, as_json: bool) -> None:
    """Shows the cursors of the task's incremental jobs, after setting or resetting one."""
    output.stdout()
    report = Report("Cursor", as_json=as_json)
    task = load(report, file)
    names = chosen(report, task, job)
    named = [one for one in task.jobs if one.name in names and one.type != "restore"]
    jobs = [one for one in named if one.cursor is not None]
    if not jobs:
        raise ConfigError(f"task {task.name} has no incremental job{f' {job}' if job else ''}")
    if reset and value is not None:
        raise ConfigError("give --reset or --set, not both")
    log_to_stderr()
    from dsp_airflow.state.cursors import Cursors
    from dsp_airflow.state.database import open_state

    open_store = opener()
    with ExitStack() as stack:
        database = stack.enter_context(open_state(create=True))
        cursors = Cursors(database)
        if reset or value is not None:
            _change(database, cursors, task, jobs, open_store, value)
        known = {state.key: state for state in cursors.of_task(task.name)}
        keys = [_key(task, one, open_store(one.source.connection)) for one in jobs]
    _show(task, keys, known, as_json=as_json)


def _key(task: Task, job: WarmJob | S3Job, source: Store) -> CursorKey:
    from dsp_airflow.steps import cursor_key

    key = cursor_key(task.name, job, source)
    if key is None:
        raise ConfigError(f"job {job.name} is not incremental")
    return key


def _change(
    database: StateDatabase,
    cursors: Cursors,
    task: Task,
    jobs: Sequence[WarmJob | S3Job],
    open_store: Any,
    value: str | None,
) -> None:
    """One job's cursor. An unfinished run would move it again when it ends."""
    from dsp_airflow.engine.window import column_of
    from dsp_airflow.state.runs import Runs

    if len(jobs) > 1:
        names = ", ".join(one.name for one in jobs)
        raise ConfigError(f"name one job with --job; task {task.name} has {names}")
    unfinished = Runs(database).latest_unfinished(task.name)
    if unfinished is not None:
        raise Refused(
            f"run {unfinished.id} of task {task.name} is unfinished and will move the cursor when "
            "it ends; finish it first, or begin a new one with dsp run --new"
        )
    (job,) = jobs
    source = for_step(open_store, task.name, job, "cursor")(job.source.connection)
    key = _key(task, job, source)
    if value is None:
        cursors.reset(key)
        return
    with source.session() as session:
        shape = session.describe(job.source.table)
        if shape is None:
            raise ConfigError(f"there is no table {job.source.table}")
        column = column_of(shape, key.column, source.dialect, f"job {job.name}: cursor")
        # The database reads the value: what it cannot read is an error here, not in a run.
        try:
            spelled = session.typed_value(column, value)
        except BadValue as error:
            raise ConfigError(f"--set {value!r}: {error}; give a {column.native}") from error
    cursors.move(key, spelled, None)


def _show(
    task: Task, keys: list[CursorKey], known: dict[CursorKey, CursorState], *, as_json: bool
) -> None:
    rows = []
    for key in keys:
        state = known.get(key)
        rows.append(
            {
                "job": key.job,
                "column": key.column,
                "value": state.value if state else None,
                "run": state.run if state else None,
                "updated_at": state.updated_at if state else None,
                "source": key.source,
            }
        )
    if as_json:
        output.write_json({"task": task.name, "cursors": rows})
        return
    for row in rows:
        moved = f"moved by {row['run'] or 'hand'} at {row['updated_at']}" if row["value"] else ""
        at = row["value"] or "at the beginning: the next run copies everything"
        output.write(f"{row['job']}  {row['column']}  {at}  {moved}".rstrip())
