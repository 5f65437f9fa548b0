"""JSON lines are read to the last digit, and nothing but what was written is read at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dsp_airflow.engine.archive import jsonlines
from dsp_airflow.engine.archive.formats import File
from dsp_airflow.engine.archive.forms import Form, form_of, schema_of
from dsp_airflow.engine.errors import Mismatch
from tests.unit.engine.nasty import typed

COLUMNS: dict[str, tuple[Any, list[Any], list[str | None]]] = {
    "int64": (typed("int64"), [2**63 - 1, -(2**63), None], [str(2**63 - 1), str(-(2**63)), None]),
    "uint64": (typed("uint64"), [2**64 - 1, 0, None], [str(2**64 - 1), "0", None]),
    "float64": (
        typed("float64"),
        [-0.0, 1e23, 5e-324, float("nan"), float("-inf"), 0.1, None],
        ["-0", "9.999999999999999e+22", "5e-324", "NaN", "-Infinity", "0.1", None],
    ),
    "float32": (typed("float32"), [1e20, -0.0, None], ["1e+20", "-0", None]),
    "bool": (typed("bool"), [True, False, None], ["1", "0", None]),
    "string": (
        typed("string"),
        ['"', "\\", "\n\x00\x1f", "null", "", "\U0001f600 \u2028", "true", "1", None],
        ['"', "\\", "\n\x00\x1f", "null", "", "\U0001f600 \u2028", "true", "1", None],
    ),
    "bytes": (typed("bytes"), [b"\x00\xff", b"", None], ["00ff", "", None]),
    "list": (
        typed("list", element=typed("float64")),
        [[-0.0, 1e23, None], [], None],
        ["3:2:-021:9.999999999999999e+22N", "0:", None],
    ),
}
NAMES = ["plain", "a b", "é漢", 'quo"te', "back\\slash", "line\nbreak", "", "a.b"]


def written(folder: Path, columns: dict[str, tuple[Any, list[Any]]]) -> File:
    forms = tuple(form_of(name, kind, "x") for name, (kind, _) in columns.items())
    schema = schema_of(forms, exact=True)
    values = [values for _, values in columns.values()]
    arrays = [pa.array(v, f.type) for v, f in zip(values, schema, strict=False)]
    arrays.append(pa.nulls(len(values[0]), pa.string()))
    path = folder / "f"
    with path.open("wb") as sink:
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
        jsonlines.write(sink, iter([batch]), forms, "none")
    return File(path, "s3://b/f", "jsonl", "none", forms)


def texts(file: File) -> list[list[str | None]]:
    table = pa.Table.from_batches(file.batches())
    return [column.to_pylist() for column in table.columns]


@pytest.mark.parametrize("name", COLUMNS)
def test_values_come_back_as_their_texts(tmp_path: Path, name: str) -> None:
    kind, values, expected = COLUMNS[name]
    assert texts(written(tmp_path, {"v": (kind, values)})) == [expected]


def test_names_of_any_kind(tmp_path: Path) -> None:
    """Those that are written with an escape are parsed in another way, to the same."""
    kinds = [(kind, values[:2], found[:2]) for kind, values, found in COLUMNS.values()]
    named = dict(zip(NAMES, kinds, strict=True))
    file = written(tmp_path, {name: (kind, values) for name, (kind, values, _) in named.items()})
    assert texts(file) == [found for _, _, found in kinds]
    for name, (kind, values, found) in named.items():
        assert texts(written(tmp_path, {name: (kind, values)})) == [found]


def test_many_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the pieces end that are parsed at once."""
    values = [f"{n} \n é" * (n % 50) for n in range(1_000)]
    numbers = [*range(1_000)]
    file = written(tmp_path, {"v": (typed("string"), values), "n": (typed("int32"), numbers)})
    whole = texts(file)
    assert whole == [values, [str(n) for n in numbers]]
    for size in (1, 7, 100, 4_096):
        monkeypatch.setattr(jsonlines, "CHUNK", size)
        assert texts(file) == whole


FORMS = (
    form_of("i", typed("int64"), "bigint"),
    form_of("f", typed("float64"), "float8"),
    form_of("b", typed("bool"), "boolean"),
    form_of("s", typed("string"), "text"),
    form_of("l", typed("list", element=typed("int32")), "integer[]"),
)
GOOD = b'{"i":1,"f":1.5,"b":true,"s":"secret","l":[1]}\n'
BAD = {
    "no JSON": b"secret\n",
    "no object": b'["secret"]\n',
    "null": b"null\n",
    "cut off": GOOD[:-3],
    "a column more": GOOD[:-2] + b',"other":"secret"}\n',
    "a column less": b'{"i":1,"f":1.5,"b":true,"s":"secret"}\n',
    "another name": GOOD.replace(b'"i"', b'"other"'),
    "a text as integer": GOOD.replace(b'"i":1', b'"i":"secret"'),
    "a float in no notation": GOOD.replace(b"1.5", b'"secret"'),
    "NaN bare": GOOD.replace(b"1.5", b"NaN"),
    "NaN as integer": GOOD.replace(b'"i":1', b'"i":"NaN"'),
    "a truth value as integer": GOOD.replace(b'"i":1', b'"i":true'),
    "a list as integer": GOOD.replace(b'"i":1', b'"i":[1]'),
    "an object as float": GOOD.replace(b"1.5", b'{"secret":1}'),
    "half a number": GOOD.replace(b"1.5", b"1."),
    "a number with a zero before it": GOOD.replace(b'"i":1', b'"i":01'),
    "a number as truth value": GOOD.replace(b"true", b"1"),
    "a number as text": GOOD.replace(b'"secret"', b"1"),
    "an object in a list": GOOD.replace(b"[1]", b'[{"secret":1}]'),
    "a number as list": GOOD.replace(b"[1]", b"1.5e"),
    "no UTF-8": GOOD.replace(b"secret", b"\xff\xfe"),
    "half a pair": GOOD.replace(b"secret", b"\\ud800"),
    "a control character": GOOD.replace(b"secret", b"se\ncret"),
}


def file_of(folder: Path, body: bytes, forms: tuple[Form, ...] = FORMS) -> File:
    (folder / "f").write_bytes(body)
    return File(folder / "f", "s3://b/f", "jsonl", "none", forms)


def test_the_good_line_is_read(tmp_path: Path) -> None:
    assert texts(file_of(tmp_path, GOOD)) == [["1"], ["1.5"], ["1"], ["secret"], ["1:1:1"]]


@pytest.mark.parametrize("name", BAD)
def test_what_was_not_written_is_refused(tmp_path: Path, name: str) -> None:
    file = file_of(tmp_path, GOOD + BAD[name])
    with pytest.raises(Mismatch, match=r"s3://b/f|column") as caught:
        texts(file)
    assert "cret" not in str(caught.value)
