"""Values that have broken somebody's copy: as Python has them, as SQL, and their canonical text.

Every text stands once within its type: two values of a type never share one.
"""

# Timestamps without a zone are a type of their own here.
# ruff: noqa: DTZ001, DTZ901

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

from dsp_airflow.engine.model import LogicalType


@dataclass(frozen=True)
class Case:
    """A type, its PostgreSQL name, and (Python value, SQL literal, canonical text)."""

    kind: LogicalType
    native: str
    values: tuple[tuple[Any, str, str], ...]

    def __str__(self) -> str:
        return f"{self.kind} as {self.native}"


def typed(name: str, **bounds: Any) -> LogicalType:
    return LogicalType(name, **bounds)


def _integers(name: str, native: str, *values: int) -> Case:
    return Case(typed(name), native, tuple((v, f"'{v}'", str(v)) for v in values))


def _texts(*values: str) -> tuple[tuple[str, str, str], ...]:
    return tuple((v, "'" + v.replace("'", "''") + "'", v) for v in values)


def _floats(*values: tuple[str, str]) -> tuple[tuple[float, str, str], ...]:
    return tuple((float(given), f"'{given}'", text) for given, text in values)


_EAST = timezone(timedelta(hours=14))

STRINGS = _texts(
    *("", " ", "a", "A", "a ", " a", "a\t", "\n", "\r\n", "\\", "\\N", "N", "NULL", "'", '"'),
    *("1:a", "0:", "é", "e\u0301", "ß", "ss", "😀", "\ufeff", "\u200b", "\u00a0", "\x01", "\x7f"),
    *("%s", "%", "{}", "$1", "\ud7ff", "\U0010ffff", "x" * 5000),
)

CASES = (
    Case(typed("bool"), "boolean", ((False, "'f'", "0"), (True, "'t'", "1"))),
    _integers("int16", "smallint", -32768, -1, 0, 1, 32767),
    _integers("int32", "integer", -(2**31), -1, 0, 1, 2**31 - 1),
    # -1 and 4294967295 share PostgreSQL's own hash, as do 4 and 4294967301.
    _integers("int64", "bigint", -(2**63), -1, 0, 1, 4, 4294967295, 4294967301, 2**63 - 1),
    _integers("uint64", "numeric(20,0)", 0, 1, 2**63, 2**64 - 1),
    Case(
        typed("decimal", precision=12, scale=2),
        "numeric(12,2)",
        (
            (Decimal(0), "'-0'", "0.00"),
            (Decimal("5"), "5", "5.00"),
            (Decimal("-5"), "-5", "-5.00"),
            (Decimal("0.01"), "0.01", "0.01"),
            (Decimal("-0.01"), "-0.01", "-0.01"),
            (Decimal("1.5E+3"), "1.5E+3", "1500.00"),
            (Decimal("9999999999.99"), "9999999999.99", "9999999999.99"),
            (Decimal("NaN"), "'NaN'", "NaN"),
        ),
    ),
    Case(
        typed("decimal", precision=40, scale=0),
        "numeric(40,0)",
        (
            (Decimal(10**39 + 1), f"{10**39 + 1}", f"{10**39 + 1}"),
            (10**39, f"{10**39}", "1" + "0" * 39),
        ),
    ),
    Case(
        typed("decimal", precision=3, scale=-2),
        "numeric(3,-2)",
        (
            (Decimal("12300"), "12345", "12300"),
            (0, "49", "0"),
            (Decimal("-99900"), "-99900", "-99900"),
        ),
    ),
    Case(
        typed("decimal"),
        "numeric",
        (
            (Decimal("0"), "0", "0"),
            (Decimal("0.0"), "0.0", "0.0"),
            (Decimal("1"), "1", "1"),
            (Decimal("1.0"), "1.0", "1.0"),
            (Decimal("1.00"), "1.00", "1.00"),
            (Decimal("-1"), "-1", "-1"),
            (Decimal("100"), "1e2", "100"),
            (Decimal("1E-20"), "1e-20", "0." + "0" * 19 + "1"),
            (Decimal("9" * 50 + ".5"), "9" * 50 + ".5", "9" * 50 + ".5"),
            (Decimal("NaN"), "'NaN'", "NaN"),
            (Decimal("Infinity"), "'Infinity'", "Infinity"),
            (Decimal("-Infinity"), "'-Infinity'", "-Infinity"),
        ),
    ),
    Case(
        typed("float64"),
        "double precision",
        _floats(
            *(("0", "0"), ("-0.0", "-0"), ("1", "1"), ("-1", "-1"), ("0.1", "0.1"), ("0.3", "0.3")),
            ("0.30000000000000004", "0.30000000000000004"),
            ("1e23", "9.999999999999999e+22"),
            ("1e22", "1e+22"),
            ("9007199254740993", "9.007199254740992e+15"),
            ("123456789012345", "123456789012345"),
            ("1e14", "100000000000000"),
            ("1e15", "1e+15"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("2.2250738585072014e-308", "2.2250738585072014e-308"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            *(("NaN", "NaN"), ("Infinity", "Infinity"), ("-Infinity", "-Infinity")),
        ),
    ),
    Case(
        typed("float32"),
        "real",
        (
            *_floats(
                ("0", "0"), ("-0.0", "-0"), ("1", "1"), ("-1.5", "-1.5"), ("100000", "100000")
            ),
            *_floats(("1000000", "1e+06"), ("16777216", "1.6777216e+07"), ("NaN", "NaN")),
            *_floats(("Infinity", "Infinity"), ("-Infinity", "-Infinity")),
            (0.10000000149011612, "'0.1'", "0.1"),
            (1.401298464324817e-45, "'1e-45'", "1e-45"),
            (3.4028234663852886e38, "'3.4028235e38'", "3.4028235e+38"),
            (9.999999747378752e-05, "'0.0001'", "0.0001"),
            (8.5899345920e9, "'8589934592'", "8.589935e+09"),
        ),
    ),
    Case(typed("string"), "text", STRINGS),
    Case(typed("string"), "character varying", STRINGS),
    Case(
        typed("string", length=4),
        "character(4)",
        (("", "''", ""), ("a", "'a  '", "a"), (" a", "' a'", " a"), ("ab\t", "E'ab\\t'", "ab\t")),
    ),
    Case(
        typed("bytes"),
        "bytea",
        (
            (b"", "''", ""),
            (b"\x00", "'\\x00'", "00"),
            (b"\x00\x00", "'\\x0000'", "0000"),
            (bytes(range(256)), f"'\\x{bytes(range(256)).hex()}'", bytes(range(256)).hex()),
        ),
    ),
    Case(
        typed("date"),
        "date",
        (
            (date(2024, 2, 29), "'2024-02-29'", "2024-02-29"),
            (date(1, 1, 1), "'0001-01-01'", "0001-01-01"),
            (date(9999, 12, 31), "'9999-12-31'", "9999-12-31"),
            ("+10000-01-01", "'10000-01-01'", "+10000-01-01"),
            ("+5874897-12-31", "'5874897-12-31'", "+5874897-12-31"),
            ("+0000-12-31", "'0001-12-31 BC'", "+0000-12-31"),
            ("+0000-02-29", "'0001-02-29 BC'", "+0000-02-29"),
            ("-0043-03-15", "'0044-03-15 BC'", "-0043-03-15"),
            (date(44, 3, 15), "'0044-03-15'", "0044-03-15"),
            ("-4712-01-01", "'4713-01-01 BC'", "-4712-01-01"),
            ("infinity", "'infinity'", "infinity"),
            ("-infinity", "'-infinity'", "-infinity"),
        ),
    ),
    Case(
        typed("time"),
        "time without time zone",
        (
            (time(0), "'00:00'", "00:00:00.000000"),
            ("24:00:00.000000", "'24:00'", "24:00:00.000000"),
            (time(12, 30, 0, 500000), "'12:30:00.5'", "12:30:00.500000"),
            (time(23, 59, 59, 999999), "'23:59:59.999999'", "23:59:59.999999"),
            (time(23, 59, 59, 1), "'23:59:59.000001'", "23:59:59.000001"),
        ),
    ),
    Case(
        typed("timestamp"),
        "timestamp without time zone",
        (
            (datetime(2024, 2, 29), "'2024-02-29'", "2024-02-29T00:00:00.000000"),
            (
                datetime(2024, 2, 29, 1, 2, 3, 4),
                "'2024-02-29 01:02:03.000004'",
                "2024-02-29T01:02:03.000004",
            ),
            (
                datetime(2024, 2, 29, 1, 2, 3, 400000),
                "'2024-02-29 01:02:03.4'",
                "2024-02-29T01:02:03.400000",
            ),
            (datetime(1, 1, 1), "'0001-01-01'", "0001-01-01T00:00:00.000000"),
            (datetime.max, "'9999-12-31 23:59:59.999999'", "9999-12-31T23:59:59.999999"),
            ("+10000-01-01T00:00:00.000000", "'10000-01-01'", "+10000-01-01T00:00:00.000000"),
            (
                "+294276-12-31T23:59:59.999999",
                "'294276-12-31 23:59:59.999999'",
                "+294276-12-31T23:59:59.999999",
            ),
            (
                "+0000-12-31T23:59:59.999999",
                "'0001-12-31 23:59:59.999999 BC'",
                "+0000-12-31T23:59:59.999999",
            ),
            ("-4712-01-01T00:00:00.000000", "'4713-01-01 BC'", "-4712-01-01T00:00:00.000000"),
            ("infinity", "'infinity'", "infinity"),
            ("-infinity", "'-infinity'", "-infinity"),
        ),
    ),
    Case(
        typed("timestamptz"),
        "timestamp with time zone",
        (
            (
                datetime(2024, 2, 29, 14, tzinfo=_EAST),
                "'2024-02-29 14:00+14'",
                "2024-02-29T00:00:00.000000Z",
            ),
            (
                datetime(2024, 2, 29, 0, 0, 0, 1, UTC),
                "'2024-02-29 00:00:00.000001+00'",
                "2024-02-29T00:00:00.000001Z",
            ),
            (
                datetime.max.replace(tzinfo=UTC),
                "'9999-12-31 23:59:59.999999+00'",
                "9999-12-31T23:59:59.999999Z",
            ),
            (
                "+10000-01-01T00:00:00.000000Z",
                "'9999-12-31 10:00-14'",
                "+10000-01-01T00:00:00.000000Z",
            ),
            (
                "+0000-12-31T23:00:00.000000Z",
                "'0001-01-01 00:00+01'",
                "+0000-12-31T23:00:00.000000Z",
            ),
            (
                "+294276-12-31T23:59:59.999999Z",
                "'294276-12-31 23:59:59.999999+00'",
                "+294276-12-31T23:59:59.999999Z",
            ),
            (
                "-4712-01-01T00:00:00.000000Z",
                "'4713-01-01 00:00+00 BC'",
                "-4712-01-01T00:00:00.000000Z",
            ),
            ("infinity", "'infinity'", "infinity"),
            ("-infinity", "'-infinity'", "-infinity"),
        ),
    ),
    Case(
        typed("duration"),
        "interval",
        (
            (timedelta(0), "'0'", "0/0/0"),
            ("1/0/0", "'1 month'", "1/0/0"),
            (timedelta(days=30), "'30 days'", "0/30/0"),
            ("12/0/0", "'1 year'", "12/0/0"),
            ("0/0/86400000000", "'24:00'", "0/0/86400000000"),
            (timedelta(days=1), "'1 day'", "0/1/0"),
            ("-14/3/-4000005", "'-1 year -2 months +3 days -00:00:04.000005'", "-14/3/-4000005"),
            ("0/0/-1", "'-00:00:00.000001'", "0/0/-1"),
        ),
    ),
    Case(
        typed("uuid"),
        "uuid",
        tuple(
            (UUID(int=n), f"'{UUID(int=n)}'", str(UUID(int=n))) for n in (0, 1, 2**128 - 1, 10**37)
        ),
    ),
    Case(
        typed("enum", labels=("new", "New", "a b", "a,b", "N")),
        "mood",
        _texts("new", "New", "a b", "a,b", "N"),
    ),
    Case(
        typed("list", element=typed("int32")),
        "integer[]",
        (
            ([], "'{}'", "0:"),
            ([None], "'{NULL}'", "1:N"),
            ([1], "'{1}'", "1:1:1"),
            ([1, 2, None, -3], "'{1,2,NULL,-3}'", "4:1:11:2N2:-3"),
            ([2, 1], "'{2,1}'", "2:1:21:1"),
        ),
    ),
    Case(
        typed("list", element=typed("string")),
        "text[]",
        (
            ([""], "'{\"\"}'", "1:0:"),
            (["NULL", None], "'{\"NULL\",NULL}'", "2:4:NULLN"),
            (["X", *[None] * 10], "ARRAY['X'" + ",NULL" * 10 + "]", "11:1:X" + "N" * 10),
            # Without the colon behind the count this one would read as the one before.
            (["X" + "N" * 10], "ARRAY['XNNNNNNNNNN']", "1:11:X" + "N" * 10),
            (["é", 'a"b', "a,b", "{}"], "ARRAY['é','a\"b','a,b','{}']", '4:2:é3:a"b3:a,b2:{}'),
        ),
    ),
    Case(
        typed("list", element=typed("float64")),
        "double precision[]",
        (
            ([0.0], "'{0}'", "1:1:0"),
            ([-0.0], "'{-0}'", "1:2:-0"),
            ([1e23], "'{1e23}'", "1:21:9.999999999999999e+22"),
        ),
    ),
    Case(
        typed("list", element=typed("decimal")),
        "numeric[]",
        (([Decimal("1.0")], "'{1.0}'", "1:3:1.0"), ([Decimal("1.00")], "'{1.00}'", "1:4:1.00")),
    ),
    Case(
        typed("list", element=typed("timestamptz")),
        "timestamp with time zone[]",
        ((["infinity"], "'{infinity}'", "1:8:infinity"), ([], "'{}'", "0:")),
    ),
    Case(
        typed("list", element=typed("bytes")),
        "bytea[]",
        (([b"\x01", None], "'{\"\\\\x01\",NULL}'", "2:2:01N"), ([b""], "'{\"\"}'", "1:0:")),
    ),
    Case(
        typed("list", element=typed("enum", labels=("new", "New", "a b", "a,b", "N"))),
        "mood[]",
        ((["new", "N", None], "'{new,N,NULL}'", "3:3:new1:NN"),),
    ),
)

ONLY_POSTGRES = {
    "integer[]": (
        *("'{1,2,3,4}'", "'{{1,2},{3,4}}'", "'{{1},{2},{3},{4}}'", "'[0:3]={1,2,3,4}'"),
        *("'[2:3]={1,2}'", "'{1,2}'", "'{}'", "NULL"),
    ),
    "json": ("'{\"a\":1}'", "'{\"a\": 1}'", '\'{"a":1,"a":1}\'', "'null'", "NULL", "'\"\"'"),
    "jsonb": (
        *("'1'", "'1.0'", "'1.00'", "'-1'", "'\"1\"'", "'null'", "NULL", "'[]'", "'{}'", "'[[]]'"),
        *("'{\"a\":1}'", "'{\"a\":-1}'", "'{\"a\":null}'", "'{\"b\":1}'", "'[1,2]'", "'[2,1]'"),
    ),
    "interval": ("'1 month'", "'30 days'", "'720:00'"),
}
"""Values that differ, for which Python has no value of its own: SQL only."""

JSON: tuple[tuple[Any, str, str], ...] = (
    # (Python value, SQL, the canonical text by value)
    (
        {"b": 1, "a": [1, 2.5, None, True]},
        '\'{"b":1, "a":[1,2.5,null,true]}\'',
        '{"a":[1,2.5,null,true],"b":1}',
    ),
    ({"bb": 1, "c": 2, "é": 3}, '\'{"é":3,"c":2,"bb":1}\'', '{"bb":1,"c":2,"é":3}'),
    ('a"\\\n\u0001é', '\'"a\\"\\\\\\n\\u0001é"\'', '"a\\"\\\\\\n\\u0001é"'),
    (Decimal("12345678901234567890.123"), "'12345678901234567890.123'", "12345678901234567890.123"),
    (Decimal("1.50"), "'1.50'", "1.5"),
    (100, "'1e2'", "100"),
    (Decimal("1E-7"), "'1e-7'", "0.0000001"),
    ({}, "'{}'", "{}"),
    ([], "'[]'", "[]"),
    ("", "'\"\"'", '""'),
)
