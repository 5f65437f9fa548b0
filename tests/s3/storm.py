"""An HTTP proxy that fails as real object stores do."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Fate = Callable[[str, str, int], str]
"""Method, path and the request's number give ``ok``, a status such as ``503`` or ``403
AccessDenied``, ``cut`` (no answer at all, nothing done), ``lost`` (done, but the answer is cut) or
``half`` (half of it)."""
SKIPPED = {"transfer-encoding", "connection", "content-length", "date", "server"}


class Storm:
    """Forwards to an S3 server, or not, as ``fate`` says."""

    def __init__(self, port: int, fate: Fate) -> None:
        self.fate = fate
        self.requests: list[tuple[str, str, str]] = []
        self._there = port
        self._lock = threading.Lock()
        storm = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

            def _any(self) -> None:
                storm.serve(self)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _any  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        method, path = handler.command, handler.path
        size = int(handler.headers.get("Content-Length") or 0)
        if (handler.headers.get("Expect") or "").lower() == "100-continue":
            handler.send_response_only(100)
            handler.end_headers()
        body = handler.rfile.read(size)
        with self._lock:
            fate = self.fate(method, path, len(self.requests))
            self.requests.append((method, path, fate))
        handler.close_connection = fate != "ok"
        if fate == "cut":
            return
        status, _, code = fate.partition(" ")
        if status.isdigit():
            code = code or ("SlowDown" if status == "503" else "InternalError")
            told = f"<Error><Code>{code}</Code><Message>storm</Message></Error>".encode()
            self._answer(handler, int(status), [("Content-Type", "application/xml")], told, "ok")
            return
        there = http.client.HTTPConnection("127.0.0.1", self._there, timeout=30)
        headers = {k: v for k, v in handler.headers.items() if k.lower() != "expect"}
        there.request(method, path, body, headers)
        answer = there.getresponse()
        data = answer.read()
        kept = [(k, v) for k, v in answer.getheaders() if k.lower() not in SKIPPED]
        length = answer.getheader("Content-Length") if method == "HEAD" else str(len(data))
        there.close()
        if fate != "lost":
            kept.append(("Content-Length", length or "0"))
            self._answer(handler, answer.status, kept, data, fate)

    def _answer(
        self,
        handler: BaseHTTPRequestHandler,
        status: int,
        headers: list[tuple[str, str]],
        data: bytes,
        fate: str,
    ) -> None:
        handler.send_response(status)
        for name, value in headers:
            handler.send_header(name, value)
        if not any(name == "Content-Length" for name, _ in headers):
            handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(data[: len(data) // 2] if fate == "half" else data)
