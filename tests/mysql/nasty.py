"""Values that have broken somebody's copy, as MySQL's types hold them.

Each is given as a literal to insert, and as its canonical text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dsp_airflow.engine.model import LogicalType
from dsp_airflow.engine.types import CLOCK
from tests.unit.engine import nasty

ODD_LABELS = ("", "a", "A b", "it's", 'say "x"', "back\\slash", "é😀")
LABELS = ("a", "it's", 'say "x"', "é😀")


@dataclass(frozen=True)
class Case:
    """A type as a table declares it, its logical type, and (SQL literal, canonical text)."""

    native: str
    kind: LogicalType
    values: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return self.native


def quoted(text: str) -> str:
    """As sessions read texts: backslashes escape."""
    for raw, escaped in (("\\", "\\\\"), ("'", "\\'"), ("\0", "\\0")):
        text = text.replace(raw, escaped)
    return f"'{text}'"


def _numbers(native: str, name: str, *values: int) -> Case:
    return Case(native, LogicalType(name), tuple((str(v), str(v)) for v in values))


def _decimals(precision: int, scale: int, *values: str) -> Case:
    kind = LogicalType("decimal", precision=precision, scale=scale)
    return Case(f"decimal({precision},{scale})", kind, tuple((f"'{v}'", v) for v in values))


def _texts(native: str, *values: str, **bounds: Any) -> Case:
    kind = LogicalType("string", **bounds)
    return Case(native, kind, tuple((quoted(v), v) for v in values))


def _moments(native: str, name: str, zone: str, *values: str, digits: int = 6) -> Case:
    kind = LogicalType(name, digits=digits)
    told = ((f"'{v}'", v.replace(" ", "T") + "0" * (6 - digits) + zone) for v in values)
    return Case(native, kind, tuple(told))


def labelled(labels: tuple[str, ...]) -> str:
    """The labels as DDL lists them."""
    return ", ".join(map(quoted, labels))


_STRINGS = tuple(text for _, _, text in nasty.STRINGS)
_FLOATS = next(c for c in nasty.CASES if c.native == "double precision").values
ENDLESS = ("NaN", "Infinity", "-Infinity")
MIDPOINTS = ("9.999999999999999e+22", "8.409999999999999e+21")
"""Doubles whose fewest digits lie as near to the next double: PostgreSQL spells them out."""

CASES = (
    _numbers("tinyint", "int8", -128, -1, 0, 127),
    _numbers("tinyint(1)", "int8", -128, 0, 1, 5),
    _numbers("tinyint unsigned", "uint8", 0, 255),
    _numbers("smallint", "int16", -32768, 32767),
    _numbers("smallint(5) unsigned zerofill", "uint16", 65535),
    _numbers("mediumint", "int24", -(2**23), 2**23 - 1),
    _numbers("mediumint unsigned", "uint24", 0, 2**24 - 1),
    _numbers("int", "int32", -(2**31), 2**31 - 1),
    _numbers("int unsigned", "uint32", 0, 2**32 - 1),
    _numbers("bigint", "int64", -(2**63), -1, 0, 2**63 - 1),
    _numbers("bigint unsigned", "uint64", 0, 2**63, 2**64 - 1),
    Case("year", LogicalType("year"), (("1901", "1901"), ("2155", "2155"), ("'0000'", "0"))),
    _decimals(12, 2, "0.00", "-5.00", "0.01", "-0.01", "9999999999.99"),
    _decimals(65, 30, f"{'9' * 35}.{'9' * 30}", f"-{'9' * 35}.{'9' * 30}", f"0.{'0' * 29}1"),
    _decimals(65, 0, "9" * 65, "-" + "9" * 65, "0"),
    Case(
        "double",
        LogicalType("float64"),
        (
            *((sql, text) for _, sql, text in _FLOATS if text not in (*ENDLESS, *MIDPOINTS, "-0")),
            *(("0.000012", "1.2e-05"), ("-0.00001", "-1e-05"), ("1e-7", "1e-07")),
            *(("123456789.125", "123456789.125"), ("1e20", "1e+20"), ("1e-100", "1e-100")),
            *(("1234567890123456", "1.234567890123456e+15"), ("'0.1e1'", "1")),
            *(("1.2345678901234567e-5", "1.2345678901234568e-05"), ("1e300", "1e+300")),
            ("-3301126940684084.5", "-3.3011269406840845e+15"),
        ),
    ),
    Case(
        # Its digits as a double: what a session prints of a FLOAT are six of them.
        "float",
        LogicalType("float64"),
        (
            *(("0", "0"), ("1", "1"), ("-1.5", "-1.5"), ("16777216", "16777216")),
            *(("0.1", "0.10000000149011612"), ("123456.789", "123456.7890625")),
            ("1e-45", "1.401298464324817e-45"),
            ("3.4028234663852886e38", "3.4028234663852886e+38"),
            ("1e23", "9.999999778196308e+22"),
        ),
    ),
    _texts("longtext", *_STRINGS, "\0", "a\0b", "\f\v\b\x1a", "a  "),
    _texts("varchar(40)", *(s for s in _STRINGS if len(s) <= 40), "\0", "a  ", length=40),
    _texts("char(8)", "", "a", " a", "a\t", "é😀", "\0a", length=8),
    _texts("varchar(40) CHARACTER SET latin1", "", "é", "ÿ", "a ", "\0", length=40),
    _texts("varchar(40) COLLATE utf8mb4_general_ci", "A", "a ", "ß", length=40),
    Case(
        "longblob",
        LogicalType("bytes"),
        (
            *(("''", ""), ("x'00'", "00"), ("x'0000'", "0000")),
            (f"x'{bytes(range(256)).hex()}'", bytes(range(256)).hex()),
        ),
    ),
    Case(
        "binary(3)", LogicalType("bytes", length=3), (("x'61'", "610000"), ("x'ff00fe'", "ff00fe"))
    ),
    Case(
        "date",
        LogicalType("date"),
        tuple(
            (f"'{v}'", v)
            for v in (
                *("2024-02-29", "0001-01-01", "9999-12-31", "1000-01-01"),
                *("0000-00-00", "2024-00-00", "2024-02-30", "2024-12-00"),
            )
        ),
    ),
    _moments(
        *("datetime(6)", "timestamp", ""),
        *("2024-02-29 01:02:03.000004", "0001-01-01 00:00:00.000000"),
        *("9999-12-31 23:59:59.999999", "0000-00-00 00:00:00.000000"),
        *("2024-02-30 00:00:00.400000", "2024-03-31 02:30:00.000000"),
    ),
    _moments("datetime(3)", "timestamp", "", "2024-02-29 01:02:03.004", digits=3),
    Case(
        "datetime",
        LogicalType("timestamp", digits=0),
        (("'2024-02-29 01:02:03'", "2024-02-29T01:02:03.000000"),),
    ),
    _moments(
        *("timestamp(6)", "timestamptz", "Z"),
        *("2024-03-31 01:30:00.000001", "1970-01-01 00:00:01.000000"),
        *("2038-01-19 03:14:07.999999", "0000-00-00 00:00:00.000000"),
    ),
    Case(
        "time(6)",
        LogicalType("duration", digits=6, identity=CLOCK),
        (
            *(("'00:00:00'", "0/0/0"), ("'-00:00:00.000001'", "0/0/-1")),
            *(("'-00:00:01.5'", "0/0/-1500000"), ("'12:30:00.5'", "0/0/45000500000")),
            ("'23:59:59.999999'", "0/0/86399999999"),
            ("'838:59:58.999999'", "0/0/3020398999999"),
            ("'-838:59:58.999999'", "0/0/-3020398999999"),
            *(("'838:59:59'", "0/0/3020399000000"), ("'24:00:00'", "0/0/86400000000")),
        ),
    ),
    Case(
        "char(36)",
        LogicalType("uuid"),
        tuple(
            (f"'{u}'", u)
            for u in (
                "00000000-0000-0000-0000-000000000000",
                "ffffffff-ffff-ffff-ffff-ffffffffffff",
            )
        ),
    ),
    Case(
        f"enum({labelled(ODD_LABELS)})",
        LogicalType("enum", labels=ODD_LABELS),
        tuple((quoted(v), v) for v in ODD_LABELS),
    ),
    Case(
        f"set({labelled(LABELS)})",
        LogicalType("set", labels=LABELS),
        (("''", ""), (quoted("é😀,a"), "a,é😀"), (quoted(",".join(LABELS)), ",".join(LABELS))),
    ),
    Case("bit(1)", LogicalType("other", identity="bit", length=1), (("b'0'", "0"), ("b'1'", "1"))),
    Case(
        "bit(64)",
        LogicalType("other", identity="bit", length=64),
        (
            ("b'1'", "1".zfill(64)),
            (f"b'{'1' * 64}'", "1" * 64),
            (f"b'1{'0' * 63}'", "1" + "0" * 63),
        ),
    ),
    Case(
        "point",
        LogicalType("other", identity="geometry"),
        (("ST_GeomFromText('POINT(1 2)')", "000000000101000000000000000000f03f0000000000000040"),),
    ),
)

JSON = (
    '{"a": 1, "b": [1, 2.5, null, true], "bb": {"c": "é😀"}}',
    '"a\\"\\\\\\n"',
    *("18446744073709551615", "-9223372036854775808", "null", "[]", "{}", '""'),
)
"""As MySQL itself prints them."""
