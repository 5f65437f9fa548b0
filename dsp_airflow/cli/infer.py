"""``dsp plan --infer``: columns to edit and paste, as the documents of a source suggest them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dsp_airflow.cli import output
from dsp_airflow.cli.granted import require_reading
from dsp_airflow.cli.report import Report, chosen, load
from dsp_airflow.cli.surroundings import log_to_stderr, opener
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.permissions.needs import source_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dsp_airflow.config import Job, Task
    from dsp_airflow.engine.model import Inferred, SeenField
    from dsp_airflow.engine.ports import Store

SAMPLE: Final = 1_000


def infer(file: Path, *, job: str | None, whole: bool, as_json: bool) -> None:
    """Reads documents of each job that has some, and writes what they suggest. Changes nothing."""
    output.stdout()
    task = load(Report("Plan", as_json=as_json), file)
    names = chosen(Report("Plan", as_json=as_json), task, job)
    log_to_stderr()
    open_store = opener()
    jobs = [task.job(name) for name in names]
    require_reading(open_store, [source_of(one) for one in jobs])
    found = {
        one.name: made
        for one in task.jobs
        if one.name in names and (made := _inferred(task, one, open_store, whole)) is not None
    }
    if not found:
        raise ConfigError(
            f"task {task.name}: no job reads documents; columns of tables need no proposal"
        )
    if as_json:
        output.write_json({"task": task.name, "jobs": {n: asdict(i) for n, i in found.items()}})
        return
    for name, made in found.items():
        output.write(proposal(name, made))


def _inferred(
    task: Task, job: Job, open_store: Callable[[str], Store], whole: bool
) -> Inferred | None:
    from dsp_airflow.config.restores import RestoreJob
    from dsp_airflow.engine import mapping
    from dsp_airflow.engine.ports import Infers
    from dsp_airflow.naming import plain
    from dsp_airflow.run_variables import Interval, resolved_variables

    if isinstance(job, RestoreJob):
        return None
    store = open_store(job.source.connection)
    with store.session() as session:
        if not isinstance(session, Infers):
            return None
        shape = session.describe(job.source.table)
        if shape is None:
            raise ConfigError(f"job {job.name}: there is no collection {job.source.table}")
        values = resolved_variables(task, job, datetime.now(UTC), Interval())
        where = mapping.rendered_filter(job, shape, store.dialect, plain(values))
        return session.infer(job.source.table, where, None if whole else SAMPLE)


def proposal(name: str, made: Inferred) -> str:
    """YAML to paste under the job, with what was seen of each field."""
    of = (
        f"all {made.documents:,}"
        if made.looked_at == made.documents
        else (f"{made.looked_at:,} of {made.documents:,}, chosen by chance")
    )
    lines = [f"# Job {name}: columns that documents of {made.label} suggest ({of}). Edit them."]
    lines.append("columns:")
    entries = [_entry(seen, target) for seen, target in _targets(made.fields)]
    width = min(max(map(len, entries), default=0), 80)
    for entry, seen in zip(entries, made.fields, strict=True):
        lines.append(f"{entry:<{width}}  # {_told(seen)}")
    return "\n".join(lines) + "\n"


def _targets(fields: Sequence[SeenField]) -> list[tuple[SeenField, str]]:
    """A column name for each field; none stands there twice."""
    taken = {seen.path for seen in fields if "." not in seen.path and seen.path != "_id"}
    found = []
    for seen in fields:
        plain = "id" if seen.path == "_id" else seen.path.replace(".", "_")
        name, number = plain, 2
        while name in taken and name != seen.path:
            name, number = f"{plain}_{number}", number + 1
        taken.add(name)
        found.append((seen, name))
    return found


def _entry(seen: SeenField, target: str) -> str:
    import yaml

    entry: dict[str, Any] = {"source": seen.path}
    if target != seen.path:
        entry["target"] = target
    entry["type"] = seen.type
    if seen.on_loss != "error":
        entry["on_loss"] = seen.on_loss
    shown = yaml.safe_dump(
        entry, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True
    )
    return f"  - {shown.strip()}"


def _told(seen: SeenField) -> str:
    told = [f"{kind} {count:,}" for kind, count in seen.types.items()]
    if seen.missing:
        told.append(f"missing {seen.missing:,}")
    return ", ".join(told)
