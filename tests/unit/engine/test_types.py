"""The loss matrix: total over all pairs, honest about what may not fit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import psycopg
import pytest

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import LogicalType
from dsp_airflow.engine.types import ALIASES, NAMES, fit, narrows, parse_type
from tests.servers import Database
from tests.unit.engine.nasty import typed

ALL = [
    *(LogicalType(name) for name in NAMES if name not in {"list", "enum"}),
    LogicalType("other"),
    *(
        typed("decimal", precision=p, scale=s)
        for p, s in ((6, 1), (38, 0), (2, 2), (3, -2), (3, 5))
    ),
    *(typed("string", length=n) for n in (1, 20, 36)),
    typed("bytes", length=16),
    *(typed(n, digits=d) for n in ("time", "timestamp", "timestamptz") for d in (0, 3, 4, 6)),
    *(
        typed("enum", labels=labels)
        for labels in (None, ("a", "b"), ("b", "a"), ("a", "b", "long"))
    ),
    *(typed("list", element=e) for e in (None, typed("int32"), typed("int64"), typed("string"))),
    typed("list", element=typed("list", element=typed("int32"))),
]


@pytest.mark.parametrize("source", ALL, ids=str)
def test_every_pair_has_a_verdict(source: LogicalType) -> None:
    for target in ALL:
        verdict, note = fit(source, target)
        assert verdict in {"exact", "widening", "lossy", "refused"}
        assert narrows(source, target) is (verdict == "lossy")
        if verdict in {"lossy", "refused"}:
            assert note, f"{source} to {target}: a loss or refusal says why"
        if verdict == "exact":
            assert source.name == target.name
            assert fit(target, source)[0] == "exact"


@pytest.mark.parametrize("kind", ALL, ids=str)
def test_a_type_fits_itself(kind: LogicalType) -> None:
    told_apart_elsewhere = kind.name == "other" or kind == typed("list")
    unknown_labels = kind in (typed("enum"), typed("set"))
    expected = "refused" if told_apart_elsewhere else "lossy" if unknown_labels else "exact"
    assert fit(kind, kind)[0] == expected


@pytest.mark.parametrize("name", [n for n in (*NAMES, "other") if n not in {"bytes", "string"}])
def test_every_text_form_widens_to_text(name: str) -> None:
    assert fit(LogicalType(name), typed("string"))[0] == "widening"


VERDICTS = [
    ("int32", "int64", "widening", ""),
    ("int64", "int32", "lossy", "numbers below -2147483648 or above 2147483647"),
    ("int16", "uint16", "lossy", "numbers below 0"),
    ("uint64", "int64", "lossy", "numbers above 9223372036854775807"),
    ("uint64", "decimal(20)", "widening", ""),
    ("int64", "decimal(18)", "lossy", "more than 18 digits before the point"),
    ("bool", "int8", "widening", ""),
    ("int16", "bool", "lossy", "numbers other than 0 and 1"),
    ("int32", "float64", "widening", ""),
    ("int64", "float64", "lossy", "whole numbers beyond 2^53"),
    ("int32", "float32", "lossy", "whole numbers beyond 2^24"),
    (
        "decimal",
        "decimal(6,1)",
        "lossy",
        "more than 5 digits before the point; more than 1 digit after the point; Infinity",
    ),
    ("decimal(12,2)", "decimal(12,1)", "lossy", "more than 1 digit after the point"),
    ("decimal(12,2)", "decimal(12,4)", "lossy", "more than 8 digits before the point"),
    ("decimal(12,2)", "decimal(14,4)", "widening", ""),
    ("decimal(12,2)", "decimal", "widening", ""),
    ("decimal(4,0)", "int16", "lossy", "NaN"),
    ("decimal(5,0)", "int16", "lossy", "numbers below -32768 or above 32767; NaN"),
    ("decimal(15,0)", "float64", "widening", ""),
    ("decimal(15,1)", "float64", "lossy", "digits that a float64 does not hold"),
    ("float32", "float64", "widening", ""),
    ("float64", "float32", "lossy", "digits and numbers that a float32 does not hold"),
    ("float64", "decimal", "lossy", "-0"),
    ("string", "string(20)", "lossy", "longer than 20 characters"),
    ("string(20)", "string(30)", "widening", ""),
    ("int32", "string(11)", "widening", ""),
    ("int32", "string(10)", "lossy", "longer than 10 characters"),
    ("uuid", "string(36)", "widening", ""),
    ("decimal(6,1)", "string(8)", "widening", ""),
    ("string", "int32", "lossy", "texts that are no whole number in range"),
    ("string", "json", "lossy", "texts that are no JSON"),
    ("timestamp", "timestamp(3)", "lossy", "microseconds"),
    ("timestamp(3)", "timestamp", "widening", ""),
    ("timestamp(6)", "timestamp", "exact", ""),
    ("timestamptz", "timestamp(3)", "lossy", "microseconds; taken as UTC"),
    ("timestamptz", "timestamp", "widening", "taken as UTC"),
    ("timestamp", "date", "lossy", "the time of day"),
    ("date", "timestamp", "lossy", "dates after the year 294276"),
    ("time", "time(0)", "lossy", "fractions of a second"),
    ("bytes", "date", "refused", "no meaningful conversion; map an expression that says how"),
    ("bytes", "string", "refused", "no meaningful conversion; map an expression that says how"),
    (
        "list of int64",
        "list of int32",
        "lossy",
        "elements: numbers below -2147483648 or above 2147483647",
    ),
    (
        "list of bytes",
        "list of date",
        "refused",
        "elements: no meaningful conversion; map an expression that says how",
    ),
]


@pytest.mark.parametrize(("source", "target", "verdict", "note"), VERDICTS)
def test_verdict_and_note(source: str, target: str, verdict: str, note: str) -> None:
    assert fit(parse_type(source), parse_type(target)) == (verdict, note)


def test_enum_labels() -> None:
    small, large = typed("enum", labels=("a",)), typed("enum", labels=("b", "a"))
    assert fit(small, large) == ("widening", "")
    assert fit(large, small) == ("lossy", "labels 'b'")
    assert fit(large, typed("enum", labels=("a", "b"))) == ("exact", "")
    assert fit(small, typed("string", length=1)) == ("widening", "")
    assert fit(typed("enum", labels=("ab",)), typed("string", length=1))[0] == "lossy"


@pytest.mark.parametrize("name", [n for n in NAMES if n != "list"])
def test_names_parse(name: str) -> None:
    assert parse_type(name) == LogicalType(name)


def test_aliases_and_bounds() -> None:
    assert {alias: parse_type(alias).name for alias in ALIASES} == ALIASES
    assert parse_type("decimal(6, 1)") == typed("decimal", precision=6, scale=1)
    assert parse_type("decimal(6)") == typed("decimal", precision=6, scale=0)
    assert parse_type(" String(20) ") == typed("string", length=20)
    assert parse_type("timestamp(3)") == typed("timestamp", digits=3)
    assert parse_type("list of decimal(6,1)").element == typed("decimal", precision=6, scale=1)


@pytest.mark.parametrize(
    "kind", [k for k in ALL if k.name not in {"enum", "set", "other", "list"}], ids=str
)
def test_what_is_shown_parses_back(kind: LogicalType) -> None:
    if kind.digits == 6 or (
        kind.scale is not None and not 0 <= kind.scale <= (kind.precision or 0)
    ):
        return
    assert parse_type(str(kind)) == kind


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("strng", "did you mean 'string'"),
        ("varchar(20)", "choose one of: bool, int8"),
        ("decimal(0)", "precision is 1 to 1000"),
        ("decimal(2,3)", "scale at most that"),
        ("string(0)", "at least 1"),
        ("timestamp(7)", "at most 6 digits"),
        ("int32(11)", "takes no such bounds; write 'int32'"),
        ("list", "list of int32"),
        ("", "choose one of"),
    ],
)
def test_wrong_names_say_what_would_do(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match="type") as error:
        parse_type(text)
    assert said in str(error.value)


EXTREMES: list[tuple[str, str, Any]] = [
    ("smallint", "int16", [-32768, 32767]),
    ("integer", "int32", [-(2**31), 2**31 - 1]),
    ("bigint", "int64", [-(2**63), 2**63 - 1]),
    ("numeric(6,1)", "decimal(6,1)", [Decimal("-99999.9"), Decimal("99999.9"), Decimal("0.1")]),
    ("numeric(15,0)", "decimal(15,0)", [Decimal(10**15 - 1), -Decimal(10**15 - 1)]),
    ("real", "float32", [3.4028234663852886e38, 1.401298464324817e-45]),
    ("double precision", "float64", [1.7976931348623157e308, 5e-324, -0.0]),
    ("text", "string", ["", "a ", "é"]),
    ("uuid", "uuid", ["00000000-0000-0000-0000-000000000000"]),
    ("timestamp(3)", "timestamp(3)", ["infinity", "2024-01-01 00:00:00.123"]),
    ("timestamp", "timestamp", ["-infinity", "2024-01-01 00:00:00.123456", "294276-12-31"]),
    ("timestamptz", "timestamptz", ["infinity", "2024-01-01 00:00:00.123456+00"]),
    ("date", "date", ["infinity", "5874897-12-31", "4713-01-01 BC"]),
]


def test_what_is_called_widening_loses_nothing_in_postgres(pg_db: Database) -> None:
    """There and back again by PostgreSQL's own casts, for the extremes of every type."""
    tried = 0
    with pg_db.connect() as connection:
        for native, name, values in EXTREMES:
            for target_native, target, _ in EXTREMES:
                if fit(parse_type(name), parse_type(target))[0] not in {"exact", "widening"}:
                    continue
                for value in values:
                    assert_survives(connection, value, native, target_native)
                    tried += 1
    assert tried > 80


def assert_survives(connection: psycopg.Connection, value: Any, native: str, target: str) -> None:
    there = f"v::{native}::{target}::{native}::text"
    query = f"SELECT v::{native}::text, {there} FROM (VALUES (%s)) AS t(v)"
    [(given, back)] = connection.execute(query.encode(), [str(value)]).fetchall()
    assert given == back, f"{value} as {native} through {target}"


def other(identity: str | None, **bounds: Any) -> LogicalType:
    return LogicalType("other", identity=identity, **bounds)


@pytest.mark.parametrize(
    ("source", "target", "verdict"),
    [
        (other("inet"), other("inet"), "exact"),
        (other("inet"), other("cidr"), "refused"),
        (other(None), other(None), "refused"),
        (other('row ("x" int4)'), other('row ("y" int4)'), "refused"),
        (other("bit", length=3), other("bit", length=3), "exact"),
        (other("bit", length=3), other("bit", length=4), "lossy"),
        (other("bit", length=3), other("varbit", length=3), "widening"),
        (other("bit", length=3), other("varbit"), "widening"),
        (other("varbit"), other("varbit", length=3), "lossy"),
        (other("varbit", length=3), other("bit", length=3), "lossy"),
        (other("timetz", digits=3), other("timetz"), "widening"),
        (other("timetz"), other("timetz", digits=3), "lossy"),
        (other("inet"), typed("string"), "widening"),
        (typed("string"), other("inet"), "lossy"),
        (LogicalType("duration", digits=6), LogicalType("duration", digits=0), "lossy"),
    ],
)
def test_native_types_are_what_they_are_made_of(
    source: LogicalType, target: LogicalType, verdict: str
) -> None:
    assert fit(source, target)[0] == verdict
