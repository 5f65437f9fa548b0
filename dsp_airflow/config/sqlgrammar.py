"""Gives every token of a filter or expression its role, and refuses words that are not listed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from dsp_airflow.config import sqlwords as words
from dsp_airflow.config.errors import nearest
from dsp_airflow.config.sqltokens import Kind, SqlError, Token

USE_A_VARIABLE = "use a variable instead, for example :cutoff with variables: {cutoff: now-90d}"

_AFTER_IS = ("not", "null", "true", "false", "unknown", "distinct")
_COMPARISONS = ("=", "<>", "!=", "<", ">", "<=", ">=")
# PostgreSQL reads these words inside a time constant as the moment of the statement.
_MOVING_WORDS = re.compile(r"\b(now|today|tomorrow|yesterday)\b", re.IGNORECASE)
_MOVING_TIME = re.compile(r"[\d:.\s+/TZ-]*(now|today|tomorrow|yesterday)[\d:.\s+/TZ-]*", re.I)


class Role(Enum):
    """What a token is in the expression."""

    KEYWORD = "keyword"
    FUNCTION = "function"
    TYPE = "type"
    FIELD = "field of extract"
    COLUMN = "column"
    PLACEHOLDER = "placeholder"
    STRING = "string"
    NUMBER = "number"
    SYMBOL = "symbol"


@dataclass(frozen=True, slots=True)
class Part:
    """A token with its role; `text` is a column's or variable's name, else what is written."""

    role: Role
    text: str
    offset: int


def parts(found: Sequence[Token], dialect: str) -> tuple[Part, ...]:
    """The roles of all tokens, in order. Raises `SqlError` for a word that is not accepted."""
    _check_parentheses(found)
    result = tuple(_Reader(found, dialect).read())
    _check_neighbours(result)
    return result


class _Reader:
    """Walks the tokens once; each word's role follows from its neighbours."""

    def __init__(self, found: Sequence[Token], dialect: str) -> None:
        self._tokens = found
        self._dialect = dialect
        self._at = 0
        # For every open parenthesis, whether CAST opened it: there AS is followed by a type.
        self._open: list[bool] = []

    def read(self) -> Iterator[Part]:
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token.kind is Kind.WORD:
                yield from self._word(token)
            else:
                self._at += 1
                yield self._plain(token)
                if token.is_symbol("::"):
                    yield from self._type()

    def _peek(self, ahead: int = 1) -> Token | None:
        index = self._at + ahead
        return self._tokens[index] if 0 <= index < len(self._tokens) else None

    def _plain(self, token: Token) -> Part:
        match token.kind:
            case Kind.QUOTED:
                return Part(Role.COLUMN, token.text, token.offset)
            case Kind.STRING:
                self._check_string(token)
                return Part(Role.STRING, token.text, token.offset)
            case Kind.NUMBER:
                return Part(Role.NUMBER, token.text, token.offset)
            case Kind.PLACEHOLDER:
                return Part(Role.PLACEHOLDER, token.text, token.offset)
            case _:
                self._count_parenthesis(token)
                return Part(Role.SYMBOL, token.text, token.offset)

    def _count_parenthesis(self, token: Token) -> None:
        if token.text == "(":
            before = self._peek(-2)
            self._open.append(before is not None and before.is_word("cast"))
        elif token.text == ")" and self._open:
            self._open.pop()

    def _word(self, token: Token) -> Iterator[Part]:
        word = token.text.lower()
        following = self._peek()
        called = following is not None and following.is_symbol("(")
        if word == "at" and self._is_time_zone():
            for _ in range(3):
                yield self._take(Role.KEYWORD)
        elif word in words.LITERAL_TYPES and following and following.kind is Kind.STRING:
            yield from self._typed_string(word, following)
        elif word == "unknown" and self._after_is():
            yield self._take(Role.KEYWORD)
        elif word in words.KEYWORDS | words.OWN_KEYWORDS[self._dialect]:
            if called and word not in words.BEFORE_PARENTHESIS | {"cast"}:
                raise SqlError(f"{word.upper()} cannot be followed by '('", token.offset)
            yield self._take(Role.KEYWORD)
            if word == "as":
                yield from self._cast_target(token)
        elif called:
            yield self._function(token, word)
        else:
            yield self._name(token, word)

    def _take(self, role: Role) -> Part:
        token = self._tokens[self._at]
        self._at += 1
        return Part(role, token.text.lower(), token.offset)

    def _is_time_zone(self) -> bool:
        time, zone = self._peek(1), self._peek(2)
        return bool(time and time.is_word("time") and zone and zone.is_word("zone"))

    def _after_is(self) -> bool:
        before, earlier = self._peek(-1), self._peek(-2)
        if before is not None and before.is_word("not"):
            before = earlier
        return before is not None and before.is_word("is")

    def _typed_string(self, word: str, string: Token) -> Iterator[Part]:
        if word != "interval" and _MOVING_WORDS.search(string.text):
            raise _moving(string)
        yield self._take(Role.TYPE)

    def _check_string(self, token: Token) -> None:
        following, target = self._peek(0), self._peek(1)
        cast = following is not None and following.is_symbol("::")
        cast_to_time = cast and target is not None and target.is_word(*words.TIME_TYPES)
        if cast_to_time and _MOVING_WORDS.search(token.text):
            raise _moving(token)
        if is_moving(token.text):
            raise _moving(token)

    def _cast_target(self, as_token: Token) -> Iterator[Part]:
        if not self._open or not self._open[-1]:
            raise SqlError("AS is only accepted inside CAST(... AS type)", as_token.offset)
        yield from self._type()

    def _type(self) -> Iterator[Part]:
        """One type: its words, its arguments in parentheses, and [] for an array."""
        token = self._peek(0)
        if token is None or token.kind is not Kind.WORD:
            raise SqlError("a type is missing", token.offset if token else self._end())
        pair = self._peek(1)
        name = token.text.lower()
        accepted = words.TYPES[self._dialect]
        if pair and pair.kind is Kind.WORD and f"{name} {pair.text.lower()}" in accepted:
            yield self._take(Role.TYPE)
        elif name not in accepted:
            raise SqlError(
                f"{token.text} is not among the types that are accepted here",
                token.offset,
                nearest(name, sorted(accepted)),
            )
        yield self._take(Role.TYPE)
        yield from self._type_arguments()
        yield from self._type_zone(name)
        array, end = self._peek(0), self._peek(1)
        if array and end and array.is_symbol("[") and end.is_symbol("]"):
            yield self._take(Role.TYPE)
            yield self._take(Role.TYPE)

    def _type_arguments(self) -> Iterator[Part]:
        opening = self._peek(0)
        if opening is None or not opening.is_symbol("("):
            return
        expected_number = False
        while (token := self._peek(0)) is not None:
            number = token.kind is Kind.NUMBER and token.text.isdecimal()
            if number is not expected_number or (not number and not token.is_symbol("(", ",", ")")):
                raise SqlError("a type's arguments must be whole numbers", token.offset)
            yield self._take(Role.TYPE)
            expected_number = not number
            if token.is_symbol(")"):
                return

    def _type_zone(self, name: str) -> Iterator[Part]:
        first = self._peek(0)
        zone = first is not None and first.is_word("with", "without") and self._is_time_zone()
        if name in ("time", "timestamp") and zone:
            for _ in range(3):
                yield self._take(Role.TYPE)

    def _function(self, token: Token, word: str) -> Part:
        accepted = words.FUNCTIONS[self._dialect]
        if word not in accepted:
            raise _refused_function(token, word, accepted)
        return self._take(Role.FUNCTION)

    def _name(self, token: Token, word: str) -> Part:
        if self._is_extract_field():
            if word not in words.EXTRACT_FIELDS:
                hint = nearest(word, sorted(words.EXTRACT_FIELDS))
                raise SqlError(f"extract has no field {token.text}", token.offset, hint)
            return self._take(Role.FIELD)
        if word in words.VOLATILE_WITHOUT_PARENTHESES:
            raise _volatile(token, word, f'; a column of this name is written "{token.text}"')
        if word in words.SUBQUERY_WORDS:
            raise _subquery(token)
        if word in words.RESERVED[self._dialect]:
            quote = "`" if self._dialect == "mysql" else '"'
            raise SqlError(
                f"{token.text} is a reserved word; "
                f"a column of this name is written {quote}{token.text}{quote}",
                token.offset,
            )
        self._at += 1
        name = _folded(token.text) if self._dialect == "postgres" else token.text
        return Part(Role.COLUMN, name, token.offset)

    def _is_extract_field(self) -> bool:
        opening, function, after = self._peek(-1), self._peek(-2), self._peek(1)
        return bool(
            opening
            and opening.is_symbol("(")
            and function
            and function.is_word("extract")
            and after
            and after.is_word("from")
        )

    def _end(self) -> int:
        last = self._tokens[-1]
        return last.offset + len(last.text)


def _folded(name: str) -> str:
    """As PostgreSQL folds a name without quotes: ASCII letters only."""
    return "".join(char.lower() if char.isascii() else char for char in name)


def _refused_function(token: Token, word: str, accepted: frozenset[str]) -> SqlError:
    if word in words.VOLATILE:
        return _volatile(token, f"{word}()")
    if word in words.AGGREGATES:
        return SqlError(
            f"{word}() needs several rows, and the expression sees one row at a time", token.offset
        )
    if word in words.SUBQUERY_WORDS:
        return _subquery(token)
    hint = nearest(word, sorted(accepted))
    return SqlError(f"the function {word}() is not accepted here", token.offset, hint)


def is_moving(text: str) -> bool:
    """Whether PostgreSQL reads a text as the moment of the statement, where the other side of a
    comparison is a time.
    """
    return _MOVING_TIME.fullmatch(text) is not None


def moving_told(text: str) -> str:
    """Why such a text is not accepted."""
    return (
        f"'{text}' can mean the moment of the statement, so that copy and purge would see "
        "different rows"
    )


def _volatile(token: Token, shown: str, remark: str = "") -> SqlError:
    return SqlError(
        f"{shown} differs between statements or sessions, so that copy and purge would see "
        f"different rows; {USE_A_VARIABLE}{remark}",
        token.offset,
    )


def _moving(token: Token) -> SqlError:
    return SqlError(f"{moving_told(token.text)}; {USE_A_VARIABLE}", token.offset)


def _subquery(token: Token) -> SqlError:
    return SqlError("subqueries are not accepted; use the table's own columns", token.offset)


def _check_parentheses(found: Sequence[Token]) -> None:
    pairs = {")": "(", "]": "["}
    opened: list[Token] = []
    for token in found:
        if token.is_symbol("(", "["):
            opened.append(token)
        elif token.is_symbol(")", "]"):
            if not opened or opened[-1].text != pairs[token.text]:
                raise SqlError(f"'{token.text}' closes nothing", token.offset)
            opened.pop()
    if opened:
        raise SqlError(f"'{opened[-1].text}' is not closed", opened[-1].offset)


def _check_neighbours(found: Sequence[Part]) -> None:
    for before, part in pairwise(found):
        if before.role is Role.STRING and part.role is Role.STRING:
            raise SqlError("two strings stand side by side; join them with ||", part.offset)
        if _is(before, Role.KEYWORD, "in") and not _is(part, Role.SYMBOL, "("):
            if _opened_by_position(found, before):
                continue
            raise SqlError("IN must be followed by values in parentheses", before.offset)
        if _is(before, Role.KEYWORD, "is") and not _is(part, Role.KEYWORD, *_AFTER_IS):
            raise SqlError(
                "IS must be followed by NULL, TRUE, FALSE, UNKNOWN or DISTINCT FROM", before.offset
            )
        if _is(before, Role.SYMBOL, "(") and _is(part, Role.SYMBOL, ")"):
            raise SqlError("the parentheses are empty", before.offset)
        if _is(part, Role.SYMBOL, "[") and not _is(before, Role.KEYWORD, "array"):
            raise SqlError("subscripts are not accepted; for JSON use -> or ->>", part.offset)
        _check_null_comparison(before, part)


def _opened_by_position(found: Sequence[Part], keyword: Part) -> bool:
    """Whether the IN is that of position(text IN text)."""
    earlier = [part for part in found if part.offset < keyword.offset]
    return any(_is(part, Role.FUNCTION, "position") for part in earlier)


def _check_null_comparison(left: Part, right: Part) -> None:
    pair = (left, right)
    null = next((part for part in pair if _is(part, Role.KEYWORD, "null")), None)
    if null and any(_is(part, Role.SYMBOL, *_COMPARISONS) for part in pair):
        raise SqlError(
            "a comparison with NULL is never true; write IS NULL or IS NOT NULL", null.offset
        )


def _is(part: Part, role: Role, *texts: str) -> bool:
    return part.role is role and part.text in texts
