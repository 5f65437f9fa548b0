"""The closed alphabet of filters and expressions.

Text is cut into tokens here and nowhere else, and what is sent to a database is written from
these tokens. Whatever is not listed here (comments, several statements, dollar quotes, escape
strings, parameters of drivers) is an error, so nothing can pass through unread.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum


class SqlError(ValueError):
    """What is wrong with a filter or expression; `offset` counts characters into its text."""

    def __init__(self, message: str, offset: int, suggestion: str | None = None) -> None:
        super().__init__(message, offset, suggestion)
        self.message = message
        self.offset = offset
        self.suggestion = suggestion

    def __str__(self) -> str:
        hint = f"; did you mean '{self.suggestion}'?" if self.suggestion else ""
        return f"{self.message} (at character {self.offset + 1}){hint}"


class Kind(Enum):
    """What a token is, before the grammar is known."""

    WORD = "word"
    QUOTED = "quoted name"
    STRING = "string"
    NUMBER = "number"
    PLACEHOLDER = "placeholder"
    SYMBOL = "symbol"


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is the content: without quotes for strings and names, without `:` for placeholders."""

    kind: Kind
    text: str
    offset: int

    def is_symbol(self, *symbols: str) -> bool:
        """Whether it is one of these symbols."""
        return self.kind is Kind.SYMBOL and self.text in symbols

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these words (given in lower case) without quotes."""
        return self.kind is Kind.WORD and self.text.lower() in words


_PIECES = r"""
      (?P<blank>[ \t\r\n]+)
    | (?P<string>'(?:[^'\0]|'')*')
    | (?P<double>"(?:[^"\0]|"")+")
    | (?P<backtick>`(?:[^`\0]|``)+`)
    | (?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.]))
    | (?P<placeholder>(?<!:):[A-Za-z_][A-Za-z0-9_]*)
    | (?P<word>[^\W\d]\w*)
    | (?P<symbol>OWN->>|->|\|\||<>|!=|<=|>=|::|[<>=+\-*/%()\[\],])
"""
# A # begins a comment in MySQL, and ~ turns bits round.
_OWN = {"postgres": r"\#>>|\#>|@>|<@|!~\*|!~|~\*|~|", "mysql": ""}
_TOKENS = {name: re.compile(_PIECES.replace("OWN", own), re.VERBOSE) for name, own in _OWN.items()}

# Words that, written against a quote, make another kind of string.
_STRING_PREFIXES = ("e", "b", "x", "n", "u")

_REFUSED = (
    ("--", "comments are not accepted; put the remark in the task file, after #"),
    ("/*", "comments are not accepted; put the remark in the task file, after #"),
    (";", "only one expression is accepted; remove the ';'"),
    ("$", "dollar quotes and $1 are not accepted; use '...' or a :name variable"),
    ("{", "templates are not accepted; use a :name variable"),
    ("?", "'?' is not accepted; use a :name variable"),
    (".", "columns are written alone, without table or schema; remove the part before the '.'"),
    ("'", "a string is not closed; add the missing '"),
    ('"', 'a quoted name is empty or not closed; add the missing "'),
    ("\0", "the character NUL is not accepted"),
)


def tokens(text: str, dialect: str) -> tuple[Token, ...]:
    """All tokens of the text. Raises `SqlError` at the first character that is not accepted."""
    found: list[Token] = []
    position = 0
    while position < len(text):
        # Before the symbols: `a--1` would else be read as two minus signs, and hide what follows.
        if text.startswith(("--", "/*"), position):
            raise _refusal(text, position)
        match = _TOKENS[dialect].match(text, position)
        if match is None:
            raise _refusal(text, position)
        kind = match.lastgroup
        if kind != "blank":
            found.append(_token(str(kind), match[0], position, dialect))
        if kind == "word" and match[0].lower() in _STRING_PREFIXES:
            _refuse_prefixed_string(text, match.end(), match[0], position)
        position = match.end()
    return tuple(found)


def _token(kind: str, text: str, offset: int, dialect: str) -> Token:
    mysql = dialect == "mysql"
    if kind == "string":
        if mysql and "\\" in text:
            raise SqlError(
                "a backslash means different things by the server's settings; use a variable",
                offset + text.index("\\"),
            )
        return Token(Kind.STRING, text[1:-1].replace("''", "'"), offset)
    if kind in ("double", "backtick"):
        if (kind == "backtick") is not mysql:
            quote = "`name`" if mysql else '"name"'
            raise SqlError(f"a name is quoted {quote} and a string 'text' here", offset)
        mark = text[0]
        return Token(Kind.QUOTED, text[1:-1].replace(mark * 2, mark), offset)
    if kind == "placeholder":
        return Token(Kind.PLACEHOLDER, text[1:], offset)
    return Token(Kind(kind), text, offset)


def _refuse_prefixed_string(text: str, end: int, prefix: str, offset: int) -> None:
    if text.startswith(("'", "&"), end):
        raise SqlError(
            f"strings of the form {prefix}{text[end]}... are not accepted; "
            "write the character itself, or use a :name variable",
            offset,
        )


def _refusal(text: str, position: int) -> SqlError:
    for start, message in _REFUSED:
        if text.startswith(start, position):
            return SqlError(message, position)
    character = text[position]
    if character == ":":
        return SqlError("':' must be followed by the name of a variable, such as :cutoff", position)
    if character.isdigit():
        return SqlError("a number cannot be read; put a blank after it", position)
    if character.isspace() or not character.isprintable():
        return SqlError(
            f"the character U+{ord(character):04X} looks like a blank and is none; "
            "replace it with a plain blank",
            position,
        )
    return SqlError(f"the character {character} is not accepted", position)
