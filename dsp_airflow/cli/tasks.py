"""``dsp task``: the tasks there are, whether they may run, and running one now."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from dsp_airflow.cli import output, scheduler
from dsp_airflow.cli.approving import acting
from dsp_airflow.config.cron import next_time
from dsp_airflow.config.names import PURGE_SUFFIX
from dsp_airflow.engine.errors import ConfigError, DspError, Refused
from dsp_airflow.state.settings import airflow_home, setting

if TYPE_CHECKING:
    from dsp_airflow.config.tasks import Task
    from dsp_airflow.state.database import StateDatabase
    from dsp_airflow.state.records import Run
    from dsp_airflow.state.runs import Runs
    from dsp_airflow.state.switches import Switch, TaskState

_LATEST = 5
"""Runs that ``dsp task show`` lists."""


@dataclass(frozen=True, slots=True)
class TaskLine:
    """One task as lists show it. ``paused`` is ``None`` where Airflow was not asked or has none."""

    name: str
    types: tuple[str, ...]
    schedule: str
    state: str
    paused: bool | None
    last_run: str | None
    last_state: str | None
    last_at: datetime | None
    next_at: datetime | None
    file: str | None
    problem: str | None
    """Why the file cannot be loaded."""


class Known:
    """What files, state database and Airflow know of tasks."""

    def __init__(self, folder: Path | None, *, ask: bool) -> None:
        from dsp_airflow.config.tasknames import task_names
        from dsp_airflow.state.database import open_state
        from dsp_airflow.state.runs import Runs
        from dsp_airflow.state.switches import Switches

        self.folder = folder or task_folder()
        self.files = task_names(self.folder)
        self.database: StateDatabase = open_state(create=True)
        self.runs: Runs = Runs(self.database)
        self.switches: dict[str, Switch] = Switches(self.database).all()
        self.scheduled: Mapping[str, scheduler.Scheduled] = _asked() if ask else {}

    def close(self) -> None:
        """Closes the state database."""
        self.database.close()

    def require(self, name: str) -> None:
        """``ConfigError`` for a name that no file has, and of which no run or switch is known."""
        from dsp_airflow.config.errors import nearest

        if name in self.files or name in self.switches or self.runs.latest(name) is not None:
            return
        near = nearest(name, tuple(self.files))
        hint = f"; did you mean {near}?" if near else ""
        raise ConfigError(f"there is no task {name!r} in {self.folder}{hint}")

    def line(self, name: str) -> TaskLine:
        """What is known of one task."""
        task, problem = self._loaded(name)
        switch, dag = self.switches.get(name), self.scheduled.get(name)
        last = self.runs.latest(name)
        state = switch.state if switch else "enabled"
        off = state != "enabled" or (dag is not None and dag.paused)
        return TaskLine(
            name=name,
            types=tuple(dict.fromkeys(job.type for job in task.jobs)) if task else (),
            schedule=_schedule(task) if task else "",
            state=state,
            paused=dag.paused if dag else None,
            last_run=last.id if last else None,
            last_state=last.state if last else None,
            last_at=last.started_at or last.created_at if last else None,
            next_at=None if off or task is None else _next(task, dag),
            file=str(self.files[name]) if name in self.files else None,
            problem=problem,
        )

    def _loaded(self, name: str) -> tuple[Task | None, str | None]:
        from dsp_airflow.config import load_task
        from dsp_airflow.config.errors import ConfigProblems

        if name not in self.files:
            return None, None
        try:
            return load_task(self.files[name]), None
        except ConfigProblems as problems:
            return None, str(problems)


def task_folder() -> Path:
    """The folder ``tasks`` among Airflow's DAGs, where ``dags/dsp_tasks.py`` looks."""
    folder = Path(setting("dags_folder", "core") or airflow_home() / "dags")
    return folder / "tasks" if (folder / "tasks").is_dir() else folder


def list_tasks(folder: Path | None, *, ask: bool, as_json: bool) -> None:
    """Every task of the folder, and those that somebody switched off whose file is gone."""
    output.stdout()
    with closing(Known(folder, ask=ask)) as known:
        lines = [known.line(name) for name in sorted({*known.files, *known.switches})]
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


def _asked() -> Mapping[str, scheduler.Scheduled]:
    if not scheduler.is_here():
        return {}
    try:
        return scheduler.dags()
    except DspError as error:
        output.note(f"Airflow could not be asked: {error}", "WARN")
        return {}


def _schedule(task: Task) -> str:
    schedule = task.schedule
    return schedule if isinstance(schedule, str) else f"once: {schedule.once:%Y-%m-%d %H:%M %z}"


def _next(task: Task, dag: scheduler.Scheduled | None) -> datetime | None:
    """By Airflow, or else by the file."""
    from dsp_airflow.config.tasks import MANUAL

    if dag is not None:
        return dag.next_run
    now, schedule = datetime.now(UTC), task.schedule
    if not isinstance(schedule, str):
        return schedule.once if schedule.once > now else None
    zone = default_zone()
    return None if schedule == MANUAL or zone is None else next_time(schedule, now, zone)


def default_zone() -> ZoneInfo | None:
    """The time zone of cron expressions: Airflow's. ``None`` for one that only Airflow knows."""
    name = setting("default_timezone", "core") or "utc"
    try:
        return ZoneInfo("UTC" if name.lower() == "utc" else name)
    except (ValueError, OSError, KeyError):
        return None


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
