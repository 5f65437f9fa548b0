"""Airflow tells of the ends of DAG runs: in the scheduler, and in the API server for those
that a person decides. Nobody may wait here, so another process does what there is to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from dsp_airflow.notify import Event

TAG = "dsp"
BEARER = "approval"
"""The step that carries what a mail needs: of a DAG itself Airflow keeps nothing of ours."""
CARRIED = "dsp_notify"
GATE = "dsp_gate"
"""What a step carries that asks for approval, whatever the DAG."""


@hookimpl
def on_dag_run_failed(dag_run: Any, msg: str) -> None:
    """A run failed, ran out of time, or was marked as failed."""
    _tell("failure", dag_run, msg)


@hookimpl
def on_dag_run_success(dag_run: Any, msg: str) -> None:
    """A run succeeded, or was marked as succeeded."""
    _tell("success", dag_run, msg)


def _tell(event: Event, dag_run: Any, msg: str) -> None:
    carried = _carried(dag_run)
    if carried is None:
        _close(event, dag_run, msg)
        return
    from dsp_airflow.notify import RunEnded, relay
    from dsp_airflow.notify.end import End
    from dsp_airflow.notify.ended import Told

    ended, end = RunEnded.load(event, carried), End.of_dag_run(dag_run, msg)
    # The callback does the rest; it is lost with the DAG, which no longer succeeds then.
    if end.by_hand or (ended.tells and event == "failure"):
        relay.start(told=Told(ended, end).dump())


def _close(event: Event, dag_run: Any, msg: str) -> None:
    """A DAG that somebody wrote by hand has ended: so has what it was approved for."""
    tasks = getattr(getattr(dag_run, "dag", None), "task_dict", {})
    if any(getattr(task, GATE, False) for task in tasks.values()):
        from dsp_airflow.notify import relay

        key = f"{dag_run.dag_id}/{dag_run.run_id}"
        relay.start(closed={"key": key, "note": msg, "succeeded": event == "success"})


def _carried(dag_run: Any) -> str | None:
    """What a DAG of ours carries; ``None`` of any other. Looks at what is in memory only."""
    dag = getattr(dag_run, "dag", None)
    if dag is None or TAG not in (dag.tags or ()):
        return None
    carried: str | None = getattr(dag.task_dict.get(BEARER), CARRIED, None)
    return carried
