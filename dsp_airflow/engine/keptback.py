"""Rows that a copy cannot stand for: they stay in the source, and people are told why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from dsp_airflow.engine.model import Difference, Key

KIND = "kept_back"
"""Of a row that was not copied, on purpose."""


@runtime_checkable
class KeepsBack(Protocol):
    """A witness that knows of some rows of its batch why they cannot be proved."""

    def kept_back(self) -> Mapping[Key, Difference]:
        """By the source's own keys: rows that were not copied, and those whose copy was altered."""
        ...


def of(witness: object) -> Mapping[Key, Difference]:
    """None where nobody knows of any."""
    return witness.kept_back() if isinstance(witness, KeepsBack) else {}


def on_purpose(witness: object) -> list[Difference]:
    """Those that were not copied."""
    return [one for one in of(witness).values() if one.kind == KIND]


def altered(witness: object) -> list[Difference]:
    """Those whose copy was."""
    return [one for one in of(witness).values() if one.kind != KIND]


def note(count: int) -> str:
    """What the check of a batch says of them; empty when there are none."""
    return f"{count:,} kept back in the source and not archived" if count else ""
