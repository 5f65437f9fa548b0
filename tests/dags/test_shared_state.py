"""Where tasks may run on other machines, SQLite is refused before anything is done with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowFailException

from dsp_airflow.engine.errors import Refused
from dsp_airflow.operators.shared_state import remote_executors, require_shared_state
from dsp_airflow.state.database import upgrade
from tests.dags.conftest import Stepper, World
from tests.dags.test_steps_of_a_dag import task
from tests.servers import Database

Build = Callable[..., Stepper]
EXECUTOR, STATE = "AIRFLOW__CORE__EXECUTOR", "AIRFLOW__DSP__SQL_ALCHEMY_CONN"


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("LocalExecutor", []),
        ("airflow.executors.local_executor.LocalExecutor", []),
        ("here:LocalExecutor", []),
        ("CeleryExecutor", ["CeleryExecutor"]),
        ("KubernetesExecutor", ["KubernetesExecutor"]),
        ("LocalExecutor, far:CeleryExecutor", ["CeleryExecutor"]),
        ("company.executors.NotALocalExecutor", ["NotALocalExecutor"]),
        ("CeleryExecutor;team_a=LocalExecutor", ["CeleryExecutor"]),
        ("LocalExecutor;team_a=LocalExecutor,company.EdgeExecutor", ["EdgeExecutor"]),
    ],
)
def test_executors_that_run_tasks_elsewhere(
    setting: str, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EXECUTOR, setting)
    assert remote_executors() == found


def test_every_step_refuses_sqlite(
    world: World, steps: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world.fill(10)
    step = steps(task(shards=2))
    monkeypatch.setenv(EXECUTOR, "CeleryExecutor")
    told = rf"{tmp_path}/state.db is SQLite, which CeleryExecutor cannot share between machines"
    for name in ("estimate", "job.plan", "job.copy", "job.check", "purge.job"):
        with pytest.raises(AirflowFailException, match=told):
            step(name)
    monkeypatch.setenv("AIRFLOW__DSP__ENFORCE_APPROVAL", "True")
    with pytest.raises(AirflowFailException, match=told):
        step("approval")
    assert world.runs.recent() == []
    assert world.count() == (10, 0)


def test_a_missing_file_is_not_to_be_made_on_a_worker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A pod may be told that its executor is a local one: it is alone there."""
    monkeypatch.setenv(EXECUTOR, "LocalExecutor")
    monkeypatch.setenv(STATE, f"sqlite:///{tmp_path}/none.db")
    require_shared_state()
    monkeypatch.setenv("AIRFLOW_IS_K8S_EXECUTOR_POD", "True")
    with pytest.raises(Refused, match=r"KubernetesExecutor .* run: dsp db upgrade"):
        require_shared_state()
    assert list(tmp_path.iterdir()) == []


def test_postgresql_is_shared(
    world: World, steps: Build, new_pg_db: Callable[[], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fill(10)
    monkeypatch.setenv(EXECUTOR, "CeleryExecutor")
    monkeypatch.setenv(STATE, new_pg_db().uri)
    upgrade()
    step = steps(task())
    for name in ("estimate", "approval", "job.plan", "job.copy", "job.check", "purge.job"):
        step(name)
    assert world.count() == (0, 10)
