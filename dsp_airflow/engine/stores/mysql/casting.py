"""A source value at the target's type, and what becomes of one that does not fit.

A lossy pair is guarded as PostgreSQL's are: ``fits`` is true for the values that survive. What is
false there is an error that names the column, or what the column's policy says. What a type of
the other system merely cannot hold (a date of zeros, a NUL in a text) its server refuses by
itself, so that nothing is asked here unless a policy wants it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.keeps import digits_kept
from dsp_airflow.engine.model import Column, Converted, Field, Fit, LogicalType, OnLoss
from dsp_airflow.engine.stores.mysql import kinds
from dsp_airflow.engine.stores.mysql.names import BYTES, base, text_literal
from dsp_airflow.engine.types import INTEGERS

LOSS_TAG: Final = "dsp_loss:"
"""Marks a value that a guarded conversion refused; see ``translate``."""
_BYTE_BOUND: Final = {"tinytext": 255, "text": 65_535, "mediumtext": 16_777_215}
_REFUSED_THERE: Final = ("string", "uuid", "objectid", "json", "other")
"""The target itself refuses a text that is none of these types, and prints the others alike."""
FLOATS: Final = ("float32", "float64")
LARGEST_FLOAT: Final = "3.4028234663852886e38"


def plain(expression: str, column: Column) -> str:
    """The column's value for digests, in utf8mb4 and at a precision that can be printed."""
    if column.type.name == "float32":
        return f"({expression} * 1e0)"
    if column.collation is None:
        return expression
    charset = column.collation.partition("_")[0]
    if charset == "utf8mb4":
        return expression
    text = f"CONVERT({expression} USING utf8mb4)"
    return text if charset in _WHOLE else _whole(column.name, expression, text, charset)


_WHOLE: Final = frozenset(
    [
        *("utf8mb3", "utf8", "latin1", "latin2", "latin5", "latin7", "cp850", "cp852", "cp866"),
        *("koi8r", "koi8u", "keybcs2", "macce", "macroman"),
    ]
)
"""Character sets in which whatever a column holds is a text in utf8mb4."""
UNREAD_TAG: Final = "dsp_unread:"
"""Marks a text that utf8mb4 has not; see ``translate``."""


def _whole(column: str, x: str, text: str, charset: str) -> str:
    """The text in utf8mb4, or an error: columns hold octets that are no character of theirs.

    Of those a server makes a question mark, a U+FFFD or NULL, all without an error. Some character
    sets have two codes for one character, which is no loss.
    """
    same = f"CAST(CONVERT({text} USING {charset}) AS BINARY) = CAST({x} AS BINARY)"
    asked = " = ".join(f"CHAR_LENGTH(REPLACE({of}, '?', ''))" for of in (x, text))
    ok = f"({asked} AND {text} NOT LIKE '%\ufffd%' OR {same})"
    return (
        f"CASE WHEN {x} IS NULL THEN NULL WHEN {ok} THEN {text} "
        f"ELSE {failure(column, f'LENGTH({x})', UNREAD_TAG)} END"
    )


def may_fail(field: Field) -> bool:
    """Whether the field is an error where its column holds octets that are no text."""
    return UNREAD_TAG in field.expression


def utf8(column: Column) -> bool:
    """Whether ``plain`` of the column is a text in utf8mb4. An expression tells no collation."""
    return column.collation is not None


def caveat(source: Column, target: Column) -> str:
    """What the native types lose beyond what the logical ones do."""
    limit = _BYTE_BOUND.get(base(target.native))
    same = base(source.native) == base(target.native)
    if target.type.name == "string" and limit is not None and not same:
        # Four bytes are the most that a character takes.
        length = source.type.length
        if length is None or length * 4 > limit:
            return f"texts of more than {limit:,} bytes"
    if base(target.native) == "char" and base(source.native) != "char":
        return "" if source.type.name in ("uuid", *INTEGERS) else "blanks at the end"
    if base(target.native) == "binary" and base(source.native) in BYTES:
        same = base(source.native) == "binary" and source.type.length == target.type.length
        return "" if same else f"values of fewer than {target.type.length} bytes"
    kept = digits_kept(target.native)
    if kept is None or source.type.name in INTEGERS:
        return ""
    given = digits_kept(source.native)
    if given is None and source.type.name == "decimal":
        given = source.type.scale
    enough = same or source.type.name == "decimal"
    return (
        ""
        if enough and given is not None and given <= kept
        else f"digits beyond {kept} after the point"
    )


def converted(
    expression: str, source: Column, target: Column, fit: Fit, on_loss: OnLoss, _key: str
) -> Converted:
    """See ``ports.Dialect``. ``target.native`` is a type of this system, at the target's type."""
    x = plain(expression, source)
    made = cast(x, source.type, target.type)
    native = source.native if made == x else target.native
    if fit != "lossy":
        return Converted(made, native, utf8=made == x and utf8(source))
    ok = fits(x, source.type, target.type)
    if ok is None:
        if source.type.name == "string" and target.type.name not in _REFUSED_THERE:
            raise ConfigError(
                f"column {source.name} {source.native}: nobody can tell before the copy which of "
                f"its texts are a {target.type}; map an expression, such as CAST(... AS ...)"
            )
        return Converted(made, native)
    ok = _kept(ok, x, source, target)
    instead, lost = failure(source.name, x), ""
    if on_loss == "null":
        instead, lost = "NULL", f"{x} IS NOT NULL AND NOT ({ok})"
    elif on_loss == "clamp":
        near = nearest(x, source.type, target.type)
        instead, lost = near or instead, f"{x} IS NOT NULL AND NOT ({ok})"
    sql = f"CASE WHEN {x} IS NULL THEN NULL WHEN {ok} THEN {made} ELSE {instead} END"
    return Converted(sql, native, lost)


def _kept(ok: str, x: str, source: Column, target: Column) -> str:
    """``ok``, and what the native type changes in silence."""
    if base(target.native) == "char" and source.type.name == "string":
        return f"({ok} AND {x} NOT LIKE '% ')"
    if base(target.native) == "binary" and source.type.name == "bytes":
        return f"LENGTH({x}) = {target.type.length}"
    if (digits := digits_kept(target.native)) is not None:
        rounded = f"ROUND({x}, {digits})"
        if base(target.native) == "float":
            rounded = f"(CAST({rounded} AS FLOAT) * 1e0)"
        return f"({ok} AND {rounded} = {x})"
    return ok


def failure(column: str, x: str, tag: str = LOSS_TAG) -> str:
    """An expression that fails when it is evaluated; the message shows the tag and the column."""
    return f"(18446744073709551615 + LENGTH(CONCAT({text_literal(tag + column)}, {x})))"


def policy_refusal(source: Column, target: Column, on_loss: OnLoss) -> str:
    """Why this policy cannot be kept for this lossy pair; empty when it can."""
    if on_loss == "null" and not target.nullable:
        return f"on_loss: null needs a target column that may be NULL, {target.name} may not"
    if on_loss in ("null", "clamp") and fits("x", source.type, target.type) is None:
        return (
            "whether a value fits cannot be told without trying; use on_loss: error, or map an "
            "expression"
        )
    if on_loss == "clamp" and nearest("x", source.type, target.type) is None:
        return f"{target.native} has no nearest value for one of {source.native}"
    return ""


def cast(x: str, source: LogicalType, target: LogicalType) -> str:
    """The target's value; only asked for values that fit."""
    mine, other = source.name, target.name
    if other == "string" and mine != "string":
        return _text(x, source)
    if other in INTEGERS:
        if mine == "year":
            return f"({x} + 0)"
        word = "UNSIGNED" if other.startswith("u") else "SIGNED"
        return x if mine in INTEGERS or mine == "bool" else f"CAST({x} AS {word})"
    if other == "decimal":
        return _decimal(x, source, target)
    if other in FLOATS and mine not in FLOATS:
        return f"({x} + 0e0)"
    if other == "date" and mine != "date":
        return f"CAST({x} AS DATE)"
    if other in ("timestamp", "timestamptz"):
        digits = 6 if target.digits is None else target.digits
        same = mine in ("timestamp", "timestamptz") and (source.digits or 0) <= digits
        return x if same else f"CAST({x} AS DATETIME({digits}))"
    if other == "time" and (mine, source.identity) != ("time", None):
        return x
    return x


def _text(x: str, source: LogicalType) -> str:
    from dsp_airflow.engine.canon import mysql_text

    if source.name in ("timestamp", "timestamptz", "date", "duration"):
        return f"CAST({x} AS CHAR)"
    return mysql_text(x, source, "")


def _decimal(x: str, source: LogicalType, target: LogicalType) -> str:
    if target.precision is None:
        return x
    scale = target.scale or 0
    if target.precision <= kinds.MOST_DIGITS and scale <= kinds.MOST_SCALE:
        same = (source.precision, source.scale or 0) == (target.precision, scale)
        return (
            x
            if same and source.name == "decimal"
            else f"CAST({x} AS DECIMAL({target.precision},{scale}))"
        )
    # More digits than a decimal has here: zeros are all that is added.
    given = source.scale or 0 if source.name == "decimal" else 0
    point = "'.', " if not given and scale else ""
    return f"CONCAT(CAST({x} AS CHAR), {point}REPEAT('0', {scale - given}))"


def fits(x: str, source: LogicalType, target: LogicalType) -> str | None:
    """SQL that is true for the values that survive; ``None`` where only trying tells."""
    mine, other = source.name, target.name
    numbers = ("decimal", *FLOATS, *INTEGERS)
    if other in ("string", "bytes"):
        return _length_fits(x, source, target)
    match mine, other:
        case _, "bool" if mine in INTEGERS:
            return f"{x} IN (0, 1)"
        case _, name if name in INTEGERS and mine in numbers:
            low, high = INTEGERS[name]
            whole = "" if mine in INTEGERS else f" AND {x} = TRUNCATE({x}, 0)"
            return f"({x} BETWEEN {low} AND {high}{whole})"
        case _, "decimal" if mine in numbers and target.precision is not None:
            end = f"{Decimal(1).scaleb(target.precision - (target.scale or 0)):f}"
            return f"(TRUNCATE({x}, {target.scale or 0}) = {x} AND ABS({x}) < {end})"
        case "float64", "float32":
            return f"(ABS({x}) <= {LARGEST_FLOAT} AND CAST({x} AS FLOAT) * 1e0 = {x})"
        case _, name if name in FLOATS and mine in numbers:
            return "TRUE" if mine in FLOATS else f"CAST({x} + 0e0 AS DECIMAL(65,30)) = {x}"
        case "enum" | "string", "enum":
            # A server takes another spelling of a label too, and its number.
            labels = ", ".join(text_literal(label) for label in target.labels or ())
            return f"{_octets(x)} IN ({labels})" if labels else "FALSE"
        case "set" | "string", "set":
            labels = "".join(
                f", IF(FIND_IN_SET({label}, {_octets(x)}), {label}, NULL)"
                for label in map(text_literal, target.labels or ())
            )
            return f"{_octets(x)} = CONCAT_WS(','{labels})" if labels else "FALSE"
        case "string", name if name in INTEGERS:
            low, high = INTEGERS[name]
            whole = f"{x} REGEXP '^(0|-?[1-9][0-9]{{0,19}})$'"
            return f"({whole} AND CAST({x} AS DECIMAL(65)) BETWEEN {low} AND {high})"
        case "date", "timestamp" | "timestamptz":
            return "TRUE"
        case "timestamp" | "timestamptz", "date":
            return f"CAST({x} AS DATE) = {x}"
        case "timestamp" | "timestamptz" | "time" | "duration", _ if other in _CLOCKS:
            digits = 6 if target.digits is None else target.digits
            return f"MICROSECOND({x}) % {10 ** (6 - digits)} = 0"
    return None


def _octets(x: str) -> str:
    """A text as what no collation takes for another."""
    return f"CAST(CONVERT({x} USING utf8mb4) AS BINARY)"


def _length_fits(x: str, source: LogicalType, target: LogicalType) -> str | None:
    if target.length is None:
        return None
    text = x if source.name in ("string", "bytes") else _text(x, source)
    return f"{'CHAR_' if target.name == 'string' else ''}LENGTH({text}) <= {target.length}"


_CLOCKS: Final = ("timestamp", "timestamptz", "time", "duration")


def nearest(x: str, source: LogicalType, target: LogicalType) -> str | None:
    """SQL of the target's value that is nearest; ``None`` where nearness means nothing."""
    mine, other = source.name, target.name
    numbers = ("decimal", *FLOATS, *INTEGERS)
    if mine == other == "string":
        return f"LEFT({x}, {target.length})"
    if mine in numbers and other in INTEGERS:
        low, high = INTEGERS[other]
        whole = x if mine in INTEGERS else f"ROUND({x})"
        return f"LEAST({high}, GREATEST({low}, {whole}))"
    if mine in numbers and other == "decimal" and target.precision is not None:
        scale = target.scale or 0
        end = f"{Decimal(10**target.precision - 1).scaleb(-scale):f}"
        return f"LEAST({end}, GREATEST(-{end}, ROUND({x}, {scale})))"
    if mine in ("timestamp", "timestamptz") and other in _CLOCKS:
        return cast(x, source, target)
    return None
