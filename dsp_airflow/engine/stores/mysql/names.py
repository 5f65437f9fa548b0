"""Names, texts and key bounds as MySQL writes them."""

from __future__ import annotations

import re
from typing import Final

from dsp_airflow.engine.errors import ConfigError

LONGEST: Final = 64
"""Characters of a name."""

_LABEL: Final = re.compile(r"'((?:[^']|'')*)'")
_BASE: Final = re.compile(r"[a-z0-9]+(?: precision)?")
_PART: Final = r"`(?:[^`]|``)+`|\"(?:[^\"]|\"\")+\"|[^`\".]+"
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_HEX: Final = re.compile(r"\\x((?:[0-9a-f]{2})*)")

NUMBERS: Final = frozenset(
    ["tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double", "year"]
)
BYTES: Final = frozenset(["binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"])
INDEXED: Final = frozenset(["enum", "set", "bit"])
"""Types that sort by a number behind the value and are compared by its text."""


def quote(identifier: str) -> str:
    """A quoted identifier, whatever it holds."""
    if "\0" in identifier or not identifier or identifier.endswith(" "):
        raise ConfigError(f"{identifier!r} cannot be a MySQL name")
    return "`" + identifier.replace("`", "``") + "`"


def text_literal(text: str) -> str:
    """A quoted string constant; sessions have backslashes escape and talk utf8mb4."""
    for raw, escaped in (("\\", "\\\\"), ("'", "\\'"), ("\0", "\\0")):
        text = text.replace(raw, escaped)
    return f"'{text}'"


def base(native: str) -> str:
    """The bare word of a native type: ``varchar`` of ``varchar(20)``."""
    found = _BASE.match(native)
    return found[0] if found else native


def split_name(table: str) -> tuple[str | None, str]:
    """``schema.table`` as written in a task file; parts may stand in backticks or double quotes."""
    match = re.fullmatch(rf"(?:({_PART})\.)?({_PART})", table)
    if match is None:
        raise ConfigError(
            f"table {table!r} is not a name: write table, schema.table or `odd.schema`.`odd.table`"
        )
    schema, name = match.groups()

    def bare(text: str) -> str:
        mark = text[0]
        return text[1:-1].replace(mark * 2, mark) if mark in '`"' else text

    return (bare(schema) if schema else None), bare(name)


def labels(native: str) -> list[str]:
    """Those of an ``enum('a','b')`` or a set, in order."""
    return [found[1].replace("''", "'") for found in _LABEL.finditer(native)]


def _number(text: str, native: str, kind: str) -> int:
    """What a value sorts by whose text says something else."""
    if kind == "bit":
        if not text or set(text) - {"0", "1"}:
            raise ConfigError(f"{text!r} is no key of a {native} column: zeros and ones are")
        return int(text, 2)
    known = labels(native)
    if text == "" and text not in known:
        return 0
    parts = [text] if kind == "enum" else text.split(",")
    unknown = [part for part in parts if part not in known]
    if unknown:
        raise ConfigError(f"{unknown[0]!r} is no label of a {native} column")
    if kind == "enum":
        return known.index(text) + 1
    return sum(1 << known.index(part) for part in parts)


def bound(text: str, native: str) -> str:
    """A key's text (see ``canon.mysql_key_text``) as a constant to compare the column with."""
    kind = base(native)
    if kind in INDEXED:
        return str(_number(text, native, kind))
    if kind in NUMBERS:
        if _NUMBER.fullmatch(text) is None:
            raise ConfigError(f"{text!r} is no number, and the key column is {native}")
        return text
    if kind in BYTES:
        found = _HEX.fullmatch(text)
        if found is None:
            raise ConfigError(f"{text!r} is no key of a {native} column: \\x and hex digits are")
        return f"x'{found[1]}'"
    if kind == "timestamp":
        text = text.removesuffix("+00")
    return text_literal(text)
