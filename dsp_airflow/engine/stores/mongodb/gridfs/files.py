"""A file as its document tells it, and whether its chunks are what they have to be."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Any, Final

from dsp_airflow.engine.stores.mongodb import keys, raw
from dsp_airflow.engine.stores.mongodb.raw import Value

_STRING, _BINARY, _INT32, _INT64, _DOUBLE = 0x02, 0x05, 0x10, 0x12, 0x01
TEXTS: Final = frozenset({raw.STRING, 0x0E})
"""Texts, and symbols, which a server takes for the same."""
_OLD_BINARY: Final = 0x02
_SECOND_LENGTH: Final = 4


@dataclass(frozen=True, slots=True)
class File:
    """``length`` and ``chunk_size`` are -1 where the document has no such number."""

    document: bytes
    id: Value
    length: int
    chunk_size: int
    md5: str = ""
    """Only older drivers left one."""
    seen: tuple[tuple[Value, bytes], ...] = ()
    """Of a large file that was read for a purge: the ids of its chunks, and the md5 of each."""

    @property
    def key(self) -> tuple[str]:
        return (keys.text(self.id),)

    @property
    def chunks(self) -> int:
        """How many there must be."""
        return -(-self.length // self.chunk_size) if self.chunk_size > 0 else 0

    @property
    def size(self) -> int:
        """Bytes that a batch is filled with."""
        return max(0, self.length) + len(self.document)


def file_of(document: bytes) -> File:
    """What a document of a bucket's files says."""
    fields = dict(raw.elements(document))
    md5 = fields.get(b"md5")
    return File(
        document,
        fields[b"_id"],
        whole_number(fields.get(b"length")),
        whole_number(fields.get(b"chunkSize")),
        _text(md5) if md5 is not None and md5.kind == _STRING else "",
    )


def filename_of(document: bytes) -> bytes | None:
    """The name in a file's document, in its bytes; ``None`` when it has none, or no text."""
    found = dict(raw.elements(document)).get(b"filename")
    return found.data[4:-1] if found is not None and found.kind in TEXTS else None


def _text(value: Value) -> str:
    return value.data[4:-1].decode(errors="replace")


def whole_number(value: Value | None) -> int:
    """A number from 0, of whatever type; -1 when it is none."""
    if value is None:
        return -1
    if value.kind in {_INT32, _INT64}:
        return max(-1, int.from_bytes(value.data, "little", signed=True))
    if value.kind == _DOUBLE:
        (found,) = struct.unpack("<d", value.data)
        return int(found) if 0 <= found < 2**53 and found == int(found) else -1
    return -1


def bytes_of(data: Value | None) -> bytes | None:
    """What a chunk holds; ``None`` when that is no binary value."""
    if data is None or data.kind != _BINARY:
        return None
    # The length, the subtype; of the oldest subtype the length once more.
    return data.data[9:] if data.data[4] == _OLD_BINARY else data.data[5:]


def comparable(value: Value | None) -> object:
    """Equal for ids that the server takes for one: numbers, and texts, of several types."""
    if value is None:
        return None
    if value.kind in {_INT32, _INT64}:
        return int.from_bytes(value.data, "little", signed=True)
    if value.kind == _DOUBLE:
        (found,) = struct.unpack("<d", value.data)
        return found if found == found else "NaN"  # noqa: PLR0124 - only NaN is not itself
    if value.kind == 0x13:
        number: Any = raw.decoded(value).to_decimal()
        return "NaN" if number.is_nan() else number
    if value.kind in {_STRING, 0x0E}:
        return value.data
    return value


@dataclass(slots=True)
class Account:
    """Takes note of a file's chunks in the order of their numbers, and tells what is wrong."""

    file: File
    padded: bool = False
    """A chunk has four bytes too many, as far as the server tells: so it counts the length that
    stands a second time in a binary value of the oldest subtype."""
    _expected: int = 0
    _reason: str = ""
    _md5: Any = None

    def read(self, chunk: bytes) -> None:
        """Takes note of a chunk and, where the file has an md5, of its content."""
        fields = dict(raw.elements(chunk))
        data = bytes_of(fields.get(b"data"))
        size = -1 if data is None else len(data)
        self.take(fields.get(b"files_id"), whole_number(fields.get(b"n")), size)
        if self.file.md5 and data:
            self._md5 = self._md5 or hashlib.md5(usedforsecurity=False)
            self._md5.update(data)

    def wrong_md5(self) -> str:
        """What is wrong with the content that was read; empty where the file has no md5."""
        if not self.file.md5:
            return ""
        found = self._md5 or hashlib.md5(usedforsecurity=False)
        if found.hexdigest() == self.file.md5.lower():
            return ""
        return "its md5 is not the one that its document has"

    def take(self, named: Value | None, n: int, size: int) -> None:
        """``named``: the id that the chunk has of its file; ``size`` -1 where it has no bytes."""
        file = self.file
        if self._reason:
            return
        if named != file.id:
            told = "nothing" if named is None else keys.text(named)
            self._reason = f"a chunk calls it {told}, which is of another type"
        elif n < 0:
            self._reason = "a chunk has no number"
        elif n < self._expected:
            self._reason = f"chunk {n:,} stands there twice"
        elif n > self._expected:
            self._reason = f"chunk {self._expected:,} is missing"
        elif n >= max(1, file.chunks):
            self._reason = f"chunk {n:,} is beyond its length of {file.length:,} bytes"
        else:
            wanted = max(0, min(file.chunk_size, file.length - n * file.chunk_size))
            if size != wanted:
                self.padded = size == wanted + _SECOND_LENGTH
                told = "no bytes" if size < 0 else f"{size:,} bytes"
                self._reason = f"chunk {n:,} has {told}, and has to have {wanted:,}"
        self._expected = max(self._expected, n + 1)

    def damage(self) -> str:
        """What is wrong with the file; empty when nothing is."""
        if self.file.length < 0:
            return "its document has no length"
        if self.file.chunk_size <= 0:
            return "its document has no chunkSize"
        if self._reason:
            return self._reason
        if self._expected < self.file.chunks:
            return f"chunk {self._expected:,} is missing"
        return ""
