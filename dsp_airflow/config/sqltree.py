"""sqlglot's reading of a filter or expression, held against our own. Slow to import."""

from __future__ import annotations

from collections.abc import Sequence

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError

from dsp_airflow.config.sqlgrammar import Part, Role
from dsp_airflow.config.sqltokens import SqlError

_LOGIC = (exp.And, exp.Or, exp.Not, exp.Paren)
_BOOLEAN = (
    exp.EQ,
    exp.NEQ,
    exp.GT,
    exp.GTE,
    exp.LT,
    exp.LTE,
    exp.NullSafeEQ,
    exp.NullSafeNEQ,
    exp.In,
    exp.Between,
    exp.Like,
    exp.ILike,
    exp.Escape,
    exp.Is,
    exp.Boolean,
    exp.StartsWith,
    exp.RegexpLike,
    exp.RegexpILike,
    exp.ArrayContainsAll,
    exp.ArrayContainedBy,
)
# What may be boolean, by the type of a column or variable that is not known here.
_PERHAPS_BOOLEAN = (exp.Column, exp.Placeholder, exp.Coalesce, exp.Nullif, exp.Case, exp.If)
_SCALAR = (
    exp.Add,
    exp.Any,
    exp.Array,
    exp.AtTimeZone,
    exp.Case,
    exp.Cast,
    exp.Column,
    exp.DPipe,
    exp.DataType,
    exp.DataTypeParam,
    exp.Div,
    exp.Identifier,
    exp.If,
    exp.IntDiv,
    exp.Interval,
    exp.JSONBExtract,
    exp.JSONBExtractScalar,
    exp.JSONExtract,
    exp.JSONExtractScalar,
    exp.JSONPath,
    exp.JSONPathKey,
    exp.JSONPathRoot,
    exp.JSONPathSubscript,
    exp.Literal,
    exp.Mod,
    exp.Mul,
    exp.Neg,
    exp.Null,
    exp.Placeholder,
    exp.Sub,
    exp.Tuple,
    exp.Var,
)
_STRUCTURE = _LOGIC + _BOOLEAN + _SCALAR
_NEVER = (exp.AggFunc, exp.Query, exp.Subquery, exp.Window, exp.CurrentTimestamp, exp.CurrentDate)

_MISUNDERSTOOD = "cannot be understood as one expression; simplify it, or quote unusual names"


def check_structure(found: Sequence[Part], dialect: str) -> None:
    """Raises `SqlError` unless sqlglot sees one expression of accepted nodes and the same names."""
    tree = _tree(found, dialect)
    for node in tree.walk():
        function = isinstance(node, exp.Func) and not isinstance(node, _NEVER)
        if not function and not isinstance(node, _STRUCTURE):
            raise SqlError(f"{_described(node)} is not accepted in an expression", found[0].offset)
        if isinstance(node, exp.Cast) and _is_made_up(node):
            raise SqlError(
                "a time that is made of constants can turn out to mean the moment of the "
                "statement; write it as one constant, or use a variable",
                found[0].offset,
            )
    columns = {column.name for column in tree.find_all(exp.Column)}
    placeholders = {placeholder.name for placeholder in tree.find_all(exp.Placeholder)}
    ours = _Stand(found)
    if columns != set(ours.columns.values()) or placeholders != set(ours.placeholders.values()):
        raise SqlError(_MISUNDERSTOOD, found[0].offset)


def _is_made_up(cast: exp.Cast) -> bool:
    """Whether a text becomes a time that nothing of the row or the run has part in."""
    if not cast.to.is_type(*exp.DataType.TEMPORAL_TYPES):
        return False
    parts = list(cast.this.walk())
    return any(isinstance(part, exp.Func | exp.DPipe | exp.Case) for part in parts) and not any(
        isinstance(part, exp.Column | exp.Placeholder) for part in parts
    )


def check_boolean(found: Sequence[Part], dialect: str) -> None:
    """Raises `SqlError` when the expression certainly has a value other than true or false."""
    pending: list[exp.Expr] = [_tree(found, dialect)]
    while pending:
        node = pending.pop()
        if isinstance(node, exp.And | exp.Or):
            pending += [node.left, node.right]
        elif isinstance(node, exp.Not | exp.Paren):
            pending.append(node.this)
        elif isinstance(node, exp.Cast):
            if not node.to.is_type("boolean"):
                raise _not_boolean(found)
        elif not isinstance(node, _BOOLEAN + _PERHAPS_BOOLEAN):
            raise _not_boolean(found)


class _Stand:
    """Harmless stand-ins for names and values, so that sqlglot judges the structure alone."""

    def __init__(self, found: Sequence[Part]) -> None:
        self.columns = _numbered(found, Role.COLUMN, "column_")
        self.placeholders = _numbered(found, Role.PLACEHOLDER, "variable_")

    def text(self, part: Part, before: Part | None) -> str:
        match part.role:
            case Role.COLUMN:
                return self.columns[part.text]
            case Role.PLACEHOLDER:
                return f":{self.placeholders[part.text]}"
            case Role.STRING:
                interval = before is not None and before.text == "interval"
                return "'1 day'" if interval else "'day'"
            case _:
                return part.text


def _tree(found: Sequence[Part], dialect: str) -> exp.Expr:
    stand = _Stand(found)
    # Where each part begins in the text for sqlglot, to find the way back from its errors.
    begins: list[tuple[int, Part]] = []
    text = ""
    before: Part | None = None
    for part in found:
        begins.append((len(text), part))
        text += stand.text(part, before) + " "
        before = part
    try:
        trees = sqlglot.parse(text, read=dialect, error_message_context=len(text) + 1)
    except ParseError as error:
        raise _syntax_error(error, begins) from error
    except (SqlglotError, RecursionError, ValueError) as error:
        raise SqlError(_MISUNDERSTOOD, found[0].offset) from error
    if len(trees) != 1 or not isinstance(trees[0], exp.Expr):
        raise SqlError(_MISUNDERSTOOD, found[0].offset)
    return trees[0]


def _syntax_error(error: ParseError, begins: Sequence[tuple[int, Part]]) -> SqlError:
    start = len(str(error.errors[0].get("start_context") or "")) if error.errors else 0
    part = next((part for begin, part in reversed(begins) if begin <= start), begins[0][1])
    return SqlError(f"cannot be read as SQL near '{part.text}'", part.offset)


def _numbered(found: Sequence[Part], role: Role, prefix: str) -> dict[str, str]:
    names = dict.fromkeys(part.text for part in found if part.role is role)
    return {name: f"{prefix}{number}" for number, name in enumerate(names)}


def _described(node: exp.Expr) -> str:
    if isinstance(node, exp.Alias):
        return "a second value after the first, without AND, OR or another operator between,"
    if isinstance(node, exp.Query | exp.Subquery):
        return "a subquery"
    if isinstance(node, exp.Window):
        return "a window function"
    if isinstance(node, exp.Star):
        return "'*' without a value on both sides"
    return f"the form {type(node).__name__}"


def _not_boolean(found: Sequence[Part]) -> SqlError:
    return SqlError(
        "must be a condition that is true or false for a row, such as updated_at < :cutoff",
        found[0].offset,
    )
