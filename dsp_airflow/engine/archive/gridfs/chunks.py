"""Chunks of a file, taken apart: their bytes become the object, the rest of each is kept beside it.

What is kept of a chunk is its document without its bytes, the length in front of it as it was. So
the very documents can be made again of both, whatever else they hold.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from dsp_airflow.engine.errors import Mismatch
from dsp_airflow.engine.stores.mongodb import raw
from dsp_airflow.engine.stores.mongodb.gridfs.files import bytes_of

_HEAD: Final = struct.Struct("<II")
"""Where the bytes were cut out, and how long the rest is."""
_LENGTH: Final = struct.Struct("<i")
PIECE: Final = 64 * 1024
"""Bytes that are unpacked at once."""


def apart(chunk: bytes) -> tuple[bytes, bytes]:
    """What is kept of a chunk's document, and the bytes that it holds of the file."""
    at, position, content = 4, 0, b""
    for name, value in raw.elements(chunk):
        end = at + len(name) + 2 + len(value.data)
        if name == b"data":
            content = bytes_of(value) or b""
            position = end - len(content)
        at = end
    rest = chunk[:position] + chunk[position + len(content) :]
    return _HEAD.pack(position, len(rest)) + rest, content


class Kept:
    """What is kept of all chunks of one file, packed."""

    def __init__(self) -> None:
        self._packer = zlib.compressobj()
        self._packed = bytearray()

    def add(self, rest: bytes) -> None:
        """The next one, as ``apart`` gives it."""
        self._packed += self._packer.compress(rest)

    def packed(self) -> bytes:
        """All of it, at the end."""
        return bytes(self._packed) + self._packer.flush()


class Rebuilt:
    """Makes the chunks' documents again while the file's bytes come in.

    ``label`` names the object, for errors: what does not fit together was altered.
    """

    def __init__(self, packed: bytes, label: str) -> None:
        self._rests = _unpacked(packed, label)
        self._label = label
        self._waiting = bytearray()
        self._next = next(self._rests, None)

    def feed(self, content: bytes) -> Iterator[bytes]:
        """The chunks that are whole now."""
        self._waiting += content
        # A chunk without bytes may follow any other.
        while self._next is not None:
            position, rest = self._next
            size = _LENGTH.unpack_from(rest)[0] - len(rest)
            if size > len(self._waiting):
                return
            yield b"".join((rest[:position], self._waiting[:size], rest[position:]))
            del self._waiting[:size]
            self._next = next(self._rests, None)

    def end(self) -> Iterator[bytes]:
        """The rest, once all bytes came in."""
        yield from self.feed(b"")
        if self._next is not None or self._waiting:
            raise Mismatch(f"{self._label} has not the length that its chunks have")


def _unpacked(packed: bytes, label: str) -> Iterator[tuple[int, bytes]]:
    unpacker, waiting, left = zlib.decompressobj(), b"", packed
    try:
        while not unpacker.eof:
            more = unpacker.decompress(left, PIECE)
            left = unpacker.unconsumed_tail
            if not (more or left or unpacker.eof):
                break
            waiting += more
            at = 0
            while len(waiting) - at >= _HEAD.size:
                position, size = _HEAD.unpack_from(waiting, at)
                if len(waiting) - at - _HEAD.size < size:
                    break
                at += _HEAD.size + size
                yield position, waiting[at - size : at]
            waiting = waiting[at:]
    except zlib.error as error:
        raise Mismatch(f"{label}: what is kept of its chunks cannot be read: {error}") from error
    if waiting or not unpacker.eof:
        raise Mismatch(f"{label}: what is kept of its chunks is cut off")
