"""COPY through libpq: buffers in, buffers out, no Python row objects.

The sockets are driven without blocking calls, so that waiting releases the interpreter
and several workers share a process. One thread both reads and writes: while it writes, the
source goes on filling the socket's buffer, some megabytes of it. A thread for each side
was measured to be slower, for the two wait for the interpreter.
"""

from __future__ import annotations

import select
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import psycopg
from psycopg import pq

from dsp_airflow.engine.canon import lines, postgres_row_text
from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.model import Field

CHUNK = 64 * 1024
"""Bytes gathered before they are handed on; a single larger row is handed on alone.

Larger ones are slower: from 128 KiB on the allocator asks the kernel for every one of them.
"""
CSV = "mysql csv"
"""What LOAD DATA reads as it was meant: the text format has escapes that it does not know."""


def rendered_row(fields: Sequence[Field], wire: str) -> str:
    """SQL of the columns of a row as they are sent."""
    if wire == lines.WIRE:
        return postgres_row_text(fields)
    return ", ".join(rendered(field, wire) for field in fields)


def options(wire: str) -> str:
    """Of a COPY in this wire format."""
    if wire == lines.WIRE:
        return "FORMAT text"
    if wire == CSV:
        return "FORMAT csv, NULL '\\N', ESCAPE '\\', FORCE_QUOTE *"
    return f"FORMAT {wire}"


def rendered(field: Field, wire: str) -> str:
    """The field as it is sent: to another system without what only PostgreSQL reads."""
    if wire == CSV and field.type.name == "timestamptz":
        return f"(({field.expression}) AT TIME ZONE 'UTC')"
    if wire == CSV and field.type.name == "duration":
        return f"to_char({field.expression}, 'HH24:MI:SS.US')"
    return field.expression


class _Wait:
    """Waits until the connection's socket can be read or written."""

    def __init__(self, pgconn: Any) -> None:
        self._poll = select.poll()
        self._socket = pgconn.socket

    def readable(self) -> None:
        self._poll.register(self._socket, select.POLLIN | select.POLLERR | select.POLLHUP)
        self._poll.poll()

    def writable(self) -> None:
        # Readable counts too: the server may be refusing the data right now.
        self._poll.register(self._socket, select.POLLIN | select.POLLOUT | select.POLLERR)
        self._poll.poll()


def _finish(connection: psycopg.Connection[Any]) -> int:
    """Reads the results to the end; returns the command's row count, or raises its error."""
    pgconn = connection.pgconn
    wait = _Wait(pgconn)
    rows = 0
    failure: psycopg.Error | None = None
    while True:
        while pgconn.is_busy():
            wait.readable()
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            break
        if result.status == pq.ExecStatus.COMMAND_OK:
            rows = result.command_tuples or 0
        elif result.status == pq.ExecStatus.FATAL_ERROR and failure is None:
            failure = psycopg.errors.error_from_result(result)
    if failure is not None:
        raise failure
    return rows


def _start(connection: psycopg.Connection[Any], statement: str, status: pq.ExecStatus) -> None:
    pgconn = connection.pgconn
    result = pgconn.exec_(statement.encode())
    if result.status != status:
        raise psycopg.errors.error_from_result(result)


class CopyOut:
    """One ``COPY ... TO STDOUT``; ``rows`` is the server's count once it was read to the end."""

    def __init__(
        self, connection: psycopg.Connection[Any], statement: str, max_row_size: int | None = None
    ) -> None:
        self.rows = -1
        self.size = 0
        self._connection = connection
        self._statement = statement
        self._max = max_row_size

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._buffers()
        finally:
            if self.rows < 0:
                # Left in the middle of a COPY the connection serves nothing else.
                self._connection.close()

    def _buffers(self) -> Iterator[bytes]:
        pgconn = self._connection.pgconn
        _start(self._connection, self._statement, pq.ExecStatus.COPY_OUT)
        wait = _Wait(pgconn)
        pieces: list[memoryview | bytes] = []
        gathered = 0
        get = pgconn.get_copy_data
        while True:
            length, data = get(1)
            if length > 0:
                if self._max is not None and length > self._max:
                    raise Refused(
                        f"a row of {length:,} bytes is larger than max_row_size "
                        f"({self._max:,}); raise max_row_size, or leave the column out"
                    )
                pieces.append(data)
                gathered += length
                if gathered >= CHUNK:
                    self.size += gathered
                    yield pieces[0] if len(pieces) == 1 else b"".join(pieces)  # type: ignore[misc]
                    pieces, gathered = [], 0
            elif length == 0:
                wait.readable()
                pgconn.consume_input()
            else:
                break
        if pieces:
            self.size += gathered
            yield b"".join(pieces)
        self.rows = _finish(self._connection)


def copy_in(
    connection: psycopg.Connection[Any], statement: str, buffers: Iterable[bytes | memoryview]
) -> int:
    """Runs ``COPY ... FROM STDIN`` with these buffers; returns rows written.

    When the buffers fail midway, the server is told so and nothing of the command stays.
    """
    pgconn = connection.pgconn
    _start(connection, statement, pq.ExecStatus.COPY_IN)
    wait = _Wait(pgconn)
    pgconn.nonblocking = 1
    try:
        for buffer in buffers:
            _put(pgconn, wait, buffer)
        while pgconn.put_copy_end() == 0:
            wait.writable()
            pgconn.flush()
        _flush(pgconn, wait)
    except psycopg.Error:
        raise
    except BaseException as error:
        if pgconn.status == pq.ConnStatus.OK:
            pgconn.put_copy_end(f"source failed: {type(error).__name__}".encode())
            _flush(pgconn, wait)
            while pgconn.get_result() is not None:
                pass
        raise
    finally:
        if pgconn.status == pq.ConnStatus.OK:
            pgconn.nonblocking = 0
    return _finish(connection)


def _put(pgconn: Any, wait: _Wait, buffer: bytes | memoryview) -> None:
    while pgconn.put_copy_data(buffer) == 0:
        wait.writable()
        pgconn.flush()
    _flush(pgconn, wait)


def _flush(pgconn: Any, wait: _Wait) -> None:
    while pgconn.flush() == 1:
        wait.writable()
        pgconn.consume_input()
