"""`dsp pools`, with the pools of a real metadata database of Airflow."""

from __future__ import annotations

import shutil
from pathlib import Path

from dsp_airflow.cli.pools import pool_lines
from dsp_airflow.cli.scheduler import Pool
from tests.cli.harness import Dsp, job


def test_pools_are_listed_and_made(dsp: Dsp, airflow_db: Path) -> None:
    dsp.write(job(), job("more"), name="task")
    (dsp.folder / "broken.yaml").write_text("name: broken\njobs: 1\n")
    here = ("--folder", dsp.folder)
    nowhere = dsp("pools", "list", *here)
    assert (nowhere.code, "Airflow is not set up here" in nowhere.err) == (2, True)

    dsp.home.mkdir(exist_ok=True)
    shutil.copy(airflow_db / "airflow.db", dsp.home)
    made = dsp("pools", "sync", *here)
    assert made.code == 0, made.err
    assert made.out.splitlines() == [
        "dsp_source: 8 slots (created)",
        "dsp_target: 8 slots (created)",
        "0 of 2 pools were as they are to be",
    ]
    assert "broken.yaml:2" in made.err

    dsp.write(job(target={"connection": "other"}), name="task")
    listed = dsp("pools", "list", *here, "--json")
    assert "begins no step of a pool that is not there: dsp_other;" in listed.err
    assert "[dsp] pools is not set to connections" in listed.err
    assert listed.document == {
        "used": False,
        "pools": [
            {
                "pool": f"dsp_{connection}",
                "connection": connection if tasks else None,
                "tasks": tasks,
                "slots": slots,
                "wanted": 8 if tasks else None,
                "missing": slots is None,
            }
            for connection, tasks, slots in (
                ("other", ["task"], None),
                ("source", ["task"], 8),
                ("target", [], 8),
            )
        ],
    }


def test_a_pool_of_another_size_is_told() -> None:
    present: dict[str, Pool] = {
        "dsp_a": {"slots": 8, "description": "", "include_deferred": True},
        "dsp_b": {"slots": 3, "description": "", "include_deferred": False},
        "dsp_old": {"slots": 8, "description": "", "include_deferred": False},
        "default_pool": {"slots": 128, "description": "", "include_deferred": False},
    }
    lines = pool_lines({"a": ["t"], "b": ["t", "u"], "c": ["u"]}, present, 8)
    assert [(one.pool, one.state) for one in lines] == [
        ("dsp_a", ""),
        ("dsp_b", "8 by pool_size"),
        ("dsp_c", "missing"),
        ("dsp_old", "not needed"),
    ]
