"""Airflow's API server alone, with this plugin, for a browser: no scheduler, and so no runs."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import httpx

from dsp_airflow.demo.errors import tail
from dsp_airflow.demo.process import HOST, free_port
from dsp_airflow.demo.standalone import processes_of

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 120.0
USERS = {"anna": "admin", "bert": "user", "otto": "viewer", "vera": "viewer"}
"""By name, their roles in Airflow; each has its name as password."""

TASKS = {
    "nightly": """\
name: nightly
owner: bert
schedule: "30 2 * * 1-5"
jobs:
  - name: events
    type: warm
    source: {connection: source, table: public.events}
    target: {connection: target}
    check: {percent: 10}
    purge: none
""",
    "broken": """\
name: broken
owner: bert
jobs:
  - name: events
    type: warm
    source: {connection: source, tabel: public.events}
    target: {connection: target}
    check: none
""",
}


@contextmanager
def api_server(
    home: Path, metadata: Path, state_url: str, settings: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Its address. ``metadata`` is an AIRFLOW_HOME with a migrated database, which is copied."""
    ends = (sqlite3.connect(folder / "airflow.db") for folder in (metadata, home))
    with closing(next(ends)) as known, closing(next(ends)) as copy:
        # A copy of the file alone would lack what still stands in its log.
        known.backup(copy)
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps({name: name for name in USERS}))
    (home / "dags" / "tasks").mkdir(parents=True, exist_ok=True)
    for name, text in TASKS.items():
        (home / "dags" / "tasks" / f"{name}.yaml").write_text(text)
    port = free_port()
    url = f"http://{HOST}:{port}"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(home),
        # Processes that rename themselves would overwrite the environment they are known by.
        "SPT_NOENV": "1",
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(
            f"{name}:{role}" for name, role in USERS.items()
        ),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
        "AIRFLOW__DSP__SQL_ALCHEMY_CONN": state_url,
        # Who may decide is tested where it is decided.
        "AIRFLOW__DSP__ENFORCE_GRANTS": "False",
        **(settings or {}),
    }
    log = home / "api-server.log"
    command = [sys.executable, "-m", "airflow", "api-server", "--host", HOST, "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--workers", "1"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=home,
            env=environment,
            start_new_session=True,
        )
    try:
        _wait_until_ready(url, process, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
        for left in processes_of(home):
            left.kill()
        process.wait(15)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, tail(log)
        try:
            if httpx.get(f"{url}/api/v2/version", timeout=5).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise AssertionError(f"the API server was not ready within {START_SECONDS:g} s\n{tail(log)}")
