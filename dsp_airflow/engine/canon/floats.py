"""PostgreSQL's shortest text of a float, found by exact arithmetic."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from fractions import Fraction

from dsp_airflow.engine.model import LogicalType


def shortest(value: float, kind: LogicalType) -> str:
    """The fewest digits strictly between the midpoints to both neighbours, nearest first."""
    exact, below, above = Fraction(value), *_neighbours(value, kind)
    low, high = (exact + below) / 2, (exact + above) / 2
    digits, exponent = _digits(Decimal(repr(value)))
    # Python takes a midpoint itself when it rounds to even; PostgreSQL never does.
    if kind.name == "float32" or not low < Fraction(repr(value)) < high:
        digits, exponent = _fewest_digits(exact, low, high)
    return _notation(digits, exponent, 6 if kind.name == "float32" else 15)


def _neighbours(value: float, kind: LogicalType) -> tuple[Fraction, Fraction]:
    if kind.name == "float64":
        above = math.nextafter(value, math.inf)
        top = Fraction(value) * 2 - Fraction(math.nextafter(value, 0))
        return Fraction(math.nextafter(value, 0)), top if math.isinf(above) else Fraction(above)
    packed = struct.pack(">f", value)
    if struct.unpack(">f", packed)[0] != value:
        raise ValueError(f"{value!r} does not fit float32")
    bits = int.from_bytes(packed, "big")
    below, above = (struct.unpack(">f", (bits + i).to_bytes(4, "big"))[0] for i in (-1, 1))
    top = Fraction(value) * 2 - Fraction(below)
    return Fraction(below), top if math.isinf(above) else Fraction(above)


def _digits(number: Decimal) -> tuple[str, int]:
    """Significant digits without zeros at either end, and the exponent of the first."""
    parts = number.as_tuple()
    digits = "".join(map(str, parts.digits))
    exponent = len(digits) - 1 + int(parts.exponent)
    return digits.rstrip("0"), exponent


def _fewest_digits(exact: Fraction, low: Fraction, high: Fraction) -> tuple[str, int]:
    exponent = len(str(exact.numerator)) - len(str(exact.denominator))
    if exact < Fraction(10) ** exponent:
        exponent -= 1
    for count in range(18):
        unit = Fraction(10) ** (exponent - count)
        floor = exact // unit
        inside = [n for n in (floor, floor + 1) if low < n * unit < high]
        if inside:
            best = min(inside, key=lambda n: (abs(n * unit - exact), n % 2))
            return _digits(Decimal((0, tuple(map(int, str(best))), exponent - count)))
    raise AssertionError("17 digits always do")


def _notation(digits: str, exponent: int, positional_below: int) -> str:
    if not -4 <= exponent < positional_below:
        rest = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{digits[0]}{rest}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    if exponent < 0:
        return f"0.{'0' * (-exponent - 1)}{digits}"
    whole = digits[: exponent + 1].ljust(exponent + 1, "0")
    rest = digits[exponent + 1 :]
    return f"{whole}.{rest}" if rest else whole
