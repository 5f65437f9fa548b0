"""Rows out of MySQL: the server renders each row as one text, Python joins them to buffers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from dsp_airflow.engine.canon import lines, mysql_row_text
from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.model import Field
from dsp_airflow.engine.stores.mysql.names import BYTES, NUMBERS, base
from dsp_airflow.engine.stores.mysql.query import Connection
from dsp_airflow.engine.types import INTEGERS

TEXT: Final = "text"
"""What COPY and LOAD DATA read alike."""
OWN: Final = "mysql text"
"""The same towards MySQL: bytes are plain hex."""
CSV: Final = "mysql csv"
"""What PostgreSQL sends: the text format of its COPY has escapes that LOAD DATA does not know."""
RENDERS: Final = (OWN, TEXT, lines.WIRE)

CHUNK: Final = 64 * 1024
"""Bytes gathered before they are handed on; a single larger row is handed on alone."""
ROWS_AT_ONCE: Final = 32
"""Rows asked of the driver: small, for a large one may follow small ones at any time."""

_ESCAPED: Final = {TEXT: ("\\\\", "\\t", "\\n", "\\r"), OWN: ("\\\\", "\\t", "\\n")}
"""As they stand in a literal of SQL. COPY takes a carriage return for the end of a line."""
_BACKSLASH: Final = ((b"\\", b"\\\\"), (b"\t", b"\\t"), (b"\n", b"\\n"))
_ESCAPES: Final = {OWN: _BACKSLASH, TEXT: (*_BACKSLASH, (b"\r", b"\\r"))}
"""The same for bytes; the backslash comes first."""

LONG: Final = 4096
"""Bytes from which a text is sent as hex and escaped here.

The time that a server takes to escape one grows with the square of it.
"""
_HEX: Final = b"\\H"
"""What such a text begins with. No other text does: each of its backslashes is doubled."""
_LONG_TEXT: Final = re.compile(rb"(?<![^\t])\\H([0-9A-F]*)")

_PLAIN: Final = frozenset(
    [
        *(*INTEGERS, "bool", "decimal", "float32", "float64", "date", "time", "timestamp"),
        *("timestamptz", "duration", "year", "uuid"),
    ]
)
_PLAIN_NATIVE: Final = NUMBERS | {"date", "time", "datetime", "timestamp", "uuid"}
"""A type of both kinds prints nothing that would have to be escaped."""


def is_bytes(field: Field) -> bool:
    """Whether the field travels as hex."""
    kind = field.type
    if kind.name == "bytes" or kind.identity in ("geometry", "vector"):
        return True
    return kind.name == "other" and base(field.native) in BYTES


def is_marked(field: Field, wire: str) -> bool:
    r"""Whether the hex begins with \x, as PostgreSQL has it."""
    return wire != OWN and field.type.name == "bytes"


def is_bits(field: Field) -> bool:
    """Whether the field travels as zeros and ones."""
    return field.type.identity == "bit"


NEGATIVE_ZERO: Final = "^-0([.]0*)?$"
"""Its text, whatever database printed it."""


def is_float(field: Field) -> bool:
    """Whether the field goes into a column that may keep a zero's sign, or not."""
    return base(field.native) in ("float", "double")


def rendered(field: Field, wire: str) -> str:
    """SQL of the field as it is sent. What outgrows ``max_allowed_packet`` makes it NULL."""
    x = f"({field.expression})"
    return f"IF({x} IS NULL, '\\\\N', {_value(field, x, wire)})"


def _value(field: Field, x: str, wire: str) -> str:
    if is_bytes(field):
        # The backslash of \x is doubled on the wire.
        return f"CONCAT('\\\\\\\\x', HEX({x}))" if is_marked(field, wire) else f"HEX({x})"
    if is_bits(field):
        return f"LPAD(BIN({x} + 0), {field.type.length or 1}, '0')"
    if base(field.native) == "year":
        # Of the text 0 a YEAR would make 2000.
        return f"LPAD({x} + 0, 4, '0')"
    if field.type.name in _PLAIN and base(field.native) in _PLAIN_NATIVE:
        shown = f"CAST({x} AS CHAR)"
        zoned = wire == TEXT and field.type.name == "timestamptz"
        return f"CONCAT({shown}, '+00')" if zoned else shown
    # As bytes: in another collation one letter may pass for another, and takes longer to find.
    whole = f"CONVERT({x} USING utf8mb4)"
    text = f"CAST({whole} AS BINARY)"
    for raw in _ESCAPED[wire]:
        escaped = raw.replace("\\", "\\\\")
        text = f"REPLACE({text}, '{raw}', '{escaped}')"
    length = field.type.length
    if length is not None and length <= LONG:
        return text
    return f"IF(LENGTH({whole}) > {LONG}, CONCAT('\\\\H', HEX({whole})), {text})"


def rendered_row(fields: Sequence[Field], wire: str) -> str:
    """SQL of a whole row with its newline; NULL when it outgrows ``max_allowed_packet``."""
    if wire == lines.WIRE:
        return mysql_row_text(fields)
    inside = ", '\\t', ".join(rendered(field, wire) for field in fields)
    return f"CONCAT({inside}, '\\n')"


def _escaped(line: bytes, wire: str) -> bytes:
    """A row with its long texts as they belong on the wire."""
    if _HEX not in line:
        return line

    def text(found: re.Match[bytes]) -> bytes:
        plain = bytes.fromhex(found[1].decode())
        for raw, escaped in _ESCAPES[wire]:
            plain = plain.replace(raw, escaped)
        return plain

    return _LONG_TEXT.sub(text, line)


class RowsOut:
    """A ``SELECT`` of one rendered row each; ``rows`` counts once it was read to the end.

    Buffers end at the end of a row.
    """

    def __init__(
        self, connection: Connection, statement: str, wire: str, max_row_size: int | None = None
    ) -> None:
        self._wire = wire
        self.rows = -1
        self.size = 0
        self._connection = connection
        self._statement = statement
        self._max = max_row_size

    def __iter__(self) -> Iterator[bytes]:
        self._connection.query(self._statement)
        result = self._connection.use_result()
        try:
            yield from self._buffers(result)
        finally:
            if self.rows < 0:
                # What was not read stands in the way of whatever is asked next, and dropping the
                # result before the connection would read it all.
                self._connection.close()

    def _buffers(self, result: Any) -> Iterator[bytes]:
        pieces: list[bytes] = []
        gathered, rows, wanted = 0, 0, 1
        while found := result.fetch_row(wanted):
            told = self._lines(found)
            largest = self._largest(told)
            wanted = max(1, min(ROWS_AT_ONCE, CHUNK // largest))
            rows += len(told)
            pieces += told
            gathered += sum(map(len, told))
            if gathered >= CHUNK:
                self.size += gathered
                yield b"".join(pieces)
                pieces, gathered = [], 0
        if pieces:
            self.size += gathered
            yield b"".join(pieces)
        self.rows = rows

    def _lines(self, found: Sequence[tuple[bytes | None]]) -> list[bytes]:
        told = []
        for (line,) in found:
            if line is None:
                raise Refused(
                    "a row is larger than the server sends (max_allowed_packet); raise "
                    "max_allowed_packet there, and max_row_size where it is smaller, or leave the "
                    "column out"
                )
            if self._wire == lines.WIRE:
                told.append(lines.line_of(line))
            else:
                told.append(_escaped(line, self._wire) if len(line) > LONG else line)
        return told

    def _largest(self, told: Sequence[bytes]) -> int:
        largest = max(map(len, told))
        if self._max is not None and largest > self._max:
            raise Refused(
                f"a row of {largest:,} bytes is larger than max_row_size ({self._max:,}); raise "
                "max_row_size, or leave the column out"
            )
        return largest
