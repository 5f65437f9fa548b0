"""Multi-row INSERTs made of relayed buffers, where a server takes no files.

The wire's escapes are those of a MySQL literal, so that quotes around fields are nearly all there
is to do. Buffers are taken to end at the end of a row, as all streams of ours do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import MySQLdb

from dsp_airflow.engine.errors import BadValue, Refused
from dsp_airflow.engine.model import Field
from dsp_airflow.engine.ports import Stream
from dsp_airflow.engine.stores.mysql import translate
from dsp_airflow.engine.stores.mysql.names import quote
from dsp_airflow.engine.stores.mysql.query import Connection, execute, one
from dsp_airflow.engine.stores.mysql.relay import (
    TEXT,
    is_bits,
    is_bytes,
    is_float,
    is_marked,
)
from dsp_airflow.engine.stores.mysql.warned import DUPLICATE, Duplicate, refuse_warnings

LARGEST: Final = 1 << 20
"""Bytes of wire in one statement, unless a single row is larger."""
_NULL: Final = b"\\N"
_PAIR: Final = re.compile(rb"\\(.)", re.DOTALL)
_NEGATIVE_ZERO: Final = re.compile(rb"-0(?:[.]0*)?$")
_ONLY_COPY: Final = {b"\\f": b"\f", b"\\v": b"\v"}


def insert(
    connection: Connection,
    table: str,
    fields: Sequence[Field],
    stream: Stream,
    wire: str,
    label: str,
    watched: frozenset[str] = frozenset(),
) -> int:
    """See ``load.fill``."""
    columns = ", ".join(quote(field.column) for field in fields)
    head = f"INSERT INTO {table} ({columns}) VALUES ".encode()
    (packet,) = one(connection, "SELECT @@max_allowed_packet")
    room = int(packet or 0)
    values = _Values(fields, wire, watched, label)
    rows = 0
    for lines in _cut(stream, min(LARGEST, room // 4)):
        statement = head + values.of(lines)
        if len(statement) >= room:
            raise Refused(
                f"{label}: a row takes a statement of {len(statement):,} bytes, and the server "
                f"takes {room:,}; raise max_allowed_packet there, or set local_infile = 1"
            )
        try:
            rows += execute(connection, statement)
        except MySQLdb.Error as error:
            if translate.number(error) == DUPLICATE:
                raise Duplicate(translate.message(error)) from error
            raise
        if connection.warning_count():
            refuse_warnings(connection, label)
    return rows


def _cut(stream: Stream, size: int) -> Iterator[bytes]:
    """The stream in pieces of whole rows, each of about this many bytes."""
    for buffer in stream:
        rest = bytes(buffer)
        if not rest.endswith(b"\n"):
            raise ValueError("a buffer ends in the middle of a row")
        start = 0
        while start < len(rest):
            end = len(rest)
            if end - start > size:
                end = rest.rfind(b"\n", start, start + size) + 1
                # A row of its own size.
                end = end or rest.index(b"\n", start) + 1
            yield rest[start:end]
            start = end


class _Values:
    """Turns rows of the wire into rows of a VALUES list."""

    def __init__(
        self, fields: Sequence[Field], wire: str, watched: frozenset[str], label: str
    ) -> None:
        self._label = label
        numbered = list(enumerate(fields))
        self._hex = [(n, 3 if is_marked(f, wire) else 0) for n, f in numbered if is_bytes(f)]
        self._bits = [n for n, f in numbered if is_bits(f)]
        seen = [(n, f) for n, f in numbered if f.column in watched]
        self._zeros = [(n, f.column) for n, f in seen if is_float(f)]
        self._never_null = [(n, f.column) for n, f in seen if not is_float(f)]
        # PostgreSQL adds where its session is, which is UTC.
        self._zoned = [n for n, f in numbered if wire == TEXT and f.type.name == "timestamptz"]
        self._row_by_row = bool(self._hex or self._bits or self._zeros or self._zoned)

    def of(self, lines: bytes) -> bytes:
        """``('1','a'),('2',NULL)``."""
        text = lines.replace(b"'", b"\\'")
        if b"\\f" in text or b"\\v" in text:
            text = _PAIR.sub(lambda pair: _ONLY_COPY.get(pair[0], pair[0]), text)
        if self._row_by_row or (self._never_null and _NULL in text):
            return b",".join(self._row(line.split(b"\t")) for line in text[:-1].split(b"\n"))
        text = text[:-1].replace(b"\t", b"','").replace(b"\n", b"'),('")
        # A backslash right after a quote begins an escape, and \N is none of a text.
        return (b"('" + text + b"')").replace(b"'\\N'", b"NULL")

    def _row(self, row: list[bytes]) -> bytes:
        for n, column in self._never_null:
            if row[n] == _NULL:
                raise BadValue(
                    f"{self._label}: column {column} does not accept NULL, and a row has none to "
                    "give; map a constant or an expression with coalesce, or allow NULL in the "
                    "target"
                )
        for n, column in self._zeros:
            if _NEGATIVE_ZERO.match(row[n]):
                raise BadValue(
                    f"{self._label}: MariaDB keeps no -0 and a row has one in column {column}; map "
                    "an expression, such as CASE WHEN x = 0 THEN 0 ELSE x END"
                )
        for n in self._zoned:
            row[n] = row[n].removesuffix(b"+00")
        parts = [b"NULL" if part == _NULL else b"'" + part + b"'" for part in row]
        for n, mark in self._hex:
            if row[n] != _NULL:
                # Of \\\\x on the wire nothing is left.
                parts[n] = b"x'" + row[n][mark:] + b"'"
        for n in self._bits:
            if row[n] != _NULL:
                parts[n] = b"b" + parts[n]
        return b"(" + b",".join(parts) + b")"
