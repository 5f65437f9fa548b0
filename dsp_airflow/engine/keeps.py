"""Columns that change some values of their type without a word, and which values those are.

Sources that speak SQL look before a value leaves them (see their ``casting``). Where values are
texts on their way, of documents and out of archives, this is asked of each.
"""

from __future__ import annotations

import json
import math
import re
import struct
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from dsp_airflow.engine.model import LogicalType

_SHOWN: Final = re.compile(r"(?:float|double)\(\d+,(\d+)\)")
_SINGLE: Final = re.compile(r"float(?:\(\d+,\d+\))?(?: unsigned)?(?: zerofill)?")


@dataclass(frozen=True, slots=True)
class Keeps:
    """What a column keeps as it is.

    ``octets``: values of just so many bytes, as ``binary(n)`` fills up shorter ones with zeros.
    ``digits``: numbers of so many digits after the point, as ``double(m,d)`` rounds them.
    ``single``: numbers that are a float, as MySQL's ``float`` takes the nearest one.
    ``blanks``: texts that end in one, which ``char(n)`` drops. ``doubles``: of the numbers inside
    of JSON those that are a double, or an integer of 64 bits.
    """

    octets: int | None = None
    digits: int | None = None
    single: bool = False
    blanks: bool = True
    doubles: bool = False


def digits_kept(native: str) -> int | None:
    """Digits after the point of a FLOAT(M,D) or DOUBLE(M,D), which rounds others away."""
    found = _SHOWN.match(native)
    return int(found[1]) if found else None


def keeps_of(system: str, native: str, kind: LogicalType) -> Keeps | None:
    """Of a column by its native type; ``None`` where whatever it takes stays as it is."""
    if system == "mysql" and native == "json":
        return Keeps(doubles=True)
    if native.startswith("binary("):
        return Keeps(octets=kind.length)
    if native.startswith(("char(", "character(")) and kind.name == "string":
        return Keeps(blanks=False)
    digits, single = digits_kept(native), _SINGLE.fullmatch(native) is not None
    return Keeps(digits=digits, single=single) if single or digits is not None else None


def changed(text: str, kind: LogicalType, keeps: Keeps) -> str:
    """What such a column would do to a value, by its canonical text; empty where it keeps it."""
    if keeps.octets is not None and len(text) != 2 * keeps.octets:
        return f"a value has other than {keeps.octets} bytes, and shorter ones are filled up"
    if not keeps.blanks and text.endswith(" "):
        return "a text ends in a blank, which the column drops"
    if keeps.doubles:
        return _unheld(text)
    if keeps.single or keeps.digits is not None:
        number = float(text)
        return _rounded(_single(number) if kind.name == "float32" else number, keeps)
    return ""


_MANY: Final = re.compile(r"[0-9][0-9.]{15}")
"""Few documents have so many digits in a row, and only those are taken apart."""


def _unheld(text: str) -> str:
    if _MANY.search(text) is None:
        return ""
    try:
        json.loads(text, parse_float=_double, parse_int=_whole)
    except (OverflowError, ValueError):
        # Of thousands of digits no number is made at all.
        return "a number inside of JSON has digits that a double does not hold"
    return ""


def _double(text: str) -> None:
    if Decimal(repr(float(text))) != Decimal(text):
        raise OverflowError


def _whole(text: str) -> None:
    if not -(2**63) <= int(text) < 2**64:
        _double(text)


def _rounded(number: float, keeps: Keeps) -> str:
    if not math.isfinite(number):
        # Servers take none of these for a number.
        return ""
    made, why = number, "a number has digits that a float does not hold"
    if keeps.digits is not None:
        # As servers do it, which is not always what it should be.
        whole, power = math.floor(number), 10.0**keeps.digits
        made = whole + round((number - whole) * power) / power
        why = f"a number has more than {keeps.digits} digits after the point"
    if keeps.single:
        made = _single(made)
    return "" if made == number else f"{why}, which the column rounds"


def _single(number: float) -> float:
    try:
        (made,) = struct.unpack("<f", struct.pack("<f", number))
    except OverflowError:
        return math.inf
    return float(made)
