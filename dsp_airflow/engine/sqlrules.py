"""Rules in SQL: what PostgreSQL and MySQL say alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from dsp_airflow.config.rules import LISTS, Wild, pattern

ESCAPE: Final = "|"
"""Stands before a sign of a pattern that means itself. A backslash would mean different things
to strings of different settings."""


def every(conditions: Sequence[str]) -> str:
    """See ``rules.Ruled``."""
    return f"({' AND '.join(conditions)})"


def either(conditions: Sequence[str]) -> str:
    """See ``rules.Ruled``."""
    return f"({' OR '.join(conditions)})"


def null_test(subject: str, operator: str, *, opposite: bool) -> str:
    """Whether there is a value."""
    missing = (operator == "is_null") is not opposite
    return f"({subject} IS {'NULL' if missing else 'NOT NULL'})"


def compared(subject: str, operator: str, literals: Sequence[str]) -> str:
    """A subject with literals of its own order."""
    if operator == "between":
        return f"{subject} BETWEEN {literals[0]} AND {literals[1]}"
    if operator in LISTS:
        word = "IN" if operator == "in" else "NOT IN"
        return f"{subject} {word} ({', '.join(literals)})"
    return f"{subject} {'<>' if operator == '!=' else operator} {literals[0]}"


def like(subject: str, operator: str, text: str, literal: Callable[[str], str]) -> str:
    """A text that looks like a pattern."""
    written = ""
    for piece in pattern(operator, text):
        if isinstance(piece, Wild):
            written += "%" if piece.many else "_"
        else:
            written += "".join(ESCAPE + c if c in (ESCAPE, "%", "_") else c for c in piece)
    return f"{subject} LIKE {literal(written)} ESCAPE '{ESCAPE}'"


def signed(condition: str, *, opposite: bool) -> str:
    """The condition, or that it is false."""
    return f"(NOT ({condition}))" if opposite else f"({condition})"
