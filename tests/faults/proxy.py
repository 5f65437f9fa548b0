"""A TCP proxy that cuts connections in the middle."""

from __future__ import annotations

import contextlib
import math
import re
import selectors
import socket
import threading
from types import TracebackType
from typing import Self


class CuttingProxy:
    """Forwards to ``host:port``; cuts every connection after ``budget`` bytes, both ways summed.

    ``budget`` may be set anew at any time and counts for connections made afterwards; ``None``
    lets everything through, and so does whoever has cut ``most`` of them. A
    connection whose client sends something that ``word`` is found in is
    cut as well: right before it, or right after it was ``passed_on``, so that the answer is lost.
    That happens so many ``times``.
    """

    def __init__(self, host: str, port: int) -> None:
        self.budget: int | None = None
        self.word: re.Pattern[bytes] | None = None
        self.times = 1
        self.passed_on = False
        self.cuts = 0
        self.most = math.inf
        self._there = (host, port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def port(self) -> int:
        return int(self._server.getsockname()[1])

    def __enter__(self) -> Self:
        self._server.settimeout(0.1)
        self._spawn(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._server.close()

    def _spawn(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args)  # type: ignore[arg-type]
        thread.start()
        self._threads.append(thread)

    def _accept(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._server.accept()
                budget = self.budget if self.cuts < self.most else None
                self._spawn(self._forward, client, budget)

    def _forward(self, client: socket.socket, budget: int | None) -> None:
        left = budget
        with (
            client,
            socket.create_connection(self._there) as server,
            selectors.DefaultSelector() as s,
        ):
            s.register(client, selectors.EVENT_READ, server)
            s.register(server, selectors.EVENT_READ, client)
            while not self._stop.is_set():
                for key, _ in s.select(0.1):
                    try:
                        data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                        if not data:
                            return
                        if left is not None and (left := left - len(data)) < 0:
                            self.cuts += 1
                            return
                        named = key.fileobj is client and self._named(data)
                        if not named or self.passed_on:
                            key.data.sendall(data)
                        if named:
                            return
                    except OSError:
                        return

    def _named(self, data: bytes) -> bool:
        if self.word is None or not self.times or not self.word.search(data):
            return False
        self.times -= 1
        self.cuts += 1
        return True
