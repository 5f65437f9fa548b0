"""What an object of a file says of it, besides its bytes: for people and for other programs.

Nothing is restored by it: the index has the file's document as it was.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final
from urllib.parse import quote_from_bytes

from dsp_airflow.engine.archive.gridfs import index
from dsp_airflow.engine.stores.mongodb import raw
from dsp_airflow.engine.stores.mongodb.gridfs.files import File, filename_of
from dsp_airflow.engine.stores.s3 import About, Listed

ID: Final = "gridfs-id"
NAME: Final = "gridfs-filename"
DATE: Final = "gridfs-upload-date"
MD5: Final = "gridfs-md5"
ROOM: Final = 600
"""Characters of a value: all of an object's metadata may have 2 KB."""
_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?:; ?[ -~]+)?")
_LONGEST_TYPE: Final = 200


def of(file: File) -> About:
    """Content type and metadata of the file's object."""
    told = index.told(file.document)
    name = filename_of(file.document)
    found = {
        ID: id_of(file),
        NAME: None if name is None else quote_from_bytes(name),
        DATE: told["uploadDate"],
        MD5: file.md5 if re.fullmatch("[0-9a-fA-F]{32}", file.md5) else None,
    }
    return About(
        _type(told["contentType"]),
        {key: text for key, text in found.items() if text and len(text) <= ROOM},
    )


def id_of(file: File) -> str:
    """The file's id in the metadata of its object: itself, or its hash where it is long."""
    if file.id.kind == raw.OBJECT_ID:
        return file.id.data.hex()
    text = quote_from_bytes(file.key[0].encode())
    if len(text) <= ROOM:
        return text
    return f"sha256:{hashlib.sha256(file.key[0].encode()).hexdigest()}"


def file_in(there: Listed) -> str:
    """Which file an object says that it holds; empty where the server does not keep metadata."""
    named = {name.lower(): text for name, text in there.metadata.items()}
    return named.get(ID, "")


def _type(text: str | None) -> str | None:
    """A type that a header can say."""
    if text is None or len(text) > _LONGEST_TYPE or _TYPE.fullmatch(text) is None:
        return None
    return text
