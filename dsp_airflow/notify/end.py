"""The end of a DAG run, as Airflow tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from urllib.parse import quote

FAILED = "task_failure"
TIMED_OUT = "timed_out"
DEADLOCKED = "all_tasks_deadlocked"
SUCCEEDED = "success"
CALLED_BACK = frozenset({FAILED, TIMED_OUT, DEADLOCKED, SUCCEEDED})
"""Airflow's words for ends that it decides itself; the DAG's callbacks hear of these only."""
BY_HAND = "by_hand"
"""Our word for an end that a person decided."""
UNKNOWN = "unknown"


@dataclass(frozen=True)
class End:
    """How one DAG run ended. ``attempt`` counts from 1, and one more for each clear."""

    dag_id: str
    run_id: str
    attempt: int | None
    reason: str
    link: str
    step: str | None = None
    """The task instance that Airflow names with the end."""
    asked: str | None = None
    """The earlier run that the form of a manual deletion named."""
    started: str | None = None
    """When the DAG run started, as ISO 8601."""

    @property
    def key(self) -> str:
        """By which the state database knows the run."""
        return f"{self.dag_id}/{self.run_id}"

    @property
    def by_hand(self) -> bool:
        """Whether a person decided it, so that no callback comes."""
        return self.reason == BY_HAND

    def started_before(self, at: datetime) -> bool:
        """Whether the DAG run is known to have started before a time."""
        return self.started is not None and datetime.fromisoformat(self.started) < at

    @classmethod
    def of_callback(cls, context: Mapping[str, Any]) -> Self:
        """Airflow leaves out of a callback's context what it does not have."""
        dag_id = str(getattr(context.get("dag"), "dag_id", None) or "-")
        run_id = str(context.get("run_id") or "-")
        return cls(
            dag_id=dag_id,
            run_id=run_id,
            attempt=_attempt(context.get("dag_run")),
            reason=str(context.get("reason") or UNKNOWN),
            link=link(dag_id, run_id),
            step=getattr(context.get("ti"), "task_id", None),
            asked=_asked(context.get("dag_run")),
            started=_started(context.get("dag_run")),
        )

    @classmethod
    def of_dag_run(cls, dag_run: Any, word: str) -> Self:
        """From what a listener is given; reads plain columns only."""
        return cls(
            dag_id=dag_run.dag_id,
            run_id=dag_run.run_id,
            attempt=_attempt(dag_run),
            reason=word if word in CALLED_BACK else BY_HAND,
            link=link(dag_run.dag_id, dag_run.run_id),
            asked=_asked(dag_run),
            started=_started(dag_run),
        )


def link(dag_id: str, run_id: str) -> str:
    """The DAG run's page."""
    from airflow.configuration import conf

    base = str(conf.get("api", "base_url", fallback="") or "http://localhost:8080").rstrip("/")
    return f"{base}/dags/{quote(dag_id)}/runs/{quote(run_id, safe='')}"


def _attempt(dag_run: Any) -> int | None:
    cleared = getattr(dag_run, "clear_number", None)
    return None if cleared is None else int(cleared) + 1


def _asked(dag_run: Any) -> str | None:
    form = getattr(dag_run, "conf", None) or {}
    return str(form["run"]).strip() if form.get("run") else None


def _started(dag_run: Any) -> str | None:
    at = getattr(dag_run, "start_date", None)
    return None if at is None else at.isoformat()
