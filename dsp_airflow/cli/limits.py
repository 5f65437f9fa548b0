"""``dsp limits``: what a run's jobs are held to, and changing that while they work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dsp_airflow.cli import output
from dsp_airflow.cli.approving import acting
from dsp_airflow.cli.named import run_of
from dsp_airflow.engine.errors import ConfigError

if TYPE_CHECKING:
    from dsp_airflow.state.limit_changes import LimitChange
    from dsp_airflow.state.records import Run


def limits(
    named: str, given: Mapping[str, str | None], *, job: str | None, clear: bool, as_json: bool
) -> None:
    """Shows the limits of a run, after changing them where something is given."""
    output.stdout()
    wanted = {name: text for name, text in given.items() if text is not None}
    if clear and wanted:
        raise ConfigError("give --clear, or limits, not both")
    changes = {name: _value(name, text) for name, text in wanted.items()}
    from dsp_airflow.state.database import open_state
    from dsp_airflow.state.limit_changes import LimitChanges
    from dsp_airflow.state.runs import Runs

    with open_state(create=True) as database:
        run = run_of(Runs(database), named)
        known = LimitChanges(database, run.id)
        _require_job(run, job)
        if clear:
            known.clear(job, acting())
        elif changes:
            known.set(job, changes, acting())
        shown = [_row(one, known.of(one["name"])) for one in run.definition["jobs"]]
        changed = [change_document(change) for change in known.all()]
    if as_json:
        document = {"task": run.task, "run": run.id, "limits": shown, "changes": changed}
        output.write_json(document)
        return
    heads = ("job", "rows_per_second", "bytes_per_second", "window")
    rows = [[one["job"], *(one[name] for name in heads[1:])] for one in shown]
    title = f"Limits of run {run.id} of task {run.task}"
    output.console().print(output.table(title, heads, rows, right=heads[1:3]))
    for change in changed:
        output.write(change_line(change))


def change_document(change: LimitChange) -> dict[str, Any]:
    """One change, for JSON."""
    return {
        "job": change.job,
        "limits": dict(change.limits),
        "changed_by": change.changed_by,
        "changed_at": change.changed_at,
    }


def change_line(change: Mapping[str, Any]) -> str:
    """One change, in words."""
    of = f"job {change['job']}" if change["job"] else "every job"
    parts = [f"{name} {_none(value)}" for name, value in change["limits"].items()]
    what = ", ".join(parts) or "as in the task file"
    by = f"by {change['changed_by'] or 'somebody'} at {change['changed_at']:%Y-%m-%d %H:%M:%S} UTC"
    return f"Limits of {of} changed {by}: {what}"


def _none(value: object) -> object:
    return "none" if value is None else value


def _value(name: str, text: str) -> str | int | None:
    from dsp_airflow.limits import limit_value

    value = int(text) if text.isascii() and text.isdigit() else text
    try:
        return None if text == "none" else limit_value(name, value)
    except ConfigError as error:
        option = f"--{name.replace('_', '-')} {text!r}"
        raise ConfigError(str(error).replace(f"{name} {value!r}", option, 1)) from error


def _require_job(run: Run, job: str | None) -> None:
    names = [one["name"] for one in run.definition["jobs"]]
    if job is not None and job not in names:
        raise ConfigError(f"task {run.task} has no job {job!r}; it has {', '.join(names)}")


def _row(job: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    from dsp_airflow.limits import limits_now

    return {"job": job["name"], **limits_now(job, changes)}
