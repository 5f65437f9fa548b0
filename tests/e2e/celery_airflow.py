"""Airflow on CeleryExecutor: its parts and any number of workers, each one process tree."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from dsp_airflow.demo.errors import DemoError, tail
from dsp_airflow.demo.rest import AirflowApi
from dsp_airflow.demo.standalone import (
    START_SECONDS,
    STOP_SECONDS,
    AirflowStandalone,
    OnProgress,
    airflow,
)

WORKER = "DSP_TEST_WORKER"
"""By this environment variable every process of a worker is known."""
PARTS = ("api-server", "scheduler", "dag-processor")
MIGRATE_SECONDS = 180.0
WORKER_SECONDS = 120.0
READY = " ready."
# A machine of its own: other process ids, another name. Nobody outside can tell whether one of its
# processes lives.
APART = (
    *("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts"),
    *("sh", "-c", 'hostname "$0" && exec "$@"'),
)


class CeleryAirflow(AirflowStandalone):
    """Without a triggerer: nothing here is deferred.

    `broker` is Redis's URL. `workers` are there from the beginning, by name, and work on one task
    at a time. `apart`: each is as on a machine of its own; needs root.
    """

    parts: Mapping[str, str] = {
        name: words for name, words in AirflowStandalone.parts.items() if name != "triggerer"
    }

    def __init__(
        self,
        home: Path,
        *,
        dags: Path,
        plugins: Path,
        state_url: str,
        metadata_url: str,
        broker: str,
        connections: Mapping[str, str],
        settings: Mapping[str, str] | None = None,
        workers: Sequence[str],
        apart: bool = False,
    ) -> None:
        distributed = {
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            # As the package calls it.
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
            # It is about who works, not about who may.
            "AIRFLOW__DSP__ENFORCE_APPROVAL": "False",
            "AIRFLOW__DSP__ENFORCE_GRANTS": "False",
            "AIRFLOW__CELERY__BROKER_URL": broker,
            # So two shards are always on two workers.
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": "1",
            "AIRFLOW__CELERY__SYNC_PARALLELISM": "1",
            # Nobody edits a file here.
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
        }
        super().__init__(
            home,
            dags=dags,
            plugins=plugins,
            state_url=state_url,
            metadata_url=metadata_url,
            connections=connections,
            settings={**distributed, **(settings or {})},
        )
        self._workers = workers
        self._apart = apart
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._stopping: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start the workers, make the metadata database, then start all other parts."""
        migrating = self.launch(airflow("db", "migrate"), self.log)
        # They do without that database, until they tell how a task ended.
        for name in self._workers:
            self.start_worker(name)
        if migrating.wait(MIGRATE_SECONDS) != 0:
            raise DemoError("airflow db migrate failed", tail(self.log))
        for part in PARTS:
            self._running[part] = self.launch(airflow(part), self._log(part))

    def wait_until_ready(
        self, on_progress: OnProgress = lambda _: None, seconds: float = START_SECONDS
    ) -> AirflowApi:
        """Return a client that is logged in, once the workers take work, too."""
        api = super().wait_until_ready(on_progress, seconds)
        for name in self._workers:
            self.wait_for_worker(name)
        return api

    def start_worker(self, name: str) -> None:
        """Start one more worker and return at once; `wait_for_worker` follows."""
        # Logs are read where they are written: one folder serves all.
        command = [*APART, name] if self._apart else []
        command += airflow("celery", "worker", "--celery-hostname", f"{name}@%h")
        command += ["--skip-serve-logs", "--without-mingle", "--without-gossip"]
        self._running[name] = self.launch(command, self._log(name), settings={WORKER: name})

    def wait_for_worker(self, name: str) -> None:
        """Return once it takes work; raise DemoError with the end of its log."""
        deadline = time.monotonic() + WORKER_SECONDS
        while READY not in self._log(name).read_text():
            self.require_running()
            if time.monotonic() > deadline:
                raise DemoError(f"worker {name} did not start", tail(self._log(name)))
            time.sleep(0.2)

    def kill_worker(self, name: str) -> None:
        """SIGKILL all of a worker at once."""
        while found := self.worker_processes(name):
            _kill(found)
        self._running.pop(name).wait()

    def stop_worker(self, name: str) -> None:
        """Ask a worker to end, as systems do it, and return at once."""
        self._stopping[name] = self._running.pop(name)
        self._stopping[name].terminate()

    def exit_code(self, name: str) -> int | None:
        """How a worker ended that was asked to; None while it works."""
        return self._stopping[name].poll()

    def worker_of(self, owner: str) -> str | None:
        """The worker of which a process holds a lease under this name (see `owner_name`)."""
        _, _, namespace, pid, _, _ = owner.rsplit(":", 5)
        for process in self.processes():
            with contextlib.suppress(OSError, psutil.Error):
                folder = Path("/proc", str(process.pid))
                inside = (folder / "status").read_text().split("NSpid:")[1].split("\n")[0].split()
                if (inside[-1], str((folder / "ns" / "pid").stat().st_ino)) == (pid, namespace):
                    return process.environ().get(WORKER)
        return None

    def worker_processes(self, name: str) -> list[psutil.Process]:
        """All that runs of one worker."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(WORKER) == name:
                    found.append(process)
        return found

    def require_running(self) -> None:
        """Raise DemoError with the end of the log of the part that ended by itself."""
        for name, process in self._running.items():
            if (code := process.poll()) is not None:
                raise DemoError(f"{name} ended with code {code}", tail(self._log(name)))

    def stop(self) -> None:
        """Kill every process of this Airflow: nothing of it is needed any more."""
        while found := self.processes():
            _kill(found)
        for ended in (self._running, self._stopping):
            for process in ended.values():
                process.wait()
            ended.clear()

    def _log(self, name: str) -> Path:
        return self.home / f"{name}.log"


def _kill(processes: list[psutil.Process]) -> None:
    # Stopped first: none sees another one die, and none has children meanwhile.
    for end in (psutil.Process.suspend, psutil.Process.kill):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                end(process)
    psutil.wait_procs(processes, timeout=STOP_SECONDS)
