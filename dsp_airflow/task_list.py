"""The tasks there are, from their files, the state database, and Airflow where it was asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from dsp_airflow.config.cron import next_time
from dsp_airflow.config.errors import ConfigProblems, nearest
from dsp_airflow.config.known_files import FILES
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.state.run_list import latest_runs
from dsp_airflow.state.runs import Runs
from dsp_airflow.state.settings import airflow_home, setting
from dsp_airflow.state.switches import Switch, Switches

if TYPE_CHECKING:
    from dsp_airflow.config.tasks import Task
    from dsp_airflow.state.database import StateDatabase
    from dsp_airflow.state.records import Run


@dataclass(frozen=True, slots=True)
class Scheduled:
    """One DAG as Airflow has it."""

    paused: bool
    next_run: datetime | None


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


class Tasks:
    """What files, state database and Airflow know of tasks, at one moment."""

    def __init__(
        self,
        database: StateDatabase,
        folder: Path | None = None,
        scheduled: Mapping[str, Scheduled] | None = None,
    ) -> None:
        self.folder = folder or task_folder()
        self.files = FILES.names(self.folder)
        self.database = database
        self.runs = Runs(database)
        self.switches: dict[str, Switch] = Switches(database).all()
        self.scheduled: Mapping[str, Scheduled] = scheduled or {}

    @property
    def names(self) -> list[str]:
        """Of every file, and of those that somebody switched off though their file is gone."""
        return sorted({*self.files, *self.switches})

    def known(self, name: str) -> bool:
        """Whether a file has this name, or a run or a switch of it is known."""
        return name in self.files or name in self.switches or self.runs.latest(name) is not None

    def require(self, name: str) -> None:
        """``ConfigError`` for one that is not known."""
        if not self.known(name):
            near = nearest(name, tuple(self.files))
            hint = f"; did you mean {near}?" if near else ""
            raise ConfigError(f"there is no task {name!r} in {self.folder}{hint}")

    def lines(self, names: Collection[str]) -> list[TaskLine]:
        """What is known of each of these tasks."""
        with self.database.read() as connection:
            latest = latest_runs(connection, names)
        return [self._line(name, latest.get(name)) for name in names]

    def line(self, name: str) -> TaskLine:
        """What is known of one task."""
        (found,) = self.lines([name])
        return found

    def _line(self, name: str, last: Run | None) -> TaskLine:
        task, problems = self.loaded(name)
        switch, dag = self.switches.get(name), self.scheduled.get(name)
        state = switch.state if switch else "enabled"
        return TaskLine(
            name=name,
            types=tuple(dict.fromkeys(job.type for job in task.jobs)) if task else (),
            schedule=_schedule(task) if task else "",
            state=state,
            paused=dag.paused if dag else None,
            last_run=last.id if last else None,
            last_state=last.state if last else None,
            last_at=last.started_at or last.created_at if last else None,
            next_at=None if task is None or self._is_off(name) else _next(task, dag),
            file=str(self.files[name]) if name in self.files else None,
            problem=None if problems is None else str(problems),
        )

    def next_at(self, name: str) -> datetime | None:
        """When it runs next: by Airflow where that has the DAG, so that no file is read."""
        if self._is_off(name):
            return None
        dag = self.scheduled.get(name)
        if dag is not None:
            return dag.next_run
        task, _ = self.loaded(name)
        return None if task is None else _next(task, None)

    def _is_off(self, name: str) -> bool:
        switch, dag = self.switches.get(name), self.scheduled.get(name)
        return (switch is not None and switch.state != "enabled") or (
            dag is not None and dag.paused
        )

    def loaded(self, name: str) -> tuple[Task | None, ConfigProblems | None]:
        """What the task's file says, or what is wrong with it; neither where there is none."""
        if name not in self.files:
            return None, None
        try:
            return FILES.task(self.files[name]), None
        except ConfigProblems as problems:
            return None, problems


def task_folder() -> Path:
    """The folder ``tasks`` among Airflow's DAGs, where ``dags/dsp_tasks.py`` looks."""
    folder = Path(setting("dags_folder", "core") or airflow_home() / "dags")
    return folder / "tasks" if (folder / "tasks").is_dir() else folder


def default_zone() -> ZoneInfo | None:
    """The time zone of cron expressions: Airflow's. ``None`` for one that only Airflow knows."""
    name = setting("default_timezone", "core") or "utc"
    try:
        return ZoneInfo("UTC" if name.lower() == "utc" else name)
    except (ValueError, OSError, KeyError):
        return None


def _schedule(task: Task) -> str:
    schedule = task.schedule
    return schedule if isinstance(schedule, str) else f"once: {schedule.once:%Y-%m-%d %H:%M %z}"


def _next(task: Task, dag: Scheduled | None) -> datetime | None:
    """By Airflow, or else by the file."""
    from dsp_airflow.config.tasks import MANUAL

    if dag is not None:
        return dag.next_run
    now, schedule = datetime.now(UTC), task.schedule
    if not isinstance(schedule, str):
        return schedule.once if schedule.once > now else None
    zone = default_zone()
    return None if schedule == MANUAL or zone is None else next_time(schedule, now, zone)
