"""How a run stands: who stops it, what it waits for, and whether anybody is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsp_airflow.config.hours import parse_window
from dsp_airflow.limits import closed_until
from dsp_airflow.state.limit_changes import LimitChanges
from dsp_airflow.state.records import Run
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.stops import silent_since


@dataclass(frozen=True, slots=True)
class Note:
    """What a person should know of a job, or (``None``) of the whole run."""

    job: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.job}: {self.text}" if self.job else self.text


def standing(runs: Runs, run: Run) -> list[Note]:
    """Read from clocks and records, so that it is true also when a process was killed."""
    jobs = [job for job in runs.jobs(run.id) if job.at_work]
    notes = []
    if run.stop and not run.ended:
        notes.append(Note(None, f"{run.stop}; it does so at the edge of the batches in work"))
    if not jobs:
        return notes
    defined = {one["name"]: one for one in run.definition["jobs"]}
    changes, now = LimitChanges(runs.database, run.id), runs.database.now()
    for job in jobs:
        closed = _closed(defined.get(job.name, {}), changes.of(job.name))
        silent = silent_since(job.seen_at, now)
        if closed is not None:
            notes.append(Note(job.name, f"waiting for the window until {closed}"))
        elif silent is not None:
            notes.append(
                Note(
                    job.name,
                    f"nobody has worked on it since {silent:%Y-%m-%d %H:%M:%S} UTC; Airflow tries "
                    "it again by itself, dsp run does when it is given again",
                )
            )
    return notes


def _closed(job: Mapping[str, Any], changes: Mapping[str, Any]) -> str | None:
    window = changes.get("window", (job.get("limits") or {}).get("window"))
    return None if window is None else closed_until(parse_window(window))
