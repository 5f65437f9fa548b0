"""Names, texts and types as PostgreSQL writes them."""

from __future__ import annotations

import re

from dsp_airflow.engine.errors import ConfigError


def quote(identifier: str) -> str:
    """A quoted identifier, whatever it holds."""
    if "\0" in identifier or not identifier:
        raise ConfigError(f"{identifier!r} cannot be a PostgreSQL name")
    return '"' + identifier.replace('"', '""') + '"'


def text_literal(text: str) -> str:
    """A quoted string constant."""
    if "\0" in text:
        raise ConfigError(f"{text!r} holds a NUL character, which PostgreSQL text cannot")
    return "'" + text.replace("'", "''") + "'"


def base(native: str) -> str:
    """A native type without its length or precision: bounds must never be cut short."""
    plain = re.sub(r"\(\d+(,-?\d+)?\)", "", native)
    plain = re.sub(r"^interval[ a-z]*", "interval", plain)
    # Without a length these two mean one character and one bit.
    plain = re.sub(r"^bit(?=$|\[)", '"bit"', plain)
    return re.sub(r"^(character|char)(?=$|\[)", "bpchar", plain)


def user_type(native_type: str) -> bool:
    """A type that another server may not know (schema-qualified, as catalogs print those)."""
    return "." in native_type
