"""The command as a person or a script runs it: a process, its two outputs, its exit code."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from tests.cli.warm import Forks
from tests.servers import Database

DSP = Path(sys.executable).parent / "dsp"
SECONDS = 120


def _bytecode() -> dict[str, str]:
    """An environment in which Airflow is compiled once for all tests, not once a process."""
    spec = importlib.util.find_spec("structlog")
    assert spec is not None
    assert spec.cached is not None
    if Path(spec.cached).exists():
        return {}
    return {"PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir(), "dsp-tests-bytecode"))}


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The whole of stdout as one JSON document; anything beside it fails."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def job(self) -> dict[str, Any]:
        (found,) = self.document["jobs"]
        return dict(found)

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


@dataclass
class Dsp:
    """A folder with task files, an AIRFLOW_HOME of its own, and two databases."""

    folder: Path
    source: Database
    target: Database
    forks: Forks
    connections: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.connections |= {"source": self.source.uri, "target": self.target.uri}

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def state(self) -> Path:
        return self.home / "dsp.db"

    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW", "PYTHON", "COLUMNS"))
        }
        uris = {f"AIRFLOW_CONN_{name.upper()}": uri for name, uri in self.connections.items()}
        settings = {
            "AIRFLOW_HOME": str(self.home),
            # Tests about approval and grants switch them on.
            "AIRFLOW__DSP__ENFORCE_APPROVAL": "False",
            "AIRFLOW__DSP__ENFORCE_GRANTS": "False",
        }
        return {**kept, **_bytecode(), **uris, **settings}

    def __call__(self, *arguments: object, env: Mapping[str, str] | None = None) -> Done:
        environment = {**self.environment(), **(env or {})}
        run = cold if any(name.startswith("PYTHON") for name in env or {}) else self.forks.run
        code, out, err = run([*map(str, arguments)], self.folder, environment, SECONDS)
        assert "Traceback" not in err, err
        assert self.source.server.password not in out + err
        return Done(code, out, err)

    def start(self, *arguments: object) -> Running:
        process = subprocess.Popen(
            [str(DSP), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.environment(),
        )
        return Running(process)

    def write(self, *jobs: Mapping[str, Any], file: str = "task.yaml", **task: Any) -> str:
        text = yaml.safe_dump({"name": "task", "jobs": list(jobs), **task}, sort_keys=False)
        (self.folder / file).write_text(text)
        return file

    def fill(self, rows: int, table: str = "t") -> None:
        self.source.execute(
            f"CREATE TABLE {table} (id bigint PRIMARY KEY, name text, amount numeric(12,2))",
            f"INSERT INTO {table} "
            f"SELECT n, 'name ' || n, n / 7.0 FROM generate_series(1, {rows}) n",
        )

    def execute_state(self, statement: str) -> None:
        """In the state database, which is SQLite's."""
        with sqlite3.connect(self.state, isolation_level=None) as connection:
            connection.execute(statement)

    @staticmethod
    def shut() -> str:
        """A window that opens in some hours."""
        now = datetime.now(UTC)
        return f"{now + timedelta(hours=3):%H:%M}-{now + timedelta(hours=4):%H:%M}"


def cold(
    arguments: Sequence[str], cwd: Path, env: Mapping[str, str], seconds: int
) -> tuple[int, str, str]:
    """As ``Forks.run``, by an interpreter of its own."""
    done = subprocess.run(
        [str(DSP), *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=cwd,
        env=env,
        timeout=seconds,
    )
    return done.returncode, done.stdout, done.stderr


class Running:
    """A command at work; what it says on stderr is read as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.err: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.err.append(line)

    def wait_for(self, pattern: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not any(re.search(pattern, line) for line in self.err):
            assert time.monotonic() < deadline, "".join(self.err)
            assert self.process.poll() is None, "".join(self.err)
            time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> Done:
        assert self.process.stdout is not None
        out = self.process.stdout.read()
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        assert self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()
        return Done(code, out, "".join(self.err))


def job(name: str = "copy", table: str = "t", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": "warm",
        "source": {"connection": "source", "table": table, **more.pop("source", {})},
        "target": {"connection": "target", **more.pop("target", {})},
        **more,
    }
