"""``dsp drift``: how the tables of a task differ from what its last run found; accepts that."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dsp_airflow.cli import output
from dsp_airflow.cli.approving import acting
from dsp_airflow.cli.granted import require_reading
from dsp_airflow.cli.report import Report, chosen, load
from dsp_airflow.cli.surroundings import log_to_stderr, opener
from dsp_airflow.endpoints import for_step
from dsp_airflow.permissions.needs import source_of


def drift(file: Path, *, job: str | None, accept: bool, as_json: bool) -> None:
    """Shows what changed of each source table, after accepting it as it is."""
    output.stdout()
    report = Report("Drift", as_json=as_json)
    task = load(report, file)
    names = chosen(report, task, job)
    log_to_stderr()
    from dsp_airflow.drifting import drift_of, key_of
    from dsp_airflow.state.codec import dump
    from dsp_airflow.state.database import open_state
    from dsp_airflow.state.shapes import Shapes

    open_store = opener()
    found: list[dict[str, Any]] = []
    with ExitStack() as stack:
        database = stack.enter_context(open_state(create=True))
        for one in task.jobs:
            if one.name not in names or one.type == "restore":
                continue
            require_reading(open_store, [source_of(one)])
            source = for_step(open_store, task.name, one, "drift")(one.source.connection)
            seen = drift_of(database, task.name, one, source)
            key = key_of(task.name, one, source)
            taken = accept and key is not None and seen.shape is not None and bool(seen.found)
            if taken and key is not None and seen.shape is not None:
                Shapes(database).accept(key, seen.shape, acting())
            found.append(
                {
                    "job": one.name,
                    "table": seen.label,
                    "run": seen.known.run if seen.known else None,
                    "known": seen.known is not None,
                    "changes": [{"kind": c.kind, "what": c.told} for c in seen.found],
                    "accepted": taken,
                    # What an acceptance keeps, and under which name.
                    "source": key.source if key else None,
                    "shape": dump(seen.shape) if key and seen.shape else None,
                }
            )
    if as_json:
        output.write_json({"task": task.name, "jobs": found})
        return
    for row in found:
        output.write(f"{row['job']}  {row['table']}  {_told(row)}")


def _told(row: dict[str, Any]) -> str:
    if not row["known"]:
        return "no run has read it yet"
    if not row["changes"]:
        return "as it was"
    told = "; ".join(change["what"] for change in row["changes"])
    return f"{told}{'  accepted' if row['accepted'] else ''}"
