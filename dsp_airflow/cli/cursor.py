"""``dsp cursor``: how far incremental jobs, and those that go by steps, have come; sets that."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsp_airflow.cli import output
from dsp_airflow.cli.approving import acting
from dsp_airflow.cli.granted import require_reading
from dsp_airflow.cli.report import Report, chosen, load
from dsp_airflow.cli.surroundings import log_to_stderr, opener
from dsp_airflow.endpoints import for_step
from dsp_airflow.engine.errors import BadValue, ConfigError, Refused
from dsp_airflow.permissions.needs import source_of

if TYPE_CHECKING:
    from dsp_airflow.config import Job, Task
    from dsp_airflow.config.stepping import Step
    from dsp_airflow.engine.ports import Store
    from dsp_airflow.state.bounds import Bound
    from dsp_airflow.state.cursors import CursorKey, CursorState
    from dsp_airflow.state.database import StateDatabase


def cursor(file: Path, *, job: str | None, reset: bool, value: str | None, as_json: bool) -> None:
    """Shows where the task's jobs stand that go on where they ended, after changing one."""
    output.stdout()
    report = Report("Cursor", as_json=as_json)
    task = load(report, file)
    names = chosen(report, task, job)
    jobs = [one for one in task.jobs if one.name in names and _goes_on(one)]
    if not jobs:
        raise ConfigError(
            f"task {task.name} has no incremental job{f' {job}' if job else ''}, nor one that goes "
            "by steps"
        )
    if reset and value is not None:
        raise ConfigError("give --reset or --set, not both")
    log_to_stderr()
    from dsp_airflow.state.bounds import Bounds
    from dsp_airflow.state.cursors import Cursors
    from dsp_airflow.state.database import open_state

    open_store = opener()
    with ExitStack() as stack:
        database = stack.enter_context(open_state(create=True))
        if reset or value is not None:
            _change(database, task, jobs, open_store, value)
        cursors = {state.key: state for state in Cursors(database).of_task(task.name)}
        bounds = {state.key: state for state in Bounds(database).of_task(task.name)}
        rows = []
        for one in jobs:
            key = _key(task, one, open_store(one.source.connection))
            found = cursors.get(key) if _step(one) is None else bounds.get(key)
            rows.append(_row(one, key, found))
    _show(task, rows, as_json=as_json)


def _goes_on(job: Job) -> bool:
    return getattr(job, "cursor", None) is not None or _step(job) is not None


def _step(job: Job) -> Step | None:
    found: Step | None = getattr(job, "step", None)
    return found


def _key(task: Task, job: Job, source: Store) -> CursorKey:
    from dsp_airflow.advancing import bound_key, cursor_key

    key = cursor_key(task.name, job, source) or bound_key(task.name, job, source)
    if key is None:
        raise ConfigError(f"job {job.name} is not incremental, and goes by no steps")
    return key


def _change(
    database: StateDatabase,
    task: Task,
    jobs: list[Job],
    open_store: Any,
    value: str | None,
) -> None:
    """One job's cursor. An unfinished run would move it again when it ends."""
    from dsp_airflow.engine.window import column_of
    from dsp_airflow.state.cursors import Cursors
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
    require_reading(open_store, [source_of(job)])
    source = for_step(open_store, task.name, job, "cursor")(job.source.connection)
    key = _key(task, job, source)
    if _step(job) is not None:
        _change_step(database, job, key, source, value)
        return
    cursors = Cursors(database)
    if value is None:
        cursors.reset(key, acting())
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
    cursors.set(key, spelled, acting())


def _change_step(
    database: StateDatabase, job: Job, key: CursorKey, source: Store, value: str | None
) -> None:
    """Where the next step begins; a step of the same size follows."""
    from dsp_airflow.config.stepping import point_text
    from dsp_airflow.engine.stepping import steps_of
    from dsp_airflow.state.bounds import Bounds

    step, bounds = _step(job), Bounds(database)
    if value is None or step is None or job.type == "restore":
        bounds.reset(key, acting())
        return
    with source.session() as session:
        shape = session.describe(job.source.table)
    if shape is None:
        raise ConfigError(f"there is no table {job.source.table}")
    steps = steps_of(job, step, shape, source.dialect)
    try:
        bound = steps.read(value)
    except ValueError as error:
        raise ConfigError(
            f"--set {value!r}: {error}; give one such as {steps.text(steps.at(step.start))}"
        ) from error
    bounds.set(key, steps.text(bound), start=point_text(step.start), by=acting())


def _row(job: Job, key: CursorKey, state: CursorState | Bound | None) -> dict[str, Any]:
    return {
        "job": key.job,
        "mode": "incremental" if _step(job) is None else "step",
        "column": key.column,
        "value": state.value if state else None,
        "run": state.run if state else None,
        "updated_at": state.updated_at if state else None,
        "source": key.source,
    }


def _show(task: Task, rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        output.write_json({"task": task.name, "cursors": rows})
        return
    for row in rows:
        moved = f"moved by {row['run'] or 'hand'} at {row['updated_at']}" if row["value"] else ""
        at = row["value"]
        if row["mode"] == "step":
            at = f"the next step begins at {at or 'step.start: none is through yet'}"
        at = at or "at the beginning: the next run copies everything"
        output.write(f"{row['job']}  {row['column']}  {at}  {moved}".rstrip())
