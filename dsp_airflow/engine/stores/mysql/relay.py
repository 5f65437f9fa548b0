"""Rows out of MySQL: the server renders each as one text, Python joins and escapes buffers."""

from __future__ import annotations

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

_FIELD, _ROW, _NULL = b"\xff", b"\xfe", b"\xfd\xfc"
"""Between fields, after rows, in place of a value: bytes that no text in UTF-8 has."""
_BACKSLASH: Final = ((b"\\", b"\\\\"), (b"\t", b"\\t"), (b"\n", b"\\n"))
_ENDS: Final = ((_FIELD, b"\t"), (_ROW, b"\n"), (_NULL, b"\\N"))
_WIRES: Final = {
    OWN: (*_BACKSLASH, *_ENDS),
    # COPY takes a carriage return for the end of a line.
    TEXT: (*_BACKSLASH, (b"\r", b"\\r"), *_ENDS),
}
"""What becomes of which bytes, in this order: the backslash first.

The server does not escape. It takes several times as long for it, and for a long text the square
of its length.
"""

_PLAIN: Final = frozenset(
    [
        *(*INTEGERS, "bool", "decimal", "float32", "float64", "date", "time", "timestamp"),
        *("timestamptz", "duration", "year"),
    ]
)
_PLAIN_NATIVE: Final = NUMBERS | {"date", "time", "datetime", "timestamp"}
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


def is_float(field: Field) -> bool:
    """Whether the field goes into a column that may keep a zero's sign, or not."""
    return base(field.native) in ("float", "double")


def _octets(text: bytes) -> str:
    """A literal beside which texts are taken as the octets that they are: none is converted."""
    return f"X'{text.hex()}' COLLATE `binary`"


def rendered(field: Field, wire: str) -> str:
    """SQL of the field as it is sent. What outgrows ``max_allowed_packet`` makes it NULL."""
    x = f"({field.expression})"
    return f"IF({x} IS NULL, {_octets(_NULL)}, {_value(field, x, wire)})"


def _value(field: Field, x: str, wire: str) -> str:
    if is_bytes(field):
        # The backslash of \x is doubled on the wire.
        return f"CONCAT('\\\\x', HEX({x}))" if is_marked(field, wire) else f"HEX({x})"
    if is_bits(field):
        return f"LPAD(BIN({x} + 0), {field.type.length or 1}, '0')"
    if base(field.native) == "year":
        # Of the text 0 a YEAR would make 2000.
        return f"LPAD({x} + 0, 4, '0')"
    if field.type.name in _PLAIN and base(field.native) in _PLAIN_NATIVE:
        zoned = wire == TEXT and field.type.name == "timestamptz"
        return f"CONCAT({x}, '+00')" if zoned else x
    return x if field.utf8 else f"CONVERT({x} USING utf8mb4)"


def rendered_row(fields: Sequence[Field], wire: str) -> str:
    """SQL of a whole row; NULL when it outgrows ``max_allowed_packet``."""
    if wire == lines.WIRE:
        return mysql_row_text(fields)
    between = f", {_octets(_FIELD)}, "
    return f"CONCAT({between.join(rendered(field, wire) for field in fields)}, {_octets(_ROW)})"


def _escaped(rows: bytes, wire: str) -> bytes:
    """Whole rows as they belong on the wire."""
    for raw, escaped in _WIRES[wire]:
        rows = rows.replace(raw, escaped)
    return rows


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
            told = [self._told(line) for (line,) in found]
            largest = self._largest(told)
            wanted = max(1, min(ROWS_AT_ONCE, CHUNK // largest))
            rows += len(told)
            pieces += told
            gathered += sum(map(len, told))
            if gathered >= CHUNK:
                yield self._buffer(pieces)
                pieces, gathered = [], 0
        if pieces:
            yield self._buffer(pieces)
        self.rows = rows

    def _told(self, line: bytes | None) -> bytes:
        """A row as the server says it; a row text says itself how long its fields are."""
        row = _rendered(line)
        return lines.line_of(row) if self._wire == lines.WIRE else row

    def _buffer(self, pieces: list[bytes]) -> bytes:
        buffer = b"".join(pieces)
        if self._wire != lines.WIRE:
            buffer = _escaped(buffer, self._wire)
        self.size += len(buffer)
        return buffer

    def _largest(self, told: Sequence[bytes]) -> int:
        largest = max(map(len, told))
        if self._max is not None and largest > self._max:
            raise Refused(
                f"a row of {largest:,} bytes is larger than max_row_size ({self._max:,}); raise "
                "max_row_size, or leave the column out"
            )
        return largest


def _rendered(line: bytes | None) -> bytes:
    if line is None:
        raise Refused(
            "a row is larger than the server sends (max_allowed_packet); raise "
            "max_allowed_packet there, and max_row_size where it is smaller, or leave the "
            "column out"
        )
    return line
