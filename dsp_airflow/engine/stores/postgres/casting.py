"""A source value at the target's type, and what becomes of one that does not fit.

A lossy pair is guarded: ``fits`` is true for the values that survive, and never fails itself
where that can be had. What is false there is an error that names column and row, or what the
column's policy says.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Final

from dsp_airflow.engine.keeps import digits_kept
from dsp_airflow.engine.model import Column, Converted, Fit, OnLoss
from dsp_airflow.engine.stores.postgres.names import base, text_literal, user_type
from dsp_airflow.engine.stores.postgres.translate import LOSS_TAG
from dsp_airflow.engine.types import CLOCK, INTEGERS

LARGEST: Final = {"float32": "3.4028234663852886e38", "float64": "1.7976931348623157e308"}
SMALLEST: Final = {"float32": "1.401298464324817e-45", "float64": "4.94065645841247e-324"}
LAST_WHOLE: Final = {"float32": 9223371487098961920, "float64": 9223372036854774784}
"""The largest float below 2^63."""
SQL_FLOATS: Final = {"float32": "float4", "float64": "float8"}
NUMBER: Final = r"-?(0|[1-9][0-9]{0,120})(\.[0-9]{1,120})?"
UUID: Final = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
ENDLESS: Final = "('NaN', 'Infinity', '-Infinity')"


def converted(
    expression: str, source: Column, target: Column, fit: Fit, on_loss: OnLoss, key: str
) -> Converted:
    """See ``ports.Dialect``."""
    x = f"{expression}::{source.carrier}" if source.carrier else expression
    native = source.carrier or source.native
    if "enum" in (source.type.name, target.type.name):
        # Enums travel as their labels: the binary form of both is the same bytes.
        return _guarded(f"{x}::text", "text", x, source, target, fit, on_loss, key)
    wanted = target.carrier or target.native
    if source.type.identity == "char" == target.type.identity:
        # Servers print other octets differently, and one of them reads them wrongly.
        whole = f"get_byte(charsend({x}), 0) < 128 OR {x} IS NULL"
        failure = _failure(source, key, '"char"')
        return Converted(f"CASE WHEN {whole} THEN {x} ELSE {failure} END", native)
    if (source.type.identity or "").removesuffix(" array") == "xml" and fit == "exact":
        # Its output leaves a declaration out that its text has.
        plain = "text[]" if native.endswith("]") else "text"
        return Converted(f"{x}::{plain}", plain)
    if _shortened(source.type.identity or ""):
        whole = f"record_image_eq(ROW(({x}::text)::{base(native)}), ROW({x}))"
        x = f"(CASE WHEN {whole} THEN {x} ELSE {_failure(source, key, native)} END)"
    if (source.type.name, target.type.identity) == ("duration", CLOCK):
        return _guarded(cast(x, source, target), wanted, x, source, target, fit, on_loss, key)
    # MySQL's YEAR and SET are a smallint and a text here, and do not take all of them.
    if (native == wanted and fit != "lossy") or (user_type(wanted) and fit == "exact"):
        return Converted(x, native)
    if user_type(wanted):
        # Only lists get here: their elements travel as texts.
        return Converted(f"{x}::text[]", "text[]")
    return _guarded(cast(x, source, target), wanted, x, source, target, fit, on_loss, key)


def across(made: Converted, target: Column, key: str, system: str) -> Converted:
    """See ``ports.Dialect``. Numbers of JSON are doubles in MySQL, but for integers of 64 bits."""
    if kept := _kept(f"({made.expression})", target):
        x, failure = made.expression, _failure(target, key, made.native)
        guarded = f"CASE WHEN {x} IS NULL OR {kept} THEN {x} ELSE {failure} END"
        return replace(made, expression=guarded)
    if target.type.name != "json" or system != "mysql":
        return made
    x = f"({made.expression})"
    number = "(v #>> '{}')::numeric"
    held = (
        f"CASE WHEN v::text !~ '[.]' AND {number} BETWEEN {-(2**63)} AND {2**64 - 1} THEN true "
        f"WHEN {number} = 0 THEN true WHEN abs({number}) BETWEEN {SMALLEST['float64']} "
        f"AND {LARGEST['float64']} THEN (({number})::float8::text)::numeric = {number} "
        "ELSE false END"
    )
    # Few documents have so many digits in a row, and only those are taken apart.
    lost = (
        f"CASE WHEN {x}::text ~ '[0-9][0-9.]{{15}}' THEN EXISTS (SELECT FROM "
        f"jsonb_path_query({x}::jsonb, 'strict $.**') AS j (v) "
        f"WHERE CASE WHEN jsonb_typeof(v) = 'number' THEN NOT {held} ELSE false END) END"
    )
    failure = _failure(target, key, made.native)
    return replace(made, expression=f"CASE WHEN {lost} THEN {failure} ELSE {x} END")


def _kept(x: str, target: Column) -> str:
    """What is true of values that MySQL does not fill up with zeros, or round, without a word."""
    if target.native.startswith("binary("):
        return f"octet_length({x}) = {target.type.length}"
    if (digits := digits_kept(target.native)) is not None:
        return f"round({x}::text::numeric, {digits}) = {x}::text::numeric"
    return ""


def _shortened(identity: str) -> bool:
    """Whether the text may leave out what the value has: digits, or an XML declaration inside."""
    return "seg of extension seg" in identity or (
        "xml" in identity and identity.removesuffix(" array") != "xml"
    )


def policy_refusal(source: Column, target: Column, on_loss: OnLoss) -> str:
    """Why this policy cannot be kept for this lossy pair; empty when it can."""
    if on_loss == "null":
        if not target.nullable:
            return f"on_loss: null needs a target column that may be NULL, {target.name} may not"
        if fits("x", source, target) is None:
            return _UNTESTABLE
    if on_loss == "clamp" and (
        fits("x", source, target) is None or nearest("x", source, target) is None
    ):
        return f"{target.native} has no nearest value for one of {source.native}"
    return ""


_UNTESTABLE: Final = (
    "whether a value fits cannot be told without trying; use on_loss: error, or map an expression"
)


def _guarded(
    cast_: str,
    native: str,
    x: str,
    source: Column,
    target: Column,
    fit: Fit,
    on_loss: OnLoss,
    key: str,
) -> Converted:
    if fit != "lossy" or (source.type.name, target.type.name) == ("string", "json"):
        # A text that is no JSON fails in the cast; its spelling is no value.
        return Converted(cast_, native)
    ok = fits(x, source, target) or _survives(cast_, x, source)
    # IS NULL would be true of a composite whose parts are all NULL.
    none, some = f"{x} IS NOT DISTINCT FROM NULL", f"{x} IS DISTINCT FROM NULL"
    instead, lost = _failure(source, key, base(native)), ""
    if on_loss == "null":
        instead, lost = "NULL", f"{some} AND NOT ({ok})"
    elif on_loss == "clamp":
        near = nearest(x, source, target) or instead
        if source.type.name in ("decimal", *SQL_FLOATS) and target.type.name in INTEGERS:
            near = f"CASE WHEN {x} = 'NaN' THEN {instead} ELSE {near} END"
        instead, lost = near, f"{some} AND NOT ({ok})"
    sql = f"CASE WHEN {none} THEN NULL WHEN {ok} THEN {cast_} ELSE {instead} END"
    return Converted(sql, native, lost)


def _survives(cast_: str, x: str, source: Column) -> str:
    """Told by trying: the way there and back, or the text."""
    element = source.type.element.name if source.type.element else ""
    back = f"({cast_})::{source.carrier or source.native}"
    if element in SQL_FLOATS:
        # Their plain comparison takes -0 for 0.
        return f"array_send({back}) = array_send({x})"
    if element in ("decimal", "timestamp", "timestamptz", "time", *INTEGERS):
        return f"{back} = {x}"
    return f'({cast_})::text COLLATE "C" = {x}::text'


def _failure(source: Column, key: str, native: str) -> str:
    # The failing cast of a text to integer is the only way to raise an error inside an
    # expression; the message carries column and key out (see translate).
    told = f"json_build_array({text_literal(source.name)}, {key})" if key else "'[]'"
    return f"(({text_literal(LOSS_TAG)} || {told}::text)::int)::text::{native}"


def cast(x: str, source: Column, target: Column) -> str:
    """The target's value; only asked for values that fit."""
    wanted = target.carrier or target.native
    names = {source.type.name, target.type.name}
    if (source.type.name, target.type.name) == ("list", "json"):
        return f"to_jsonb({x})"
    if source.type.name in SQL_FLOATS and target.type.name == "decimal":
        # The cast between them keeps 15 digits; the text keeps all there are.
        return f"({x}::text)::{wanted}"
    # There is no cast between boolean and the other numbers than integer.
    via = "::integer" if "bool" in names and names.isdisjoint({"string"}) else ""
    return f"{x}{via}::{wanted}"


def fits(x: str, source: Column, target: Column) -> str | None:
    """SQL that is true for the values that survive; ``None`` where only trying tells."""
    mine, other = source.type, target.type
    match mine.name, other.name:
        case "string", _:
            return _text_fits(x, target)
        case _, "string" if other.length is not None:
            return f"char_length({x}::text) <= {other.length}"
        case _, "bool":
            return f"{x} IN (0, 1)"
        case _, name if name in INTEGERS:
            return _whole(x, source, target)
        case _, "decimal":
            number = f"({x}::text)::numeric" if mine.name in SQL_FLOATS else f"{x}::numeric"
            return _in_decimal(number, target) + _no_negative_zero(x, source)
        case _, name if name in SQL_FLOATS:
            return _in_float(x, source, name)
        case "enum", "enum":
            labels = ", ".join(text_literal(label) for label in other.labels or ())
            return f"{x}::text IN ({labels})" if labels else "false"
        case "timestamp" | "timestamptz", "date":
            return f"({x}::date)::{mine.name} = {x}"
        case "date", _:
            until = f"(NOT isfinite({x}) OR {x} <= date '294276-12-31')"
            return f"isfinite({x})" if other.name == "date" else until
        case "time" | "timestamp" | "timestamptz", _:
            return f"({x}::{target.carrier or target.native})::{base(source.native)} = {x}"
        case "duration", _:
            return _duration_fits(x, target)
        case "other", "other":
            return f"({x}::{target.native})::text = {x}::text"
    return None


def _duration_fits(x: str, target: Column) -> str:
    if target.type.name == "time":
        return f"interval_send(({x}::{target.native})::interval) = interval_send({x})"
    kept = f"interval_send({x}::{target.native}) = interval_send({x})"
    if target.type.identity != CLOCK:
        return kept
    clock = f"make_interval(secs => extract(epoch FROM {x}))"
    end = "interval '838:59:59.999999'"
    return (
        f"CASE WHEN {x} BETWEEN -{end} AND {end} "
        f"THEN interval_send({x}) = interval_send({clock}) AND {kept} ELSE false END"
    )


def nearest(x: str, source: Column, target: Column) -> str | None:
    """SQL of the target's value that is nearest; ``None`` where nearness means nothing."""
    mine, other = source.type, target.type
    wanted = target.carrier or target.native
    numbers = ("decimal", *SQL_FLOATS, *INTEGERS)
    if mine.name == other.name == "string":
        return f"left({x}::text, {other.length})::{wanted}"
    if mine.name in numbers and other.name in INTEGERS:
        low, high = (f"'{bound}'::{wanted}" for bound in INTEGERS[other.name])
        whole = x if mine.name in INTEGERS else f"round({x})"
        return (
            f"CASE WHEN {x} >= {high} THEN {high} WHEN {x} <= {low} THEN {low} "
            f"ELSE {whole}::{wanted} END"
        )
    if mine.name in numbers and other.name == "decimal":
        number = f"({x}::text)::numeric" if mine.name in SQL_FLOATS else f"{x}::numeric"
        if other.precision is None:
            return number
        end = f"'{Decimal(10**other.precision - 1).scaleb(-(other.scale or 0)):f}'::numeric"
        return (
            f"CASE WHEN {number} > {end} THEN {end} WHEN {number} < -{end} THEN -{end} "
            f"ELSE {number}::{wanted} END"
        )
    if mine.name in numbers and other.name in SQL_FLOATS:
        end, small = LARGEST[other.name], SMALLEST[other.name]
        return (
            f"CASE WHEN {x} > {end} THEN '{end}'::{wanted} "
            f"WHEN {x} < -{end} THEN '-{end}'::{wanted} "
            f"WHEN abs({x}) < {small} THEN 0::{wanted} ELSE {x}::{wanted} END"
        )
    if mine.name == "date":
        return f"timestamp '294276-12-31'::{wanted}"
    if mine.name in ("time", "timestamp", "timestamptz") and other.name != "string":
        return f"{x}::{wanted}"
    return None


def _text_fits(x: str, target: Column) -> str | None:
    """Texts that the type would print as they are."""
    # A collation that takes one text for another allows neither patterns nor this comparison.
    text, other = f'({x}::text COLLATE "C")', target.type
    if other.name == "string":
        short = f"char_length({text}) <= {other.length}" if other.length is not None else "true"
        padded = base(target.native) == "bpchar"
        return short + (f" AND {text} = rtrim({text})" if padded else "")
    if other.name == "bool":
        return f"{text} IN ('true', 'false')"
    if other.name == "uuid":
        return f"{text} ~ '^{UUID}$'"
    if other.name in ("enum", "set"):
        labels = ", ".join(text_literal(label) for label in other.labels or ())
        if other.name == "set" and labels:
            return (
                f"{text} = (SELECT coalesce(string_agg(label, ',' ORDER BY n), '') "
                f"FROM unnest(ARRAY[{labels}]) WITH ORDINALITY AS l (label, n) "
                f"WHERE label = ANY (string_to_array({text}, ',')))"
            )
        return f"{text} IN ({labels})" if labels else "false"
    if other.name in INTEGERS:
        low, high = INTEGERS[other.name]
        return (
            f"CASE WHEN {text} ~ '^(0|-?[1-9][0-9]{{0,19}})$' "
            f"THEN {text}::numeric BETWEEN {low} AND {high} ELSE false END"
        )
    if other.name == "decimal":
        number = f"{text}::numeric"
        printed = f"({text}::{target.carrier or target.native})::text = {text}"
        endless = "'NaN'" if other.precision is not None else "'NaN', 'Infinity', '-Infinity'"
        return (
            f"CASE WHEN {text} IN ({endless}) THEN true WHEN {text} ~ '^{NUMBER}$' "
            f"THEN CASE WHEN {_in_decimal(number, target)} THEN {printed} ELSE false END "
            "ELSE false END"
        )
    if other.name in SQL_FLOATS:
        kind = SQL_FLOATS[other.name]
        number = f"abs({text}::numeric)"
        return (
            f"CASE WHEN {text} IN {ENDLESS} THEN true "
            f"WHEN {text} ~ '^{NUMBER}(e[+-][0-9]{{1,3}})?$' THEN CASE "
            f"WHEN {number} = 0 OR {number} BETWEEN {SMALLEST[other.name]} "
            f"AND {LARGEST[other.name]} THEN ({text}::{kind})::text = {text} "
            "ELSE false END ELSE false END"
        )
    return None


def _whole(x: str, source: Column, target: Column) -> str:
    low, high = INTEGERS[target.type.name]
    if source.type.name in INTEGERS or source.type.name == "bool":
        return f"{x} BETWEEN {low} AND {high}"
    if source.type.name == "decimal":
        return f"({x} BETWEEN {low} AND {high} AND {x} = trunc({x}))"
    return f"({x} >= {low} AND {x} < {high + 1} AND {x} = trunc({x}))" + _no_negative_zero(
        x, source
    )


def _no_negative_zero(x: str, source: Column) -> str:
    if source.type.name not in SQL_FLOATS:
        return ""
    kind = SQL_FLOATS[source.type.name]
    return f" AND ({x} <> 0 OR {kind}send({x}) = {kind}send('0'::{kind}))"


def _in_decimal(number: str, target: Column) -> str:
    precision, scale = target.type.precision, target.type.scale or 0
    if precision is None:
        return "true"
    end = f"{Decimal(1).scaleb(precision - scale):f}"
    return f"({number} = 'NaN' OR (round({number}, {scale}) = {number} AND abs({number}) < {end}))"


def _in_float(x: str, source: Column, name: str) -> str:
    kind = SQL_FLOATS[name]
    if source.type.name in INTEGERS:
        end = LAST_WHOLE[name]
        return (
            f"CASE WHEN {x} BETWEEN -{end} AND {end} THEN ({x}::{kind})::int8 = {x} ELSE false END"
        )
    back = f"(({x}::{kind})::text)::numeric = {x}"
    if source.type.name in SQL_FLOATS:
        back = f"float8send(({x}::{kind})::float8) = float8send({x})"
    return (
        f"CASE WHEN {x} IN {ENDLESS} THEN true WHEN {x} = 0 OR abs({x}) BETWEEN "
        f"{SMALLEST[name]} AND {LARGEST[name]} THEN {back} ELSE false END"
    )
