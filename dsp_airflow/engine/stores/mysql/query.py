"""Small questions to the server.

Values come as the server renders them: bytes, or text where it is text. Every result is read to
its end before the next statement, so nothing unread is left on the connection.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from MySQLdb.connections import Connection as DriverConnection

from dsp_airflow.engine.errors import Transient

Row: TypeAlias = "tuple[bytes | None, ...]"
TextRow: TypeAlias = "tuple[str | None, ...]"

_LABELLED = 1 << 16
"""Bytes of a statement up to which a copy of it, for the label before it, costs nothing."""
_LOAD = b"LOAD "
_TOO_LARGE = 1153


class Connection(DriverConnection):  # type: ignore[misc]
    """A connection whose statements begin with a comment that says who asks.

    The driver cannot give the server a name for the session, so its list of processes shows this.
    """

    label = b""
    packet = 0
    """The largest statement that the server takes, in bytes; 0 before it was asked."""

    def called(self, name: str) -> None:
        """Gives the session a name. Only a comment's end would be read by the server."""
        self.label = f"/* {re.sub(r'[*/]{2,}', '_', name)} */ ".encode()

    def query(self, query: str | bytes | bytearray) -> None:
        """Sends a statement; what comes back is still to be read."""
        statement = query.encode() if isinstance(query, str) else bytes(query)
        if len(statement) < _LABELLED:
            # The driver answers a server that asks for a file only where LOAD stands first.
            at = len(_LOAD) if statement[: len(_LOAD)].upper() == _LOAD else 0
            statement = statement[:at] + self.label + statement[at:]
        elif 0 < self.packet <= len(statement):
            # The server would hang up, which looks like a network that failed.
            raise self.OperationalError(
                _TOO_LARGE,
                f"a statement of {len(statement)} bytes is not below the server's "
                f"max_allowed_packet, {self.packet}",
            )
        super().query(statement)


def rows(connection: Connection, statement: str | bytes) -> list[Row]:
    """All rows of a statement whose result fits into memory."""
    connection.query(statement)
    result = connection.store_result()
    found: list[Row] = [] if result is None else list(result.fetch_row(0))
    _rest(connection)
    return found


def texts(connection: Connection, statement: str | bytes) -> list[TextRow]:
    """All rows of a statement whose columns are text, or numbers and times as text."""
    return [
        tuple(None if value is None else value.decode() for value in row)
        for row in rows(connection, statement)
    ]


def one(connection: Connection, statement: str | bytes) -> TextRow:
    """The single row of a statement that always has one, as texts."""
    found = texts(connection, statement)
    if len(found) != 1:
        text = statement if isinstance(statement, str) else statement.decode(errors="replace")
        raise Transient(
            f"the server gave {len(found)} rows, not one, to: {' '.join(text.split())[:200]}"
        )
    return found[0]


def execute(connection: Connection, statement: str | bytes) -> int:
    """Runs a statement without rows; returns how many rows it inserted, deleted or really changed.

    A row that an UPDATE finds as it is to be is not counted.
    """
    connection.query(statement)
    connection.store_result()
    affected = int(connection.affected_rows())
    _rest(connection)
    return affected


def quoted(connection: Connection, text: str) -> str:
    """A text literal. The driver escapes for the session's character set and sql_mode."""
    literal: bytes = connection.string_literal(text.encode())
    return literal.decode()


def _rest(connection: Connection) -> None:
    """Reads further results away, of a procedure for instance."""
    while connection.next_result() == 0:
        connection.store_result()
