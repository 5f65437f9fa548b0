"""Text that is safe to show and to send."""

from __future__ import annotations

import unicodedata

_NOT_SHOWN = frozenset({"Cc", "Cs", "Zl", "Zp"})
_JOINER = "\u200d"
"""It makes one sign of several, such as a woman and a fire engine."""


def printable(value: str) -> str:
    """Control characters become blanks, lines end in a line feed; all scripts and signs stay."""
    return "".join(
        c if c in f"\n{_JOINER}" or unicodedata.category(c) not in _NOT_SHOWN else " "
        for c in value.replace("\r\n", "\n")
    )


def one_line(value: str) -> str:
    """Without anything that could begin a header of its own, or be taken for an encoded word."""
    return " ".join(printable(value).split()).replace("=?", "= ?")
