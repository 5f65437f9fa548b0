"""Airflow's scheduling, through its own command: pausing and triggering DAGs, and pools.

The command works where Airflow's metadata database is, as on the machine of the scheduler.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

from dsp_airflow.engine.errors import ConfigError, DspError
from dsp_airflow.state.settings import airflow_home, setting
from dsp_airflow.task_list import Scheduled

SECONDS = 180
"""How long Airflow's command may take: its imports alone take several."""


class Pool(TypedDict):
    """A pool as Airflow writes it down; it may have more keys, which are to be kept."""

    slots: int
    description: str
    include_deferred: bool


def is_here() -> bool:
    """Whether Airflow is set up where this command runs; its command would set it up anew."""
    named = any(setting(f"sql_alchemy_conn{end}", "database") for end in ("_cmd", "_secret", ""))
    return named or (airflow_home() / "airflow.db").is_file()


def dags() -> dict[str, Scheduled]:
    """Every DAG that Airflow has parsed, by its id."""
    columns = ["dag_id", "is_paused", "next_dagrun_run_after"]
    rows = _rows(_airflow("dags", "list", "--output", "json", "--columns", ",".join(columns)))
    return {
        str(row["dag_id"]): Scheduled(_true(row["is_paused"]), _moment(row[columns[2]]))
        for row in rows
    }


def set_paused(ids: Sequence[str], *, paused: bool) -> None:
    """Pauses DAGs, or lets them go on; one that is not there, or is so already, is left alone."""
    pattern = f"^({'|'.join(map(re.escape, ids))})$"
    act = "pause" if paused else "unpause"
    _airflow("dags", act, "--treat-dag-id-as-regex", "--yes", pattern)


def trigger(dag: str) -> str:
    """Runs a DAG now; returns the id of the DAG run."""
    (row,) = _rows(_airflow("dags", "trigger", dag, "--output", "json"))
    return str(row["dag_run_id"])


def pools() -> dict[str, Pool]:
    """Every pool, by its name."""
    with TemporaryDirectory(prefix="dsp-") as folder:
        file = Path(folder) / "pools.json"
        _airflow("pools", "export", str(file))
        found: dict[str, Pool] = json.loads(file.read_text(encoding="utf-8"))
    return found


def set_pools(wanted: Mapping[str, Mapping[str, Any]]) -> None:
    """Creates pools, or makes those that are there what is wanted, by their names."""
    with TemporaryDirectory(prefix="dsp-") as folder:
        file = Path(folder) / "pools.json"
        file.write_text(json.dumps(wanted), encoding="utf-8")
        _airflow("pools", "import", str(file))


def _airflow(*arguments: str) -> str:
    command = [sys.executable, "-m", "airflow", *arguments]
    name = f"airflow {' '.join(arguments[:2])}"
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
            env={**os.environ, "NO_COLOR": "1", "PYTHONWARNINGS": "ignore"},
        )
    except subprocess.TimeoutExpired as error:
        raise DspError(f"{name} did not answer within {SECONDS} seconds") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ConfigError(f"{name} failed: {said[-1] if said else 'no word'}")
    return done.stdout


def _rows(text: str) -> list[dict[str, Any]]:
    """The JSON in what the command printed, which may say other things before it."""
    start = re.search(r"^\[(\{|\])", text, re.MULTILINE)
    try:
        found: list[dict[str, Any]] = json.loads(text[start.start() if start else 0 :])
    except ValueError as error:
        raise ConfigError("what the command of Airflow printed is no JSON") from error
    return found


def _true(value: object) -> bool:
    return value is True or str(value).lower() == "true"


def _moment(value: object) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) and value[:1].isdigit() else None
