"""The logical types and the loss matrix: which values of one type a column of another cannot hold.

The verdict is about types, not about data: ``lossy`` says that some value of the source's
type would not fit, and the note says which. It is total: every pair of types has a verdict.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Final, TypeAlias

from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.model import Fit, LogicalType

Verdict: TypeAlias = tuple[Fit, str]

ALIASES: Final = {"integer": "int64", "number": "float64", "text": "string", "boolean": "bool"}

INTEGERS: Final[dict[str, tuple[int, int]]] = {
    **{f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    "int24": (-(2**23), 2**23 - 1),
    "uint24": (0, 2**24 - 1),
    "year": (1901, 2155),
}
"""Smallest and largest value."""

CARRIERS: Final = {"int24": "int32", "uint24": "uint32", "year": "int16", "set": "string"}
"""Types of MySQL that nobody else has, and the nearest one that everybody has."""

FLOATS: Final = {"float32": 24, "float64": 53}
"""Bits of precision: integers up to 2 to this power are exact."""

NAMES: Final = (
    "bool",
    *INTEGERS,
    "decimal",
    *FLOATS,
    "string",
    "bytes",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "duration",
    "uuid",
    "objectid",
    "json",
    "enum",
    "set",
    "list",
)
"""What a task file may name. ``other`` exists beside them: a type that only its own system has."""

MAX_DIGITS: Final = 6
"""Fractional digits of a second that any type here keeps."""

LAST_TIMESTAMP_YEAR: Final = 294276
"""Timestamps of microseconds end there, dates do not."""

_TEXT: Final = re.compile(r"\s*([a-z0-9]+)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?\s*")
_LIST: Final = re.compile(r"\s*list\s+of\s+(.*)", re.DOTALL)

_ZONE: Final = "taken as UTC"
_NOT_CONVERTIBLE: Final = "no meaningful conversion; map an expression that says how"


def parse_type(text: str) -> LogicalType:
    """The type that a task file names: ``decimal(6,1)``, ``string(20)``, ``list of int32``.

    Raises ``ConfigError`` naming the nearest valid choice.
    """
    listed = _LIST.fullmatch(text)
    if listed is not None:
        return LogicalType("list", element=parse_type(listed[1]))
    found = _TEXT.fullmatch(text.lower())
    name = "" if found is None else ALIASES.get(found[1], found[1])
    if found is None or name not in NAMES or name == "list":
        raise ConfigError(f"unknown type {text!r}; {_suggestion(text)}")
    bounds = [int(bound) for bound in found.groups()[1:] if bound is not None]
    return _bounded(text, name, bounds)


def fit(source: LogicalType, target: LogicalType) -> Verdict:
    """Whether values of ``source`` fit a column of ``target``, and which may not.

    Two types of their own system's (``other``) are one when their identities are.
    """
    if (source.name, target.name) in _RULES:
        return _RULES[source.name, target.name](source, target)
    return "refused", _NOT_CONVERTIBLE


def narrows(source: LogicalType, target: LogicalType) -> bool:
    """Whether some value of ``source`` is lost or changed in ``target``."""
    return fit(source, target)[0] == "lossy"


def _suggestion(text: str) -> str:
    near = difflib.get_close_matches(text.lower().split("(")[0], [*NAMES, *ALIASES], n=1)
    if near == ["list"] or text.lower().strip().startswith("list"):
        return "write 'list of' and the type of its elements, such as 'list of int32'"
    return f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(NAMES)}"


def _bounded(text: str, name: str, bounds: list[int]) -> LogicalType:
    match name, bounds:
        case _, []:
            return LogicalType(name)
        case "decimal", [precision, *rest]:
            scale = rest[0] if rest else 0
            if 1 <= precision <= 1000 and scale <= precision:
                return LogicalType(name, precision=precision, scale=scale)
            raise ConfigError(f"type {text!r}: the precision is 1 to 1000, the scale at most that")
        case "string" | "bytes", [length]:
            if length >= 1:
                return LogicalType(name, length=length)
            raise ConfigError(f"type {text!r}: the length is at least 1")
        case "time" | "timestamp" | "timestamptz", [digits]:
            if digits <= MAX_DIGITS:
                return LogicalType(name, digits=digits)
            raise ConfigError(f"type {text!r}: a second has at most {MAX_DIGITS} digits here")
    raise ConfigError(f"type {text!r}: {name} takes no such bounds; write {name!r}")


def _verdict(same: bool, *lost: str, note: str = "") -> Verdict:
    """Lossy when anything is lost, else exact or widening."""
    losses = [loss for loss in lost if loss]
    if losses:
        return "lossy", "; ".join([*losses, note] if note else losses)
    return ("exact" if same else "widening"), note


# Numbers. A range is (smallest, largest); digits are counted before the point.


def _integer_range(kind: LogicalType) -> tuple[int, int]:
    return (0, 1) if kind.name == "bool" else INTEGERS[kind.name]


def _outside(source: tuple[int, int], target: tuple[int, int]) -> str:
    below = f"below {target[0]}" if source[0] < target[0] else ""
    above = f"above {target[1]}" if source[1] > target[1] else ""
    return f"numbers {' or '.join(filter(None, [below, above]))}" if below or above else ""


def _integer_to_integer(source: LogicalType, target: LogicalType) -> Verdict:
    lost = _outside(_integer_range(source), _integer_range(target))
    return _verdict(source.name == target.name, lost)


def _integer_to_bool(_source: LogicalType, _target: LogicalType) -> Verdict:
    return "lossy", "numbers other than 0 and 1"


def _integer_to_decimal(source: LogicalType, target: LogicalType) -> Verdict:
    largest = max(abs(bound) for bound in _integer_range(source))
    return _verdict(False, *_decimal_losses(len(str(largest)), 0, target))


def _integer_to_float(source: LogicalType, target: LogicalType) -> Verdict:
    bits = FLOATS[target.name]
    largest = max(abs(bound) for bound in _integer_range(source))
    return _verdict(False, f"whole numbers beyond 2^{bits}" if largest > 2**bits else "")


def _decimal_losses(before: int | None, after: int | None, target: LogicalType) -> list[str]:
    """What a decimal target loses of numbers with so many digits (``None``: any number)."""
    if target.precision is None:
        return []
    scale = target.scale or 0
    room = target.precision - scale
    lost = []
    if before is None or before > room:
        lost.append(
            f"more than {room} digits before the point" if room > 0 else "numbers from 1 up"
        )
    if after is None or after > scale:
        lost.append(_digits_after(scale))
    return lost


def _digits_after(scale: int) -> str:
    if scale < 0:
        return f"the last {-scale} digits before the point"
    return f"more than {scale} {'digit' if scale == 1 else 'digits'} after the point"


def _decimal_to_decimal(source: LogicalType, target: LogicalType) -> Verdict:
    if source.precision is None:
        infinite = "" if target.precision is None else "Infinity"
        lost = [*_decimal_losses(None, None, target), infinite]
        return _verdict(target.precision is None, *lost)
    scale = source.scale or 0
    same = (source.precision, scale) == (target.precision, target.scale or 0)
    return _verdict(same, *_decimal_losses(source.precision - scale, scale, target))


def _decimal_to_integer(source: LogicalType, target: LogicalType) -> Verdict:
    low, high = INTEGERS[target.name]
    if source.precision is None:
        lost = ["digits after the point", f"numbers below {low} or above {high}", "Infinity"]
    else:
        scale = source.scale or 0
        largest = 10 ** max(source.precision - scale, 0) - 1
        lost = [
            "digits after the point" if scale > 0 else "",
            _outside((-largest, largest), (low, high)),
        ]
    return _verdict(False, *lost, "NaN")


def _decimal_to_float(source: LogicalType, target: LogicalType) -> Verdict:
    bits = FLOATS[target.name]
    whole = source.precision is not None and (source.scale or 0) <= 0
    if whole and 10 ** ((source.precision or 0) - (source.scale or 0)) <= 2**bits:
        return _verdict(False)
    return "lossy", f"digits that a {target.name} does not hold"


def _float_to_float(source: LogicalType, target: LogicalType) -> Verdict:
    narrower = FLOATS[target.name] < FLOATS[source.name]
    lost = f"digits and numbers that a {target.name} does not hold" if narrower else ""
    return _verdict(source.name == target.name, lost)


def _float_to_integer(_source: LogicalType, target: LogicalType) -> Verdict:
    low, high = INTEGERS[target.name]
    rest = f"numbers below {low} or above {high}"
    return "lossy", f"digits after the point; {rest}; NaN; Infinity; -0"


def _float_to_decimal(_source: LogicalType, target: LogicalType) -> Verdict:
    infinite = "" if target.precision is None else "Infinity"
    return _verdict(False, *_decimal_losses(None, None, target), infinite, "-0")


# Texts.


LONGEST_DURATION: Final = 80
"""Characters that hold every interval's text: years, months, days and the clock."""
LONGEST_ADDRESS: Final = {"inet4": 15, "inet6": 45}
"""Characters of MariaDB's addresses."""


def _longest_text(kind: LogicalType) -> int | None:
    """Characters of the longest text of a value; ``None`` where there is no bound to rely on."""
    if kind.name in INTEGERS:
        return max(len(str(bound)) for bound in INTEGERS[kind.name])
    if kind.name == "decimal" and kind.precision is not None:
        # A sign, a point and a zero before it; "NaN" is shorter than any bound that matters.
        scale = kind.scale or 0
        return max(max(kind.precision - min(scale, 0), scale + 1) + 2, len("NaN"))
    if kind.name == "enum":
        return max((len(label) for label in kind.labels), default=0) if kind.labels else None
    if kind.name == "other":
        return LONGEST_ADDRESS.get(kind.identity or "")
    fixed = {"bool": len("false"), "uuid": 36, "objectid": 24, "duration": LONGEST_DURATION}
    return fixed.get(kind.name)


def _too_long(longest: int | None, target: LogicalType, unit: str) -> str:
    if target.length is None or (longest is not None and longest <= target.length):
        return ""
    return f"longer than {target.length} {unit}"


def _string_to_string(source: LogicalType, target: LogicalType) -> Verdict:
    lost = _too_long(source.length, target, "characters")
    return _verdict(source.length == target.length, lost)


def _any_to_string(source: LogicalType, target: LogicalType) -> Verdict:
    return _verdict(False, _too_long(_longest_text(source), target, "characters"))


def _string_to(described: str) -> Callable[[LogicalType, LogicalType], Verdict]:
    def rule(_source: LogicalType, _target: LogicalType) -> Verdict:
        return "lossy", f"texts that are no {described}"

    return rule


def _bytes_to_bytes(source: LogicalType, target: LogicalType) -> Verdict:
    return _verdict(source.length == target.length, _too_long(source.length, target, "bytes"))


OBJECTID: Final = 12
"""Bytes of an ObjectId."""


def _objectid_to_bytes(_source: LogicalType, target: LogicalType) -> Verdict:
    return _verdict(False, _too_long(OBJECTID, target, "bytes"))


def _bytes_to_objectid(_source: LogicalType, _target: LogicalType) -> Verdict:
    return "lossy", f"values of other than {OBJECTID} bytes"


# Times.


def _fraction(source: LogicalType, target: LogicalType) -> str:
    kept = MAX_DIGITS if target.digits is None else target.digits
    given = MAX_DIGITS if source.digits is None else source.digits
    if given <= kept:
        return ""
    named = {0: "fractions of a second", 3: "microseconds"}
    return named.get(kept, f"more than {kept} digits of a second")


def _alike_digits(source: LogicalType, target: LogicalType) -> bool:
    return not _fraction(source, target) and not _fraction(target, source)


def _time_to_time(source: LogicalType, target: LogicalType) -> Verdict:
    return _verdict(_alike_digits(source, target), _fraction(source, target))


def _timestamp_across_zone(source: LogicalType, target: LogicalType) -> Verdict:
    return _verdict(False, _fraction(source, target), note=_ZONE)


def _timestamp_to_date(source: LogicalType, _target: LogicalType) -> Verdict:
    return _verdict(False, "the time of day", note=_ZONE if source.name == "timestamptz" else "")


def _date_to_timestamp(_source: LogicalType, target: LogicalType) -> Verdict:
    lost = f"dates after the year {LAST_TIMESTAMP_YEAR}"
    return _verdict(False, lost, note=_ZONE if target.name == "timestamptz" else "")


CLOCK: Final = "time"
"""Identity of a duration that is hours, minutes and seconds alone: MySQL's TIME."""


def _duration_to_duration(source: LogicalType, target: LogicalType) -> Verdict:
    beyond = "months, days, and what is beyond 838:59:59" if target.identity == CLOCK else ""
    lost = beyond if source.identity != CLOCK else ""
    return _verdict(_alike_digits(source, target), _fraction(source, target), lost)


def _time_to_duration(source: LogicalType, target: LogicalType) -> Verdict:
    return _verdict(False, _fraction(source, target))


def _duration_to_time(source: LogicalType, target: LogicalType) -> Verdict:
    return _verdict(False, _fraction(source, target), "what is outside of a day")


# The rest.


def _other_to_other(source: LogicalType, target: LogicalType) -> Verdict:
    if source.identity is None:
        return "refused", (
            "its values name objects of one database; map it as text, such as CAST(x AS text)"
        )
    if _bits(source) and _bits(target):
        same = (source.identity, source.length) == (target.identity, target.length)
        fixed = not same and target.identity != _VARYING
        lost = "bit strings of another length" if fixed else ""
        return _verdict(same, lost or _too_long(source.length, target, "bits"))
    if source.identity != target.identity or source.length != target.length:
        return "refused", "not the same type: another name, or other parts"
    return _verdict(_alike_digits(source, target), _fraction(source, target))


_VARYING: Final = "varbit"


def _bits(kind: LogicalType) -> bool:
    return kind.identity in ("bit", _VARYING)


def _same(_source: LogicalType, _target: LogicalType) -> Verdict:
    return "exact", ""


def _enum_to_enum(source: LogicalType, target: LogicalType) -> Verdict:
    if source.labels is None or target.labels is None:
        return "lossy", "labels that the target does not know"
    unknown = [label for label in source.labels if label not in target.labels]
    lost = f"labels {', '.join(map(repr, unknown))}" if unknown else ""
    return _verdict(set(source.labels) == set(target.labels), lost)


def _set_to_set(source: LogicalType, target: LogicalType) -> Verdict:
    return _verdict(source.labels == target.labels, *_unknown_labels(source, target))


def _unknown_labels(source: LogicalType, target: LogicalType) -> list[str]:
    if source.labels is None or target.labels is None:
        return ["labels that the target does not know"]
    unknown = [label for label in source.labels if label not in target.labels]
    order = [label for label in target.labels if label in source.labels]
    moved = "" if unknown or order == list(source.labels) else "the order of the labels"
    return [f"labels {', '.join(map(repr, unknown))}" if unknown else "", moved]


def _list_to_json(_source: LogicalType, _target: LogicalType) -> Verdict:
    return "widening", "as a JSON array, without the bounds of the original"


def _list_to_list(source: LogicalType, target: LogicalType) -> Verdict:
    if source.element is None or target.element is None:
        return "refused", "lists whose elements have no known type"
    verdict, note = fit(source.element, target.element)
    return verdict, f"elements: {note}" if note else ""


_Rule: TypeAlias = Callable[[LogicalType, LogicalType], Verdict]


def _rules() -> dict[tuple[str, str], _Rule]:
    """The matrix. What is not in it is refused."""
    whole = ("bool", *INTEGERS)
    moments = ("timestamp", "timestamptz")
    rules: dict[tuple[str, str], _Rule] = {}

    def add(sources: tuple[str, ...], targets: tuple[str, ...], rule: _Rule) -> None:
        rules.update({(source, target): rule for source in sources for target in targets})

    add(whole, tuple(INTEGERS), _integer_to_integer)
    add(tuple(INTEGERS), ("bool",), _integer_to_bool)
    add(whole, ("decimal",), _integer_to_decimal)
    add(whole, tuple(FLOATS), _integer_to_float)
    add(("decimal",), ("decimal",), _decimal_to_decimal)
    add(("decimal",), tuple(INTEGERS), _decimal_to_integer)
    add(("decimal",), tuple(FLOATS), _decimal_to_float)
    add(tuple(FLOATS), tuple(FLOATS), _float_to_float)
    add(tuple(FLOATS), tuple(INTEGERS), _float_to_integer)
    add(tuple(FLOATS), ("decimal",), _float_to_decimal)

    # Bytes are left out: which text they are depends on an encoding that nobody stated.
    texts = tuple(name for name in (*NAMES, "other") if name not in {"bytes", "string"})
    add(texts, ("string",), _any_to_string)
    add(("string",), ("string",), _string_to_string)
    add(("string",), tuple(INTEGERS), _string_to("whole number in range"))
    add(("string",), ("decimal", *FLOATS), _string_to("number that fits"))
    described = {"bool": "truth value", "uuid": "UUID", "json": "JSON", "enum": "label"}
    described |= {"set": "set of labels", "objectid": "ObjectId"}
    described |= {name: name for name in ("date", "time", *moments, "duration")}
    for name, what in described.items():
        add(("string",), (name,), _string_to(what))

    add(("bytes",), ("bytes",), _bytes_to_bytes)
    add(("time",), ("time",), _time_to_time)
    add(("timestamp",), ("timestamp",), _time_to_time)
    add(("timestamptz",), ("timestamptz",), _time_to_time)
    add(("timestamp",), ("timestamptz",), _timestamp_across_zone)
    add(("timestamptz",), ("timestamp",), _timestamp_across_zone)
    add(moments, ("date",), _timestamp_to_date)
    add(("date",), moments, _date_to_timestamp)
    for name in ("bool", "date", "uuid", "objectid", "json"):
        add((name,), (name,), _same)
    add(("objectid",), ("bytes",), _objectid_to_bytes)
    add(("bytes",), ("objectid",), _bytes_to_objectid)
    add(("duration",), ("duration",), _duration_to_duration)
    add(("other",), ("other",), _other_to_other)
    add(("string",), ("other",), _string_to("text of that type"))
    add(("enum",), ("enum",), _enum_to_enum)
    add(("set",), ("set",), _set_to_set)
    add(("list",), ("list",), _list_to_list)
    add(("list",), ("json",), _list_to_json)
    add(("time",), ("duration",), _time_to_duration)
    add(("duration",), ("time",), _duration_to_time)
    return rules


_RULES: Final = _rules()
