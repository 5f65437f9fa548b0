"""A throwaway server: a process of its own session on a free port of 127.0.0.1.

It keeps its files in one temporary folder and is stopped by its process id. One that is not stopped
outlives the process that started it, which is what `dsp demo --keep` wants.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
PORT_ATTEMPTS = 3


class ServerError(RuntimeError):
    """A server could not be started; the message holds the end of its log."""


class NeverError(ServerError):
    """What a server answers says that waiting is in vain."""


class Server(ABC):
    """What servers of all products have in common. A subclass says how one is made and asked."""

    product: str
    prefix: str
    """Of the folder's name."""
    stopping: tuple[signal.Signals, ...] = (signal.SIGTERM,)
    """What ends it in order; SIGKILL follows."""
    crashing = signal.SIGKILL

    def __init__(self) -> None:
        self.port = 0
        self._folder: Path | None = None
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
    def folder(self) -> Path:
        """The server's files, its `log` among them."""
        if self._folder is None:
            raise ServerError(f"the {self.product} server is not started")
        return self._folder

    @property
    def pid(self) -> int:
        """The server's process id."""
        if self._process is None:
            raise ServerError(f"the {self.product} server is not started")
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it was started and has not crashed."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Make its files and return once it answers; raise ServerError with the log's end."""
        if self._process is not None:
            raise ServerError(f"the {self.product} server is already started")
        self._folder = self._make_folder()
        try:
            self._prepare()
            self._launch()
            self._settle(first=True)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and remove its folder; harmless when not started."""
        self._end(*self.stopping)
        if self._folder is not None:
            self._remove_folder(self._folder)
            self._folder = None

    def kill(self) -> None:
        """Crash the server; the next `restart` recovers."""
        self._end(self.crashing)

    def restart(self) -> None:
        """Start the stopped or running server again on its folder and port."""
        self._end(*self.stopping)
        self._launch_on(self.port)
        self._settle(first=False)

    def log_tail(self, lines: int = 30) -> str:
        """Return the last lines of the server's log."""
        log = self.folder / "log"
        if not log.exists():
            return "(no log)"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])

    # What a product has of its own

    @abstractmethod
    def _command(self) -> list[str]:
        """What starts it on its folder and port."""

    @abstractmethod
    def _silence(self) -> str:
        """Why it does not answer yet; empty when it does. `NeverError`: it never will."""

    def _prepare(self) -> None:  # noqa: B027 - most have nothing to make
        """Makes its files, before it is started for the first time."""

    def _settle(self, *, first: bool) -> None:  # noqa: B027 - as above
        """What is left to do whenever it answers."""

    def _surroundings(self) -> Mapping[str, Any]:
        """More arguments of its `Popen`: environment, user."""
        return {}

    def _make_folder(self) -> Path:
        return Path(tempfile.mkdtemp(prefix=self.prefix))

    def _remove_folder(self, folder: Path) -> None:
        shutil.rmtree(folder)

    # The process

    def _launch(self) -> None:
        for attempt in range(PORT_ATTEMPTS):
            try:
                self._launch_on(free_port())
            except ServerError as error:
                # The port was free a moment ago; another process may have taken it since.
                if "Address already in use" not in str(error) or attempt + 1 == PORT_ATTEMPTS:
                    raise
            else:
                return

    def _launch_on(self, port: int) -> None:
        self.port = port
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
                **self._surroundings(),
            )
        self._await_answer(self._process)

    def _await_answer(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        reason = "no answer"
        while time.monotonic() < deadline:
            if process.poll() is not None:
                self._process = None
                reason = f"exited with {process.returncode}"
                break
            try:
                reason = self._silence()
            except NeverError as error:
                reason = str(error)
                break
            if not reason:
                return
            time.sleep(0.05)
        raise ServerError(f"{self.product} did not start: {reason}\n{self.log_tail()}")

    def _end(self, *signals: signal.Signals) -> None:
        if self._process is not None:
            stop_process(self._process, *signals)
            self._process = None


def refused(port: int) -> str:
    """Why nobody listens on a port of this machine; empty when somebody does."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return "nobody listens" if probe.connect_ex((HOST, port)) else ""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def stop_process(process: subprocess.Popen[bytes], *signals: signal.Signals) -> None:
    """Send one signal after the other, at last SIGKILL, until the process has ended."""
    for number in (*signals, signal.SIGKILL):
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return
