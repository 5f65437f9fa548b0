"""Rules as PostgreSQL says them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dsp_airflow.config.rules import BARE, LISTS, PATTERNS
from dsp_airflow.engine import sqlrules
from dsp_airflow.engine.model import Column
from dsp_airflow.engine.rules import TEXTS, Typed
from dsp_airflow.engine.stores.postgres.literals import literal
from dsp_airflow.engine.stores.postgres.names import base, text_literal

_PLAIN: Final = ("text", "character varying")
"""Types whose own operators compare nothing but the text."""

every, either = sqlrules.every, sqlrules.either


def test(
    column: Column, subject: str, operator: str, values: Sequence[Typed], *, opposite: bool
) -> str:
    """See ``rules.Ruled``."""
    if operator in BARE:
        return sqlrules.null_test(subject, operator, opposite=opposite)
    if column.type.name in TEXTS:
        subject = _text(column, subject, operator)
    if operator in PATTERNS:
        condition = sqlrules.like(subject, operator, str(values[0]), text_literal)
    else:
        condition = sqlrules.compared(subject, operator, [literal(value) for value in values])
    return sqlrules.signed(condition, opposite=opposite)


def _text(column: Column, subject: str, operator: str) -> str:
    """The text by code points, whatever the column's order.

    Where that makes no difference the column stands alone, so that an index serves it.
    """
    alike = operator in ("=", "!=", *LISTS, *PATTERNS)
    if alike and column.deterministic and base(column.native) in _PLAIN:
        return subject
    return f'{subject}::text COLLATE "C"'
