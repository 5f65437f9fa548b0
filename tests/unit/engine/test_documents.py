"""Documents as rows: canonical texts of BSON values and back, readings, policies, what is left."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import bson
import pytest
from bson import Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp_airflow.engine.archive.wires import WIRES
from dsp_airflow.engine.canon import lines, python_row_text
from dsp_airflow.engine.canon.mongodb import (
    OPTIONS,
    Misfit,
    json_text,
    moment_of,
    moment_text,
    mongodb_text,
    mongodb_value,
)
from dsp_airflow.engine.canon.printed import printed, unprinted
from dsp_airflow.engine.errors import BadValue, Mismatch
from dsp_airflow.engine.model import Field, KeyColumn, LogicalType, Projection
from dsp_airflow.engine.stores.mongodb.reading import Reading, plain_text, tree_of, unmapped
from dsp_airflow.engine.stores.mongodb.rows import Maker, Rows
from dsp_airflow.engine.types import parse_type
from tests.share import share

OID = ObjectId("0123456789abcdef01234567")
DAY = 86_400_000
MOMENT = DatetimeMS(19_782 * DAY + 3_723_004)
TEXTS = [
    ("int32", 5, "5"),
    ("int32", 5.0, "5"),
    ("int64", Int64(-(2**63)), str(-(2**63))),
    ("int64", Decimal128("7.00"), "7"),
    ("int64", 1e18, "1000000000000000000"),
    ("uint64", Decimal128(str(2**64 - 1)), str(2**64 - 1)),
    ("decimal", Decimal128("1.50"), "1.50"),
    ("decimal", Decimal128("NaN"), "NaN"),
    ("decimal", Decimal128("-Infinity"), "-Infinity"),
    ("decimal(8,3)", 0.1, "0.100"),
    ("decimal(8,3)", Int64(12), "12.000"),
    ("float64", 0.1, "0.1"),
    ("float64", -0.0, "-0"),
    ("float64", math.nan, "NaN"),
    ("float64", Int64(2**53), "9.007199254740992e+15"),
    ("float32", 0.5, "0.5"),
    ("bool", True, "1"),
    ("string", "", ""),
    ("string", "é\0😀", "é\0😀"),
    ("bytes", b"\x00\xff", "00ff"),
    ("uuid", Binary(bytes(range(16)), 4), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
    ("objectid", OID, str(OID)),
    ("timestamptz", MOMENT, "2024-02-29T01:02:03.004000Z"),
    ("timestamp", DatetimeMS(-1), "1969-12-31T23:59:59.999000"),
    ("timestamptz", DatetimeMS(253_402_300_800_000), "+10000-01-01T00:00:00.000000Z"),
    ("timestamptz", DatetimeMS(-62_135_596_800_001), "+0000-12-31T23:59:59.999000Z"),
    ("date", DatetimeMS(19_782 * DAY), "2024-02-29"),
    ("list of int32", [1, None, 3], "3:1:1N1:3"),
    ("json", {"bb": [1, 1.0, "x"], "a": None}, '{"a": null, "bb": [1, 1.0, "x"]}'),
    ("json", [OID], f'[{{"$oid": "{OID}"}}]'),
    ("json", Decimal128("1.50"), "1.50"),
]
REFUSED = [
    *(("int32", v) for v in (2**31, 0.5, -0.0, math.nan, "5", True, Decimal128("-0"))),
    *(("float64", v) for v in (Int64(2**53 + 1), Decimal128("0.1000000000000000055"), "1")),
    *(("float32", v) for v in (0.1, 1e39)),
    *(("decimal", v) for v in (-0.0, Decimal128("sNaN"), "1", Decimal128("-NaN"))),
    *(("decimal(4,2)", v) for v in (100, 0.125, Decimal128("Infinity"))),
    *(("string", v) for v in (OID, 1, Code("x"), b"x", Regex("x"))),
    *(("bytes", v) for v in (Binary(b"x", 5), Binary(b"x" * 16, 4), "x")),
    *(("uuid", v) for v in (Binary(b"x" * 16, 3), b"x" * 16, "0" * 32)),
    *(("objectid", v) for v in (str(OID), b"x" * 12)),
    *(("timestamptz", v) for v in (Timestamp(1, 1), 0, "2024-01-01")),
    *(("date", v) for v in (MOMENT, Int64(0))),
    *(("bool", v) for v in (1, 0.0, "true")),
    *(("list of int32", v) for v in ([1, "x"], {"0": 1}, "1")),
]


@pytest.mark.parametrize(("kind", "value", "text"), TEXTS)
def test_values_have_one_text_at_a_type(kind: str, value: Any, text: str) -> None:
    assert mongodb_text(value, parse_type(kind)) == text


@pytest.mark.parametrize(("kind", "value"), REFUSED)
def test_what_a_type_does_not_hold_is_no_value_of_it(kind: str, value: Any) -> None:
    with pytest.raises(Misfit):
        mongodb_text(value, parse_type(kind))


def test_values_of_different_types_never_share_a_text_as_keys() -> None:
    """But for numbers, which MongoDB itself takes for one key when they are equal."""
    one = "0123456789abcdef01234567"
    values = [ObjectId(one), one, bytes.fromhex(one), Binary(bytes.fromhex(one), 5), 5, "5", True]
    for kind in ("int64", "string", "bytes", "objectid", "uuid", "bool", "timestamptz"):
        read = []
        for value in values:
            try:
                read.append(mongodb_text(value, LogicalType(kind)))
            except Misfit:
                continue
        assert len(set(read)) == len(read), kind


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.binary(max_size=8),
    st.binary(min_size=12, max_size=12).map(ObjectId),
    st.integers(-(2**62), 2**62).map(DatetimeMS),
    st.decimals(allow_nan=False, places=3, min_value=-(10**9), max_value=10**9).map(Decimal128),
)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
DOCUMENTS = st.dictionaries(
    NAMES,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    ),
    max_size=5,
)


@settings(max_examples=share(3000, 150), deadline=None)
@given(DOCUMENTS)
def test_every_document_is_json_and_says_the_same_after_a_way_through_a_table(
    document: dict[str, Any],
) -> None:
    text = json_text(bson.decode(bson.encode(document, codec_options=OPTIONS), OPTIONS))
    json.loads(text)
    again = mongodb_value(text, LogicalType("json"))
    assert json_text(bson.decode(bson.encode(again), OPTIONS)) == text


def _kinds(value: Any) -> list[LogicalType]:
    names = ["bool", "int64", "float64", "decimal", "string", "bytes", "objectid", "timestamptz"]
    found = []
    for name in names:
        try:
            mongodb_text(value, LogicalType(name))
        except Misfit:
            continue
        found.append(LogicalType(name))
    return found


@settings(max_examples=share(3000, 150), deadline=None)
@given(SCALARS.filter(lambda value: value is not None))
def test_texts_are_read_back_to_values_of_the_same_text(value: Any) -> None:
    for kind in _kinds(value):
        text = mongodb_text(value, kind)
        assert text is not None
        assert unprinted(printed(text, kind), kind) == text
        try:
            again = mongodb_value(text, kind)
        except Misfit:
            assert kind.name == "decimal"
            assert len(Decimal(text).as_tuple().digits) > 34
            continue
        stored = bson.decode(bson.encode({"v": again}), OPTIONS)["v"]
        assert mongodb_text(stored, kind) == text


@settings(max_examples=share(3000, 150), deadline=None)
@given(st.integers(-(2**63), 2**63 - 1))
def test_moments_of_any_year_come_back(milliseconds: int) -> None:
    assert int(moment_of(moment_text(milliseconds))) == milliseconds


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *[("timestamptz", t) for t in ("infinity", "2024-01-01T00:00:00.000001Z", "2024-02-30")],
        *[("decimal", "1" * 35), ("json", "null"), ("json", "1e999"), ("list of int32", "A{{1}}")],
        ("objectid", "X" * 24),
    ],
)
def test_what_bson_has_not(kind: str, text: str) -> None:
    with pytest.raises(Misfit):
        mongodb_value(text, parse_type(kind))


@settings(max_examples=share(1000, 100), deadline=None)
@given(
    st.lists(
        st.lists(
            st.none() | st.text(st.characters(exclude_categories=["Cs"])), min_size=3, max_size=3
        ),
        max_size=4,
    ),
    st.integers(1, 9),
)
def test_lines_give_their_rows_back(rows: list[list[str | None]], cut: int) -> None:
    import pyarrow as pa

    sent = b"".join(lines.line_of(python_row_text(row).encode()) for row in rows)
    pieces = [sent[n : n + cut] for n in range(0, len(sent), cut)]
    assert list(lines.rows_of(pieces, 3)) == rows
    cells = [pa.array([row[n] for row in rows], pa.string()) for n in range(3)]
    assert list(lines.rows_of([WIRES[lines.WIRE](cells)], 3)) == rows
    if sent:
        with pytest.raises(Mismatch):
            list(lines.rows_of([sent[:-1]], 3))
        with pytest.raises(Mismatch):
            list(lines.rows_of([sent], 2))


# Readings


def projection(
    *fields: tuple[str, str, dict[str, Any]], accepted: tuple[str, ...] = ()
) -> Projection:
    made = [("_id", "objectid", {}), *fields]
    columns = tuple(
        Field(
            path.replace(".", "_"),
            parse_type(more.pop("kind", kind)),
            kind,
            Reading(path, parse_type(kind), **more).text(),
        )
        for path, kind, more in made
    )
    return Projection("t", "t", columns, (KeyColumn("_id", "bson"),), accepted=accepted)


def raw(**fields: Any) -> bytes:
    return bson.encode({"_id": OID, **fields}, codec_options=OPTIONS)


def test_paths_lead_into_documents_and_lists() -> None:
    what = projection(("a.b", "int32", {}), ("tags.1", "string", {}), ("a", "json", {}))
    rows = Rows(what)
    assert rows.texts(raw(a={"b": 1}, tags=["x", "y"])) == [str(OID), "1", "y", '{"b": 1}']
    assert rows.texts(raw(a=None, tags=[])) == [str(OID), None, None, None]
    assert {(c.column, c.rule): c.values for c in rows.counted()} == {
        ("a_b", "missing"): 1,
        ("tags_1", "missing"): 1,
    }


@pytest.mark.parametrize("value", ["text", [{"b": 1}], 5])
def test_a_way_that_is_barred_is_no_missing_field(value: Any) -> None:
    with pytest.raises(BadValue, match=r"field a\.b"):
        Rows(projection(("a.b", "int32", {}))).texts(raw(a=value))
    made = Rows(projection(("a.b", "int32", {"on_loss": "null"})))
    assert made.texts(raw(a=value))[1] is None
    assert [(c.rule, c.values) for c in made.counted()] == [("null", 1)]


def test_missing_may_be_an_error_and_null_is_none() -> None:
    rows = Rows(projection(("a", "int32", {"absent": "error"})))
    assert rows.texts(raw(a=None))[1] is None
    with pytest.raises(BadValue, match="no such field"):
        rows.texts(raw())


@pytest.mark.parametrize(
    ("kind", "rule", "value", "text"),
    [
        ("int32", "clamp", 2.5e10, str(2**31 - 1)),
        ("int32", "clamp", 2.5, "2"),
        ("int32", "clamp", -math.inf, str(-(2**31))),
        ("bytes", "clamp", Binary(b"x", 5), "78"),
        ("date", "clamp", MOMENT, "2024-02-29"),
        ("int32", "null", "x", None),
        ("string", "text", "x", "x"),
        ("string", "text", OID, str(OID)),
        ("string", "text", MinKey(), '{"$minKey": 1}'),
        ("string", "text", {"b": 1, "a": MaxKey()}, '{"a": {"$maxKey": 1}, "b": 1}'),
    ],
)
def test_policies_are_kept_and_counted(kind: str, rule: Any, value: Any, text: str | None) -> None:
    rows = Rows(projection(("a", kind, {"on_loss": rule})))
    assert rows.texts(raw(a=value))[1] == text
    expected = [] if kind == "string" and value == "x" else [(rule, 1)]
    assert [(c.rule, c.values) for c in rows.counted()] == expected


def test_policy_text_tells_typed_values_apart_from_others() -> None:
    what = projection(("n", "int32", {"on_loss": "text", "kind": "string"}))
    rows = Rows(what)
    assert [rows.texts(raw(n=v))[1] for v in (5, "x", 1.5, None)] == ["5", "x", "1.5", None]
    assert [(c.rule, c.values) for c in rows.counted()] == [("text", 2)]


def test_the_message_names_document_and_field_and_never_the_value() -> None:
    with pytest.raises(BadValue) as error:
        Rows(projection(("a", "int32", {}))).texts(raw(a="secret"))
    assert "secret" not in str(error.value)
    assert str(OID) in str(error.value)
    assert "field a" in str(error.value)


def test_documents_that_columns_do_not_tell() -> None:
    twice = b"\x10a\x00\x01\x00\x00\x00" * 2
    for odd in (twice, b"\x06u\x00", b"\x0es\x00\x02\x00\x00\x00x\x00"):
        whole = raw()
        made = (len(whole) + len(odd)).to_bytes(4, "little") + whole[4:-1] + odd + b"\x00"
        with pytest.raises(BadValue, match="field twice"):
            Rows(projection()).texts(made)


def test_what_no_column_holds() -> None:
    tree = tree_of([("_id",), ("a", "b"), ("tags", "0"), ("all",)])
    document = {"_id": 1, "a": {"b": 1, "c": 2}, "tags": ["x", "y"], "all": {"z": 1}, "o": None}
    assert list(unmapped(document, tree)) == ["a.c", "tags.1", "o"]
    assert list(unmapped({"a": "text"}, tree)) == ["a"]
    assert list(unmapped({"a": {}, "tags": None}, tree)) == ["a"]
    assert list(unmapped({"a.b": 1}, tree)) == ["a.b"]


@pytest.mark.parametrize(
    ("accepted", "kept"),
    [((), "extra, more"), (("extra",), "more"), (("extra", "more"), ""), (("*",), "")],
)
def test_documents_with_fields_of_no_column_are_kept(accepted: tuple[str, ...], kept: str) -> None:
    rows = Rows(projection(("a", "int32", {}), accepted=accepted))
    reason = rows.kept(raw(a=1, extra=2, more={"x": 1}))
    assert reason == (
        f"no column holds its {kept}; map it, or list it under accept_loss" if kept else ""
    )


# Documents of rows


def test_documents_are_made_of_rows() -> None:
    fields = [
        ("_id", "int64", "null"),
        ("name.first", "string", "null"),
        ("name.last", "string", "missing"),
        ("at", "timestamptz", "null"),
        ("tags", "list of string", "null"),
        ("more", "json", "missing"),
    ]
    columns = tuple(
        Field(path, parse_type(kind), "bson", Reading(path, absent=absent).text())  # type: ignore[arg-type]
        for path, kind, absent in fields
    )
    key = (KeyColumn(columns[0].expression, "bson"),)
    what = Projection("t", "t", columns, key)
    make = Maker(what)
    texts = ["7", "Ada", None, "2024-02-29T01:02:03.004000Z", "2:1:xN", '{"b": 1}']
    document = bson.decode(make(texts), OPTIONS)
    assert document == {
        "_id": 7,
        "name": {"first": "Ada"},
        "at": MOMENT,
        "tags": ["x", None],
        "more": {"b": 1},
    }
    assert isinstance(document["_id"], Int64)
    assert Rows(what).texts(make(texts)) == texts
    assert "more" not in bson.decode(make([*texts[:5], None]), OPTIONS)
    with pytest.raises(BadValue, match=r"column at, key \(7\).*microseconds"):
        make([*texts[:3], "2024-02-29T01:02:03.004001Z", None, None])


def test_texts_of_values_of_any_type() -> None:
    assert plain_text(True) == "true"
    assert plain_text(Int64(5)) == "5"
    assert plain_text(MOMENT) == "2024-02-29T01:02:03.004000Z"
    assert plain_text(Timestamp(5, 1)) == '{"$timestamp": {"i": 1, "t": 5}}'
