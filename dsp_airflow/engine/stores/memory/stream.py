"""Rows on the way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from dsp_airflow.engine.errors import Refused
from dsp_airflow.engine.model import Key

ROWS_A_BUFFER: Final = 64


class MemoryStream:
    """Rows as JSON lines of canonical texts."""

    def __init__(self, lines: Iterable[tuple[Key, bytes]], max_row_size: int, label: str) -> None:
        self.rows = -1
        self.size = 0
        self._lines = lines
        self._max = max_row_size
        self._label = label

    def __iter__(self) -> Iterator[bytes]:
        pieces: list[bytes] = []
        rows = 0
        for key, line in self._lines:
            if len(line) > self._max:
                raise too_large(self._label, key, len(line), self._max)
            pieces.append(line)
            rows += 1
            if len(pieces) == ROWS_A_BUFFER:
                yield self._handed_on(pieces)
                pieces = []
        if pieces:
            yield self._handed_on(pieces)
        self.rows = rows

    def _handed_on(self, pieces: list[bytes]) -> bytes:
        buffer = b"".join(pieces)
        self.size += len(buffer)
        return buffer


def too_large(label: str, key: Key, size: int, limit: int) -> Refused:
    """A row that is larger than allowed."""
    return Refused(
        f"{label}: the row of key {key} has {size:,} bytes, more than max_row_size ({limit:,}); "
        "raise max_row_size, or leave the column out"
    )


def as_line(texts: Sequence[str | None]) -> bytes:
    """A row on the wire."""
    return json.dumps(texts, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
