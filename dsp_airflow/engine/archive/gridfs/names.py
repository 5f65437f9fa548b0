"""What the objects of files are called: any name a file can have, and no two files one object.

A name is written so that ``urllib.parse.unquote_to_bytes`` gives it back: letters, digits and some
marks stand for themselves, every other byte is ``%`` and two digits. Slashes make folders where
they stand between two names. So neither ``..`` nor an empty name is ever a folder of an object.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator
from typing import Final

from dsp_airflow.engine.archive import layout
from dsp_airflow.engine.model import Archive
from dsp_airflow.engine.stores.mongodb import keys, raw
from dsp_airflow.engine.stores.mongodb.raw import Value

BY_ID: Final = "id_and_filename"
"""The mode in which every file has a name of its own."""
LONGEST: Final = 1024
"""Bytes that the name of an object may have,"""
LONGEST_PART: Final = 255
"""and each part of it between slashes, where the objects of a server are files."""
SHOWN: Final = 100
"""Bytes that are left of a name that is cut."""
CUT: Final = "~"
"""Before the hash of a name that was cut; it stands for itself in no other."""
_PLAIN: Final = frozenset("-_.!'()")
_DOTS: Final = frozenset({".", ".."})


def object_key(archive: Archive, run: str, own: Value, filename: bytes | None) -> str:
    """Where a file lies. Without a name only the mode ``BY_ID`` has a place for it."""
    folder = layout.files_folder(archive, run)
    below = "" if filename is None else escaped(filename)
    if archive.name_mode == BY_ID:
        above, slash, last = below.rpartition("/")
        below = f"{above}{slash}{_of_id(own)}" + ("" if filename is None else f"-{last}")
    elif not below:
        raise ValueError("a file without a name has no object of its own")
    return folder + _fitting(below, LONGEST - len(folder.encode()))


def escaped(name: bytes) -> str:
    """A name as it stands in that of an object."""
    text = name.decode("utf-8", "surrogateescape")
    made = "".join(_units(text))
    return "/".join(part.replace(".", "%2E") if part in _DOTS else part for part in made.split("/"))


def _units(text: str) -> Iterator[str]:
    """Each character as it is written."""
    last = len(text) - 1
    for n, character in enumerate(text):
        between = 0 < n < last and text[n - 1] != "/"
        if (character == "/" and between) or _is_plain(character):
            yield character
        else:
            yield _percent(character)


def _is_plain(character: str) -> bool:
    if character.isascii():
        return character.isalnum() or character in _PLAIN
    # What is composed otherwise would be another name in bytes, and the same to a person.
    return character.isalnum() and unicodedata.is_normalized("NFC", character)


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))


def _of_id(own: Value) -> str:
    """An id in the name of an object: without the hyphen that ends it, and without slashes."""
    if own.kind == raw.OBJECT_ID:
        return own.data.hex()
    return escaped(keys.text(own).encode()).replace("-", "%2D").replace("/", "%2F")


def _fitting(name: str, room: int) -> str:
    """The name, or its beginning and the hash of all of it."""
    parts = name.encode().split(b"/")
    if len(name.encode()) <= room and max(map(len, parts)) <= LONGEST_PART:
        return name
    whole = hashlib.sha256(name.encode()).hexdigest()
    return f"{_beginning(name.partition('/')[0])}{CUT}{whole}"


def _beginning(name: str) -> str:
    """As much as is shown of it: no half of a character, or of one that is written in digits."""
    kept = name.encode()[:SHOWN].decode(errors="ignore")
    end = kept.rfind("%", max(0, len(kept) - 2))
    return kept if end < 0 else kept[:end]
