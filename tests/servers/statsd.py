"""A StatsD server that remembers what it was sent."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"


class StatsdListener:
    """Listens on a free UDP port; ``lines`` are the datagrams in the order they came."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST, 0))
        self._socket.settimeout(0.2)
        self.port: int = self._socket.getsockname()[1]
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()
        self._socket.close()

    @property
    def settings(self) -> dict[str, str]:
        """What makes an Airflow send its metrics here, tags in their names."""
        return {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": HOST,
            "AIRFLOW__METRICS__STATSD_PORT": str(self.port),
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
        }

    def _listen(self) -> None:
        while not self._stopped.is_set():
            try:
                self.lines += self._socket.recv(65_536).decode().splitlines()
            except TimeoutError:
                continue

    def values(self, name: str, **tags: str) -> list[float]:
        """The numbers that came under a name with all of these tags."""
        found = []
        for line in self.lines:
            head, _, rest = line.partition(":")
            stat, *given = head.split(",")
            if stat.endswith(name) and {f"{k}={v}" for k, v in tags.items()} <= set(given):
                found.append(float(rest.split("|")[0]))
        return found

    def wait(self, enough: Callable[[], bool], seconds: float = 10.0) -> bool:
        """Datagrams may come late."""
        deadline = time.monotonic() + seconds
        while not enough() and time.monotonic() < deadline:
            time.sleep(0.05)
        return enough()
