"""Rows as lines of canonical texts: a wire format that every system renders, and documents are
made of.

A line is the row text (see ``canon``), in which a backslash and the characters that end lines are
escaped as PostgreSQL's COPY does. How many fields a row has, both sides know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from dsp_airflow.engine.errors import Mismatch

WIRE: Final = "canon"
_NULL: Final = ord("N")
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_MEANT: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


def line_of(row: bytes) -> bytes:
    """The line of a row text, with its newline."""
    if b"\\" in row:
        row = row.replace(b"\\", b"\\\\")
    return row.replace(b"\n", b"\\n") + b"\n"


def rows_of(buffers: Iterable[bytes | memoryview], width: int) -> Iterator[list[str | None]]:
    """The canonical texts of each row. ``Mismatch`` for what is no such line."""
    rest = b""
    for buffer in buffers:
        *lines, rest = (rest + bytes(buffer)).split(b"\n")
        for line in lines:
            yield texts_of(line, width)
    if rest:
        raise Mismatch("the rows that arrived end in the middle of one")


def texts_of(line: bytes, width: int) -> list[str | None]:
    """The texts of a line without its newline."""
    row = _ESCAPED.sub(_unescaped, line) if b"\\" in line else line
    found: list[str | None] = []
    at = 0
    try:
        for _ in range(width):
            if row[at] == _NULL:
                found.append(None)
                at += 1
                continue
            colon = row.index(b":", at)
            end = colon + 1 + int(row[at:colon])
            found.append(row[colon + 1 : end].decode())
            at = end
    except (IndexError, ValueError) as error:
        raise Mismatch("a row that arrived is no row of canonical texts") from error
    if at != len(row):
        raise Mismatch(f"a row that arrived has other fields than the {width} that it should have")
    return found


def _unescaped(found: re.Match[bytes]) -> bytes:
    return _MEANT.get(found[1], found[1])
