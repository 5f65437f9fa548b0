"""``dsp plan``: everything a run would do. Connects and reads, and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsp_airflow.cli import output
from dsp_airflow.cli.approving import enforced, foreseen, note_unless_enforced
from dsp_airflow.cli.errors import raise_worst, text
from dsp_airflow.cli.granted import require_reading
from dsp_airflow.cli.report import Report, chosen, load
from dsp_airflow.cli.surroundings import has_state, log_to_stderr, opener
from dsp_airflow.endpoints import for_step
from dsp_airflow.engine.errors import ConfigError, DspError, Refused
from dsp_airflow.permissions.needs import places_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from dsp_airflow.config import Job, Task
    from dsp_airflow.engine.model import Batch, Plan, Shape, Window
    from dsp_airflow.engine.ports import Located, Store
    from dsp_airflow.state.bounds import Bound

_RANGES = 5
"""How many batches are listed by their keys."""


@dataclass(frozen=True, slots=True)
class _Planned:
    job: Job
    plan: Plan | None
    batches: Sequence[Batch]
    error: DspError | None


def plan(file: Path, *, job: str | None, as_json: bool) -> None:
    """Plans each job; one that cannot be planned hides no other."""
    output.stdout()
    report = Report("Plan", as_json=as_json)
    try:
        task = load(report, file)
        names = chosen(report, task, job)
    except Exception as error:
        if as_json:
            output.write_json({"task": report.task, "jobs": [], "error": text(error)})
        raise
    log_to_stderr()
    open_store = opener()
    require_reading(open_store, places_of(task, tuple(task.job(name) for name in names)))
    found = [_planned(file, task, one, open_store) for one in task.jobs if one.name in names]
    whole = [(one.job, one.plan) for one in found if one.plan is not None and one.error is None]
    approval = foreseen(task, whole) if len(whole) == len(task.jobs) else None
    if as_json:
        document = {
            "task": task.name,
            "approval_enforced": enforced(),
            "jobs": [_document(one) for one in found],
        }
        output.write_json(document | ({"approval": approval} if approval else {}))
    else:
        shown = output.console()
        for one in found:
            if one.plan is not None:
                _show(shown, one, one.plan)
        if approval:
            shown.print(
                f"Approval: process {approval['process']}, risk level {approval['level']}, "
                f"decided by {', then '.join(approval['nodes'])}"
            )
    note_unless_enforced()
    errors = [one.error for one in found if one.error is not None]
    raise_worst(errors)


def _planned(file: Path, task: Task, job: Job, open_store: Callable[[str], Store]) -> _Planned:
    from dsp_airflow.config.definition import data_digest
    from dsp_airflow.naming import named
    from dsp_airflow.paths import Given, path_of
    from dsp_airflow.placing import placing

    # A run takes the time from the state database; a plan touches none.
    now = datetime.now(UTC)

    def planned(job: Job) -> tuple[Plan, Sequence[Batch]]:
        values = _resolved(task, job, now)
        others = {other.name: _known(task, other, now) for other in task.jobs}
        whole = named(task, others)
        (own,) = named(task.model_copy(update={"jobs": (job,)}), {job.name: values}).jobs
        path = path_of(whole, own, for_step(open_store, task.name, job, "plan"))
        since, bound = _stands(task, job, path.source)
        with placing(file, job.name):
            taken = _taken(task, job, path.source)
            made, batches = path.plan(Given(values, data_digest(task), since, bound=bound))
            return replace(made, warnings=(*made.warnings, *taken)), batches

    try:
        made, batches = planned(job)
    except Refused as error:
        if job.purge == "none":
            return _Planned(job, None, (), error)
        # What is refused may be the purge alone: then the rest is worth seeing.
        try:
            made, batches = planned(job.model_copy(update={"purge": "none"}))
        except DspError:
            return _Planned(job, None, (), error)
        return _Planned(job, made, batches, error)
    except DspError as error:
        return _Planned(job, None, (), error)
    return _Planned(job, made, batches, None)


def _resolved(task: Task, job: Job, now: datetime) -> dict[str, Any]:
    from dsp_airflow.config.variables import UnresolvedVariableError
    from dsp_airflow.run_variables import Interval, resolved_variables

    try:
        return resolved_variables(task, job, now, Interval()) | _drawn(task, job, now)
    except UnresolvedVariableError as error:
        raise ConfigError(f"job {job.name}: {error}") from error


def _drawn(task: Task, job: Job, now: datetime) -> dict[str, str]:
    """What a drill would try that began now; a run draws its own."""
    from dsp_airflow.config.restores import is_drill

    if not is_drill(job):
        return {}
    from dsp_airflow.drilling import drawn
    from dsp_airflow.state.database import open_state
    from dsp_airflow.state.runs import run_id

    if not has_state():
        raise Refused(f"job {job.name}: nothing to try: there is no state database yet")
    with open_state() as database:
        return drawn(database, job, task.name, run_id(now), now)


def _known(task: Task, job: Job, now: datetime) -> dict[str, Any]:
    """Of another job, whose own plan tells what it lacks."""
    try:
        return _resolved(task, job, now)
    except DspError:
        return {}


def _stands(task: Task, job: Job, source: Located) -> tuple[str | None, Bound | None]:
    """Where the next run begins: of an incremental job, and of one that goes by steps."""
    if getattr(job, "cursor", None) is None and getattr(job, "step", None) is None:
        return None, None
    from dsp_airflow.advancing import bound_of, cursor_key
    from dsp_airflow.state.cursors import Cursors
    from dsp_airflow.state.database import open_state

    if not has_state():
        # No run has made the state database yet; a plan makes nothing.
        return None, None
    key = cursor_key(task.name, job, source)
    with open_state() as database:
        since = None if key is None else Cursors(database).get(key)
        return since, bound_of(database, task.name, job, source)


def _taken(task: Task, job: Job, source: Located) -> list[str]:
    """What changed of the source since the last run, and is taken as it is."""
    from dsp_airflow.drifting import drift_of
    from dsp_airflow.state.database import open_state

    if not has_state():
        return []
    with open_state() as database:
        return drift_of(database, task.name, job, source).require_taken()


def _document(one: _Planned) -> dict[str, Any]:
    from dsp_airflow.engine.plan import as_json

    error = None if one.error is None else text(one.error)
    if one.plan is None:
        return {"name": one.job.name, "plan": None, "error": error}
    return {
        "name": one.job.name,
        "plan": as_json(one.plan),
        "sampled": [batch.number for batch in one.batches if batch.sampled],
        "error": error,
    }


def _show(shown: Console, one: _Planned, plan: Plan) -> None:
    job = one.job
    shown.print(output.table(f"Job {job.name}", ("", " "), _facts(one, plan)))
    columns = ("source", "type", "target", "type", "fit", "note")
    rows = [
        (pair.source, pair.source_type, pair.target, pair.target_type, pair.fit, pair.note)
        for pair in plan.pairs
    ]
    shown.print(output.table("Columns", columns, rows))
    listed = [
        (batch.number, batch.rows, batch.sampled, _key(batch.within.after), _key(batch.within.upto))
        for batch in one.batches[:_RANGES]
    ]
    if listed:
        heads = ("batch", "rows", "compared", "after key", "up to key")
        more = len(one.batches) - len(listed)
        title = "Batches" + (f" (and {more:,} more)" if more else "")
        shown.print(output.table(title, heads, listed, right=("batch", "rows")))
    for statement in (*plan.ddl, *plan.adds):
        shown.print(f"{'Restored as' if plan.archive else 'Creates'}: {statement}")
    for kind, texts in (
        ("Loss", _losses(plan)),
        ("Warning", plan.warnings),
        ("Purge refused", plan.purge_refusals),
    ):
        for each in texts:
            shown.print(f"{kind}: {each}")
    shown.print()


def _facts(one: _Planned, plan: Plan) -> list[tuple[str, str]]:
    job = one.job
    sampled = sum(batch.sampled for batch in one.batches)
    create = " (will be created)" if plan.create else _kind(plan.target_shape)
    if plan.replaces and not plan.create:
        create = " (a new table takes its place)"
    size = plan.batch_size
    limit = f", {_bytes(size.bytes)}" if size.bytes else ""
    return [
        ("source", f"{job.source.connection}: {plan.source.label}{_kind(plan.source_shape)}"),
        (
            "target",
            f"{job.target.connection}: {plan.target.label}{create}",
        ),
        ("key", ", ".join(plan.key) or "none: copied as a whole"),
        *_cursor(plan.window),
        *_steps(plan),
        ("filter", plan.filter or "all rows"),
        ("rows", f"{plan.rows:,} ({_bytes(plan.bytes)} estimated)"),
        ("batches", f"{plan.batches:,} of up to {size.rows:,} rows{limit}"),
        ("on conflict", plan.on_conflict),
        ("relayed as", plan.wire),
        ("check", f"{sampled:,} batches ({job.check.percent:g} %)" if job.check else "none"),
        ("purge", job.purge + _but(plan)),
    ]


def _cursor(window: Window | None) -> list[tuple[str, str]]:
    if window is None:
        return []
    after = "the beginning" if window.after is None else window.after
    return [("cursor", f"{window.column} from {after} to {window.upto or 'nothing yet'}")]


def _steps(plan: Plan) -> list[tuple[str, str]]:
    step = plan.step
    if step is None:
        return []
    waits = f"; it waits: {step.waits}" if step.waits else ""
    return [("step", f"{step}{waits}"), ("next step", step.following)]


def _but(plan: Plan) -> str:
    """What a purge leaves."""
    if plan.source.numbered is None:
        return ""
    return f", but for the row with the newest {plan.source_shape.numbered}"


def _kind(shape: Shape) -> str:
    """Unless it is an ordinary table."""
    if shape.kind == "table":
        return ""
    parts = f" of {shape.parts:,} parts" if shape.parts else ""
    return f" ({shape.kind}{parts})"


def _losses(plan: Plan) -> list[str]:
    mapped = {pair.source for pair in plan.pairs}
    # What a collection's documents hold besides is known of each one only when it is read.
    columns = () if plan.source_shape.open else plan.source_shape.columns
    dropped = [c.name for c in columns if c.name not in mapped]
    lossy = [
        f"{p.source} -> {p.target}: {p.note}; on_loss: {p.on_loss}"
        for p in plan.pairs
        if p.fit == "lossy"
    ]
    return lossy + ([f"not copied: {', '.join(dropped)}"] if dropped else [])


def _key(key: tuple[str, ...] | None) -> str:
    return "" if key is None else ", ".join(key)


def _bytes(size: int) -> str:
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.4g} {unit}"
        amount /= 1024
    return f"{amount:,.4g} TiB"
