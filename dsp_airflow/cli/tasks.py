"""``dsp task``: the tasks there are, whether they may run, and running one now."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsp_airflow.cli import output, scheduler
from dsp_airflow.cli.approving import acting
from dsp_airflow.config.names import PURGE_SUFFIX
from dsp_airflow.engine.errors import ConfigError, DspError, Refused
from dsp_airflow.state.settings import airflow_home
from dsp_airflow.task_list import Scheduled, Tasks

if TYPE_CHECKING:
    from dsp_airflow.state.records import Run
    from dsp_airflow.state.switches import TaskState

_LATEST = 5
"""Runs that ``dsp task show`` lists."""


class Known(Tasks):
    """As the command knows them: with a state database of its own."""

    def __init__(self, folder: Path | None, *, ask: bool) -> None:
        from dsp_airflow.state.database import open_state

        super().__init__(open_state(create=True), folder, _asked() if ask else None)

    def close(self) -> None:
        """Closes the state database."""
        self.database.close()


def list_tasks(folder: Path | None, *, ask: bool, as_json: bool) -> None:
    """Every task of the folder, and those that somebody switched off whose file is gone."""
    output.stdout()
    with closing(Known(folder, ask=ask)) as known:
        lines = known.lines(known.names)
    if as_json:
        output.write_json({"tasks": [asdict(one) for one in lines]})
        return
    if not lines:
        output.write(f"no tasks in {known.folder}")
        return
    heads = ("task", "type", "schedule", "state", "in Airflow", "last run (UTC)", "", "next run")
    rows = [
        (
            one.name,
            ", ".join(one.types) or ("broken file" if one.problem else "no file"),
            one.schedule,
            one.state,
            _paused(one.paused),
            one.last_at,
            one.last_state,
            _time(one.next_at),
        )
        for one in lines
    ]
    output.console().print(output.table("", heads, rows))


def show(name: str, folder: Path | None, *, ask: bool, as_json: bool) -> None:
    """One task, with its latest runs."""
    output.stdout()
    with closing(Known(folder, ask=ask)) as known:
        known.require(name)
        line, switch = known.line(name), known.switches.get(name)
        runs = known.runs.recent(name, _LATEST)
    if as_json:
        told = None if switch is None else asdict(switch)
        output.write_json(
            {**asdict(line), "switch": told, "runs": [_run_document(run) for run in runs]}
        )
        return
    facts = [
        ("state", str(switch) if switch else "enabled"),
        ("type", ", ".join(line.types)),
        ("schedule", line.schedule),
        ("next run", _time(line.next_at)),
        ("in Airflow", _paused(line.paused)),
        ("file", line.file),
        ("problem", line.problem),
    ]
    shown = output.console()
    shown.print(output.table(f"Task {name}", ("", ""), [fact for fact in facts if fact[1]]))
    rows = [(run.id, run.state, run.triggered_by, run.started_at, run.ended_at) for run in runs]
    heads = ("run", "state", "by", "started (UTC)", "ended (UTC)")
    shown.print(output.table("Latest runs", heads, rows) if rows else "no runs yet")


def switch(
    name: str, state: TaskState, reason: str | None, folder: Path | None, *, back: bool = False
) -> None:
    """Says so in the state database, which decides, and then to Airflow, which shows it."""
    output.stdout()
    with closing(Known(folder, ask=False)) as known:
        from dsp_airflow.state.switches import Switches

        known.require(name)
        found = Switches(known.database).set(name, state, acting(), reason, back=back)
        output.write(f"Task {name} is {found}")
        going = [run for run in known.runs.recent(name) if not run.ended]
    for run in going:
        output.write(f"Run {run.id} has begun and goes on; dsp terminate {run.id} stops it")
    _mirror(name, state, [run for run in going if run.external_key])


def run_now(name: str, folder: Path | None) -> None:
    """Triggers the DAG, unless nothing would come of that."""
    output.stdout()
    with closing(Known(folder, ask=False)) as known:
        from dsp_airflow.state.switches import Switches

        known.require(name)
        Switches(known.database).require_enabled(name)
        file = known.files.get(name, "FILE")
    if not scheduler.is_here():
        raise ConfigError(
            f"Airflow is not set up here (AIRFLOW_HOME is {airflow_home()}); run the task in this "
            f"process: dsp run {file}"
        )
    dag = scheduler.dags().get(name)
    if dag is None:
        raise ConfigError(f"Airflow has no DAG {name} yet; it reads its folder every few minutes")
    if dag.paused:
        raise Refused(
            f"DAG {name} is paused in Airflow, where the run would wait for good; dsp task enable "
            f"{name} lets it go on"
        )
    output.write(f"Airflow runs {name} now: DAG run {scheduler.trigger(name)}")


def _mirror(name: str, state: TaskState, going: list[Run]) -> None:
    """Airflow's own pause. It is no part of the promise, so a failure is only told."""
    ids = [name, f"{name}{PURGE_SUFFIX}"] if state != "disabled" else [name]
    paused = state != "enabled"
    if not scheduler.is_here():
        output.note(f"Airflow is not set up here: its DAG {name} is left as it is", "WARN")
        return
    if paused and going:
        # The scheduler lets the steps of a paused DAG wait, also those of runs that have begun.
        output.note(
            f"DAG {name} is not paused in Airflow while run {going[0].id} goes on; new runs are "
            "refused all the same",
            "WARN",
        )
        return
    try:
        scheduler.set_paused(ids, paused=paused)
    except DspError as error:
        output.note(f"Airflow could not be told: {error}", "WARN")
    else:
        output.write(f"DAG {name} is {'paused' if paused else 'not paused'} in Airflow")


def _asked() -> Mapping[str, Scheduled]:
    if not scheduler.is_here():
        return {}
    try:
        return scheduler.dags()
    except DspError as error:
        output.note(f"Airflow could not be asked: {error}", "WARN")
        return {}


def _paused(paused: bool | None) -> str:
    return {None: "", True: "paused", False: "active"}[paused]


def _time(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M %Z}"


def _run_document(run: Run) -> dict[str, Any]:
    return {
        "run": run.id,
        "state": run.state,
        "triggered_by": run.triggered_by,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "error": run.error,
    }
