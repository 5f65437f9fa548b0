"""Names of the objects of files, and chunks taken apart and made again."""

from __future__ import annotations

import itertools
from urllib.parse import unquote_to_bytes

import bson
import pytest
from bson import Binary, Int64, ObjectId
from hypothesis import given
from hypothesis import strategies as st

from dsp_airflow.engine.archive.gridfs import names
from dsp_airflow.engine.archive.gridfs.chunks import Kept, Rebuilt, apart
from dsp_airflow.engine.errors import Mismatch
from dsp_airflow.engine.model import Archive
from dsp_airflow.engine.stores.mongodb import raw

FOLDER = "p/q/run=r1/_files/"
HOSTILE = (
    *(b"", b"/", b"//", b"a//b", b"/a", b"a/", b".", b"..", b"./a", b"../a", b"a/..", b"a/../b"),
    *(b"a//../b", b"%2E%2E", b"%", b"%41", b"A", b"~", b"a b", b" a", b"a ", b"a\\b", b"a:b", b"-"),
    *(
        b"\0",
        b"a\nb",
        b"\x7f",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"con",
        b"a?b#c",
        b"run=x/_manifest.json",
    ),
    *("é".encode(), "e\u0301".encode(), "日本/語".encode(), "\u202e".encode(), "\ufeff".encode()),
    *(b"x" * 2000, b"x" * 2001, b"y" * 300, b"y" * 300 + b"/z", "é".encode() * 900, b"%" * 400),
    *(b"/" * 1000, b"a/" * 600, ("\u202e" * 120).encode()),
)


def key(mode: str, filename: bytes | None, own: object = None, prefix: str = "p/q") -> str:
    archive = Archive("b", prefix, "parquet", "zstd", name_mode=mode)
    return names.object_key(archive, "r1", raw.encoded(own), filename)


def fit(found: str, folder: str = FOLDER) -> None:
    assert found.startswith(folder)
    below = found.removeprefix(folder)
    assert len(found.encode()) <= 1024
    for part in below.split("/"):
        assert part not in ("", ".", "..")
        assert len(part.encode()) <= 255
    assert below.isprintable()


@given(st.binary(min_size=1, max_size=80) | st.text(min_size=1, max_size=80).map(str.encode))
def test_any_name_can_be_read_back(name: bytes) -> None:
    found = key("keep", name)
    fit(found)
    below = found.removeprefix(FOLDER)
    if names.CUT not in below:
        assert unquote_to_bytes(below) == name
    own = ObjectId()
    by_id = key("id_and_filename", name, own).removeprefix(FOLDER)
    if names.CUT not in by_id:
        above, slash, last = by_id.rpartition("/")
        told, _, rest = last.partition("-")
        assert told == str(own)
        assert unquote_to_bytes(above + slash + rest) == name


@pytest.mark.parametrize("prefix", ["p/q", "p" * 690])
def test_no_two_files_have_one_object(prefix: str) -> None:
    folder = f"{prefix}/run=r1/_files/"
    alone = [key("newest", name, prefix=prefix) for name in HOSTILE if name]
    ids: list[object] = [None, 1, Int64(1), 1.0, "1", "a-b", "a", {"a": "/"}, Binary(b"-"), "../.."]
    ids += [ObjectId(b"0" * 12), "30" * 12, "z" * 900, "z" * 901]
    both = [
        key("id_and_filename", name, own, prefix)
        for own, name in itertools.product(ids, [None, *HOSTILE])
    ]
    for found in (alone, both):
        assert len(set(found)) == len(found)
        assert len({each.casefold() for each in set(found)}) >= len(set(found)) - 2 * len(ids)
        for each in found:
            fit(each, folder)


def test_plain_names_stay_as_they_are() -> None:
    assert key("keep", b"photos/2026/a_b-c.(1).jpg") == FOLDER + "photos/2026/a_b-c.(1).jpg"
    assert key("keep", "Отчёт.pdf".encode()) == FOLDER + "Отчёт.pdf"
    own = ObjectId(b"0" * 12)
    assert key("id_and_filename", b"a/b.txt", own) == f"{FOLDER}a/{own}-b.txt"
    assert key("id_and_filename", None, own) == f"{FOLDER}{own}"
    with pytest.raises(ValueError, match="without a name"):
        key("keep", None)


CHUNKS = [
    {"_id": 1, "files_id": "f", "n": 0, "data": b"abc" * 100},
    {"data": Binary(b"abc", 2), "n": 1, "files_id": "f", "more": {"data": b"x"}, "_id": 2},
    {"_id": 3, "files_id": "f", "n": 2, "data": Binary(b"", 0)},
    {"_id": 4, "files_id": "f", "n": 3, "data": Binary(bytes(200_000), 128)},
    {"_id": 5, "files_id": "f", "n": 4, "data": Binary(b"", 2)},
]


@pytest.mark.parametrize("step", [1, 7, 1000, 10**6])
def test_chunks_are_made_again(step: int) -> None:
    given_ = [bson.encode(chunk) for chunk in CHUNKS] * (2 if step == 1 else 300)
    kept, content = Kept(), bytearray()
    for chunk in given_:
        rest, data = apart(chunk)
        kept.add(rest)
        content += data
    packed = kept.packed()
    assert len(packed) < 20 * len(given_) + 1_000
    content = content[: 10**7]
    rebuilt = Rebuilt(packed, "it")
    made: list[bytes] = []
    if step < 1000:
        content, given_ = content[:3_000], given_[:3]
    for at in range(0, len(content), step):
        made += rebuilt.feed(bytes(content[at : at + step]))
    whole = len(made)
    assert made == given_[:whole]
    assert whole >= min(3, len(given_))


def test_what_does_not_fit_is_told() -> None:
    rest, data = apart(bson.encode(CHUNKS[0]))
    kept = Kept()
    kept.add(rest)
    packed = kept.packed()
    for content in (data[:-1], data + b"x", b""):
        rebuilt = Rebuilt(packed, "s3://b/k")
        list(rebuilt.feed(content))
        with pytest.raises(Mismatch, match="s3://b/k has not the length"):
            list(rebuilt.end())
    for wrong in (packed[:-3], b"", b"nonsense"):
        with pytest.raises(Mismatch, match="what is kept of its chunks"):
            list(Rebuilt(wrong, "s3://b/k").feed(data))
