"""Compressed streams over files and sinks, without copies of the whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa


@contextmanager
def compressed(sink: BinaryIO, compression: str) -> Iterator[Any]:
    """Writes through the compression into the sink, which stays open."""
    plain = pa.PythonFile(sink, mode="w")
    if compression == "none":
        yield plain
        plain.flush()
        return
    with pa.CompressedOutputStream(plain, compression) as out:
        yield out


@contextmanager
def opened(path: Path, compression: str) -> Iterator[Any]:
    """Reads a file through the compression."""
    with pa.input_stream(
        str(path), compression=None if compression == "none" else compression
    ) as s:
        yield s
