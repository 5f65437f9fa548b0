"""The canonical texts as SQL of PostgreSQL, and their md5."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from dsp_airflow.engine.model import Field, LogicalType
from dsp_airflow.engine.types import INTEGERS


def postgres_text(expression: str, kind: LogicalType, native: str) -> str:
    """SQL that yields the canonical text of ``expression``, which has ``kind``; NULL for NULL.

    ``native`` is PostgreSQL's name of the expression's type.
    """
    render = _RENDERS.get(kind.name, _own_text)
    return render(f"({expression})", kind, native)


def postgres_row_text(fields: Sequence[Field]) -> str:
    """SQL that yields the row text of ``fields``."""
    parts: list[str] = []
    short: list[str] = []
    for field in fields:
        if _is_short(field.type):
            short.append(_short_field(field))
            continue
        # Joining long texts pairwise would keep a copy of the whole at every step.
        parts += [*_joined(short), *_long_field(field)]
        short = []
    parts += _joined(short)
    return _concatenated(parts)


def postgres_row_hash_md5(fields: Sequence[Field]) -> str:
    """SQL that yields the md5 of the row text, 32 hex digits."""
    return f"md5({postgres_row_text(fields)})"


def postgres_digest_md5(fields: Sequence[Field]) -> str:
    """SQL that yields the first 64 bits of the row text's md5, as a signed bigint."""
    return f"('x'||substr({postgres_row_hash_md5(fields)},1,16))::bit(64)::int8"


def is_known(kind: LogicalType) -> bool:
    """Whether this module has a text of its own for the type."""
    return kind.name in _RENDERS


_Render: TypeAlias = Callable[[str, LogicalType, str], str]

_DAY: Final = "YYYY-MM-DD"
_CLOCK: Final = "HH24:MI:SS.US"

_SHORT: Final = frozenset(
    {"bool", *INTEGERS, "float32", "float64", "date", "time", "timestamp", "timestamptz"}
    | {"duration", "uuid"}
)
"""Types of a few dozen octets at most: their text may be rendered twice and joined pairwise."""


def _own_text(expression: str, _kind: LogicalType, _native: str) -> str:
    return f"{expression}::text"


def native_text(expression: str, kind: LogicalType, _native: str) -> str:
    """SQL of the server's own text of a value."""
    # An array of XML prints its elements without their declarations.
    return f"{expression}::text[]::text" if kind.identity == "xml array" else f"{expression}::text"


def _bool(expression: str, _kind: LogicalType, _native: str) -> str:
    return f"CASE WHEN {expression} THEN '1' WHEN NOT {expression} THEN '0' END"


def _bytes(expression: str, _kind: LogicalType, _native: str) -> str:
    return f"encode({expression},'hex')"


def _once(expression: str, use: str) -> str:
    """SQL of ``use`` with ``dsp_value`` for an expression too dear to be evaluated twice."""
    return f"(SELECT {use} FROM (SELECT {expression} AS dsp_value OFFSET 0) AS dsp_o)"  # noqa: S608


def _common_date(expression: str) -> tuple[str, str]:
    """SQL of whether a date is of the common range, and of its text then: 10 octets."""
    # There PostgreSQL's own text is the canonical one, and the cheapest.
    return f"{expression} BETWEEN date '0001-01-01' AND date '9999-12-31'", f"{expression}::text"


def _date(expression: str, _kind: LogicalType, _native: str) -> str:
    # Beyond the common range nothing that turns the date into a timestamp will do: dates go
    # further.
    common, text = _common_date(expression)
    return (
        f"CASE WHEN {common} OR NOT isfinite({expression}) THEN {text}"
        f" WHEN {expression} > date '9999-12-31' THEN '+'||{expression}::text"
        f" ELSE {_year_before_one(expression)}||substr({expression}::text,5,6) END"
    )


def _year_before_one(moment: str) -> str:
    """Astronomical and signed. PostgreSQL has no year 0: -1 is the one before 1."""
    return f"to_char(extract(year FROM {moment}) + 1, 'FMSG0000')"


def _time(expression: str, _kind: LogicalType, _native: str) -> str:
    return f"to_char({expression},'{_CLOCK}')"


def _timestamp(expression: str, _kind: LogicalType, _native: str) -> str:
    return _moment(expression, "")


def _timestamptz(expression: str, _kind: LogicalType, _native: str) -> str:
    return _moment(_in_utc(expression), "Z")


def _in_utc(expression: str) -> str:
    return f"({expression} AT TIME ZONE 'UTC')"


def _clock(zone: str) -> str:
    return f'"T"{_CLOCK}"{zone}"' if zone else f'"T"{_CLOCK}'


def _common_moment(expression: str, zone: str) -> tuple[str, str]:
    """SQL of whether a timestamp is of the common range, and of its text then: 26 octets, or 27."""
    return (
        f"{expression} BETWEEN timestamp '0001-01-01' AND timestamp '9999-12-31 23:59:59.999999'",
        f"to_char({expression},'{_DAY}{_clock(zone)}')",
    )


def _moment(expression: str, zone: str) -> str:
    clock = _clock(zone)
    common, text = _common_moment(expression, zone)
    return (
        f"CASE WHEN {common} THEN {text}"
        f" WHEN NOT isfinite({expression}) THEN {expression}::text"
        f" WHEN {expression} > timestamp '9999-12-31'"
        f" THEN '+'||to_char({expression},'{_DAY}{clock}')"
        f" ELSE {_year_before_one(expression)}||to_char({expression},'-MM-DD{clock}') END"
    )


def _duration(expression: str, _kind: LogicalType, _native: str) -> str:
    def part(name: str) -> str:
        return f"extract({name} FROM {expression})"

    months = f"({part('year')}*12+{part('month')})::int8"
    micros = f"(({part('hour')}*60+{part('minute')})*60000000+{part('microseconds')})::int8"
    return (
        f"CASE WHEN isfinite({expression}) THEN {months}||'/'||{part('day')}::int8||'/'||{micros}"
        f" ELSE {expression}::text END"
    )


def _list(expression: str, kind: LogicalType, native: str) -> str:
    if kind.element is None:
        return _own_text(expression, kind, native)
    element = Field("", kind.element, native.removesuffix("[]"), "dsp_element")
    fields = _concatenated(
        [_short_field(element)] if _is_short(element.type) else _long_field(element)
    )
    # unnest keeps the array's order.
    elements = f"SELECT string_agg({fields},'') FROM unnest(dsp_value) AS dsp_u(dsp_element)"  # noqa: S608
    return _once(
        expression,
        "CASE WHEN array_ndims(dsp_value) > 1 OR array_lower(dsp_value,1) <> 1"
        " THEN 'A'||dsp_value::text"
        f" ELSE cardinality(dsp_value)||':'||coalesce(({elements}),'') END",
    )


_RENDERS: Final[dict[str, _Render]] = {
    **dict.fromkeys((*INTEGERS, "decimal", "float32", "float64", "string"), _own_text),
    **dict.fromkeys(("uuid", "json", "enum"), _own_text),
    "other": native_text,
    "bool": _bool,
    "bytes": _bytes,
    "date": _date,
    "time": _time,
    "timestamp": _timestamp,
    "timestamptz": _timestamptz,
    "duration": _duration,
    "list": _list,
}


def _is_short(kind: LogicalType) -> bool:
    return kind.name in _SHORT or (kind.name == "decimal" and kind.precision is not None)


def _short_field(field: Field) -> str:
    """One field of a row text."""
    text = postgres_text(field.expression, field.type, field.native)
    fixed = {"bool": 1, "uuid": 36, "time": 15}.get(field.type.name)
    length = f"'{fixed}:'" if fixed is not None else f"octet_length({text})||':'"
    whole = f"coalesce({length}||{text},'N')"
    common = _common(f"({field.expression})", field.type.name)
    if common is None:
        return whole
    test, octets, text = common
    # Its length is known, and rendering it is dear: once is enough.
    return f"CASE WHEN {test} THEN '{octets}:'||{text} ELSE {whole} END"


def _common(expression: str, kind: str) -> tuple[str, int, str] | None:
    """Of a type whose texts mostly have one length: SQL of whether so, its octets, SQL of it."""
    if kind == "date":
        test, text = _common_date(expression)
        return test, 10, text
    if kind == "timestamp":
        test, text = _common_moment(expression, "")
        return test, 26, text
    if kind == "timestamptz":
        test, text = _common_moment(_in_utc(expression), "Z")
        return test, 27, text
    return None


def _long_field(field: Field) -> list[str]:
    """One field of a row text, as pieces for ``concat``, which takes NULL for nothing."""
    text = postgres_text(field.expression, field.type, field.native)
    if field.type.name == "bytes":
        return [f"coalesce(octet_length({field.expression})*2||':','N')", text]
    if field.type.name in {"string", "decimal", "enum"}:
        return [f"coalesce(octet_length({text})||':','N')", text]
    sized = _once(text, "octet_length(dsp_value)||':'||dsp_value")
    return [f"coalesce({sized},'N')"]


def _joined(short: list[str]) -> list[str]:
    return ["||".join(short)] if short else []


def _concatenated(parts: list[str], at_once: int = 90) -> str:
    """Functions take at most 100 arguments."""
    while len(parts) > at_once:
        groups = [parts[i : i + at_once] for i in range(0, len(parts), at_once)]
        parts = [f"concat({','.join(group)})" for group in groups]
    return parts[0] if len(parts) == 1 else f"concat({','.join(parts)})"
