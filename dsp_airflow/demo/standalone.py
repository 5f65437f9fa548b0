"""`airflow standalone` as one server: every Airflow process, in a home folder of its own.

Nothing of the machine's own Airflow reaches it: neither settings nor connections. It is ready
when all its parts report healthy and a login works; a run queued earlier would fail.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil
from sqlalchemy import make_url

from dsp_airflow.demo.errors import DemoError, tail
from dsp_airflow.demo.process import HOST, free_port
from dsp_airflow.demo.rest import AirflowApi

START_SECONDS = 420.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.5
USER = "admin"

OnProgress = Callable[[str], None]


class AirflowStandalone:
    """Airflow with SimpleAuthManager and four tasks at a time.

    `home` must exist. `connections` are URIs by connection id; `settings` are further
    environment variables. `state_url` is this package's own database.

    `metadata_url` is the URI of an empty PostgreSQL database for Airflow's own data. Without one
    it is a SQLite file, over whose lock parts of Airflow may end on a busy machine, the triggerer
    among them.
    """

    parts: Mapping[str, str] = {
        "metadatabase": "the metadata database",
        "scheduler": "the scheduler",
        "dag_processor": "the DAG processor",
        "triggerer": "the triggerer",
    }
    """What has to be healthy, by Airflow's names and in words."""

    def __init__(
        self,
        home: Path,
        *,
        dags: Path,
        plugins: Path,
        state_url: str,
        metadata_url: str | None = None,
        connections: Mapping[str, str],
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home
        self.log = home / "standalone.log"
        ports = _distinct_ports(3)
        self.url = f"http://{HOST}:{ports[0]}"
        self.settings = {
            "AIRFLOW_HOME": str(home),
            # Processes that rename themselves would overwrite the environment they are known by.
            "SPT_NOENV": "1",
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            # A callback that comes while its file is read waits for the next reading of it, so
            # this is how late a mail may be; and how soon an edited task file shows.
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
            "AIRFLOW__API__HOST": HOST,
            "AIRFLOW__API__PORT": str(ports[0]),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            # A machine with little to spare answers late, which is no reason to fail a task.
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(ports[1]),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(ports[2]),
            "AIRFLOW__DSP__SQL_ALCHEMY_CONN": state_url,
            **{f"AIRFLOW_CONN_{name.upper()}": uri for name, uri in connections.items()},
            **(settings or {}),
        }
        if metadata_url is not None:
            metadata = make_url(metadata_url).set(drivername="postgresql+psycopg2")
            self.settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = metadata.render_as_string(
                hide_password=False
            )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def password(self) -> str:
        """The password of the user `admin`."""
        return self.password_of(USER)

    def password_of(self, user: str) -> str:
        """The password that Airflow has generated for a user."""
        file = self.home / "simple_auth_manager_passwords.json.generated"
        passwords: dict[str, str] = json.loads(file.read_text())
        return passwords[user]

    def command(self) -> Sequence[str]:
        """What starts all parts of Airflow, and ends with them."""
        return airflow("standalone")

    def start(self) -> None:
        """Start the processes and return at once; `wait_until_ready` follows."""
        self._process = self.launch(self.command(), self.log)

    def launch(
        self,
        command: Sequence[str],
        log: Path,
        *,
        settings: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a command in a session of its own, with this Airflow's environment.

        Its output goes to `log`. `settings`: more environment variables.
        """
        # `standalone` finds the program `airflow` of its parts by PATH.
        programs = Path(sys.executable).parent
        kept = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW")}
        path = f"{programs}{os.pathsep}{kept.get('PATH', os.defpath)}"
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.home,
                env={
                    **kept,
                    "NO_COLOR": "1",
                    "PYTHONUNBUFFERED": "1",
                    **self.settings,
                    **(settings or {}),
                    "PATH": path,
                },
                start_new_session=True,
            )

    def wait_until_ready(
        self, on_progress: OnProgress = lambda _: None, seconds: float = START_SECONDS
    ) -> AirflowApi:
        """Return a client that is logged in; raise DemoError with the end of the log.

        `on_progress` is told, about twice a second, which parts are still missing.
        """
        api = AirflowApi(self.url)
        deadline = time.monotonic() + seconds
        missing = ["api server"]
        while time.monotonic() < deadline:
            self.require_running()
            missing = self._missing(api)
            if not missing:
                with contextlib.suppress(OSError, ValueError, KeyError, httpx.HTTPError):
                    api.login(USER, self.password)
                    api.wake_task_server()
                    return api
            on_progress("waiting for " + ", ".join(missing or ["the login"]))
            time.sleep(POLL_SECONDS)
        api.close()
        raise DemoError(
            f"Airflow was not ready within {seconds:g} s; missing: {', '.join(missing)}",
            tail(self.log),
        )

    def require_running(self) -> None:
        """Raise DemoError with the end of the log when Airflow has ended by itself."""
        if self._process is None:
            raise DemoError("Airflow is not started")
        if (code := self._process.poll()) is not None:
            raise DemoError(f"airflow standalone ended with code {code}", tail(self.log))

    def stop(self) -> None:
        """End every process of this Airflow; harmless when not started."""
        if self._process is None:
            return
        # What an interactive Ctrl-C does: it stops its parts in order.
        self._process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        self.end_processes()
        self._process.wait(STOP_SECONDS)
        self._process = None

    def end_processes(self) -> None:
        """Terminate what runs of this Airflow, then kill it; raise DemoError if some is left."""
        for end in (psutil.Process.terminate, psutil.Process.kill):
            found = self.processes()
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    end(process)
            psutil.wait_procs(found, timeout=STOP_SECONDS)
        if left := self.processes():
            raise DemoError(f"processes of Airflow are left: {[process.pid for process in left]}")

    def processes(self) -> list[psutil.Process]:
        """Return the running processes that were started with this home folder."""
        return processes_of(self.home)

    def task_log(self, dag: str, run: str, task: str) -> str:
        """Return the end of the task's newest log, one readable line per entry."""
        folder = self.home / "logs" / f"dag_id={dag}" / f"run_id={run}" / f"task_id={task}"
        logs = sorted(folder.rglob("*.log"), key=lambda path: path.stat().st_mtime)
        if not logs:
            return tail(self.log)
        return "\n".join(_readable(line) for line in tail(logs[-1]).splitlines())

    def _missing(self, api: AirflowApi) -> list[str]:
        try:
            health = api.health()
        except (httpx.HTTPError, ValueError):
            return ["the API server"]
        return [words for part, words in self.parts.items() if health.get(part) != "healthy"]


def airflow(*arguments: str) -> list[str]:
    """The command, by this interpreter: whatever `airflow` is in PATH."""
    return [sys.executable, "-m", "airflow", *arguments]


def processes_of(home: Path) -> list[psutil.Process]:
    """Return the running processes whose environment names `home` as AIRFLOW_HOME.

    Process groups and parents do not tell: tasks get groups of their own, and what a killed
    parent leaves behind belongs to init.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if (
                process.environ().get("AIRFLOW_HOME") == str(home)
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
    return found


def _readable(line: str) -> str:
    """A task log line is a JSON object; an error's whole message is in `error_detail`."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    words = [str(entry.get("level", "")), str(entry.get("event", ""))]
    # An error and its cause often say the same.
    errors = {error.get("exc_value"): error for error in reversed(entry.get("error_detail") or [])}
    words += [f"{e.get('exc_type')}: {e.get('exc_value')}" for e in reversed(errors.values())]
    return " ".join(words)


def _distinct_ports(count: int) -> list[int]:
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return sorted(ports)
