"""Steps go into the pools of their connections, where that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from dsp_airflow.config import load_task
from dsp_airflow.dag_factory import build_dags
from dsp_airflow.engine.errors import ConfigError

TASK = """\
name: it
jobs:
  - name: a
    type: warm
    source: {connection: shop, table: t}
    target: {connection: house}
    workers: 4
    shards: 2
    purge: system
  - name: b
    type: warm
    source: {connection: shop, table: u}
    target: {connection: house}
    mode: replace
  - name: c
    type: warm
    source: {connection: shop, table: v}
    target: {connection: house}
    workers: 16
    delete_missing: {limit: 5}
  - name: d
    type: s3
    source: {connection: shop, table: w}
    target: {connection: lake, bucket: archive, prefix: w}
    purge: manual
"""
USUAL = ("default_pool", 1)


def pools(folder: Path, text: str = TASK) -> dict[str, tuple[str, int]]:
    """Of every step of every DAG: its pool, and how many slots of it."""
    file = folder / "it.yaml"
    file.write_text(text)
    return {
        f"{dag.dag_id.removeprefix('it')}/{step.task_id}": (step.pool, step.pool_slots)
        for dag in build_dags(load_task(file), file)
        for step in dag.tasks
    }


def test_without_the_setting_there_are_none(
    airflow_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__DSP__POOL_SIZE", "3")
    assert set(pools(tmp_path).values()) == {USUAL}


def test_a_step_takes_as_many_slots_as_it_has_workers(
    airflow_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__DSP__POOLS", "connections")
    found = pools(tmp_path)
    assert found == {
        "/estimate": USUAL,
        "/approval": USUAL,
        "/a.plan": ("dsp_shop", 1),
        "/a.copy": ("dsp_shop", 4),
        "/a.check": ("dsp_house", 4),
        "/purge.a": ("dsp_shop", 1),
        "/b.plan": ("dsp_shop", 1),
        "/b.copy": ("dsp_shop", 1),
        "/b.check": ("dsp_house", 1),
        "/b.swap": ("dsp_house", 1),
        "/c.plan": ("dsp_shop", 1),
        # More than there are would never come free.
        "/c.copy": ("dsp_shop", 8),
        "/c.check": ("dsp_house", 8),
        "/c.delete_missing": ("dsp_house", 1),
        "/d.plan": ("dsp_shop", 1),
        "/d.archive": ("dsp_shop", 1),
        "/d.check": ("dsp_lake", 1),
        "__purge/estimate": USUAL,
        "__purge/approval": USUAL,
        "__purge/purge": ("dsp_shop", 1),
        "__restore/estimate": USUAL,
        "__restore/approval": USUAL,
        "__restore/restore": USUAL,
        "__restore/check": USUAL,
        "__rollback/estimate": USUAL,
        "__rollback/approval": USUAL,
        "__rollback/rollback": USUAL,
        "__rollback/again": USUAL,
        "__rollback/trigger": USUAL,
        "__repair/estimate": USUAL,
        "__repair/approval": USUAL,
        "__repair/repair": USUAL,
    }
    # Which of two sources somebody will ask about is not known.
    two = TASK.replace("purge: system", "purge: manual").replace("shop, table: w", "till, table: w")
    assert pools(tmp_path, two)["__purge/purge"] == USUAL


@pytest.mark.parametrize(
    ("name", "value"), [("POOLS", "conections"), ("POOL_SIZE", "0"), ("POOL_SIZE", "many")]
)
def test_a_setting_that_means_nothing_is_refused(
    airflow_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("AIRFLOW__DSP__POOLS", "connections")
    monkeypatch.setenv(f"AIRFLOW__DSP__{name}", value)
    with pytest.raises(ConfigError, match=f"AIRFLOW__DSP__{name} is '{value}'; it must be"):
        pools(tmp_path)
