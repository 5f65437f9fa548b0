"""Filters and mapping expressions: parsed, checked, and written anew for the database.

Two readings must agree before anything is accepted. `sqltokens` and `sqlgrammar` read the text
with a closed list of characters and words; sqlglot reads its structure. The SQL that is run is
written from the tokens, in their order, so the database reads what the author wrote, with its own
precedence, and sqlglot's rewriting can change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from dsp_airflow.config.errors import nearest
from dsp_airflow.config.sqlgrammar import Part, Role, parts
from dsp_airflow.config.sqltokens import SqlError, tokens
from dsp_airflow.config.sqlwords import DIALECTS

# sqlglot and PostgreSQL both descend into parentheses by recursion.
MAX_LENGTH = 20_000
MAX_DEPTH = 50

_TIGHT_AFTER = frozenset(("(", "[", "::"))
_TIGHT_BEFORE = frozenset((")", "]", ",", "::"))


@dataclass(frozen=True, slots=True)
class Expression:
    """One scalar expression over the columns of one row.

    `columns` are the names of the columns used: unquoted ones folded as the dialect folds them,
    quoted ones as they stand. `placeholders` are the names after `:`.
    """

    text: str
    dialect: str
    columns: frozenset[str]
    placeholders: frozenset[str]
    _parts: tuple[Part, ...] = field(repr=False)

    def render(self, literals: Mapping[str, str], column: Callable[[str], str]) -> str:
        """SQL in parentheses, with values and names put in.

        `literals` maps each placeholder to a literal that the driver has quoted, with its type;
        `column` gives the quoted identifier for a column's name. The SQL may hold `%` signs: run
        it without driver parameters, or double them. Raises KeyError for a placeholder without
        a literal.
        """
        written = self._written(lambda name: f"({literals[name]})", column, _quoted_for_server)
        return f"({written})"

    def canonical(self) -> str:
        """The same expression with single blanks, lower-case keywords and quoted columns."""
        quote = "`" if self.dialect == "mysql" else '"'
        return self._written(
            lambda name: f":{name}",
            lambda name: f"{quote}{name.replace(quote, quote * 2)}{quote}",
            _quoted,
        )

    def _written(
        self,
        placeholder: Callable[[str], str],
        column: Callable[[str], str],
        string: Callable[[str], str],
    ) -> str:
        def shown(part: Part) -> str:
            match part.role:
                case Role.PLACEHOLDER:
                    return placeholder(part.text)
                case Role.COLUMN:
                    return column(part.text)
                case Role.STRING:
                    return string(part.text)
                case _:
                    return part.text

        return _joined(self._parts, shown)


@dataclass(frozen=True, slots=True)
class Filter(Expression):
    """One boolean expression: the rows for which it is true belong to the job."""


def parse_where(text: str, dialect: str = "postgres") -> Filter:
    """The filter, or `SqlError` with the offset of what is not accepted.

    Accepted are comparisons, AND, OR, NOT, IN lists, BETWEEN, LIKE, ILIKE, IS (NOT) NULL, TRUE,
    DISTINCT FROM, arithmetic, `||`, `->`, `->>`, ANY(ARRAY[...]), CASE, casts to ordinary types,
    listed functions that give the same result each time, and `:name` variables. PostgreSQL has
    `~` and its like, `#>`, `#>>`, `@>` and `<@`, too; MySQL REGEXP and RLIKE.
    """
    found = _read(text, dialect, "filter")
    from dsp_airflow.config.sqltree import check_boolean

    check_boolean(found, dialect)
    return Filter(text, dialect, _names(found, Role.COLUMN), _names(found, Role.PLACEHOLDER), found)


def parse_expression(text: str, dialect: str = "postgres") -> Expression:
    """One scalar expression, of the same words as a filter, or `SqlError`."""
    found = _read(text, dialect, "expression")
    columns, placeholders = _names(found, Role.COLUMN), _names(found, Role.PLACEHOLDER)
    return Expression(text, dialect, columns, placeholders, found)


E = TypeVar("E", bound=Expression)


def in_any_dialect(parse: Callable[[str, str], E], text: str) -> E:
    """As any system reads it: which one it is for, only its connection tells.

    Raises the first dialect's ``SqlError`` when none reads it.
    """
    first, *others = DIALECTS
    try:
        return parse(text, first)
    except SqlError:
        for dialect in others:
            with suppress(SqlError):
                return parse(text, dialect)
        raise


def missing_variable(name: str, variables: Iterable[str]) -> tuple[str, str | None]:
    """Message and nearest name for a placeholder that no variable fills."""
    message = f"':{name}' is not among the variables; add it under variables"
    near = nearest(name, variables)
    return message, f":{near}" if near else None


def _read(text: str, dialect: str, what: str) -> tuple[Part, ...]:
    if dialect not in DIALECTS:
        raise ValueError(f"unknown SQL dialect {dialect!r}; known are {', '.join(DIALECTS)}")
    if len(text) > MAX_LENGTH:
        raise SqlError(f"a {what} must not be longer than {MAX_LENGTH} characters", MAX_LENGTH)
    found = parts(tokens(text, dialect), dialect)
    if not found:
        raise SqlError(f"the {what} is empty", 0)
    _check_depth(found)
    from dsp_airflow.config.sqltree import check_structure

    check_structure(found, dialect)
    return found


def _check_depth(found: tuple[Part, ...]) -> None:
    depth = 0
    for part in found:
        if part.role is Role.SYMBOL and part.text in ("(", "["):
            depth += 1
            if depth > MAX_DEPTH:
                raise SqlError(f"parentheses are nested deeper than {MAX_DEPTH}", part.offset)
        elif part.role is Role.SYMBOL and part.text in (")", "]"):
            depth -= 1


def _names(found: tuple[Part, ...], role: Role) -> frozenset[str]:
    return frozenset(part.text for part in found if part.role is role)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _quoted_for_server(text: str) -> str:
    # Means the same under both settings of PostgreSQL's standard_conforming_strings.
    return "E" + _quoted(text.replace("\\", "\\\\")) if "\\" in text else _quoted(text)


def _joined(found: Iterable[Part], shown: Callable[[Part], str]) -> str:
    """Blanks between all parts, except where none is usual and none is needed."""
    written: list[str] = []
    before: Part | None = None
    for part in found:
        if before is not None and not _tight(before, part):
            written.append(" ")
        written.append(shown(part))
        before = part
    return "".join(written)


def _tight(before: Part, part: Part) -> bool:
    structural = (Role.SYMBOL, Role.TYPE)
    if part.role in structural and part.text in _TIGHT_BEFORE:
        return True
    if before.role in structural and before.text in _TIGHT_AFTER:
        return True
    called = before.role in (Role.FUNCTION, Role.TYPE) or before.text in ("cast", "any", "array")
    return called and part.role in structural and part.text in ("(", "[")
