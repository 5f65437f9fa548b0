"""What somebody names on the command line: a run, or a task for its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dsp_airflow.engine.errors import ConfigError

if TYPE_CHECKING:
    from dsp_airflow.state.records import Run
    from dsp_airflow.state.runs import Runs


def run_of(runs: Runs, named: str) -> Run:
    """A run by its id; of a task the youngest that has not ended, or else the youngest."""
    found = runs.find_id(named)
    if found is not None:
        return found
    recent = runs.recent(named)
    if not recent:
        raise ConfigError(f"{named} is neither a run nor a task with one; see dsp status")
    return next((run for run in recent if not run.ended), recent[0])
