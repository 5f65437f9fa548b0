"""Rules as MySQL and MariaDB say them."""

from __future__ import annotations

from collections.abc import Sequence

from dsp_airflow.config.rules import BARE, PATTERNS
from dsp_airflow.engine import sqlrules
from dsp_airflow.engine.model import Column
from dsp_airflow.engine.rules import TEXTS, Typed
from dsp_airflow.engine.stores.mysql.literals import literal
from dsp_airflow.engine.stores.mysql.names import text_literal

every, either = sqlrules.every, sqlrules.either


def test(
    column: Column, subject: str, operator: str, values: Sequence[Typed], *, opposite: bool
) -> str:
    """See ``rules.Ruled``."""
    if operator in BARE:
        return sqlrules.null_test(subject, operator, opposite=opposite)
    literals = [literal(value) for value in values]
    if column.type.name == "year":
        # Beside a year the server takes 7 for 2007.
        subject = f"({subject} + 0)"
    if operator in PATTERNS:
        text = f"CONVERT({subject} USING utf8mb4) COLLATE utf8mb4_bin"
        condition = sqlrules.like(text, operator, str(values[0]), text_literal)
    elif column.type.name in TEXTS:
        condition = _by_code_points(subject, operator, literals)
    else:
        condition = sqlrules.compared(subject, operator, literals)
    return sqlrules.signed(condition, opposite=opposite)


def _by_code_points(subject: str, operator: str, literals: Sequence[str]) -> str:
    """The bytes in UTF-8, which sort as the characters do: a collation takes several texts for one,
    and most of them ignore blanks at the end.
    """
    exact = sqlrules.compared(
        f"CAST(CONVERT({subject} USING utf8mb4) AS BINARY)",
        operator,
        [f"CAST({text} AS BINARY)" for text in literals],
    )
    if operator in ("=", "in") and all(text.isascii() for text in literals):
        # Equal bytes are equal in every collation, and this an index serves.
        return f"{sqlrules.compared(subject, operator, literals)} AND {exact}"
    return exact
