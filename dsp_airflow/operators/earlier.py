"""What the steps share that somebody asks for by a form about an earlier run and its jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from dsp_airflow.approval.estimates import HEADER, Estimates
from dsp_airflow.approval.subject import header_of
from dsp_airflow.config.tasks import Task
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.notify import LATEST
from dsp_airflow.operators.base import TaskOperator, asker, dag_run_key
from dsp_airflow.operators.purge import earlier
from dsp_airflow.permissions.needs import Act
from dsp_airflow.state.database import StateDatabase
from dsp_airflow.state.switches import Switches
from dsp_airflow.steps import TaskRun

ALL = "all"


class AskedOfRun(TaskOperator):
    """A step about an earlier run of a task file.

    :param earlier_run: id of the run, or ``latest``.
    :param only: name of one of its jobs, or ``all`` (default).
    """

    template_fields: Sequence[str] = (*TaskOperator.template_fields, "earlier_run", "only")
    act: ClassVar[Act] = "run"
    """What grants are needed for."""

    def __init__(self, *, earlier_run: str = LATEST, only: str = ALL, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.earlier_run = earlier_run
        self.only = only

    @property
    def one(self) -> str | None:
        """The job that was named, if one was."""
        named = self.only.strip()
        return None if named in ("", ALL) else named

    @contextmanager
    def _earlier(self, database: StateDatabase, context: Mapping[str, Any]) -> Iterator[TaskRun]:
        if self.task_file is None:
            raise ConfigError(f"{type(self).__name__} {self.task_id} needs task_file")
        # The latest run may be another one once the step comes back from a closed window.
        wanted = (self._left.run if self._left else "") or self.earlier_run
        run = earlier(database, self.definition(), wanted)
        run.watch = self._watch(run.task, context)
        Switches(database).require_online(run.run.task)
        self._guard(run, database, context, self.act)
        run.by_hand = asker(context)
        self._paced(run)
        self._show_report(run, context)
        yield run

    def _keep(
        self,
        run: TaskRun,
        context: Mapping[str, Any],
        task: Task,
        kind: str,
        found: Mapping[str, Mapping[str, Any]],
    ) -> dict[str, Any]:
        """What approvers are shown of each job; returns the run's id and the jobs' rows."""
        estimates, key = Estimates(run.database), dag_run_key(context["dag_run"])
        for name, estimate in found.items():
            estimates.put(key, name, dict(estimate))
        estimates.put(key, HEADER, header_of(task, kind) | {"jobs": list(found)})
        return {"run": run.run.id, "rows": {name: one["rows"] for name, one in found.items()}}
